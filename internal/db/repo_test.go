package db_test

import (
	"context"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/repo/repotest"
	"github.com/bonded-dev/bonded/internal/testparts"
)

func TestRepositories(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		repotest.Run(t, func(t *testing.T, clock func() time.Time) repotest.Store {
			if o.Folder != "" {
				o.Folder = t.TempDir()
			} else {
				o.URL = testparts.Postgres(t)
			}
			o.Clock = clock
			d := dbtest.Open(t, o)
			return repotest.Store{
				Update: func(ctx context.Context, fn func(repotest.Tx) error) error {
					return d.Update(ctx, func(tx *db.Tx) error { return fn(tx) })
				},
				View: func(ctx context.Context, fn func(repotest.Tx) error) error {
					return d.View(ctx, func(tx *db.Tx) error { return fn(tx) })
				},
				Reader: d,
			}
		})
	})
}
