package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

const evidenceColumns = `SELECT e.id, e.ended, e.subject, e.referrer, v.digest, e.verified_at, e.until, e.result `

// EvidenceAbout implements assess.EvidenceRows.
func (tx *Tx) EvidenceAbout(ctx context.Context, d oci.Digest) ([]assess.EvidenceRow, error) {
	var found []assess.EvidenceRow
	var said [][]byte
	total := 0
	err := tx.each(ctx, evidenceColumns+`FROM evidence e CROSS JOIN verifier v
		WHERE e.subject = ? AND e.ended = 0 AND v.id = e.verifier_id ORDER BY e.referrer`, []any{d.String()}, func(rows *sql.Rows) error {
		row, result, err := scanEvidence(rows)
		found, said, total = append(found, row), append(said, result), total+len(result)
		for err == nil && total > assess.MaxEvidence {
			total -= dropLongest(said)
		}
		return err
	})
	for i := range found {
		if err != nil {
			break
		}
		if said[i] == nil {
			found[i].Checked = assess.Beyond(found[i].Referrer)
			continue
		}
		err = json.Unmarshal(said[i], &found[i].Checked)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the evidence about %s: %w", d, err)
	}
	return found, nil
}

// dropLongest sets the longest to nil and returns how long it was.
func dropLongest(said [][]byte) int {
	at := 0
	for i := range said {
		if len(said[i]) > len(said[at]) {
			at = i
		}
	}
	size := len(said[at])
	said[at] = nil
	return size
}

func (tx *Tx) evidence(ctx context.Context, rest string, args ...any) ([]assess.EvidenceRow, error) {
	var found []assess.EvidenceRow
	err := tx.each(ctx, evidenceColumns+rest, args, func(rows *sql.Rows) error {
		row, result, err := scanEvidence(rows)
		if err == nil {
			err = json.Unmarshal(result, &row.Checked)
		}
		found = append(found, row)
		return err
	})
	return found, err
}

// scanEvidence reads a row, and what came of verifying as it is stored.
func scanEvidence(rows *sql.Rows) (row assess.EvidenceRow, result []byte, err error) {
	var subject, referrer string
	var at, until int64
	if err := rows.Scan(&row.ID, &row.Ended, &subject, &referrer, &row.Verifier, &at, &until, &result); err != nil {
		return row, nil, err
	}
	row.At, row.Until = timeOf(at), timeOf(until)
	if row.Subject, err = oci.ParseDigest(subject); err == nil {
		row.Referrer, err = oci.ParseDigest(referrer)
	}
	return row, result, err
}

// PutEvidence implements assess.EvidenceRows.
func (tx *Tx) PutEvidence(ctx context.Context, row *assess.EvidenceRow) (int64, error) {
	id, err := tx.putEvidence(ctx, row)
	if err != nil {
		return 0, fmt.Errorf("storing what came of verifying %s about %s: %w", row.Referrer, row.Subject, err)
	}
	return id, nil
}

func (tx *Tx) putEvidence(ctx context.Context, row *assess.EvidenceRow) (int64, error) {
	verifier, err := tx.intern(ctx, "verifier", "digest", row.Verifier)
	if err != nil {
		return 0, err
	}
	var before, id int64
	err = tx.row(ctx, `SELECT e.id FROM evidence e WHERE e.subject = ? AND e.ended = 0 AND e.referrer = ?`,
		[]any{row.Subject.String(), row.Referrer.String()}, &before)
	if err != nil && !errors.Is(err, conn.ErrNoRow) {
		return 0, err
	}
	err = tx.row(ctx, `INSERT INTO evidence (ended, subject, referrer, verifier_id, verified_at, until, result) VALUES (0, ?, ?, ?, ?, ?, ?) RETURNING id`,
		[]any{row.Subject.String(), row.Referrer.String(), verifier, micros(row.At), micros(row.Until), document(&row.Checked)}, &id)
	if err != nil {
		return 0, err
	}
	if before != 0 {
		if _, err := tx.exec(ctx, `UPDATE evidence SET ended = ? WHERE id = ?`, id, before); err != nil {
			return 0, err
		}
	}
	for n := range row.Checked.Signatures {
		if err := tx.putSigner(ctx, id, n, row.At, &row.Checked.Signatures[n]); err != nil {
			return 0, err
		}
	}
	return id, nil
}

func (tx *Tx) putSigner(ctx context.Context, id int64, n int, verified time.Time, sig *evidence.Signature) error {
	builder := ""
	if sig.Statement != nil && sig.Statement.Provenance != nil {
		builder = sig.Statement.Provenance.Builder
	}
	at := sig.At
	if at.IsZero() {
		at = verified
	}
	_, err := tx.exec(ctx, `INSERT INTO signer (evidence_id, n, anchor, issuer, subject, key, builder, signed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		id, n, sig.Anchor, cut(sig.Identity.Issuer), cut(sig.Identity.Subject), sig.Identity.Key, cut(builder), micros(at))
	return err
}

// PutTrusted implements assess.EvidenceRows.
func (tx *Tx) PutTrusted(ctx context.Context, digest string) (before string, err error) {
	var since int64
	err = tx.row(ctx, `SELECT v.digest, v.since FROM verifier v WHERE v.since > 0 ORDER BY v.since DESC LIMIT 1`, nil, &before, &since)
	if err != nil && !errors.Is(err, conn.ErrNoRow) || before == digest {
		return before, err
	}
	_, err = tx.exec(ctx, `INSERT INTO verifier (digest, since) VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET since = excluded.since`, digest, since+1)
	if err != nil {
		err = fmt.Errorf("putting anchors %s in force: %w", digest, err)
	}
	return before, err
}

// EvidenceBy implements assess.EvidenceRows.
func (tx *Tx) EvidenceBy(ctx context.Context, who assess.SignedBy, after int64, max int) ([]assess.EvidenceRow, error) {
	where, args := "", []any{}
	for _, c := range []struct{ column, value string }{{"subject", who.Subject}, {"issuer", who.Issuer}, {"key", who.Key}, {"builder", who.Builder}} {
		if c.value != "" {
			where += " AND s." + c.column + " = ? AND s." + c.column + " <> ''"
			args = append(args, cut(c.value))
		}
	}
	if where == "" {
		return nil, errors.New("looking for evidence by nobody")
	}
	if !who.From.IsZero() {
		where, args = where+" AND s.signed_at >= ?", append(args, micros(who.From))
	}
	if !who.Until.IsZero() {
		where, args = where+" AND s.signed_at < ?", append(args, micros(who.Until))
	}
	rows, err := tx.evidence(ctx, `FROM evidence e JOIN verifier v ON v.id = e.verifier_id WHERE e.id > ? AND e.id IN (
			SELECT s.evidence_id FROM signer s WHERE s.evidence_id > ?`+where+`) ORDER BY e.id LIMIT ?`,
		append(append([]any{after, after}, args...), limit(max))...)
	if err != nil {
		return nil, fmt.Errorf("looking for what %+v signed: %w", who, err)
	}
	return rows, nil
}
