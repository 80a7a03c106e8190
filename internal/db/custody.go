package db

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/custody"
	"github.com/bonded-dev/bonded/internal/oci"
)

var _ custody.Tx = (*Tx)(nil)

// DecisionsOf implements custody.Tx.
func (tx *Tx) DecisionsOf(ctx context.Context, r oci.Repository, d oci.Digest, max int) ([]int64, error) {
	var ids []int64
	err := tx.each(ctx, `SELECT d.id FROM repository r CROSS JOIN decision d
		WHERE r.name = ? AND d.repository_id = r.id AND d.digest = ? ORDER BY d.id DESC LIMIT ?`, []any{r.String(), d.String(), limit(max)}, func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the decisions about %s in %s: %w", d, r, err)
	}
	slices.Reverse(ids)
	return ids, nil
}

// MadeAbout implements custody.Tx. What is said no more left a tombstone.
func (tx *Tx) MadeAbout(ctx context.Context, r oci.Repository, d oci.Digest, max int) ([]oci.Digest, error) {
	ds, err := tx.digests(ctx, `SELECT m.manifest FROM repository r CROSS JOIN made m CROSS JOIN placement p
		WHERE r.name = ? AND m.subject = ? AND p.repository_id = r.id AND p.digest = m.manifest ORDER BY m.intent LIMIT ?`, r.String(), d.String(), limit(max))
	if err != nil {
		return nil, fmt.Errorf("listing what was ever said about %s in %s: %w", d, r, err)
	}
	return ds, nil
}
