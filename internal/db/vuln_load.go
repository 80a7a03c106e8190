package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// holds returns vuln.ErrSuperseded unless the load is the one under way.
func (tx *Tx) holds(ctx context.Context, load vuln.LoadID) error {
	var n int
	err := tx.row(ctx, `SELECT 1 FROM advisory_load WHERE seq = ? AND token = ?`, []any{load.Seq, load.Token}, &n)
	if errors.Is(err, conn.ErrNoRow) {
		return vuln.ErrSuperseded
	}
	return err
}

// Begin implements vuln.Stager. It is more than one transaction when the load
// before has left much: the first ends that load, the others remove its rows,
// which nobody sees.
func (db *DB) Begin(ctx context.Context, token string) (vuln.LoadID, error) {
	load := vuln.LoadID{Token: token}
	err := db.Update(ctx, func(tx *Tx) error {
		published, err := tx.published(ctx)
		if err != nil {
			return err
		}
		load.Seq = published + 1
		if _, err := tx.exec(ctx, `DELETE FROM advisory_load`); err != nil {
			return err
		}
		_, err = tx.exec(ctx, `INSERT INTO advisory_load (seq, token) VALUES (?, ?)`, load.Seq, token)
		return err
	})
	if err == nil {
		err = db.unstage(ctx, load, "")
	}
	if err != nil {
		return vuln.LoadID{}, fmt.Errorf("beginning to load advisories: %w", err)
	}
	return load, nil
}

// unstage removes what is staged under the load's number, of one feed or, for
// "", of all, in transactions of vuln.MaxBatch rows.
func (db *DB) unstage(ctx context.Context, load vuln.LoadID, feed string) error {
	which, args := `from_seq >= ?`, []any{load.Seq}
	closed, cargs := `to_seq > 0 AND to_seq >= ?`, []any{load.Seq}
	if feed != "" {
		which, args = which+` AND feed = ?`, append(args, feed)
		closed, cargs = closed+` AND feed = ?`, append(cargs, feed)
	}
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`DELETE FROM advisory WHERE (feed, id, from_seq) IN (SELECT feed, id, from_seq FROM advisory WHERE ` + which + ` LIMIT ?)`, args},
		{`UPDATE advisory SET to_seq = 0 WHERE (feed, id, from_seq) IN (SELECT feed, id, from_seq FROM advisory WHERE ` + closed + ` LIMIT ?)`, cargs},
	} {
		for more := true; more; {
			err := db.Update(ctx, func(tx *Tx) error {
				if err := tx.holds(ctx, load); err != nil {
					return err
				}
				n, err := tx.exec(ctx, step.query, append(step.args, vuln.MaxBatch)...)
				more = n == vuln.MaxBatch
				return err
			})
			if err != nil {
				return fmt.Errorf("removing advisories that were staged: %w", err)
			}
		}
	}
	return nil
}

// Heads implements vuln.Stager.
func (db *DB) Heads(ctx context.Context, feed string, fn func(vuln.Head) error) error {
	return db.View(ctx, func(tx *Tx) error {
		published, err := tx.published(ctx)
		if err != nil {
			return err
		}
		var last *vuln.Head // the newest version so far of the id at hand
		err = tx.each(ctx, `SELECT id, to_seq, withdrawn, known, digest, format FROM advisory
			WHERE feed = ? AND +from_seq <= ? ORDER BY feed, id, from_seq`, []any{feed, published}, func(rows *sql.Rows) error {
			h, err := scanHead(rows, published)
			if err != nil {
				return err
			}
			if last != nil && last.ID != h.ID {
				if err := fn(*last); err != nil {
					return err
				}
			}
			last = &h
			return nil
		})
		if err == nil && last != nil {
			err = fn(*last)
		}
		return err
	})
}

func scanHead(rows *sql.Rows, published int64) (h vuln.Head, err error) {
	var to, withdrawn, known int64
	var digest string
	if err := rows.Scan(&h.ID, &to, &withdrawn, &known, &digest, &h.Format); err != nil {
		return h, err
	}
	h.InForce, h.Withdrawn, h.Known = to == 0 || to > published, withdrawn != 0, timeOf(known)
	h.Digest, err = oci.ParseDigest(digest)
	return h, err
}

