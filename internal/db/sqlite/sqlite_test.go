package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/db/conn"
)

func open(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Folder == "" {
		o.Folder = t.TempDir()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Clock = time.Now
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

// insert is an update that adds one row with a name.
func insert(ctx context.Context, name string) func(*conn.Conn) error {
	return func(c *conn.Conn) error {
		_, err := c.Exec(ctx, "INSERT INTO repository (name) VALUES (?)", name)
		return err
	}
}

// names lists the rows.
func names(t *testing.T, s *Store) string {
	t.Helper()
	var all []string
	err := s.View(context.Background(), func(c *conn.Conn) error {
		return c.Each(context.Background(), "SELECT name FROM repository ORDER BY name", nil, func(rows *sql.Rows) error {
			var n string
			err := rows.Scan(&n)
			all = append(all, n)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// crowd holds the writer with one update until n others wait, then lets go.
// Each is run by fn in a goroutine of its own. It returns when all have.
func crowd(t *testing.T, s *Store, n int, fn func(i int)) {
	t.Helper()
	holding, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	var held sync.Once // it runs again when another spoils its transaction
	all.Go(func() {
		err := s.Update(context.Background(), func(*conn.Conn) error {
			held.Do(func() { close(holding) })
			<-release
			return nil
		})
		if err != nil {
			t.Errorf("the update that holds the writer: %v", err)
		}
	})
	<-holding
	for i := range n {
		all.Go(func() { fn(i) })
		for waiting := -1; waiting <= i; runtime.Gosched() {
			s.writer.mu.Lock()
			waiting = len(s.writer.waiting)
			s.writer.mu.Unlock()
		}
	}
	close(release)
	all.Wait()
}

func TestGroupCommit(t *testing.T) {
	var groups, updates atomic.Int64
	s := open(t, Options{Committed: func(n int, _ time.Duration) {
		groups.Add(1)
		updates.Add(int64(n))
	}})
	ctx := context.Background()
	broken := errors.New("no")
	crowd(t, s, 20, func(i int) {
		err := s.Update(ctx, func(c *conn.Conn) error {
			if err := insert(ctx, fmt.Sprintf("r%02d", i))(c); err != nil {
				return err
			}
			if i%4 == 3 {
				return broken
			}
			return nil
		})
		if i%4 == 3 && !errors.Is(err, broken) || i%4 != 3 && err != nil {
			t.Errorf("update %d: %v", i, err)
		}
	})
	if got := len(strings.Fields(names(t, s))); got != 15 {
		t.Errorf("%d rows, want the 15 of the updates that did not fail", got)
	}
	// Usually in two: the one that held the writer took longer than a group may.
	if g, u := groups.Load(), updates.Load(); g > 8 || u != 16 {
		t.Errorf("%d updates in %d commits, want 16 in few", u, g)
	}
}

func TestPanicAndGoexit(t *testing.T) {
	s := open(t, Options{})
	ctx := context.Background()
	crowd(t, s, 9, func(i int) {
		left := make(chan any, 1)
		go func() {
			defer func() { left <- recover() }()
			err := s.Update(ctx, func(c *conn.Conn) error {
				if err := insert(ctx, fmt.Sprint("r", i))(c); err != nil {
					return err
				}
				switch i % 3 {
				case 1:
					panic(i)
				case 2:
					runtime.Goexit()
				}
				return nil
			})
			if err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		}()
		if v := <-left; (i%3 == 1) != (v == any(i)) {
			t.Errorf("update %d panicked with %v", i, v)
		}
	})
	if got := names(t, s); got != "r0 r3 r6" {
		t.Errorf("rows %q, want those of the updates that returned", got)
	}
	if err := s.Update(ctx, insert(ctx, "after")); err != nil {
		t.Errorf("the next update: %v", err)
	}
}

func TestContextWhileWaiting(t *testing.T) {
	s := open(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	var first atomic.Bool
	crowd(t, s, 3, func(i int) {
		c := ctx
		if i == 0 { // runs first, and ends the wait of those behind it
			c = context.Background()
		}
		err := s.Update(c, func(c *conn.Conn) error {
			if !first.Swap(true) {
				cancel()
			}
			return insert(context.Background(), fmt.Sprint("r", i))(c)
		})
		if i == 0 && err != nil || i != 0 && err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("update %d: %v", i, err)
		}
	})
	if got := names(t, s); !strings.HasPrefix(got, "r0") {
		t.Errorf("rows %q, want the one that was not cancelled", got)
	}
	err := s.Update(context.Background(), func(*conn.Conn) error {
		short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		left := make(chan error)
		go func() { left <- s.Update(short, insert(short, "late")) }()
		if err := <-left; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting longer than its time: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := s.Update(ctx, insert(ctx, "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("an update with a context that has ended: %v", err)
	}
}

func TestCancelledBetweenStatements(t *testing.T) {
	s := open(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	err := s.Update(ctx, func(c *conn.Conn) error {
		if err := insert(ctx, "first")(c); err != nil {
			return err
		}
		cancel()
		return insert(ctx, "second")(c)
	})
	if !errors.Is(err, context.Canceled) || names(t, s) != "" {
		t.Errorf("got %v and rows %q, want canceled and none", err, names(t, s))
	}
}

func TestSwallowedFailure(t *testing.T) {
	s := open(t, Options{})
	ctx := context.Background()
	err := s.Update(ctx, func(c *conn.Conn) error {
		if err := insert(ctx, "a")(c); err != nil {
			return err
		}
		_ = insert(ctx, "a")(c)
		return nil
	})
	if err == nil || names(t, s) != "" {
		t.Errorf("got %v and rows %q: on PostgreSQL this would not commit either", err, names(t, s))
	}
}

// TestSpoiltGroup breaks the transaction under updates that had succeeded in
// it: they run again, whoever broke it fails.
func TestSpoiltGroup(t *testing.T) {
	s := open(t, Options{})
	ctx := context.Background()
	broken := errors.New("no")
	crowd(t, s, 5, func(i int) {
		err := s.Update(ctx, func(c *conn.Conn) error {
			if i == 3 {
				// As SQLite does by itself when the disk is full.
				if _, err := c.Exec(ctx, "ROLLBACK"); err != nil {
					t.Error(err)
				}
				return broken
			}
			return insert(ctx, fmt.Sprint("r", i))(c)
		})
		if i == 3 && !errors.Is(err, broken) || i != 3 && err != nil {
			t.Errorf("update %d: %v", i, err)
		}
	})
	if got := names(t, s); got != "r0 r1 r2 r4" {
		t.Errorf("rows %q", got)
	}
}

func TestViewIsASnapshot(t *testing.T) {
	s := open(t, Options{Readers: 2})
	ctx := context.Background()
	count := func(c *conn.Conn) (n int) {
		if err := c.Row(ctx, "SELECT COUNT(*) FROM repository", nil, &n); err != nil {
			t.Error(err)
		}
		return n
	}
	err := s.View(ctx, func(c *conn.Conn) error {
		before := count(c)
		if err := s.Update(ctx, insert(ctx, "a")); err != nil {
			return err
		}
		if after := count(c); after != before {
			t.Errorf("a view saw %d rows and then %d", before, after)
		}
		return s.Read(ctx, func(c *conn.Conn) error {
			if n := count(c); n != before+1 {
				t.Errorf("another reader sees %d rows, want %d", n, before+1)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
	err = s.View(ctx, insert(ctx, "b"))
	if err == nil || !strings.Contains(err.Error(), "readonly") {
		t.Errorf("writing in a view: %v", err)
	}
	if got := names(t, s); got != "a" {
		t.Errorf("rows %q", got)
	}
}

func TestReadersRecover(t *testing.T) {
	s := open(t, Options{Readers: 1})
	ctx := context.Background()
	for range 3 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic came through")
				}
			}()
			_ = s.View(ctx, func(c *conn.Conn) error {
				return c.Each(ctx, "SELECT 1", nil, func(*sql.Rows) error { panic("oh") })
			})
		}()
	}
	if err := s.View(ctx, func(c *conn.Conn) error { _, err := c.Exec(ctx, "no SQL"); return err }); err == nil {
		t.Error("a query that is no SQL succeeded")
	}
	if got := names(t, s); got != "" {
		t.Errorf("rows %q", got)
	}
	short, cancel := context.WithCancel(ctx)
	err := s.View(ctx, func(*conn.Conn) error {
		cancel()
		return s.View(short, func(*conn.Conn) error { t.Error("two readers of one connection"); return nil })
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a reader: %v", err)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, Options{})
	ctx := context.Background()
	if err := s.Update(ctx, insert(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Update(ctx, insert(ctx, "b")); !errors.Is(err, ErrClosed) {
		t.Errorf("updating: %v", err)
	}
	if err := s.View(ctx, insert(ctx, "b")); !errors.Is(err, ErrClosed) {
		t.Errorf("reading: %v", err)
	}
	again := open(t, Options{Folder: s.opts.Folder})
	if got := names(t, again); got != "a" {
		t.Errorf("rows %q after opening again", got)
	}
}

func TestOneProcess(t *testing.T) {
	s := open(t, Options{})
	_, err := Open(context.Background(), Options{Folder: s.opts.Folder, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("opening twice: %v", err)
	}
	for _, want := range []string{fmt.Sprintf("process %d", os.Getpid()), s.opts.Folder, "stop it first"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not say %q", err, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, Options{Folder: s.opts.Folder})
}

func TestFolders(t *testing.T) {
	for _, name := range []string{"with space", "per%20cent", "what?x=1", "hash#tag", "ünï"} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), name, "deep")
			s := open(t, Options{Folder: folder})
			if err := s.Update(context.Background(), insert(context.Background(), "a")); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"bonded.db", "bonded.db-wal"} {
				info, err := os.Stat(filepath.Join(folder, file))
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode().Perm() != 0o600 {
					t.Errorf("%s has mode %v, want that only its owner reads it", file, info.Mode())
				}
			}
		})
	}
}

func TestSettings(t *testing.T) {
	s := open(t, Options{})
	for _, tt := range []struct {
		name string
		use  func(context.Context, func(*conn.Conn) error) error
		want map[string]string
	}{
		{"writer", s.Update, map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "cache_size": "-8192", "query_only": "0", "wal_autocheckpoint": "0"}},
		{"reader", s.Read, map[string]string{"journal_mode": "wal", "cache_size": "-2048", "query_only": "1", "trusted_schema": "0"}},
	} {
		for pragma, want := range tt.want {
			var got string
			err := tt.use(context.Background(), func(c *conn.Conn) error {
				return c.Row(context.Background(), "PRAGMA "+pragma, nil, &got)
			})
			if err != nil || got != want {
				t.Errorf("%s of the %s is %q, %v, want %q", pragma, tt.name, got, err, want)
			}
		}
	}
}

// TestLogIsCopiedBack writes more than the log may hold.
func TestLogIsCopiedBack(t *testing.T) {
	s := open(t, Options{})
	ctx := context.Background()
	frames := func() (size, copied int) {
		err := s.Read(ctx, func(c *conn.Conn) (err error) {
			size, copied, err = checkpoint(ctx, c, "NOOP")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return size, copied
	}
	big := strings.Repeat("x", 4<<20)
	for i := range 3 {
		if err := s.Update(ctx, insert(ctx, fmt.Sprint(i, big))); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		size, copied := frames()
		if copied > 0 && size == copied {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d frames were copied", copied, size)
		}
		runtime.Gosched()
	}
}

// TestLogBeginsAnew: above walStop the writers make room, and do not wait for
// a view that lasts.
func TestLogBeginsAnew(t *testing.T) {
	s := open(t, Options{})
	ctx := context.Background()
	if err := s.Update(ctx, insert(ctx, strings.Repeat("x", 1<<20))); err != nil {
		t.Fatal(err)
	}
	frames := func() (size int) {
		err := s.writer.alone(ctx, newTurn(), func(c *conn.Conn) (err error) {
			size, _, err = checkpoint(ctx, c, "NOOP")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return size
	}
	anew := func() {
		if err := s.writer.alone(ctx, newTurn(), func(c *conn.Conn) error { return restart(ctx, c) }); err != nil {
			t.Error(err)
		}
		if err := s.Update(ctx, insert(ctx, time.Now().String())); err != nil {
			t.Error(err)
		}
	}
	err := s.View(ctx, func(c *conn.Conn) error {
		var n int
		err := c.Row(ctx, "SELECT COUNT(*) FROM repository", nil, &n)
		start := time.Now()
		anew()
		if took := time.Since(start); took >= busyTimeout*time.Millisecond {
			t.Errorf("the writers waited %v for a view, as for any lock", took)
		}
		if n := frames(); n < 200 {
			t.Errorf("%d frames: the log of a view began anew", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	anew()
	if n := frames(); n > 100 {
		t.Errorf("%d frames, want the log to begin anew", n)
	}
}

func TestMissingFolderIsMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), Options{Folder: filepath.Join(file, "x"), Clock: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || errors.Is(err, fs.ErrExist) {
		t.Errorf("a folder inside a file: %v", err)
	}
}
