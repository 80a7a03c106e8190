package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// PutPolicyText implements assess.Past.
func (tx *Tx) PutPolicyText(ctx context.Context, kind string, text []byte) error {
	d := oci.FromBytes(text)
	_, err := tx.exec(ctx, `INSERT INTO policy_text (digest, kind, text) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING`, d.String(), kind, bytesOf(text))
	if err != nil {
		return fmt.Errorf("storing the text of %s %s: %w", kind, d, err)
	}
	return nil
}

// PolicyText implements assess.Past.
func (tx *Tx) PolicyText(ctx context.Context, kind string, d oci.Digest) ([]byte, error) {
	var text []byte
	err := tx.row(ctx, `SELECT t.text FROM policy_text t WHERE t.digest = ? AND t.kind = ?`, []any{d.String(), kind}, &text)
	if errors.Is(err, conn.ErrNoRow) {
		err = repo.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading the text of %s %s: %w", kind, d, err)
	}
	return bytesOf(text), nil
}

// SnapshotThen implements assess.Past.
func (tx *Tx) SnapshotThen(ctx context.Context, named *api.Inputs, at time.Time) (evidence.Snapshot, error) {
	found, err := tx.snapshots(ctx, `WHERE digest = ? AND exploited = ? AND scores = ? AND lifecycles = ? AND at <= ? ORDER BY seq DESC LIMIT 1`,
		named.Snapshot, named.Exploited, named.Scores, named.Lifecycles, micros(at))
	if err == nil && len(found) == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return evidence.Snapshot{}, fmt.Errorf("reading snapshot %s of the advisories: %w", named.Snapshot, err)
	}
	return found[0], nil
}

// EvidenceThen implements assess.Past.
func (tx *Tx) EvidenceThen(ctx context.Context, about oci.Digest, verifier string, at time.Time) ([]assess.EvidenceRow, error) {
	var found []assess.EvidenceRow
	total := 0
	err := tx.each(ctx, evidenceColumns+`FROM evidence e CROSS JOIN verifier v
		WHERE e.subject = ? AND v.id = e.verifier_id AND v.digest = ? AND e.verified_at <= ? ORDER BY e.referrer, e.id`,
		[]any{about.String(), verifier, micros(at)}, func(rows *sql.Rows) error {
			row, result, err := scanEvidence(rows)
			if err != nil {
				return err
			}
			if total += len(result); total > assess.MaxEvidence {
				return assess.ErrTooMuch
			}
			if err := json.Unmarshal(result, &row.Checked); err != nil {
				return err
			}
			if n := len(found); n > 0 && found[n-1].Referrer == row.Referrer {
				found[n-1] = row // the later one of two counted
				return nil
			}
			found = append(found, row)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("reading the evidence about %s at %s: %w", about, at.Format(time.RFC3339), err)
	}
	return found, nil
}

// DistrustThen implements assess.Past.
func (tx *Tx) DistrustThen(ctx context.Context, seq int64) (evidence.Revocations, error) {
	found, err := tx.revocations(ctx, `FROM revocation v WHERE v.from_seq > 0 AND v.from_seq <= ? AND (v.to_seq = 0 OR v.to_seq > ?) AND v.kind <> 'digest' ORDER BY v.id`, seq, seq)
	if err != nil {
		return nil, fmt.Errorf("reading the revocations in force under number %d: %w", seq, err)
	}
	list := make(evidence.Revocations, len(found))
	for i := range found {
		list[i] = found[i].Revocation
	}
	return list, nil
}

// DecisionsUntil implements assess.History.
func (tx *Tx) DecisionsUntil(ctx context.Context, r oci.Repository, d oci.Digest, at time.Time, max int) ([]assess.Recorded, error) {
	return tx.decisionsAbout(ctx, r, d, `d.decided_at <= ? ORDER BY d.id DESC LIMIT ?`, micros(at), limit(max))
}

// DecisionsAfter implements assess.History.
func (tx *Tx) DecisionsAfter(ctx context.Context, r oci.Repository, d oci.Digest, at time.Time, max int) ([]assess.Recorded, error) {
	return tx.decisionsAbout(ctx, r, d, `d.decided_at > ? ORDER BY d.id LIMIT ?`, micros(at), limit(max))
}

func (tx *Tx) decisionsAbout(ctx context.Context, r oci.Repository, d oci.Digest, rest string, args ...any) ([]assess.Recorded, error) {
	found, err := tx.decisions(ctx, `FROM repository r CROSS JOIN decision d WHERE r.name = ? AND d.repository_id = r.id AND d.digest = ? AND `+rest, append([]any{r.String(), d.String()}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("reading the decisions about %s in %s: %w", d, r, err)
	}
	return found, nil
}

// DecisionsFrom implements assess.History.
func (tx *Tx) DecisionsFrom(ctx context.Context, since time.Time, after int64, max int) ([]assess.Recorded, error) {
	found, err := tx.decisions(ctx, `FROM decision d WHERE d.id > ? AND d.decided_at >= ? ORDER BY d.id LIMIT ?`, after, micros(since), limit(max))
	if err != nil {
		return nil, fmt.Errorf("reading the decisions since %s: %w", since.Format(time.RFC3339), err)
	}
	return found, nil
}
