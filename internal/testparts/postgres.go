package testparts

import (
	"context"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres returns the URL of an empty database of this test's own on the
// PostgreSQL server of the run. It is dropped when the test ends, with whatever is
// still connected to it.
func Postgres(t testing.TB) string {
	t.Helper()
	server := os.Getenv("PARTS_PG_URL")
	if server == "" {
		Absent(t, "postgres", notExported("PARTS_PG_URL", "postgres.sh"))
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("parsing PARTS_PG_URL: %v", err)
	}
	name := unique(t)
	execute(t, server, "create database "+name)
	t.Cleanup(func() { execute(t, server, "drop database "+name+" with (force)") })
	u.Path = "/" + name
	return u.String()
}

// execute runs one statement outside any transaction. The context is not the
// test's, which is over when clean-up runs.
func execute(t testing.TB, server, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connecting to %s: %v", server, err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("running %q: %v", statement, err)
	}
}
