package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

var _ sign.Tx = (*Tx)(nil)

// PutIntent implements sign.Intents.
func (tx *Tx) PutIntent(ctx context.Context, in *seal.Intent) (id int64, err error) {
	err = tx.row(ctx, `INSERT INTO intent (kind, about, subject, digest, statement, why, principal, at, state, holder, held_until, bundle, bundled)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '', 0, ?, '') ON CONFLICT DO NOTHING RETURNING id`,
		[]any{string(in.Kind), in.About, in.Subject.String(), in.Digest.String(), bytesOf(in.Statement), in.Why, in.By, micros(in.At), []byte{}}, &id)
	if errors.Is(err, conn.ErrNoRow) {
		err = repo.ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("storing the intent to sign a %s about %s: %w", in.Kind, in.About, err)
	}
	return id, nil
}

// Intent implements sign.Intents.
func (tx *Tx) Intent(ctx context.Context, id int64) (*seal.Intent, error) {
	in, err := tx.intentWhere(ctx, `id = ?`, id)
	if err != nil {
		return nil, fmt.Errorf("reading intent %d: %w", id, err)
	}
	return in, nil
}

// IntentAbout implements sign.Intents.
func (tx *Tx) IntentAbout(ctx context.Context, kind seal.Kind, about string) (*seal.Intent, error) {
	in, err := tx.intentWhere(ctx, `kind = ? AND about = ? AND state < 3`, string(kind), about)
	if err != nil {
		return nil, fmt.Errorf("reading the intent of a %s about %s: %w", kind, about, err)
	}
	return in, nil
}

