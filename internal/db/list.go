package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

var _ repo.Lister = (*Tx)(nil)

// Names implements repo.Lister.
func (tx *Tx) Names(ctx context.Context, zone string, page repo.Page) ([]oci.Repository, error) {
	query, args := `SELECT r.name FROM repository r WHERE r.name > ?`, []any{page.After}
	if zone != "" { // "/" and "0" are neighbours
		query, args = query+` AND r.name < ?`, []any{max(page.After, zone+"/"), zone + "0"}
	}
	names, err := tx.texts(ctx, query+` ORDER BY r.name LIMIT ?`, append(args, limit(page.Limit))...)
	rs := make([]oci.Repository, len(names))
	for i := 0; i < len(names) && err == nil; i++ {
		rs[i], err = oci.ParseRepository(names[i])
	}
	if err != nil {
		return nil, fmt.Errorf("listing the names of repositories: %w", err)
	}
	return rs, nil
}

// Newest implements repo.Lister.
func (tx *Tx) Newest(ctx context.Context, r oci.Repository, s repo.State, before int64, n int) ([]repo.Listed, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	var id int64
	err := tx.row(ctx, `SELECT id FROM repository WHERE name = ?`, []any{r.String()}, &id)
	if errors.Is(err, conn.ErrNoRow) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing what stands in %s: %w", r, err)
	}
	var all []repo.Listed
	err = tx.each(ctx, `SELECT p.id, `+placementColumns+` FROM placement p CROSS JOIN repository r
		WHERE p.repository_id = ? AND p.state = ? AND -p.id > ? AND r.id = p.repository_id
		ORDER BY -p.id LIMIT ?`,
		[]any{id, string(s), -before, limit(n)}, func(rows *sql.Rows) error {
			var l repo.Listed
			var row placementRow
			err := rows.Scan(append([]any{&l.Position}, row.dest()...)...)
			if err == nil {
				l.Placement, err = row.placement(tx.now())
			}
			all = append(all, l)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("listing what is %s in %s: %w", s, r, err)
	}
	return all, nil
}
