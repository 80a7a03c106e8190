// Package db holds the database: every domain's store, once, over SQLite or
// PostgreSQL.
//
// A change of state is one Update: a transaction whose Tx offers the narrow
// stores of all domains, so that rows, the audit event and the jobs they cause
// commit together. What is a transaction of its own (upload sessions, the job
// queue, the audit log, accounts, loads of advisories) are methods of DB.
//
// The SQL is written once, for both engines: question marks, times as
// microseconds in integers, digests as text, documents as bytes. The engines
// are opened by db/sqlite and db/postgres, which also hold the migrations.
package db

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/db/migrate"
	"github.com/bonded-dev/bonded/internal/db/postgres"
	"github.com/bonded-dev/bonded/internal/db/sqlite"
)

// Errors of Open that callers may test for.
var (
	// ErrInUse: another process serves this data folder.
	ErrInUse = sqlite.ErrLocked
	// ErrNewer: the schema is newer than this binary knows.
	ErrNewer = migrate.ErrNewer
	// ErrOlder: the schema is older, and Options.Inspect leaves it alone.
	ErrOlder = migrate.ErrOlder
	// ErrFull: the disk is full.
	ErrFull = sqlite.ErrFull
)

// Options say which database to open, and with what.
type Options struct {
	// Folder is the data folder, for SQLite; URL a PostgreSQL connection
	// string. Exactly one of them is set.
	Folder string
	URL    string
	Logger *slog.Logger
	// Clock says when leases have ended and jobs are due.
	Clock func() time.Time
	// Rand must be cryptographic. Optional: crypto/rand.
	Rand io.Reader
	// Registerer takes the metrics. Optional: none.
	Registerer prometheus.Registerer
	// Inspect opens a database to look at it: its schema is not brought up to
	// date.
	Inspect bool
	// Wrap stands between database/sql and the driver: tests break statements
	// with it. Optional.
	Wrap func(driver.Connector) driver.Connector
}

// engine is what db/sqlite and db/postgres have in common.
type engine interface {
	// Update runs fn in a transaction, perhaps more than once.
	Update(ctx context.Context, fn func(*conn.Conn) error) error
	// View runs fn on one snapshot.
	View(ctx context.Context, fn func(*conn.Conn) error) error
	// Read runs fn, which runs one query.
	Read(ctx context.Context, fn func(*conn.Conn) error) error
	Close() error
}

// DB is the database. It is safe for concurrent use.
type DB struct {
	engine   engine
	clock    func() time.Time
	logger   *slog.Logger
	postgres *postgres.Store // the engine when it is PostgreSQL, else nil
	metrics  *metrics
	hooks    hooks
	claiming sync.Mutex // one claim at a time: its turn is taken from served
	served   string     // the lane of which a job was claimed last
	wake     *waker     // nil unless processes must be told of each other's commits
	keep     *keeper    // nil unless other processes may die
	end      sync.Once
}

// Open opens the database, making it or bringing its schema up to date where
// that is needed. Errors match ErrInUse, ErrNewer, ErrOlder and ErrFull.
func Open(ctx context.Context, o Options) (*DB, error) {
	if (o.Folder == "") == (o.URL == "") {
		return nil, errors.New("opening the database: exactly one of a data folder and a database URL is needed")
	}
	if o.Clock == nil {
		return nil, errors.New("opening the database: a clock is needed")
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	db := &DB{clock: o.Clock, logger: o.Logger, metrics: newMetrics(o.Registerer)}
	var err error
	if o.URL != "" {
		err = db.openPostgres(ctx, o)
	} else {
		err = db.openSQLite(ctx, o)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	return db, nil
}

func (db *DB) openSQLite(ctx context.Context, o Options) error {
	s, err := sqlite.Open(ctx, sqlite.Options{Folder: o.Folder, Clock: o.Clock, Logger: o.Logger, Wrap: o.Wrap, Committed: db.metrics.committed, Inspect: o.Inspect})
	if err != nil {
		return err
	}
	db.engine = s
	return nil
}

func (db *DB) openPostgres(ctx context.Context, o Options) error {
	s, err := postgres.Open(ctx, postgres.Options{
		URL: o.URL, Clock: o.Clock, Logger: o.Logger, Rand: o.Rand, Wrap: o.Wrap, Inspect: o.Inspect,
		Retried:   db.metrics.retries.Inc,
		Committed: func(took time.Duration) { db.metrics.committed(1, took) },
	})
	if err != nil {
		return err
	}
	db.engine, db.postgres = s, s
	if db.wake, err = newWaker(s, o.Rand, o.Logger, db.hooks.call); err != nil {
		return errors.Join(err, s.Close())
	}
	if db.keep, err = db.newKeeper(s, o.Rand, o.Logger); err != nil {
		db.wake.stop()
		return errors.Join(err, s.Close())
	}
	return nil
}

// Close ends the database. On SQLite what runs is waited for.
func (db *DB) Close() error {
	var err error
	db.end.Do(func() {
		if db.wake != nil {
			db.wake.stop()
		}
		if db.keep != nil {
			db.keep.stop()
		}
		err = db.engine.Close()
	})
	return err
}

// Update runs fn in a transaction that commits when fn returns nil. It may run
// fn again: fn must have no effects but those on tx, and must not call methods
// of db, which may wait for what fn itself holds.
// A statement that failed fails the transaction, also if fn returns nil.
// Errors match blob.ErrNoSpace when the disk is full.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	return db.run(ctx, db.engine.Update, fn)
}

// take is Update at a level of isolation that suits taking locked rows; see
// postgres.Store.Take.
func (db *DB) take(ctx context.Context, fn func(*Tx) error) error {
	if db.postgres != nil {
		return db.run(ctx, db.postgres.Take, fn)
	}
	return db.run(ctx, db.engine.Update, fn)
}

func (db *DB) run(ctx context.Context, update func(context.Context, func(*conn.Conn) error) error, fn func(*Tx) error) error {
	var left Commit
	err := update(ctx, func(c *conn.Conn) error {
		tx := db.tx(c)
		defer tx.end()
		if err := fn(tx); err != nil {
			return err
		}
		left = tx.left
		return nil
	})
	switch {
	case errors.Is(err, sqlite.ErrFull):
		return fmt.Errorf("writing to the database: %w", full{err})
	case err != nil:
		return err
	}
	if !left.none() {
		db.hooks.call(left)
		if db.wake != nil {
			db.wake.tell(left)
		}
	}
	return nil
}

// full is the error of a full disk, which for who writes is the same whatever
// the disk is for.
type full struct{ error }

// Is makes errors.Is(err, blob.ErrNoSpace) hold.
func (full) Is(target error) bool { return target == blob.ErrNoSpace }

func (f full) Unwrap() error { return f.error }

// View runs fn on one consistent state. The tx is for reading only, and fn must
// not call methods of db.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	return db.engine.View(ctx, func(c *conn.Conn) error { return db.reading(c, fn) })
}

// read runs fn, which runs one query: a consistent state by itself.
func (db *DB) read(ctx context.Context, fn func(*Tx) error) error {
	return db.engine.Read(ctx, func(c *conn.Conn) error { return db.reading(c, fn) })
}

func (db *DB) reading(c *conn.Conn, fn func(*Tx) error) error {
	tx := db.tx(c)
	defer tx.end()
	return fn(tx)
}
