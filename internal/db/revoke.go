package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/revoke"
)

var _ revoke.Tx = (*Tx)(nil)

const revocationColumns = `SELECT v.id, v.kind, v.target, v.reason, v.made_by, v.made_at, v.from_seq, v.to_seq, v.lifted, v.rejudged `

// revocationRow is a revocation as it is scanned.
type revocationRow struct {
	evidence.Revocation
	kind           string
	madeAt         int64
	rejudged       int
	target, lifted []byte
}

func (r *revocationRow) dest() []any {
	return []any{&r.ID, &r.kind, &r.target, &r.Reason, &r.By, &r.madeAt, &r.Since, &r.Ended, &r.lifted, &r.rejudged}
}

func (r *revocationRow) record() (rec revoke.Record, err error) {
	if err := json.Unmarshal(r.target, &r.Revocation); err != nil {
		return rec, fmt.Errorf("reading revocation %d: %w", r.ID, err)
	}
	r.Kind, r.At = evidence.RevocationKind(r.kind), timeOf(r.madeAt)
	rec.Revocation, rec.Rejudged = r.Revocation, r.rejudged
	if len(r.lifted) > 0 {
		err = json.Unmarshal(r.lifted, &rec.Lifted)
	}
	return rec, err
}

func (tx *Tx) revocations(ctx context.Context, rest string, args ...any) ([]revoke.Record, error) {
	var found []revoke.Record
	err := tx.each(ctx, revocationColumns+rest, args, func(rows *sql.Rows) error {
		var row revocationRow
		if err := rows.Scan(row.dest()...); err != nil {
			return err
		}
		rec, err := row.record()
		found = append(found, rec)
		return err
	})
	return found, err
}

// RevocationSeq implements repo.Trust.
func (tx *Tx) RevocationSeq(ctx context.Context) (int64, error) {
	var made, lifted int64
	err := tx.row(ctx, `SELECT COALESCE((SELECT MAX(v.from_seq) FROM revocation v), 0), COALESCE((SELECT MAX(v.to_seq) FROM revocation v), 0)`, nil, &made, &lifted)
	if err != nil {
		return 0, fmt.Errorf("reading the number of the latest revocation: %w", err)
	}
	return max(made, lifted), nil
}

// Barred implements repo.Trust.
func (tx *Tx) Barred(ctx context.Context, ds []oci.Digest) (r *evidence.Revocation, which oci.Digest, err error) {
	err = chunks(texts(ds), func(part []any) error {
		if r != nil {
			return nil
		}
		var row revocationRow
		var digest string
		err := tx.row(ctx, list(revocationColumns+`, b.digest FROM barred b CROSS JOIN revocation v
			WHERE b.digest IN (#) AND v.id = b.revocation_id AND v.to_seq = 0 ORDER BY v.id LIMIT 1`, len(part)), part, append(row.dest(), &digest)...)
		if errors.Is(err, conn.ErrNoRow) {
			return nil
		}
		if err != nil {
			return err
		}
		rec, err := row.record()
		if err == nil {
			r = &rec.Revocation
			which, err = oci.ParseDigest(digest)
		}
		return err
	})
	if err != nil {
		return nil, oci.Digest{}, fmt.Errorf("looking for revocations: %w", err)
	}
	return r, which, nil
}

// Distrust implements assess.Distrust.
func (tx *Tx) Distrust(ctx context.Context) (evidence.Revocations, error) {
	found, err := tx.revocations(ctx, `FROM revocation v WHERE v.to_seq = 0 AND v.kind <> 'digest' ORDER BY v.id`)
	if err != nil {
		return nil, fmt.Errorf("reading the revocations in force: %w", err)
	}
	list := make(evidence.Revocations, len(found))
	for i := range found {
		list[i] = found[i].Revocation
	}
	return list, nil
}

