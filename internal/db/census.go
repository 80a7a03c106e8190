package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/fsck"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

var (
	_ fsck.Census  = (*DB)(nil)
	_ fsck.Lookups = (*DB)(nil)
)

// censusPage is how many rows a census reads at once, so that it holds no long
// transaction; manifests can be large, so fewer of them.
const (
	censusPage    = 1000
	manifestsPage = 50
)

// paged runs a query that returns rows with an id above its only argument, in
// order of id, page by page. scan reads a row and returns its id; what it
// returns to be done is done after the page was read.
func (db *DB) paged(ctx context.Context, limit int, query string, scan func(*sql.Rows) (id int64, then func() error, err error)) error {
	after := int64(0)
	for {
		var todo []func() error
		err := db.read(ctx, func(tx *Tx) error {
			todo = nil
			return tx.each(ctx, query+fmt.Sprintf(` LIMIT %d`, limit), []any{after}, func(rows *sql.Rows) error {
				id, then, err := scan(rows)
				if err != nil {
					return err
				}
				after = id
				todo = append(todo, then)
				return nil
			})
		})
		if err != nil {
			return err
		}
		for _, then := range todo {
			if err := then(); err != nil {
				return err
			}
		}
		if len(todo) < limit {
			return nil
		}
	}
}

// EachBlob implements fsck.Census.
func (db *DB) EachBlob(ctx context.Context, fn func(d oci.Digest, size int64) error) error {
	return db.paged(ctx, censusPage, `SELECT id, digest, size FROM content WHERE id > ? AND size >= 0 ORDER BY id`, func(rows *sql.Rows) (int64, func() error, error) {
		var id, size int64
		var digest string
		if err := rows.Scan(&id, &digest, &size); err != nil {
			return 0, nil, err
		}
		d, err := oci.ParseDigest(digest)
		return id, func() error { return fn(d, size) }, err
	})
}

// EachManifest implements fsck.Census.
func (db *DB) EachManifest(ctx context.Context, fn func(m *repo.Manifest) error) error {
	query := `SELECT m.id, c.digest, ` + manifestColumns + ` FROM manifest m JOIN content c ON c.id = m.id WHERE m.id > ? ORDER BY m.id`
	return db.paged(ctx, manifestsPage, query, func(rows *sql.Rows) (int64, func() error, error) {
		var id int64
		var digest string
		var row manifestRow
		if err := rows.Scan(append([]any{&id, &digest}, row.dest()...)...); err != nil {
			return 0, nil, err
		}
		d, err := oci.ParseDigest(digest)
		if err != nil {
			return 0, nil, err
		}
		m, err := row.manifest(d)
		return id, func() error { return fn(&m) }, err
	})
}

// EachPlacement implements fsck.Census.
func (db *DB) EachPlacement(ctx context.Context, fn func(p *repo.Placement) error) error {
	query := `SELECT p.id, ` + placementColumns + ` FROM placement p JOIN repository r ON r.id = p.repository_id WHERE p.id > ? ORDER BY p.id`
	return db.paged(ctx, censusPage, query, func(rows *sql.Rows) (int64, func() error, error) {
		var id int64
		var row placementRow
		if err := rows.Scan(append([]any{&id}, row.dest()...)...); err != nil {
			return 0, nil, err
		}
		p, err := row.placement(micros(db.clock()))
		return id, func() error { return fn(&p) }, err
	})
}

// EachTag implements fsck.Census.
func (db *DB) EachTag(ctx context.Context, fn func(r oci.Repository, tag string, d oci.Digest) error) error {
	return db.paged(ctx, censusPage, `SELECT id, name FROM repository WHERE id > ? ORDER BY id`, func(rows *sql.Rows) (int64, func() error, error) {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return 0, nil, err
		}
		r, err := oci.ParseRepository(name)
		return id, func() error { return db.eachTagOf(ctx, r, fn) }, err
	})
}

