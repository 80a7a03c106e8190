package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

var _ repo.Chains = (*Tx)(nil)

// PutChain implements repo.Chains.
func (tx *Tx) PutChain(ctx context.Context, d oci.Digest, diffIDs []oci.Digest, whole bool) error {
	if len(diffIDs) > repo.MaxChain {
		diffIDs, whole = diffIDs[:repo.MaxChain], false
	}
	id, err := tx.content(ctx, d)
	var chain int64
	for i, layer := range oci.ChainIDs(diffIDs) {
		if err != nil {
			break
		}
		chain, err = tx.chain(ctx, chain, i+1, layer)
	}
	if err == nil {
		_, err = tx.exec(ctx, `INSERT INTO image_chain (content_id, chain_id, whole) VALUES (?, ?, ?) ON CONFLICT (content_id) DO NOTHING`, id, chain, number(whole && chain != 0))
	}
	if err == nil {
		_, err = tx.exec(ctx, `DELETE FROM unchained WHERE content_id = ?`, id)
	}
	if err != nil {
		return fmt.Errorf("keeping the layers of %s: %w", d, err)
	}
	return nil
}

// chain returns the number of a chain, which is made if it is not there.
func (tx *Tx) chain(ctx context.Context, parent int64, layers int, d oci.Digest) (id int64, err error) {
	err = tx.row(ctx, `SELECT id FROM chain WHERE digest = ?`, []any{d.String()}, &id)
	if !errors.Is(err, conn.ErrNoRow) {
		return id, err
	}
	err = tx.row(ctx, `INSERT INTO chain (parent_id, layers, digest) VALUES (?, ?, ?)
		ON CONFLICT (digest) DO UPDATE SET layers = excluded.layers RETURNING id`, []any{parent, layers, d.String()}, &id)
	return id, err
}

// Unchained implements repo.Chains.
func (tx *Tx) Unchained(ctx context.Context, limit int) ([]oci.Digest, error) {
	found, err := tx.digests(ctx, `SELECT c.digest FROM unchained u CROSS JOIN content c WHERE c.id = u.content_id LIMIT ?`, limit)
	if err != nil {
		return nil, fmt.Errorf("listing images whose layers are not kept: %w", err)
	}
	return found, nil
}

// BasesOf implements repo.Chains.
func (tx *Tx) BasesOf(ctx context.Context, d oci.Digest, r oci.Repository, limit int) ([]evidence.Base, error) {
	var found []evidence.Base
	err := tx.each(ctx, `WITH RECURSIVE up (id, parent_id, layers) AS (
			SELECT k.id, k.parent_id, k.layers FROM content c CROSS JOIN image_chain i CROSS JOIN chain k
			WHERE c.digest = ? AND i.content_id = c.id AND k.id = i.chain_id
			UNION ALL SELECT k.id, k.parent_id, k.layers FROM up CROSS JOIN chain k WHERE k.id = up.parent_id)
		SELECT r.name, p.digest, up.layers, p.admitted_at FROM up CROSS JOIN image_chain i CROSS JOIN placement p CROSS JOIN repository r
		WHERE i.chain_id = up.id AND i.whole = 1 AND p.manifest_id = i.content_id AND p.state = 'admitted' AND (p.stay_until = 0 OR p.stay_until > ?) AND r.id = p.repository_id
			AND NOT (p.digest = ? AND r.name = ?)
		ORDER BY up.layers DESC, r.name, p.digest LIMIT ?`, []any{d.String(), tx.now(), d.String(), r.String(), limit}, func(rows *sql.Rows) error {
		var b evidence.Base
		var name, digest string
		var at int64
		err := rows.Scan(&name, &digest, &b.Layers, &at)
		if err == nil {
			b.At = timeOf(at)
			b.Digest, err = oci.ParseDigest(digest)
		}
		if err == nil {
			b.Repository, err = oci.ParseRepository(name)
		}
		found = append(found, b)
		return err
	})
	for i := 0; i < len(found) && err == nil; i++ {
		err = tx.nameBase(ctx, &found[i])
	}
	if err != nil {
		return nil, fmt.Errorf("finding the bases of %s: %w", d, err)
	}
	return found, nil
}

