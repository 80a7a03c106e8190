package db_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/db/migrate"
	"github.com/bonded-dev/bonded/internal/db/postgres"
	"github.com/bonded-dev/bonded/internal/db/sqlite"
	"github.com/bonded-dev/bonded/internal/testparts"
)

func files(t *testing.T, f fs.FS) []string {
	t.Helper()
	names, err := fs.Glob(f, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("migrations: %v, %v", names, err)
	}
	return names
}

// TestMigrationPairs: each number has one name, in both dialects, and nothing
// goes down.
func TestMigrationPairs(t *testing.T) {
	lite, pg := files(t, sqlite.Migrations()), files(t, postgres.Migrations())
	check(t, "names of migrations", pg, lite)
	for i, name := range lite {
		if !regexp.MustCompile(`^\d{5}_[a-z_]+\.sql$`).MatchString(name) || !strings.HasPrefix(name, numbered(i+1)) {
			t.Errorf("migration %d is named %s", i+1, name)
		}
		for _, f := range []fs.FS{sqlite.Migrations(), postgres.Migrations()} {
			b, err := fs.ReadFile(f, name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), "goose Down") {
				t.Errorf("%s goes down", name)
			}
		}
	}
}

func numbered(n int) string {
	s := "0000" + string(rune('0'+n%10))
	if n > 9 {
		s = "000" + string(rune('0'+n/10)) + string(rune('0'+n%10))
	}
	return s + "_"
}

// column is one column of either engine, in words for both.
type column struct {
	Table, Name, Type string
	NotNull           bool
}

// TestMigrationColumns: both dialects give the same columns and indexes.
func TestMigrationColumns(t *testing.T) {
	url := testparts.Postgres(t)
	folder := t.TempDir()
	if err := dbtest.Open(t, db.Options{Folder: folder}).Close(); err != nil {
		t.Fatal(err)
	}
	dbtest.Open(t, db.Options{URL: url})
	lite, pg := pool(t, "sqlite", "file:"+filepath.Join(folder, "bonded.db")), pool(t, "pgx", url)
	check(t, "columns of PostgreSQL, SQLite's wanted",
		columns(t, pg, `SELECT table_name, column_name, data_type, CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END
			FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_version'`),
		columns(t, lite, `SELECT m.name, c.name, c.type, CASE WHEN c."notnull" = 1 OR c.pk > 0 THEN 1 ELSE 0 END
			FROM sqlite_schema m JOIN pragma_table_info(m.name) c
			WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'schema_version'`))
	check(t, "indexes of PostgreSQL, SQLite's wanted",
		texts(t, pg, `SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexdef NOT LIKE '%UNIQUE%' ORDER BY indexname COLLATE "C"`),
		texts(t, lite, `SELECT name FROM sqlite_schema WHERE type = 'index' AND sql NOT LIKE '%UNIQUE%' ORDER BY name`))
	check(t, "text that does not compare by bytes",
		texts(t, pg, `SELECT table_name || '.' || column_name FROM information_schema.columns
			WHERE table_schema = 'public' AND data_type = 'text' AND COALESCE(collation_name, '') <> 'C'`), []string(nil))
}

func pool(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	p, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func columns(t *testing.T, p *sql.DB, query string) []column {
	t.Helper()
	rows, err := p.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.Table, &c.Name, &c.Type, &c.NotNull); err != nil {
			t.Fatal(err)
		}
		if same, ok := map[string]string{"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}[c.Type]; ok {
			c.Type = same
		}
		all = append(all, c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b column) int { return strings.Compare(a.Table+" "+a.Name, b.Table+" "+b.Name) })
	return all
}

func texts(t *testing.T, p *sql.DB, query string) []string {
	t.Helper()
	rows, err := p.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// engines lists how to migrate each engine's database by hand.
func engines(t *testing.T, fn func(t *testing.T, o db.Options, p *sql.DB, dialect goose.Dialect, files fs.FS)) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		if o.URL != "" {
			fn(t, o, pool(t, "pgx", o.URL), goose.DialectPostgres, postgres.Migrations())
		} else {
			fn(t, o, pool(t, "sqlite", "file:"+filepath.Join(o.Folder, "bonded.db")), goose.DialectSQLite3, sqlite.Migrations())
		}
	})
}

