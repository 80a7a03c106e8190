package db

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

var _ repo.Past = (*Tx)(nil)

// NamedBy implements repo.Past.
func (tx *Tx) NamedBy(ctx context.Context, r oci.Repository, tag string, before int64, n int) ([]repo.Named, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	var found []repo.Named
	err := tx.each(ctx, `SELECT n.id, n.digest, n.from_at, n.to_at, n.back FROM repository r CROSS JOIN named n
		WHERE r.name = ? AND n.repository_id = r.id AND n.name = ? AND n.id < ? ORDER BY n.id DESC LIMIT ?`,
		[]any{r.String(), tag, before, limit(n)}, func(rows *sql.Rows) error {
			var one repo.Named
			var digest string
			var from, to int64
			err := rows.Scan(&one.ID, &digest, &from, &to, &one.Back)
			if err == nil {
				one.Digest, err = oci.ParseDigest(digest)
			}
			one.From, one.To = timeOf(from), timeOf(to)
			found = append(found, one)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("reading what tag %s of %s has named: %w", tag, r, err)
	}
	return found, nil
}

// ReturnTag implements repo.Past.
func (tx *Tx) ReturnTag(ctx context.Context, r oci.Repository, tag string, to repo.Named) (oci.Digest, error) {
	before, err := tx.setTag(ctx, r, tag, to.Digest, to.ID)
	if err != nil {
		return oci.Digest{}, fmt.Errorf("setting tag %s of %s back: %w", tag, r, err)
	}
	return before, nil
}

// named is what a tag names from now on, and what it goes back to.
type named struct {
	digest oci.Digest
	back   int64
}

// renamed records that a tag names something else than before.
func (tx *Tx) renamed(ctx context.Context, repository int64, tag string, before oci.Digest, now named) error {
	if err := tx.advance(ctx, repository); err != nil {
		return err
	}
	if !before.IsZero() {
		if err := tx.unname(ctx, repository, tag); err != nil {
			return err
		}
	}
	_, err := tx.exec(ctx, `INSERT INTO named (repository_id, name, digest, from_at, to_at, back) VALUES (?, ?, ?, ?, 0, ?)`,
		repository, tag, now.digest.String(), tx.now(), now.back)
	for _, d := range []oci.Digest{before, now.digest} {
		if err == nil && !d.IsZero() {
			err = tx.baseChanged(ctx, d)
		}
	}
	return err
}

// unname ends the time in which a tag named what it names. A clock that was set
// back ends it when it began.
func (tx *Tx) unname(ctx context.Context, repository int64, tag string) error {
	_, err := tx.exec(ctx, `UPDATE named SET to_at = CASE WHEN from_at > ? THEN from_at ELSE ? END
		WHERE id = (SELECT MAX(m.id) FROM named m WHERE m.repository_id = ? AND m.name = ?) AND to_at = 0`,
		tx.now(), tx.now(), repository, tag)
	return err
}
