// Package dbtest opens databases for tests, on each engine, and breaks their
// statements.
package dbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"net/url"
	"os"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/bonded-dev/bonded/internal/db"
)

// Each runs fn for every engine as a subtest, with the options of an empty
// database. PostgreSQL is skipped where PARTS_PG_URL names no server.
func Each(t *testing.T, fn func(t *testing.T, o db.Options)) {
	t.Run("sqlite", func(t *testing.T) { fn(t, db.Options{Folder: t.TempDir()}) })
	t.Run("postgres", func(t *testing.T) { fn(t, db.Options{URL: Postgres(t)}) })
}

// Open opens a database that ends with the test.
func Open(t testing.TB, o db.Options) *db.DB {
	t.Helper()
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

// Postgres returns the URL of a fresh database that ends with the test.
func Postgres(t testing.TB) string {
	t.Helper()
	server := os.Getenv("PARTS_PG_URL")
	if server == "" {
		t.Skip("no PostgreSQL: PARTS_PG_URL is not set; see test/parts/postgres.sh")
	}
	var b [6]byte
	rand.Read(b[:])
	name := "bonded_" + hex.EncodeToString(b[:])
	admin := func(query string) {
		t.Helper()
		pool, err := sql.Open("pgx", server)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := pool.ExecContext(ctx, query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	admin("CREATE DATABASE " + name)
	t.Cleanup(func() { admin("DROP DATABASE " + name + " WITH (FORCE)") })
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}
