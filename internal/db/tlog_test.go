package db_test

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// TestTileLog admits the database as a store of logs. SQLite is opened once, as
// one process has it; on PostgreSQL each opening is another process.
func TestTileLog(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		tlogtest.Run(t, func(t testing.TB) func(testing.TB) (tlog.Store, blob.Store) {
			d, blobs := dbtest.Open(t, db.Options{Folder: t.TempDir()}), mem.New(mem.Options{})
			return func(testing.TB) (tlog.Store, blob.Store) { return d.TileLog("test"), blobs }
		})
	})
	t.Run("postgres", func(t *testing.T) {
		tlogtest.Run(t, func(t testing.TB) func(testing.TB) (tlog.Store, blob.Store) {
			url, blobs := testparts.Postgres(t), mem.New(mem.Options{})
			return func(testing.TB) (tlog.Store, blob.Store) {
				return dbtest.Open(t, db.Options{URL: url}).TileLog("test"), blobs
			}
		})
	})
}
