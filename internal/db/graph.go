package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Unknown implements repo.Graph.
func (tx *Tx) Unknown(ctx context.Context, r oci.Repository, ds []oci.Digest, v repo.Viewer) ([]oci.Digest, error) {
	known := make(map[string]bool, len(ds))
	wanted := make([]any, len(ds))
	for i, d := range ds {
		wanted[i] = d.String()
	}
	cond, args := tx.readable(v)
	err := chunks(wanted, func(part []any) error {
		query := list(`SELECT c.digest FROM repository r CROSS JOIN content c WHERE r.name = ? AND c.digest IN (#) AND c.size >= 0 AND (
			EXISTS (SELECT 1 FROM lease l WHERE l.repository_id = r.id AND l.content_id = c.id AND l.principal = ? AND l.until > ?)
			OR EXISTS (SELECT 1 FROM holding h CROSS JOIN placement p
				WHERE h.repository_id = r.id AND h.content_id = c.id AND p.id = h.placement_id AND `+cond+`))`, len(part))
		all := append([]any{r.String()}, part...)
		all = append(append(all, v.Principal, tx.now()), args...)
		return tx.each(ctx, query, all, func(rows *sql.Rows) error {
			var d string
			err := rows.Scan(&d)
			known[d] = true
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("looking up blobs in %s: %w", r, err)
	}
	var unknown []oci.Digest
	for _, d := range ds {
		if !known[d.String()] {
			unknown = append(unknown, d)
		}
	}
	return unknown, nil
}

// Stored implements repo.Graph.
func (tx *Tx) Stored(ctx context.Context, d oci.Digest) (*repo.Manifest, error) {
	var row manifestRow
	err := tx.row(ctx, `SELECT `+manifestColumns+` FROM content c CROSS JOIN manifest m WHERE c.digest = ? AND m.id = c.id`,
		[]any{d.String()}, row.dest()...)
	if errors.Is(err, conn.ErrNoRow) {
		return nil, fmt.Errorf("manifest %s: %w", d, repo.ErrNotFound)
	}
	var m repo.Manifest
	if err == nil {
		m, err = row.manifest(d)
	}
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", d, err)
	}
	return &m, nil
}

// Placements implements repo.Graph.
func (tx *Tx) Placements(ctx context.Context, d oci.Digest) ([]repo.Placement, error) {
	ps, err := tx.placements(ctx, `SELECT `+placementColumns+`
		FROM content c CROSS JOIN placement p CROSS JOIN repository r
		WHERE c.digest = ? AND p.manifest_id = c.id AND p.state <> 'removed' AND r.id = p.repository_id
		ORDER BY r.name`, d.String())
	if err != nil {
		return nil, fmt.Errorf("listing placements of %s: %w", d, err)
	}
	return ps, nil
}

// Parents implements repo.Graph.
func (tx *Tx) Parents(ctx context.Context, r oci.Repository, d oci.Digest) ([]repo.Placement, error) {
	ps, err := tx.placements(ctx, `SELECT `+placementColumns+`
		FROM repository r CROSS JOIN content c CROSS JOIN child h CROSS JOIN placement p
		WHERE r.name = ? AND c.digest = ? AND h.content_id = c.id AND p.manifest_id = h.manifest_id
			AND p.repository_id = r.id AND p.state <> 'removed'
		ORDER BY p.digest`, r.String(), d.String())
	if err != nil {
		return nil, fmt.Errorf("listing the indexes of %s in %s: %w", d, r, err)
	}
	return ps, nil
}

// IndexesOf implements repo.Family.
func (tx *Tx) IndexesOf(ctx context.Context, d oci.Digest, max int) ([]oci.Digest, error) {
	ds, err := tx.digests(ctx, `SELECT i.digest FROM content c CROSS JOIN child h CROSS JOIN content i
		WHERE c.digest = ? AND h.content_id = c.id AND i.id = h.manifest_id
			AND EXISTS (SELECT 1 FROM placement p WHERE p.manifest_id = h.manifest_id AND p.state <> 'removed')
		ORDER BY h.manifest_id LIMIT ?`, d.String(), limit(max))
	if err != nil {
		return nil, fmt.Errorf("listing the indexes of %s: %w", d, err)
	}
	return ds, nil
}

// ReferrersOf implements repo.Graph. What the server itself has said about d is not
// among it: no decision rests on it, and it is made anew where d is promoted to.
func (tx *Tx) ReferrersOf(ctx context.Context, d oci.Digest) ([]oci.Digest, error) {
	ds, err := tx.digests(ctx, `SELECT c.digest AS digest FROM manifest m CROSS JOIN content c
		WHERE m.subject = ? AND m.subject <> '' AND c.id = m.id
			AND NOT EXISTS (SELECT 1 FROM made x WHERE x.manifest = c.digest)
			AND EXISTS (SELECT 1 FROM placement p CROSS JOIN placement s WHERE p.manifest_id = m.id AND p.state = 'attached'
				AND s.repository_id = p.repository_id AND s.digest = m.subject AND s.state <> 'removed')
		UNION SELECT c.digest AS digest FROM about o CROSS JOIN content c
		WHERE o.subject = ? AND c.id = o.manifest_id
			AND EXISTS (SELECT 1 FROM placement p CROSS JOIN placement s WHERE p.manifest_id = o.manifest_id AND p.state = 'attached'
				AND s.repository_id = p.repository_id AND s.digest = o.subject AND s.state <> 'removed')
		ORDER BY digest`, d.String(), d.String())
	if err != nil {
		return nil, fmt.Errorf("listing referrers of %s: %w", d, err)
	}
	return ds, nil
}

// The tags of a placement, of either table.
const (
	tagsOf = `SELECT DISTINCT t.name FROM repository r CROSS JOIN placement p CROSS JOIN tag t
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ? AND t.placement_id = p.id ORDER BY t.name`
	pendingOf = `SELECT DISTINCT t.name FROM repository r CROSS JOIN placement p CROSS JOIN pending t
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ? AND t.placement_id = p.id ORDER BY t.name`
)

// Pending implements repo.Graph.
func (tx *Tx) Pending(ctx context.Context, r oci.Repository, d oci.Digest) ([]string, error) {
	tags, err := tx.texts(ctx, pendingOf, r.String(), d.String())
	if err != nil {
		return nil, fmt.Errorf("listing tags that wait for %s in %s: %w", d, r, err)
	}
	return tags, nil
}

// TagsOf implements repo.Graph.
func (tx *Tx) TagsOf(ctx context.Context, r oci.Repository, d oci.Digest) ([]string, error) {
	tags, err := tx.texts(ctx, tagsOf, r.String(), d.String())
	if err != nil {
		return nil, fmt.Errorf("listing tags of %s in %s: %w", d, r, err)
	}
	return tags, nil
}
