package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// facts reads the one column of a table of facts.
func (tx *Tx) facts(ctx context.Context, table, column string, d oci.Digest, extractorSet string) ([]byte, error) {
	var b []byte
	err := tx.row(ctx, `SELECT f.`+column+` FROM content c CROSS JOIN extractor_set e CROSS JOIN `+table+` f
		WHERE c.digest = ? AND e.name = ? AND f.content_id = c.id AND f.extractor_set_id = e.id`, []any{d.String(), extractorSet}, &b)
	if errors.Is(err, conn.ErrNoRow) {
		err = repo.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading what is known of %s: %w", d, err)
	}
	return bytesOf(b), nil
}

// putFacts is its twin. It returns the number of the content, or 0 when the
// facts were there already.
func (tx *Tx) putFacts(ctx context.Context, table, column string, d oci.Digest, extractorSet string, b []byte) (int64, error) {
	id, err := tx.content(ctx, d)
	if err != nil {
		return 0, err
	}
	set, err := tx.intern(ctx, "extractor_set", "name", extractorSet)
	if err != nil {
		return 0, err
	}
	n, err := tx.exec(ctx, `INSERT INTO `+table+` (content_id, extractor_set_id, `+column+`) VALUES (?, ?, ?)
		ON CONFLICT (content_id, extractor_set_id) DO NOTHING`, id, set, bytesOf(b))
	if n == 0 {
		id = 0
	}
	return id, err
}

// LayerFacts implements assess.Facts.
func (tx *Tx) LayerFacts(ctx context.Context, d oci.Digest, extractorSet string) ([]byte, error) {
	return tx.facts(ctx, "layer_facts", "facts", d, extractorSet)
}

// ImageRecord implements assess.Facts.
func (tx *Tx) ImageRecord(ctx context.Context, manifest oci.Digest, extractorSet string) ([]byte, error) {
	return tx.facts(ctx, "image_record", "record", manifest, extractorSet)
}

// PackageSets implements assess.Facts.
func (tx *Tx) PackageSets(ctx context.Context, ids []oci.Digest) (map[oci.Digest][]byte, error) {
	sets := make(map[oci.Digest][]byte, len(ids))
	err := chunks(texts(ids), func(part []any) error {
		return tx.each(ctx, list(`SELECT digest, encoded FROM package_set WHERE digest IN (#)`, len(part)), part, addSet(sets))
	})
	if err != nil {
		return nil, fmt.Errorf("reading package sets: %w", err)
	}
	return sets, nil
}

// addSet adds rows of digests and encoded sets.
func addSet(to map[oci.Digest][]byte) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var s string
		var b []byte
		if err := rows.Scan(&s, &b); err != nil {
			return err
		}
		d, err := oci.ParseDigest(s)
		to[d] = bytesOf(b)
		return err
	}
}

// texts returns digests as arguments of a statement, each once and sorted.
func texts(ds []oci.Digest) []any {
	all := make([]string, len(ds))
	for i, d := range ds {
		all[i] = d.String()
	}
	slices.Sort(all)
	return anys(slices.Compact(all))
}

// PutLayerFacts implements assess.FactsWriter.
func (tx *Tx) PutLayerFacts(ctx context.Context, d oci.Digest, extractorSet string, facts []byte) error {
	if _, err := tx.putFacts(ctx, "layer_facts", "facts", d, extractorSet, facts); err != nil {
		return fmt.Errorf("storing the facts of %s: %w", d, err)
	}
	return nil
}