func TestNewerSchema(t *testing.T) {
	engines(t, func(t *testing.T, o db.Options, p *sql.DB, dialect goose.Dialect, known fs.FS) {
		next := fstest.MapFS{"09999_future.sql": {Data: []byte("-- +goose Up\nCREATE TABLE future (a text);\n")}}
		for _, name := range files(t, known) {
			b, err := fs.ReadFile(known, name)
			if err != nil {
				t.Fatal(err)
			}
			next[name] = &fstest.MapFile{Data: b}
		}
		up(t, p, dialect, next)
		o.Clock = time.Now
		_, err := db.Open(t.Context(), o)
		wantErr(t, "opening", err, db.ErrNewer)
		for _, want := range []string{"version 9999", "start the newer bonded", "restore a backup"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error %q does not say %q", err, want)
			}
		}
	})
}

func TestOlderSchema(t *testing.T) {
	engines(t, func(t *testing.T, o db.Options, p *sql.DB, dialect goose.Dialect, known fs.FS) {
		old := fstest.MapFS{}
		for _, name := range files(t, known)[:1] {
			b, err := fs.ReadFile(known, name)
			if err != nil {
				t.Fatal(err)
			}
			old[name] = &fstest.MapFile{Data: b}
		}
		up(t, p, dialect, old)
		if _, err := p.Exec(`INSERT INTO content (digest, size) VALUES ('` + digest("old").String() + `', 7)`); err != nil {
			t.Fatal(err)
		}
		inspect := o
		inspect.Clock, inspect.Inspect = time.Now, true
		for range 2 { // nothing is changed
			_, err := db.Open(t.Context(), inspect)
			wantErr(t, "inspecting", err, db.ErrOlder)
		}
		d := dbtest.Open(t, o)
		update(t, d, func(ctx context.Context, tx *db.Tx) error { return tx.Append(ctx, event("1")) })
		var n int
		if err := p.QueryRow(`SELECT COUNT(*) FROM content`).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d rows of before, %v, want 1", n, err)
		}
	})
}

func up(t *testing.T, p *sql.DB, dialect goose.Dialect, f fs.FS) {
	t.Helper()
	err := migrate.Up(t.Context(), p, migrate.Options{Dialect: dialect, Files: f, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: where there is no room for the schema, that is what is said.
func TestFullDisk(t *testing.T) {
	o := db.Options{Folder: t.TempDir(), Clock: time.Now, Wrap: func(c driver.Connector) driver.Connector { return smallDisk{c} }}
	_, err := db.Open(t.Context(), o)
	wantErr(t, "opening", err, db.ErrFull)
	if err == nil || strings.Contains(err.Error(), "migration") {
		t.Errorf("the error is %q", err)
	}
}

// TestDiskFills: that there is no room is said once, and is the same to who writes
// as a content store without room.
func TestDiskFills(t *testing.T) {
	o := db.Options{Folder: t.TempDir(), Clock: time.Now}
	d, err := db.Open(t.Context(), o)
	if err == nil {
		err = d.Close()
	}
	wantErr(t, "making it", err, nil)
	o.Wrap = func(c driver.Connector) driver.Connector { return smallDisk{c} }
	d = dbtest.Open(t, o)
	for i := range 1000 {
		e := event(fmt.Sprint(i)).With("long", strings.Repeat("x", 1000))
		if err = d.Update(t.Context(), func(tx *db.Tx) error { return tx.Append(t.Context(), e) }); err != nil {
			break
		}
	}
	wantErr(t, "writing", err, db.ErrFull)
	wantErr(t, "writing", err, blob.ErrNoSpace)
	if err != nil && strings.Count(err.Error(), "no space left") != 1 {
		t.Errorf("the error is %q", err)
	}
}

// smallDisk has room for 20 pages, or for those that there are.
type smallDisk struct{ driver.Connector }

func (d smallDisk) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	if err == nil {
		_, err = c.(driver.ExecerContext).ExecContext(ctx, "PRAGMA max_page_count = 20", nil)
	}
	return c, err
}

// TestBrokenMigration leaves the database as it was.
func TestBrokenMigration(t *testing.T) {
	engines(t, func(t *testing.T, o db.Options, p *sql.DB, dialect goose.Dialect, _ fs.FS) {
		f := fstest.MapFS{"00001_x.sql": {Data: []byte("-- +goose Up\nCREATE TABLE a (b text);\nno SQL;\n")}}
		err := migrate.Up(t.Context(), p, migrate.Options{Dialect: dialect, Files: f, Logger: slog.New(slog.DiscardHandler)})
		if err == nil || errors.Is(err, migrate.ErrNewer) {
			t.Errorf("got %v", err)
		}
		dbtest.Open(t, o)
	})
}

// TestTogether: processes that start at once on an empty server do not get in
// each other's way.
func TestTogether(t *testing.T) {
	url := testparts.Postgres(t)
	errs := make(chan error)
	for range 4 {
		go func() {
			d, err := db.Open(context.Background(), db.Options{URL: url, Clock: time.Now})
			if err == nil {
				err = d.Close()
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