// Withdrawing implements assess.Distrust.
func (tx *Tx) Withdrawing(ctx context.Context, r oci.Repository, d oci.Digest) (*evidence.Revocation, error) {
	found, err := tx.revocations(ctx, `FROM repository r CROSS JOIN placement p CROSS JOIN revoked k CROSS JOIN revocation v
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ? AND k.placement_id = p.id AND v.id = k.revocation_id AND v.to_seq = 0
		ORDER BY v.id DESC LIMIT 1`, r.String(), d.String())
	if err != nil {
		return nil, fmt.Errorf("looking for revocations of %s@%s: %w", r, d, err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	return &found[0].Revocation, nil
}

// prepared is in place of the number of the act that lifts a revocation while it
// is not in force yet: it and what refers to it count for nobody.
const prepared = -1

// Prepare implements revoke.Store.
func (tx *Tx) Prepare(ctx context.Context, r *evidence.Revocation) error {
	err := tx.row(ctx, `INSERT INTO revocation (kind, target, reason, made_by, made_at, from_seq, to_seq, lifted) VALUES (?, ?, ?, ?, ?, 0, ?, ?) RETURNING id`,
		[]any{string(r.Kind), document(r), r.Reason, r.By, micros(r.At), prepared, []byte{}}, &r.ID)
	if err != nil {
		return fmt.Errorf("storing the revocation of %s: %w", r.What(), err)
	}
	return nil
}

// Enforce implements revoke.Store.
func (tx *Tx) Enforce(ctx context.Context, r *evidence.Revocation) error {
	seq, err := tx.RevocationSeq(ctx)
	if err == nil {
		r.Since, r.Ended = seq+1, 0
		var n int64
		n, err = tx.exec(ctx, `UPDATE revocation SET from_seq = ?, to_seq = 0 WHERE id = ? AND to_seq = ?`, r.Since, r.ID, prepared)
		if err == nil && n == 0 {
			err = repo.ErrConflict
		}
	}
	if err != nil {
		return fmt.Errorf("putting revocation %d in force: %w", r.ID, err)
	}
	return nil
}

// Discard implements revoke.Store.
func (tx *Tx) Discard(ctx context.Context, id int64, max int) (left bool, err error) {
	const idle = ` FROM revocation v WHERE v.id = ? AND v.to_seq = -1`
	for _, query := range []string{
		`DELETE FROM revoked WHERE revocation_id = (SELECT v.id` + idle + `) AND placement_id IN (SELECT k.placement_id FROM revoked k WHERE k.revocation_id = ? LIMIT ?)`,
		`DELETE FROM barred WHERE revocation_id = (SELECT v.id` + idle + `) AND digest IN (SELECT b.digest FROM barred b WHERE b.revocation_id = ? LIMIT ?)`,
	} {
		n, err := tx.exec(ctx, query, id, id, limit(max))
		if err != nil {
			return false, fmt.Errorf("discarding revocation %d: %w", id, err)
		}
		if n > 0 {
			return true, nil
		}
	}
	if _, err := tx.exec(ctx, `DELETE FROM revocation WHERE id = ? AND to_seq = -1`, id); err != nil {
		return false, fmt.Errorf("discarding revocation %d: %w", id, err)
	}
	return false, nil
}

// Revocation implements revoke.Store.
func (tx *Tx) Revocation(ctx context.Context, id int64) (*revoke.Record, error) {
	found, err := tx.revocations(ctx, `FROM revocation v WHERE v.id = ? AND v.to_seq >= 0`, id)
	if err == nil && len(found) == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading revocation %d: %w", id, err)
	}
	return &found[0], nil
}

// Revocations implements revoke.Store.
func (tx *Tx) Revocations(ctx context.Context, before int64, max int) ([]revoke.Record, error) {
	found, err := tx.revocations(ctx, `FROM revocation v WHERE v.id < ? AND v.to_seq >= 0 ORDER BY v.id DESC LIMIT ?`, before, limit(max))
	if err != nil {
		return nil, fmt.Errorf("listing revocations: %w", err)
	}
	return found, nil
}

// LiftRevocation implements revoke.Store.
func (tx *Tx) LiftRevocation(ctx context.Context, id int64, l revoke.Lifted) error {
	seq, err := tx.RevocationSeq(ctx)
	if err == nil {
		var n int64
		n, err = tx.exec(ctx, `UPDATE revocation SET to_seq = ?, lifted = ? WHERE id = ? AND to_seq = 0`, seq+1, document(l), id)
		if err == nil && n == 0 {
			err = repo.ErrConflict
		}
	}
	if err != nil {
		return fmt.Errorf("lifting revocation %d: %w", id, err)
	}
	return nil
}

// Bar implements revoke.Marks.
func (tx *Tx) Bar(ctx context.Context, id int64, ds []oci.Digest) error {
	err := chunks(texts(ds), func(part []any) error {
		args := make([]any, 0, 2*len(part))
		for _, d := range part {
			args = append(args, d, id)
		}
		_, err := tx.exec(ctx, `INSERT INTO barred (digest, revocation_id) VALUES `+marks(len(part), "(?, ?)")+` ON CONFLICT (digest, revocation_id) DO NOTHING`, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("storing what revocation %d touches: %w", id, err)
	}
	return nil
}

// DecisionInForce implements revoke.Tx.
func (tx *Tx) DecisionInForce(ctx context.Context, p *repo.Placement) (*api.Decision, error) {
	if p.Decision == 0 {
		return nil, nil
	}
	rec, err := tx.Decision(ctx, p.Decision)
	if err != nil {
		return nil, err
	}
	return &rec.Decision, nil
}