func (db *DB) eachTagOf(ctx context.Context, r oci.Repository, fn func(r oci.Repository, tag string, d oci.Digest) error) error {
	type row struct {
		tag string
		d   oci.Digest
	}
	after := ""
	for {
		var page []row
		err := db.read(ctx, func(tx *Tx) error {
			page = nil
			return tx.each(ctx, `SELECT t.name, p.digest FROM repository r CROSS JOIN tag t CROSS JOIN placement p
				WHERE r.name = ? AND t.repository_id = r.id AND t.name > ? AND p.id = t.placement_id ORDER BY t.name `+fmt.Sprintf(`LIMIT %d`, censusPage),
				[]any{r.String(), after}, func(rows *sql.Rows) error {
					var tag, digest string
					if err := rows.Scan(&tag, &digest); err != nil {
						return err
					}
					d, err := oci.ParseDigest(digest)
					page = append(page, row{tag, d})
					return err
				})
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, t := range page {
			if err := fn(r, t.tag, t.d); err != nil {
				return err
			}
		}
		after = page[len(page)-1].tag
	}
}

// missing turns "no row" into repo.ErrNotFound.
func missing(err error, what string) error {
	if errors.Is(err, conn.ErrNoRow) {
		return fmt.Errorf("%s: %w", what, repo.ErrNotFound)
	}
	return err
}

// HasBlob implements fsck.Lookups.
func (db *DB) HasBlob(ctx context.Context, d oci.Digest) (size int64, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		return tx.row(ctx, `SELECT size FROM content WHERE digest = ? AND size >= 0`, []any{d.String()}, &size)
	})
	return size, missing(err, "blob "+d.String())
}

// HasManifest implements fsck.Lookups.
func (db *DB) HasManifest(ctx context.Context, d oci.Digest) (bool, error) {
	var id int64
	err := db.read(ctx, func(tx *Tx) error {
		return tx.row(ctx, `SELECT m.id FROM content c CROSS JOIN manifest m WHERE c.digest = ? AND m.id = c.id`, []any{d.String()}, &id)
	})
	if errors.Is(err, conn.ErrNoRow) {
		return false, nil
	}
	return err == nil, err
}

// PlacementOf implements fsck.Lookups.
func (db *DB) PlacementOf(ctx context.Context, r oci.Repository, d oci.Digest) (*repo.Placement, error) {
	var row placementRow
	err := db.read(ctx, func(tx *Tx) error {
		return tx.row(ctx, `SELECT `+placementColumns+` FROM repository r CROSS JOIN placement p
			WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ?`, []any{r.String(), d.String()}, row.dest()...)
	})
	if err != nil {
		return nil, missing(err, "placement "+r.String()+"@"+d.String())
	}
	p, err := row.placement(micros(db.clock()))
	return &p, err
}

// DecisionOf implements fsck.Lookups.
func (db *DB) DecisionOf(ctx context.Context, id int64) (d *api.Decision, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		r, err := tx.Decision(ctx, id)
		if err == nil {
			d = &r.Decision
		}
		return err
	})
	return d, err
}

// CountPlacements counts placements by zone and state, tombstones left out.
func (db *DB) CountPlacements(ctx context.Context) (map[string]map[repo.State]int, error) {
	counts := map[string]map[repo.State]int{}
	err := db.read(ctx, func(tx *Tx) error {
		clear(counts)
		return tx.each(ctx, `SELECT r.name, p.state, COUNT(*) FROM repository r JOIN placement p ON p.repository_id = r.id
			WHERE p.state <> 'removed' GROUP BY r.name, p.state`, nil, func(rows *sql.Rows) error {
			var name, state string
			var n int
			if err := rows.Scan(&name, &state, &n); err != nil {
				return err
			}
			r, err := oci.ParseRepository(name)
			if err != nil {
				return err
			}
			if counts[r.Zone()] == nil {
				counts[r.Zone()] = map[repo.State]int{}
			}
			counts[r.Zone()][repo.State(state)] += n
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("counting placements: %w", err)
	}
	return counts, nil
}
