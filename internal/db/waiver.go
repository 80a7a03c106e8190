package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/waiver"
)

var _ waiver.Tx = (*Tx)(nil)

const waiverColumns = `SELECT w.id, w.asked_at, w.renews, w.document, w.ended FROM waiver w `

// waivers returns the waivers of a query, with those who granted them by the act
// at, and not later.
func (tx *Tx) waivers(ctx context.Context, at int64, rest string, args ...any) ([]waiver.Record, error) {
	var found []waiver.Record
	err := tx.each(ctx, waiverColumns+rest, args, func(rows *sql.Rows) error {
		var r waiver.Record
		var askedAt int64
		var doc, ended []byte
		if err := rows.Scan(&r.Number, &askedAt, &r.Renews, &doc, &ended); err != nil {
			return err
		}
		if err := json.Unmarshal(doc, &r.Waiver); err != nil {
			return fmt.Errorf("reading waiver %d: %w", r.Number, err)
		}
		r.ID, r.AskedAt = strconv.FormatInt(r.Number, 10), timeOf(askedAt)
		var err error
		if len(ended) > 0 {
			err = json.Unmarshal(ended, &r.Ended)
		}
		found = append(found, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, tx.grantors(ctx, at, found)
}

// lastAct is after all acts.
const lastAct = 1<<62 - 1

func (tx *Tx) grantors(ctx context.Context, at int64, of []waiver.Record) error {
	by := map[int64]*waiver.Record{}
	ids := make([]int64, len(of))
	for i := range of {
		by[of[i].Number], ids[i] = &of[i], of[i].Number
	}
	return chunks(ids, func(part []int64) error {
		args := []any{at}
		for _, id := range part {
			args = append(args, id)
		}
		return tx.each(ctx, `SELECT g.waiver_id, g.document FROM waiver_grant g WHERE g.seq <= ? AND g.waiver_id IN (`+marks(len(part), "?")+`) ORDER BY g.waiver_id, g.seq`, args, func(rows *sql.Rows) error {
			var id int64
			var doc []byte
			var g evidence.Grantor
			if err := rows.Scan(&id, &doc); err != nil {
				return err
			}
			if err := json.Unmarshal(doc, &g); err != nil {
				return fmt.Errorf("reading who granted waiver %d: %w", id, err)
			}
			by[id].Granted = append(by[id].Granted, g)
			return nil
		})
	})
}

// AddWaiver implements waiver.Store.
func (tx *Tx) AddWaiver(ctx context.Context, r *waiver.Record) error {
	doc := r.Waiver
	doc.ID, doc.Granted = "", nil
	err := tx.row(ctx, `INSERT INTO waiver (zone, asked_by, asked_at, renews, until, document, to_seq, ended) VALUES (?, ?, ?, ?, ?, ?, 0, ?) RETURNING id`,
		[]any{r.Zone(), r.AskedBy, micros(r.AskedAt), r.Renews, micros(r.Until), document(doc), []byte{}}, &r.Number)
	if err != nil {
		return fmt.Errorf("storing a waiver of %s: %w", r.Repositories, err)
	}
	r.ID = strconv.FormatInt(r.Number, 10)
	return nil
}

// GrantWaiver implements waiver.Store.
func (tx *Tx) GrantWaiver(ctx context.Context, r *waiver.Record, by evidence.Grantor) error {
	seq, err := tx.latestWaiverAct(ctx)
	if err == nil {
		var n int64
		n, err = tx.exec(ctx, `INSERT INTO waiver_grant (waiver_id, name, zone, seq, document) SELECT w.id, CAST(? AS text), w.zone, CAST(? AS bigint), ?
			FROM waiver w WHERE w.id = ? AND w.to_seq = 0 ON CONFLICT (waiver_id, name) DO NOTHING`, by.Name, seq+1, document(by), r.Number)
		if err == nil && n == 0 {
			err = repo.ErrConflict
		}
	}
	if err != nil {
		return fmt.Errorf("granting waiver %d: %w", r.Number, err)
	}
	return nil
}

// EndWaiver implements waiver.Store.
func (tx *Tx) EndWaiver(ctx context.Context, number int64, end api.WaiverEnd) error {
	seq, err := tx.latestWaiverAct(ctx)
	if err == nil {
		var n int64
		n, err = tx.exec(ctx, `UPDATE waiver SET to_seq = ?, ended = ? WHERE id = ? AND to_seq = 0`, seq+1, document(end), number)
		if err == nil && n == 0 {
			err = repo.ErrConflict
		}
	}
	if err != nil {
		return fmt.Errorf("ending waiver %d: %w", number, err)
	}
	return nil
}

// latestWaiverAct is the number of the latest act on any waiver.
func (tx *Tx) latestWaiverAct(ctx context.Context) (int64, error) {
	var granted, ended int64
	err := tx.row(ctx, `SELECT COALESCE((SELECT MAX(g.seq) FROM waiver_grant g), 0), COALESCE((SELECT MAX(w.to_seq) FROM waiver w), 0)`, nil, &granted, &ended)
	return max(granted, ended), err
}

// WaiverAct implements assess.Waivers.
func (tx *Tx) WaiverAct(ctx context.Context, zone string) (int64, error) {
	var granted, ended int64
	err := tx.row(ctx, `SELECT COALESCE((SELECT MAX(g.seq) FROM waiver_grant g WHERE g.zone = ?), 0), COALESCE((SELECT MAX(w.to_seq) FROM waiver w WHERE w.zone = ?), 0)`,
		[]any{zone, zone}, &granted, &ended)
	if err != nil {
		return 0, fmt.Errorf("reading the latest act on waivers in zone %s: %w", zone, err)
	}
	return max(granted, ended), nil
}

// WaiversAt implements assess.Waivers.
func (tx *Tx) WaiversAt(ctx context.Context, zone string, act int64) ([]evidence.Waiver, error) {
	found, err := tx.waivers(ctx, act, `WHERE w.zone = ? AND (w.to_seq = 0 OR w.to_seq > ?)
		AND EXISTS (SELECT 1 FROM waiver_grant g WHERE g.waiver_id = w.id AND g.seq <= ?) ORDER BY w.id`, zone, act, act)
	if err != nil {
		return nil, fmt.Errorf("reading the waivers of zone %s: %w", zone, err)
	}
	ws := make([]evidence.Waiver, len(found))
	for i := range found {
		ws[i] = found[i].Waiver
	}
	return ws, nil
}

// NewestDecision returns when the newest decision was made, zero when there is
// none.
func (db *DB) NewestDecision(ctx context.Context) (time.Time, error) {
	var at int64
	err := db.View(ctx, func(tx *Tx) error {
		return tx.row(ctx, `SELECT COALESCE((SELECT d.decided_at FROM decision d ORDER BY d.id DESC LIMIT 1), 0)`, nil, &at)
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("reading when the newest decision was made: %w", err)
	}
	return timeOf(at), nil
}

// Waiver implements waiver.Store.
func (tx *Tx) Waiver(ctx context.Context, number int64) (*waiver.Record, error) {
	found, err := tx.waivers(ctx, lastAct, `WHERE w.id = ?`, number)
	if err == nil && len(found) == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading waiver %d: %w", number, err)
	}
	return &found[0], nil
}

// Waivers implements waiver.Store.
func (tx *Tx) Waivers(ctx context.Context, zone string, open bool, before int64, max int) ([]waiver.Record, error) {
	where, args := `WHERE w.id < ?`, []any{before}
	if zone != "" {
		where, args = where+` AND w.zone = ?`, append(args, zone)
	}
	if open {
		where += ` AND w.to_seq = 0`
	}
	found, err := tx.waivers(ctx, lastAct, where+` ORDER BY w.id DESC LIMIT ?`, append(args, limit(max))...)
	if err != nil {
		return nil, fmt.Errorf("listing waivers: %w", err)
	}
	return found, nil
}

// WaiversPast implements waiver.Store.
func (tx *Tx) WaiversPast(ctx context.Context, now time.Time, max int) ([]waiver.Record, error) {
	found, err := tx.waivers(ctx, lastAct, `WHERE w.to_seq = 0 AND w.until <= ? ORDER BY w.until, w.id LIMIT ?`, micros(now), limit(max))
	if err != nil {
		return nil, fmt.Errorf("listing waivers that are over: %w", err)
	}
	return found, nil
}

// WaiversOpen implements waiver.Store.
func (tx *Tx) WaiversOpen(ctx context.Context, zone, askedBy string) (inZone, asked int, err error) {
	err = tx.row(ctx, `SELECT (SELECT COUNT(*) FROM waiver w WHERE w.zone = ? AND w.to_seq = 0), (SELECT COUNT(*) FROM waiver w
		WHERE w.asked_by = ? AND w.to_seq = 0 AND NOT EXISTS (SELECT 1 FROM waiver_grant g WHERE g.waiver_id = w.id))`, []any{zone, askedBy}, &inZone, &asked)
	if err != nil {
		err = fmt.Errorf("counting waivers: %w", err)
	}
	return inZone, asked, err
}