// nameBase finds the tag of a base, and what that names now.
func (tx *Tx) nameBase(ctx context.Context, b *evidence.Base) error {
	err := tx.row(ctx, `SELECT t.name FROM repository r CROSS JOIN placement p CROSS JOIN tag t
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ? AND t.placement_id = p.id ORDER BY t.name LIMIT 1`,
		[]any{b.Repository.String(), b.Digest.String()}, &b.Tag)
	if !errors.Is(err, conn.ErrNoRow) {
		return err
	}
	err = tx.row(ctx, `SELECT n.name FROM repository r CROSS JOIN named n WHERE r.name = ? AND n.repository_id = r.id AND n.digest = ?
		ORDER BY n.id DESC LIMIT 1`, []any{b.Repository.String(), b.Digest.String()}, &b.Tag)
	if errors.Is(err, conn.ErrNoRow) {
		return nil
	}
	if err != nil {
		return err
	}
	b.Past = true
	now, err := tx.digests(ctx, `SELECT p.digest FROM repository r CROSS JOIN tag t CROSS JOIN placement p
		WHERE r.name = ? AND t.repository_id = r.id AND t.name = ? AND p.id = t.placement_id`, b.Repository.String(), b.Tag)
	if err == nil && len(now) > 0 {
		b.Newer = now[0]
	}
	return err
}

// DescendantsOf implements repo.Chains.
func (tx *Tx) DescendantsOf(ctx context.Context, d oci.Digest, after int64, limit int) ([]repo.Listed, error) {
	var found []repo.Listed
	if limit < 1 {
		limit = math.MaxInt32
	}
	err := tx.each(ctx, `WITH RECURSIVE v (id) AS (
			SELECT i.chain_id FROM content c CROSS JOIN image_chain i WHERE c.digest = ? AND i.content_id = c.id AND i.whole = 1
			UNION ALL SELECT k.id FROM v CROSS JOIN chain k WHERE k.parent_id = v.id)
		SELECT p.id, `+placementColumns+` FROM v CROSS JOIN image_chain i CROSS JOIN placement p CROSS JOIN repository r
		WHERE i.chain_id = v.id AND p.manifest_id = i.content_id AND p.state <> 'removed' AND r.id = p.repository_id AND p.id > ?
		ORDER BY p.id LIMIT ?`, []any{d.String(), after, limit}, func(rows *sql.Rows) error {
		var row placementRow
		var one repo.Listed
		err := rows.Scan(append([]any{&one.Position}, row.dest()...)...)
		if err == nil {
			one.Placement, err = row.placement(tx.now())
		}
		found = append(found, one)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("finding what descends from %s: %w", d, err)
	}
	return found, nil
}

// BaseSeq implements repo.Chains.
func (tx *Tx) BaseSeq(ctx context.Context) (seq int64, err error) {
	err = tx.row(ctx, `SELECT id FROM base_change ORDER BY id DESC LIMIT 1`, nil, &seq)
	if errors.Is(err, conn.ErrNoRow) {
		err = nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the number of the latest change of a base: %w", err)
	}
	return seq + 1, nil
}

// baseChanged has what descends from d judged again, if there is anything: whether
// d stands somewhere has changed, or what a tag names that named it.
func (tx *Tx) baseChanged(ctx context.Context, d oci.Digest) error {
	var one int64
	err := tx.row(ctx, `SELECT i.content_id FROM content c CROSS JOIN image_chain i WHERE c.digest = ? AND i.content_id = c.id AND i.whole = 1
		AND (EXISTS (SELECT 1 FROM chain k WHERE k.parent_id = i.chain_id)
			OR EXISTS (SELECT 1 FROM image_chain j WHERE j.chain_id = i.chain_id AND j.content_id <> i.content_id)
			OR EXISTS (SELECT 1 FROM placement p CROSS JOIN placement q WHERE p.manifest_id = i.content_id AND q.manifest_id = i.content_id AND q.id <> p.id))`,
		[]any{d.String()}, &one)
	if errors.Is(err, conn.ErrNoRow) {
		return nil
	}
	if err == nil {
		_, err = tx.exec(ctx, `INSERT INTO base_change (digest, at) VALUES (?, ?)`, d.String(), tx.now())
	}
	if err == nil {
		err = tx.Enqueue(ctx, assess.JobBases, d.String(), timeOf(tx.now()))
	}
	if err != nil {
		return fmt.Errorf("telling what descends from %s: %w", d, err)
	}
	return nil
}
