// Package postgres opens the database of the shape with many machines: a
// PostgreSQL server, version 15 or later, that any number of processes share.
//
// Transactions are serializable and run again when the server finds that they
// were not. Text compares by bytes whatever the locale of the database is.
package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/db/migrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the numbered .sql files.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil { // the folder is embedded above
		panic(err)
	}
	return sub
}

// attempts bounds how often a transaction is run. With waits that double from
// 2 ms the last starts after about a second.
const attempts = 10

// Keys of the advisory locks of this program.
const (
	lockMigration = 0x626f6e64_00000001
	// LockSequencer is held by the transaction that numbers events.
	LockSequencer = 0x626f6e64_00000002
	// LockConfiguration is held by the transaction that applies a configuration.
	LockConfiguration = 0x626f6e64_00000003
)

// Options say what to open.
type Options struct {
	// URL is a connection string as libpq takes it: postgres://user@host/name.
	URL string
	// Conns is how many connections there are at most. Optional: 16.
	Conns  int
	Clock  func() time.Time
	Logger *slog.Logger
	Rand   io.Reader // Optional: crypto/rand; for the jitter of retries
	// Retried is told of each transaction that is run again. Optional.
	Retried func()
	// Committed is told how long each COMMIT took. Optional.
	Committed func(took time.Duration)
	// Wrap stands between database/sql and the driver: tests break statements
	// with it. Optional.
	Wrap func(driver.Connector) driver.Connector
	// Inspect leaves the schema as it is.
	Inspect bool
}

// Store is an open database.
type Store struct {
	opts   Options
	config *pgx.ConnConfig
	pool   *sql.DB
}

// Open connects and brings the schema up to date. Errors match migrate.ErrNewer
// and migrate.ErrOlder.
func Open(ctx context.Context, o Options) (*Store, error) {
	o.defaults()
	config, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "bonded"
	}
	c := stdlib.GetConnector(*config)
	if o.Wrap != nil {
		c = o.Wrap(c)
	}
	s := &Store{opts: o, config: config, pool: sql.OpenDB(c)}
	s.pool.SetMaxOpenConns(o.Conns)
	s.pool.SetMaxIdleConns(o.Conns)
	s.pool.SetConnMaxIdleTime(5 * time.Minute)
	err = migrate.Up(ctx, s.pool, migrate.Options{
		Dialect: goose.DialectPostgres, Files: Migrations(), Lock: migrationLock{}, Logger: o.Logger, Inspect: o.Inspect,
	})
	if err != nil {
		return nil, errors.Join(err, s.pool.Close())
	}
	return s, nil
}

func (o *Options) defaults() {
	if o.Conns == 0 {
		o.Conns = 16
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Retried == nil {
		o.Retried = func() {}
	}
	if o.Committed == nil {
		o.Committed = func(time.Duration) {}
	}
}

// migrationLock lets one process at a time migrate; others wait for it.
type migrationLock struct{}

func (migrationLock) SessionLock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(lockMigration))
	return err
}

func (migrationLock) SessionUnlock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", int64(lockMigration))
	return err
}

// Update runs fn in a serializable transaction, again when the server asks for
// it; fn then has no effects from before.
func (s *Store) Update(ctx context.Context, fn func(*conn.Conn) error) error {
	return s.retry(ctx, "BEGIN ISOLATION LEVEL SERIALIZABLE", fn)
}

// Take runs fn in a transaction in which each statement sees what is committed
// when it starts. It is for taking rows with locks, where serializable ones
// would only fail, and correct only if nothing but locked rows is relied on.
func (s *Store) Take(ctx context.Context, fn func(*conn.Conn) error) error {
	return s.retry(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED", fn)
}

// View runs fn on one snapshot.
func (s *Store) View(ctx context.Context, fn func(*conn.Conn) error) error {
	_, err := s.once(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", fn, func(time.Duration) {})
	return err
}

// Read runs fn, which runs one query.
func (s *Store) Read(ctx context.Context, fn func(*conn.Conn) error) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // gives it back to the pool
	return fn(c)
}

// Notify tells all that Listen on this database.
func (s *Store) Notify(ctx context.Context, message string) error {
	return s.Read(ctx, func(c *conn.Conn) error {
		_, err := c.Exec(ctx, "SELECT pg_notify(?, ?)", channel, message)
		return err
	})
}

// Close ends all connections. What runs is not waited for.
func (s *Store) Close() error { return s.pool.Close() }

func (s *Store) connect(ctx context.Context) (*conn.Conn, error) {
	raw, err := s.pool.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	return conn.New(raw, conn.Options{Rebind: conn.Dollars}), nil
}

func (s *Store) retry(ctx context.Context, begin string, fn func(*conn.Conn) error) error {
	for i := range attempts {
		again, err := s.once(ctx, begin, fn, s.opts.Committed)
		if err == nil || !again || i == attempts-1 {
			return err
		}
		s.opts.Retried()
		if err := s.pause(ctx, i); err != nil {
			return err
		}
	}
	panic("unreachable")
}

// pause waits before the attempt after the i-th: 2 ms doubled each time, and
// up to as much again, so that those that collided do not do so again.
func (s *Store) pause(ctx context.Context, i int) error {
	var b [8]byte
	if _, err := io.ReadFull(s.opts.Rand, b[:]); err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	base := 2 * time.Millisecond << i
	t := time.NewTimer(base + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(base)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// once runs one transaction, and reports whether it is worth another attempt.
// committed is told how long COMMIT took.
func (s *Store) once(ctx context.Context, begin string, fn func(*conn.Conn) error, committed func(time.Duration)) (again bool, err error) {
	c, err := s.connect(ctx)
	if err != nil {
		return false, err
	}
	ended := false
	defer func() { // also when fn does not return
		if !ended {
			s.rollback(ctx, c)
		}
		_ = c.Close() // gives it back to the pool
	}()
	if _, err := c.Exec(ctx, begin); err != nil {
		return false, fmt.Errorf("beginning a transaction: %w", err)
	}
	if err := fn(c); err != nil {
		return retryable(c.Trouble()), err
	}
	if err := c.Trouble(); err != nil {
		return retryable(err), fmt.Errorf("going on after a statement that failed: %w", err)
	}
	start := s.opts.Clock()
	if _, err := c.Exec(ctx, "COMMIT"); err != nil {
		return retryable(err), fmt.Errorf("committing: %w", err)
	}
	ended = true
	committed(s.opts.Clock().Sub(start))
	return false, nil
}

// rollback ends the transaction, or the connection.
func (s *Store) rollback(ctx context.Context, c *conn.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := c.Exec(ctx, "ROLLBACK"); err != nil {
		c.Discard()
	}
}

// retryable reports whether the server ended the transaction only because of
// others: serialization failure, deadlock, and a row inserted meanwhile, which
// the next attempt will see.
func retryable(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	return e.Code == "40001" || e.Code == "40P01" || e.Code == "23505"
}
