package db_test

import (
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust/oidc"
	"github.com/bonded-dev/bonded/internal/trust/oidc/oidctest"
	"github.com/bonded-dev/bonded/internal/trust/tuf"
	"github.com/bonded-dev/bonded/internal/trust/tuf/tuftest"
)

// processes opens an empty database of each engine: SQLite once, as one process
// has it; on PostgreSQL each opening is another process.
var processes = map[string]func(t testing.TB, clock func() time.Time) func(testing.TB) *db.DB{
	"sqlite": func(t testing.TB, clock func() time.Time) func(testing.TB) *db.DB {
		d := dbtest.Open(t, db.Options{Folder: t.TempDir(), Clock: clock})
		return func(testing.TB) *db.DB { return d }
	},
	"postgres": func(t testing.TB, clock func() time.Time) func(testing.TB) *db.DB {
		url := testparts.Postgres(t)
		return func(t testing.TB) *db.DB { return dbtest.Open(t, db.Options{URL: url, Clock: clock}) }
	},
}

func TestSignIns(t *testing.T) {
	for engine, open := range processes {
		t.Run(engine, func(t *testing.T) {
			oidctest.Run(t, func(t testing.TB, clock func() time.Time) func(testing.TB) oidc.Flows {
				again := open(t, clock)
				return func(t testing.TB) oidc.Flows { return again(t).SignIns() }
			})
		})
	}
}

func TestTUF(t *testing.T) {
	for engine, open := range processes {
		t.Run(engine, func(t *testing.T) {
			tuftest.Run(t, func(t testing.TB) func(testing.TB) tuf.Store {
				again := open(t, time.Now)
				return func(t testing.TB) tuf.Store { return again(t).TUF() }
			})
		})
	}
}
