package db

import (
	"context"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// The Reader of a DB: each call is a view of its own, and cheaper than one
// where the answer is a single query, as for a pull.

// Lookup implements repo.Reader.
func (db *DB) Lookup(ctx context.Context, r oci.Repository, s repo.Selector, v repo.Viewer) (placed *repo.Placed, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		placed, err = tx.lookup(ctx, r, s, v)
		return err
	})
	if err == nil && placed.State == repo.Attached { // takes a second query
		err = db.View(ctx, func(tx *Tx) error {
			placed, err = tx.Lookup(ctx, r, s, v)
			return err
		})
	}
	return placed, err
}

// Tags implements repo.Reader.
func (db *DB) Tags(ctx context.Context, r oci.Repository, v repo.Viewer, p repo.Page) (tags []string, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		tags, err = tx.Tags(ctx, r, v, p)
		return err
	})
	return tags, err
}

// Referrers implements repo.Reader.
func (db *DB) Referrers(ctx context.Context, r oci.Repository, subject oci.Digest, artifactType string, v repo.Viewer, p repo.Page) (ds []oci.Descriptor, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		ds, err = tx.Referrers(ctx, r, subject, artifactType, v, p)
		return err
	})
	return ds, err
}

// BlobAccess implements repo.Reader.
func (db *DB) BlobAccess(ctx context.Context, r oci.Repository, d oci.Digest, v repo.Viewer) (a *repo.BlobAccess, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		a, err = tx.blobAccess(ctx, r, d, v)
		return err
	})
	if err == nil && !a.Readable { // takes a second query
		err = db.View(ctx, func(tx *Tx) error {
			a, err = tx.BlobAccess(ctx, r, d, v)
			return err
		})
	}
	return a, err
}

// Repositories implements repo.Reader.
func (db *DB) Repositories(ctx context.Context, p repo.Page) (rs []oci.Repository, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		rs, err = tx.Repositories(ctx, p)
		return err
	})
	return rs, err
}
