package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

var _ repo.Arrivals = (*Tx)(nil)

// Arrive implements repo.Arrivals.
func (tx *Tx) Arrive(ctx context.Context, d oci.Digest, a evidence.Arrival) error {
	rid, err := tx.repository(ctx, a.Repository)
	var manifest int64
	if err == nil {
		err = tx.row(ctx, `SELECT m.id FROM content c JOIN manifest m ON m.id = c.id WHERE c.digest = ?`, []any{d.String()}, &manifest)
	}
	if errors.Is(err, conn.ErrNoRow) {
		err = repo.ErrNotFound
	}
	if err == nil {
		_, err = tx.exec(ctx, `INSERT INTO arrival (content_id, repository_id, pushed_into, principal, kind, at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (content_id, repository_id, pushed_into) DO NOTHING`, manifest, rid, rid, a.By, string(a.Kind), micros(a.At))
	}
	if err != nil {
		return fmt.Errorf("noting who pushed %s into %s: %w", d, a.Repository, err)
	}
	return nil
}

// CarryArrivals implements repo.Arrivals.
func (tx *Tx) CarryArrivals(ctx context.Context, d oci.Digest, from, to oci.Repository) error {
	rid, err := tx.repository(ctx, to)
	if err == nil {
		_, err = tx.exec(ctx, `INSERT INTO arrival (content_id, repository_id, pushed_into, principal, kind, at)
			SELECT a.content_id, CAST(? AS bigint), a.pushed_into, a.principal, a.kind, a.at FROM content c CROSS JOIN repository r CROSS JOIN arrival a
			WHERE c.digest = ? AND r.name = ? AND a.content_id = c.id AND a.repository_id = r.id ORDER BY a.id
			ON CONFLICT (content_id, repository_id, pushed_into) DO NOTHING`, rid, d.String(), from.String())
	}
	if err != nil {
		return fmt.Errorf("carrying who pushed %s from %s to %s: %w", d, from, to, err)
	}
	return nil
}

// ArrivalsOf implements repo.Arrivals.
func (tx *Tx) ArrivalsOf(ctx context.Context, d oci.Digest, in ...oci.Repository) ([]evidence.Arrival, error) {
	args := []any{d.String()}
	for _, r := range in {
		args = append(args, r.String())
	}
	var found []evidence.Arrival
	err := tx.each(ctx, list(`SELECT DISTINCT o.name, a.principal, a.kind, a.at FROM content c CROSS JOIN repository r CROSS JOIN arrival a CROSS JOIN repository o
		WHERE c.digest = ? AND r.name IN (#) AND a.content_id = c.id AND a.repository_id = r.id AND o.id = a.pushed_into
		ORDER BY o.name, a.at, a.principal, a.kind`, len(in)), args, func(rows *sql.Rows) error {
		var a evidence.Arrival
		var name, kind string
		var at int64
		err := rows.Scan(&name, &a.By, &kind, &at)
		if err == nil {
			a.Kind, a.At = evidence.Bringer(kind), timeOf(at)
			a.Repository, err = oci.ParseRepository(name)
		}
		found = append(found, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading who pushed %s: %w", d, err)
	}
	return found, nil
}

// FirstSeen implements repo.Arrivals. The clock may have been set back since.
func (tx *Tx) FirstSeen(ctx context.Context, d oci.Digest) (time.Time, error) {
	var at int64
	err := tx.row(ctx, `SELECT a.at FROM content c CROSS JOIN arrival a WHERE c.digest = ? AND a.content_id = c.id ORDER BY a.id LIMIT 1`, []any{d.String()}, &at)
	if errors.Is(err, conn.ErrNoRow) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading when %s came first: %w", d, err)
	}
	return timeOf(at), nil
}
