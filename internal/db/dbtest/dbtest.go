// Package dbtest opens databases for tests, on each engine, and breaks their
// statements.
package dbtest

import (
	"context"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// Each runs fn for every engine as a subtest, with the options of an empty
// database.
func Each(t *testing.T, fn func(t *testing.T, o db.Options)) {
	t.Run("sqlite", func(t *testing.T) { fn(t, db.Options{Folder: t.TempDir()}) })
	t.Run("postgres", func(t *testing.T) { fn(t, db.Options{URL: testparts.Postgres(t)}) })
}

// Open opens a database that ends with the test. Without a clock it goes by
// the real one.
func Open(t testing.TB, o db.Options) *db.DB {
	t.Helper()
	if o.Clock == nil {
		o.Clock = time.Now
	}
	d, err := db.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the database: %v", err)
		}
	})
	return d
}