func (tx *Tx) intentWhere(ctx context.Context, where string, args ...any) (*seal.Intent, error) {
	var in seal.Intent
	var kind, subject, digest, bundled string
	var at, state int64
	err := tx.row(ctx, `SELECT id, kind, about, subject, digest, statement, why, principal, at, state, bundle, bundled FROM intent WHERE `+where, args,
		&in.ID, &kind, &in.About, &subject, &digest, &in.Statement, &in.Why, &in.By, &at, &state, &in.Bundle, &bundled)
	if errors.Is(err, conn.ErrNoRow) {
		return nil, repo.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	in.Kind, in.At, in.State = seal.Kind(kind), timeOf(at), seal.State(state)
	for _, d := range []struct {
		text string
		to   *oci.Digest
	}{{subject, &in.Subject}, {digest, &in.Digest}, {bundled, &in.Bundled}} {
		if d.text == "" {
			continue
		}
		if *d.to, err = oci.ParseDigest(d.text); err != nil {
			return nil, err
		}
	}
	return &in, nil
}

// ClaimIntent implements sign.Intents.
func (tx *Tx) ClaimIntent(ctx context.Context, id int64, holder string, until time.Time) error {
	n, err := tx.exec(ctx, `UPDATE intent SET holder = ?, held_until = ? WHERE id = ? AND state < 2 AND (holder = ? OR held_until <= ?)`,
		holder, micros(until), id, holder, tx.now())
	if err == nil && n == 0 {
		err = sign.ErrTaken
	}
	if err != nil {
		return fmt.Errorf("claiming intent %d: %w", id, err)
	}
	return nil
}

// MoveIntent implements sign.Intents.
func (tx *Tx) MoveIntent(ctx context.Context, in *seal.Intent, from seal.State) error {
	bundled := ""
	if !in.Bundled.IsZero() {
		bundled = in.Bundled.String()
	}
	n, err := tx.exec(ctx, `UPDATE intent SET state = ?, statement = ?, bundle = ?, bundled = ?, holder = '', held_until = 0 WHERE id = ? AND state = ?`,
		int64(in.State), bytesOf(in.Statement), bytesOf(in.Bundle), bundled, in.ID, int64(from))
	if err == nil && n == 0 {
		err = repo.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("recording what came of intent %d: %w", in.ID, err)
	}
	return nil
}

// Unfinished implements sign.Intents.
func (tx *Tx) Unfinished(ctx context.Context, n int) ([]int64, error) {
	var ids []int64
	err := tx.each(ctx, `SELECT id FROM intent WHERE state < 2 ORDER BY id LIMIT ?`, []any{limit(n)}, func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing unfinished intents: %w", err)
	}
	return ids, nil
}

// Unproven implements sign.Batches.
func (tx *Tx) Unproven(ctx context.Context, n int) ([]sign.Leaf, error) {
	var leaves []sign.Leaf
	err := tx.each(ctx, `SELECT p.decision, d.document FROM proof p CROSS JOIN decision d WHERE p.batch = 0 AND d.id = p.decision ORDER BY p.decision LIMIT ?`,
		[]any{n}, func(rows *sql.Rows) error {
			var l sign.Leaf
			var document sql.RawBytes
			if err := rows.Scan(&l.Decision, &document); err != nil {
				return err
			}
			l.Payload = sign.PayloadHash(document)
			leaves = append(leaves, l)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("listing decisions without a batch: %w", err)
	}
	return leaves, nil
}

// PutBatch implements sign.Batches.
func (tx *Tx) PutBatch(ctx context.Context, b *sign.Batch, decisions []sign.Leaf) error {
	if err := tx.putBatch(ctx, b, decisions); err != nil {
		return fmt.Errorf("storing batch %d of %d decisions: %w", b.Number, len(decisions), err)
	}
	return nil
}

func (tx *Tx) putBatch(ctx context.Context, b *sign.Batch, decisions []sign.Leaf) error {
	previous := ""
	if !b.Previous.IsZero() {
		previous = b.Previous.String()
	}
	n, err := tx.exec(ctx, `INSERT INTO batch (number, intent, leaves, epochs, origin, audit, previous) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO NOTHING`,
		b.Number, b.Intent, tlog.JoinHashes(b.Leaves), tlog.JoinHashes(b.Epochs), b.Origin, b.Audit, previous)
	if err == nil && n == 0 {
		err = repo.ErrConflict
	}
	if err != nil {
		return err
	}
	pos := 0
	return chunks(decisions, func(part []sign.Leaf) error {
		args := make([]any, 0, 2*len(part)+1)
		args = append(args, b.Number)
		for _, l := range part {
			args = append(args, l.Decision, pos)
			pos++
		}
		n, err := tx.exec(ctx, `UPDATE proof SET batch = ?, pos = v.column2 FROM (VALUES `+marks(len(part), "(CAST(? AS bigint), CAST(? AS bigint))")+`) AS v
			WHERE proof.decision = v.column1 AND proof.batch = 0`, args...)
		if err == nil && n != int64(len(part)) {
			err = fmt.Errorf("%d of its decisions are in another: %w", int64(len(part))-n, repo.ErrConflict)
		}
		return err
	})
}

// Batch implements sign.Batches.
func (tx *Tx) Batch(ctx context.Context, number int64) (*sign.Batch, error) {
	where, args := `WHERE number = ?`, []any{number}
	if number == 0 {
		where, args = `ORDER BY number DESC LIMIT 1`, nil
	}
	var b sign.Batch
	var leaves, epochs []byte
	var previous string
	err := tx.row(ctx, `SELECT number, intent, leaves, epochs, origin, audit, previous FROM batch `+where, args,
		&b.Number, &b.Intent, &leaves, &epochs, &b.Origin, &b.Audit, &previous)
	if errors.Is(err, conn.ErrNoRow) {
		err = repo.ErrNotFound
	}
	if err == nil {
		b.Leaves, err = tlog.SplitHashes(leaves)
	}
	if err == nil {
		b.Epochs, err = tlog.SplitHashes(epochs)
	}
	if err == nil && previous != "" {
		b.Previous, err = oci.ParseDigest(previous)
	}
	if err != nil {
		return nil, fmt.Errorf("reading batch %d: %w", number, err)
	}
	return &b, nil
}

// BatchOf implements sign.Batches.
func (tx *Tx) BatchOf(ctx context.Context, decision int64) (number, index int64, err error) {
	err = tx.row(ctx, `SELECT batch, pos FROM proof WHERE decision = ?`, []any{decision}, &number, &index)
	if errors.Is(err, conn.ErrNoRow) {
		err = repo.ErrNotFound
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading the batch of decision %d: %w", decision, err)
	}
	return number, index, nil
}

// Payload implements sign.Batches.
func (tx *Tx) Payload(ctx context.Context, decision int64) ([]byte, *api.Decision, error) {
	var document []byte
	var d api.Decision
	err := tx.row(ctx, `SELECT document FROM decision WHERE id = ?`, []any{decision}, &document)
	if errors.Is(err, conn.ErrNoRow) {
		err = repo.ErrNotFound
	}
	if err == nil {
		err = json.Unmarshal(document, &d)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the payload of decision %d: %w", decision, err)
	}
	return document, &d, nil
}

// PutMade implements sign.Makings.
func (tx *Tx) PutMade(ctx context.Context, intent int64, manifest, subject oci.Digest) error {
	_, err := tx.exec(ctx, `INSERT INTO made (intent, manifest, subject) VALUES (?, ?, ?)`, intent, manifest.String(), subject.String())
	if err != nil {
		return fmt.Errorf("noting that %s is of intent %d: %w", manifest, intent, err)
	}
	return nil
}

// MadeOf implements sign.Makings.
func (tx *Tx) MadeOf(ctx context.Context, intent int64) (oci.Digest, error) {
	ds, err := tx.digests(ctx, `SELECT manifest FROM made WHERE intent = ?`, intent)
	if err != nil {
		return oci.Digest{}, fmt.Errorf("reading the manifest of intent %d: %w", intent, err)
	}
	return append(ds, oci.Digest{})[0], nil
}

// MadeIn implements sign.Makings.
func (tx *Tx) MadeIn(ctx context.Context, r oci.Repository, subject oci.Digest) ([]sign.Made, error) {
	var all []sign.Made
	err := tx.each(ctx, `SELECT m.intent, m.manifest, i.kind, i.about FROM repository r CROSS JOIN made m CROSS JOIN intent i CROSS JOIN placement p
		WHERE r.name = ? AND m.subject = ? AND i.id = m.intent AND p.repository_id = r.id AND p.digest = m.manifest AND p.state = 'attached'
		ORDER BY m.intent`, []any{r.String(), subject.String()}, func(rows *sql.Rows) error {
		var m sign.Made
		var kind, manifest string
		err := rows.Scan(&m.Intent, &manifest, &kind, &m.About)
		if err == nil {
			m.Kind = seal.Kind(kind)
			m.Manifest, err = oci.ParseDigest(manifest)
		}
		all = append(all, m)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing what was made about %s in %s: %w", subject, r, err)
	}
	return all, nil
}