// PutImageRecord implements assess.FactsWriter. The sets must be stored
// (repo.ErrNotFound).
func (tx *Tx) PutImageRecord(ctx context.Context, manifest oci.Digest, extractorSet string, record []byte, sets []oci.Digest) error {
	id, err := tx.putFacts(ctx, "image_record", "record", manifest, extractorSet, record)
	if err == nil && id != 0 {
		err = chunks(texts(sets), func(part []any) error {
			var known int
			if err := tx.row(ctx, list(`SELECT COUNT(*) FROM package_set WHERE digest IN (#)`, len(part)), part, &known); err != nil {
				return err
			}
			if known < len(part) {
				return fmt.Errorf("%d of its package sets: %w", len(part)-known, repo.ErrNotFound)
			}
			_, err := tx.exec(ctx, list(`INSERT INTO image_set (package_set_id, content_id)
				SELECT s.id, CAST(? AS bigint) FROM package_set s WHERE s.digest IN (#)
				ON CONFLICT (package_set_id, content_id) DO NOTHING`, len(part)), append([]any{id}, part...)...)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("storing the inventory of %s: %w", manifest, err)
	}
	return nil
}

// Due implements assess.Inverse.
func (tx *Tx) Due(ctx context.Context, before time.Time, limit int) ([]repo.Placement, error) {
	ps, err := tx.placements(ctx, `SELECT `+placementColumns+` FROM placement p JOIN repository r ON r.id = p.repository_id
		WHERE p.due_at > 0 AND p.due_at < ? ORDER BY p.due_at, p.id LIMIT ?`, micros(before), limit)
	if err != nil {
		return nil, fmt.Errorf("listing placements that are due: %w", err)
	}
	return ps, nil
}

// standing is what gates judge: of what was revoked that which may come back by
// what they say.
const standing = `SELECT ` + placementColumns + ` FROM repository r CROSS JOIN placement p
	WHERE p.repository_id = r.id AND (p.state IN ('held', 'denied', 'admitted') OR p.state = 'revoked' AND NOT EXISTS (SELECT 1
		FROM revoked k CROSS JOIN revocation v
		WHERE k.placement_id = p.id AND v.id = k.revocation_id AND v.to_seq = 0 AND v.kind NOT IN ('key', 'identity')))`

// Standing implements assess.Inverse: first what is left of the repository
// given, then those after it.
func (tx *Tx) Standing(ctx context.Context, zone string, afterRepo oci.Repository, afterDigest oci.Digest, limit int) ([]repo.Placement, error) {
	var found []repo.Placement
	var err error
	if !afterRepo.IsZero() {
		found, err = tx.placements(ctx, standing+` AND r.name = ? AND p.digest > ? ORDER BY p.digest LIMIT ?`,
			afterRepo.String(), afterDigest.String(), limit)
	}
	if err == nil && len(found) < limit {
		query, args := standing+` AND r.name > ?`, []any{afterRepo.String()}
		if zone != "" { // "/" and "0" are neighbours
			query, args = query+` AND r.name > ? AND r.name < ?`, append(args, zone+"/", zone+"0")
		}
		var rest []repo.Placement
		rest, err = tx.placements(ctx, query+` ORDER BY r.name, p.digest LIMIT ?`, append(args, limit-len(found))...)
		found = append(found, rest...)
	}
	if err != nil {
		return nil, fmt.Errorf("listing placements: %w", err)
	}
	return found, nil
}

// PutDecision implements assess.Decisions.
func (tx *Tx) PutDecision(ctx context.Context, d *api.Decision, snapshot int64) (int64, error) {
	var id int64
	r, err := oci.ParseRepository(d.Repository)
	if err == nil {
		var rid int64
		if rid, err = tx.repository(ctx, r); err == nil {
			at := micros(d.DecidedAt)
			err = tx.row(ctx, `INSERT INTO decision (repository_id, digest, outcome, decided_at, confirmed_at, snapshot, document)
				VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
				[]any{rid, d.Digest, string(d.Outcome), at, at, snapshot, document(d)}, &id)
		}
		if err == nil {
			_, err = tx.exec(ctx, `INSERT INTO proof (decision, batch, pos) VALUES (?, 0, 0)`, id)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("storing the decision about %s in %s: %w", d.Digest, d.Repository, err)
	}
	return id, nil
}

// ConfirmDecision implements assess.Decisions.
func (tx *Tx) ConfirmDecision(ctx context.Context, id int64, at time.Time, snapshot int64) error {
	n, err := tx.exec(ctx, `UPDATE decision SET confirmed_at = ?, snapshot = ? WHERE id = ?`, micros(at), snapshot, id)
	if err == nil && n == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("confirming decision %d: %w", id, err)
	}
	return nil
}

// Decision implements assess.Decisions.
func (tx *Tx) Decision(ctx context.Context, id int64) (*assess.Recorded, error) {
	found, err := tx.decisions(ctx, `FROM decision d WHERE d.id = ?`, id)
	if err == nil && len(found) == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading decision %d: %w", id, err)
	}
	return &found[0], nil
}

// DecisionHistory implements assess.Decisions.
func (tx *Tx) DecisionHistory(ctx context.Context, r oci.Repository, d oci.Digest, limit int) ([]assess.Recorded, error) {
	found, err := tx.decisions(ctx, `FROM repository r CROSS JOIN decision d
		WHERE r.name = ? AND d.repository_id = r.id AND d.digest = ? ORDER BY d.id DESC LIMIT ?`, r.String(), d.String(), limit)
	if err != nil {
		return nil, fmt.Errorf("reading the decisions about %s in %s: %w", d, r, err)
	}
	return found, nil
}

func (tx *Tx) decisions(ctx context.Context, rest string, args ...any) ([]assess.Recorded, error) {
	var found []assess.Recorded
	err := tx.each(ctx, `SELECT d.id, d.confirmed_at, d.snapshot, d.document `+rest, args, func(rows *sql.Rows) error {
		var rec assess.Recorded
		var at int64
		var doc []byte
		if err := rows.Scan(&rec.ID, &at, &rec.Snapshot, &doc); err != nil {
			return err
		}
		rec.ConfirmedAt = timeOf(at)
		err := json.Unmarshal(doc, &rec.Decision)
		found = append(found, rec)
		return err
	})
	return found, err
}
