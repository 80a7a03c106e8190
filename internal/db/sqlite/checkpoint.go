package sqlite

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/db/conn"
)

// Sizes of the write-ahead log. Below walCopy frames (pages of 4 KiB) nothing
// is copied back while there is writing; above walStop writers wait until it
// is, because a log that is never empty grows for ever. A file larger than
// walKeep bytes is cut once the log starts again.
const (
	walCopy = 1000
	walStop = 32_000
	walKeep = 64 << 20
)

// Times of the checkpointer: how soon it looks after a commit, and how long
// after the last one it copies what little there is.
const (
	walLook = 200 * time.Millisecond
	walIdle = 5 * time.Second
)

// checkpointer copies the write-ahead log back into the database beside the
// writers. SQLite would do so in a COMMIT now and then, which is then as slow
// as two fsyncs and the copying.
type checkpointer struct {
	store *Store
	conn  *conn.Conn // nil until the first look, and after a failure
	woken chan struct{}
	quit  chan struct{}
	ended chan struct{}
	once  sync.Once
}

func newCheckpointer(s *Store) *checkpointer {
	return &checkpointer{store: s, woken: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
}

func (k *checkpointer) start() { go k.run() }

func (k *checkpointer) stop() {
	k.once.Do(func() { close(k.quit) })
	<-k.ended
}

// nudge says that something was committed.
func (k *checkpointer) nudge() {
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

func (k *checkpointer) run() {
	defer close(k.ended)
	defer func() {
		if k.conn != nil {
			k.conn.Discard()
		}
	}()
	idle := time.NewTimer(walIdle)
	defer idle.Stop()
	for {
		select {
		case <-k.quit:
			return
		case <-k.woken:
			idle.Reset(walIdle)
			k.look(walCopy)
			if !k.sleep(walLook) {
				return
			}
		case <-idle.C:
			k.look(1)
		}
	}
}

func (k *checkpointer) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-k.quit:
		return false
	case <-t.C:
		return true
	}
}

// look copies when at least that many frames are not copied yet.
func (k *checkpointer) look(frames int) {
	ctx := context.Background()
	if err := k.copy(ctx, frames); err != nil {
		k.store.opts.Logger.WarnContext(ctx, "copying the write-ahead log back", "error", err)
		if k.conn != nil {
			k.conn.Discard()
			k.conn = nil
		}
	}
}

func (k *checkpointer) copy(ctx context.Context, frames int) (err error) {
	if k.conn == nil {
		if k.conn, err = k.store.connect(ctx, "PRAGMA cache_size = -64"); err != nil {
			return err
		}
	}
	size, copied, err := checkpoint(ctx, k.conn, "NOOP")
	if err != nil || size-copied < frames {
		return err
	}
	if size, _, err = checkpoint(ctx, k.conn, "PASSIVE"); err != nil || size < walStop {
		return err
	}
	return k.store.writer.alone(ctx, newTurn(), func(w *conn.Conn) error { return restart(ctx, w) })
}

// restart copies everything and lets the log begin anew, which takes until
// nobody reads from it any more. A long view would keep the writers waiting,
// so they wait for a moment only, and it is tried again later.
func restart(ctx context.Context, w *conn.Conn) error {
	patience := func(ms int) error {
		var set int
		return w.Row(ctx, "PRAGMA busy_timeout = "+strconv.Itoa(ms), nil, &set)
	}
	if err := patience(100); err != nil {
		return err
	}
	_, _, err := checkpoint(ctx, w, "RESTART")
	return errors.Join(err, patience(busyTimeout))
}

// checkpoint returns how many frames the log has and how many of them are in
// the database.
func checkpoint(ctx context.Context, c *conn.Conn, mode string) (size, copied int, err error) {
	var busy int
	err = c.Row(ctx, "PRAGMA wal_checkpoint("+mode+")", nil, &busy, &size, &copied)
	return size, copied, err
}
