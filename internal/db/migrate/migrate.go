// Package migrate brings a database to the schema of this binary.
//
// Migrations are numbered .sql files that only go up. A schema that is newer
// than the binary is refused and left alone: a newer binary has written rows
// that this one does not understand.
package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// ErrNewer matches the error for a schema that this binary does not know yet.
var ErrNewer = errors.New("the database was written by a newer version of bonded")

// ErrOlder matches the error for a schema that would have to be migrated first.
var ErrOlder = errors.New("the database was written by an older version of bonded")

// Options say what to migrate.
type Options struct {
	Dialect goose.Dialect
	Files   fs.FS // holds the .sql files at its root
	// Lock keeps other processes from migrating at the same time. Optional:
	// where the database has one process anyway.
	Lock   lock.SessionLocker
	Logger *slog.Logger
	// Inspect: nothing is applied, and where something would be it is ErrOlder.
	Inspect bool
}

// Up applies what is missing. Errors match ErrNewer, and ErrOlder where that is
// asked for.
func Up(ctx context.Context, db *sql.DB, o Options) error {
	opts := []goose.ProviderOption{
		goose.WithDisableGlobalRegistry(true),
		goose.WithVerbose(false),
		goose.WithSlog(slog.New(slog.DiscardHandler)), // it reports what is logged below
		goose.WithTableName("schema_version"),
	}
	if o.Lock != nil {
		opts = append(opts, goose.WithSessionLocker(o.Lock))
	}
	p, err := goose.NewProvider(o.Dialect, db, o.Files, opts...)
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	if err := check(ctx, p, o.Inspect); err != nil || o.Inspect {
		return err
	}
	done, err := p.Up(ctx)
	if n := len(done); n > 0 {
		took := time.Duration(0)
		for _, m := range done {
			took += m.Duration
		}
		o.Logger.InfoContext(ctx, "migrated the database", "version", done[n-1].Source.Version, "steps", n, "took", took.Round(time.Millisecond).String())
	}
	if err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return check(ctx, p, false) // another process may have gone further meanwhile
}

// check wants the schema to be one that this binary knows; inspect, the very one.
func check(ctx context.Context, p *goose.Provider, inspect bool) error {
	have, known, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading the version of the database: %w", err)
	}
	if have > known {
		return fmt.Errorf("%w: its schema has version %d, this one knows %d; start the newer bonded again, or restore a backup from before the upgrade", ErrNewer, have, known)
	}
	if inspect && have < known {
		return fmt.Errorf("%w: its schema has version %d, this one wants %d, and nothing is to be changed", ErrOlder, have, known)
	}
	return nil
}
