// Package sqlite opens the database of the shape with one machine: a SQLite
// file in the data folder.
//
// One connection writes and commits in groups (see writer), a few read, each
// from a snapshot, and one copies the write-ahead log back into the file while
// the others go on. Every commit is on disk before it is reported
// (synchronous=FULL).
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/db/migrate"
	"github.com/bonded-dev/bonded/internal/durable"
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

// ErrFull matches errors of a full disk.
var ErrFull = errors.New("no space left for the database")

// Memory of the page caches, in KiB per connection.
const (
	writerCache = 8 << 10
	readerCache = 2 << 10
)

// busyTimeout is how long a lock of another connection is waited for, in
// milliseconds. There are hardly any: who writes is settled before.
const busyTimeout = 10_000

// Options say what to open.
type Options struct {
	Folder string // made when it is absent
	// Readers is how many queries run at once. Optional: 4.
	Readers int
	Clock   func() time.Time
	Logger  *slog.Logger
	// Committed is told the size of each committed group of updates and how
	// long its COMMIT took. Optional.
	Committed func(updates int, took time.Duration)
	// Wrap stands between database/sql and the driver: tests break statements
	// with it. Optional.
	Wrap func(driver.Connector) driver.Connector
	// Inspect leaves the schema as it is.
	Inspect bool
}

// Store is an open database.
type Store struct {
	opts    Options
	lock    *os.File
	pool    *sql.DB
	writer  *writer
	readers *readers
	check   *checkpointer
	close   sync.Once
}

// Open locks the folder, brings the schema up to date and opens the database.
// Errors match ErrLocked, ErrFull, migrate.ErrNewer and migrate.ErrOlder.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	if o.Readers == 0 {
		o.Readers = 4
	}
	if o.Committed == nil {
		o.Committed = func(int, time.Duration) {}
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	s := &Store{opts: o}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if s.lock, err = lockFolder(o.Folder); err != nil {
		return nil, err
	}
	file := filepath.Join(o.Folder, "bonded.db")
	if err := create(file); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx, file); err != nil {
		if err = classify(err); errors.Is(err, ErrFull) {
			err = fmt.Errorf("making %s: %w", file, ErrFull) // the rest tells what was undone
		}
		return nil, err
	}
	if s.pool, err = s.open(file, pragmas(0)); err != nil {
		return nil, err
	}
	s.readers = newReaders(o.Readers, s.openReader)
	s.writer = &writer{open: s.openWriter, clock: o.Clock, committed: s.afterCommit}
	s.check = newCheckpointer(s)
	s.check.start()
	return s, nil
}

// create makes an empty file that only its owner reads, durably: SQLite gives
// its other files the same mode.
func create(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("creating the database: %w", err)
	}
	if err := errors.Join(f.Close(), durable.SyncDir(filepath.Dir(file))); err != nil {
		return fmt.Errorf("creating the database: %w", err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, file string) error {
	pool, err := s.open(file, pragmas(writerCache))
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(1)
	err = migrate.Up(ctx, pool, migrate.Options{Dialect: goose.DialectSQLite3, Files: Migrations(), Logger: s.opts.Logger, Inspect: s.opts.Inspect})
	return errors.Join(err, pool.Close())
}

func (s *Store) open(file string, params url.Values) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: params.Encode()}
	c, err := modernc.NewConnector(u.String())
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	if s.opts.Wrap != nil {
		c = s.opts.Wrap(c)
	}
	return sql.OpenDB(c), nil
}

// pragmas are the settings of every connection; the writer and the readers add
// theirs. cache is in KiB, 0 for SQLite's default.
func pragmas(cache int) url.Values {
	v := url.Values{"_defensive": {"1"}, "_dqs": {"0"}}
	for _, p := range []string{
		"busy_timeout(" + strconv.Itoa(busyTimeout) + ")",
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(1)",
		"trusted_schema(0)",
		"temp_store(MEMORY)",
		"wal_autocheckpoint(0)", // the checkpointer's work
		"journal_size_limit(" + strconv.Itoa(walKeep) + ")",
	} {
		v.Add("_pragma", p)
	}
	if cache > 0 {
		v.Add("_pragma", "cache_size(-"+strconv.Itoa(cache)+")")
	}
	return v
}

// connect takes a connection of the pool for good.
func (s *Store) connect(ctx context.Context, setup ...string) (*conn.Conn, error) {
	raw, err := s.pool.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening a connection to the database: %w", err)
	}
	c := conn.New(raw, conn.Options{Prepare: true, Detach: true})
	for _, q := range setup {
		// Rows: a PRAGMA that sets something may answer with its value.
		if err := c.Each(ctx, q, nil, func(*sql.Rows) error { return nil }); err != nil {
			c.Discard()
			return nil, fmt.Errorf("setting up a connection to the database: %w", err)
		}
	}
	return c, nil
}

func (s *Store) openWriter(ctx context.Context) (*conn.Conn, error) {
	return s.connect(ctx, "PRAGMA cache_size = -"+strconv.Itoa(writerCache))
}

// Update runs fn in a transaction that is committed together with those of
// others. fn may be run again, and then has no effects from before.
func (s *Store) Update(ctx context.Context, fn func(*conn.Conn) error) error {
	return classify(s.writer.update(ctx, fn))
}

func (s *Store) openReader(ctx context.Context) (*conn.Conn, error) {
	return s.connect(ctx, "PRAGMA cache_size = -"+strconv.Itoa(readerCache), "PRAGMA query_only = 1")
}

// View runs fn on one snapshot.
func (s *Store) View(ctx context.Context, fn func(*conn.Conn) error) error {
	return s.readers.use(ctx, func(c *conn.Conn) (err error) {
		if _, err := c.Exec(ctx, "BEGIN"); err != nil {
			return fmt.Errorf("beginning to read: %w", err)
		}
		defer func() {
			if _, rerr := c.Exec(context.Background(), "ROLLBACK"); rerr != nil && err == nil {
				err = fmt.Errorf("ending to read: %w", rerr)
			}
		}()
		return fn(c)
	})
}

// Read runs fn, which runs one query.
func (s *Store) Read(ctx context.Context, fn func(*conn.Conn) error) error {
	return s.readers.use(ctx, fn)
}

// afterCommit is called with each committed group.
func (s *Store) afterCommit(updates int, took time.Duration) {
	s.opts.Committed(updates, took)
	s.check.nudge()
}

// Close ends all connections and frees the folder. What runs is waited for.
func (s *Store) Close() error {
	var err error
	s.close.Do(func() { err = s.shut() })
	return err
}

func (s *Store) shut() error {
	var errs []error
	if s.check != nil {
		s.check.stop()
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close(), s.readers.close())
	}
	if s.pool != nil {
		errs = append(errs, s.pool.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// classify makes a full disk testable.
func classify(err error) error {
	var e *modernc.Error
	if errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_FULL || e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