// Stage implements vuln.Stager.
func (db *DB) Stage(ctx context.Context, load vuln.LoadID, b vuln.Batch) error {
	err := db.Update(ctx, func(tx *Tx) error {
		if len(b.Close)+len(b.Insert) > vuln.MaxBatch {
			return fmt.Errorf("%d changes at once, at most %d", len(b.Close)+len(b.Insert), vuln.MaxBatch)
		}
		if err := tx.holds(ctx, load); err != nil {
			return err
		}
		if err := tx.closeAdvisories(ctx, load, b); err != nil {
			return err
		}
		return tx.insertAdvisories(ctx, load, b)
	})
	if err != nil {
		return fmt.Errorf("staging advisories of %q: %w", b.Feed, err)
	}
	return nil
}

func (tx *Tx) closeAdvisories(ctx context.Context, load vuln.LoadID, b vuln.Batch) error {
	return chunks(b.Close, func(part []string) error {
		args := append([]any{load.Seq, b.Feed, load.Seq}, anys(part)...)
		n, err := tx.exec(ctx, list(`UPDATE advisory SET to_seq = ? WHERE feed = ? AND to_seq = 0 AND +from_seq < ? AND id IN (#)`, len(part)), args...)
		if err == nil && n != int64(len(part)) {
			err = fmt.Errorf("closing %d records of which %d are in force", len(part), n)
		}
		return err
	})
}

func (tx *Tx) insertAdvisories(ctx context.Context, load vuln.LoadID, b vuln.Batch) error {
	return chunks(b.Insert, func(part []vuln.Row) error {
		if err := tx.replacesNone(ctx, part); err != nil {
			return err
		}
		args := make([]any, 0, 10*len(part))
		for _, r := range part {
			if r.From != load.Seq || r.To != 0 || r.Feed != b.Feed {
				return fmt.Errorf("record %q is of feed %q, from %d to %d: not of this batch", r.ID, r.Feed, r.From, r.To)
			}
			args = append(args, r.Feed, r.ID, r.From, r.To, micros(r.Modified), micros(r.Withdrawn), micros(r.Known),
				r.Digest.String(), r.Format, bytesOf(r.Packed))
		}
		_, err := tx.exec(ctx, `INSERT INTO advisory (feed, id, from_seq, to_seq, modified, withdrawn, known, digest, format, packed) VALUES `+
			marks(len(part), "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"), args...)
		return err
	})
}

// replacesNone returns an error when one of the rows, all of one feed, has an
// id with a row in force, which would then have two.
func (tx *Tx) replacesNone(ctx context.Context, part []vuln.Row) error {
	args := []any{part[0].Feed}
	for _, r := range part {
		args = append(args, r.ID)
	}
	inForce, err := tx.texts(ctx, list(`SELECT id FROM advisory WHERE feed = ? AND to_seq = 0 AND id IN (#) LIMIT 1`, len(part)), args...)
	if err == nil && len(inForce) > 0 {
		err = fmt.Errorf("inserting %q, which is in force and was not closed", inForce[0])
	}
	return err
}

// Unstage implements vuln.Stager.
func (db *DB) Unstage(ctx context.Context, load vuln.LoadID, feed string) error {
	if feed == "" {
		return errors.New("taking back advisories: no feed is named")
	}
	return db.unstage(ctx, load, feed)
}

// Abandon implements vuln.Stager.
func (db *DB) Abandon(ctx context.Context, load vuln.LoadID) error {
	err := db.unstage(ctx, load, "")
	if err == nil {
		err = db.Update(ctx, func(tx *Tx) error {
			_, err := tx.exec(ctx, `DELETE FROM advisory_load WHERE seq = ? AND token = ?`, load.Seq, load.Token)
			return err
		})
	}
	if err != nil && !errors.Is(err, vuln.ErrSuperseded) {
		return fmt.Errorf("abandoning a load of advisories: %w", err)
	}
	return nil
}
