package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/db/conn"
)

// Bounds of one group: a commit waits for no more than this.
const (
	groupSize = 256
	groupTime = 10 * time.Millisecond
)

// attempts bounds how often an update runs when others spoil its transaction.
const attempts = 5

// ErrClosed is returned by updates of a closed database.
var ErrClosed = errors.New("the database is closed")

// errSpoilt ends updates that were done and whose transaction then broke, not
// by their fault: they run again.
var errSpoilt = errors.New("the transaction was lost")

// writer runs updates on the one connection that writes. Those that wait for
// one another share a transaction, so that they share its fsync: each runs in
// a savepoint, and whoever finds nobody waiting commits for all. An update
// that fails rolls back to its savepoint.
//
// There is no goroutine of its own: callers pass a baton, which lets exactly
// one of them use the connection. So a panic or a Goexit in an update unwinds
// in its caller, as it should, and passes the baton on the way.
type writer struct {
	open      func(context.Context) (*conn.Conn, error)
	clock     func() time.Time
	committed func(updates int, took time.Duration)

	mu      sync.Mutex // guards what follows
	waiting []*turn    // for the baton, oldest first
	taken   bool       // somebody has the baton
	closed  bool

	// Used only with the baton.
	conn  *conn.Conn // nil until the first update, and after it was discarded
	group []*turn    // done in the open transaction, wait for its commit
	begun time.Time  // when that transaction was begun; zero when there is none
}

// turn is one run of one update.
type turn struct {
	baton chan struct{}
	done  chan error // what became of the transaction
	last  bool       // the one that closes
}

func newTurn() *turn { return &turn{baton: make(chan struct{}, 1), done: make(chan error, 1)} }

// update runs fn in a transaction.
func (w *writer) update(ctx context.Context, fn func(*conn.Conn) error) error {
	for i := 1; ; i++ {
		err := w.once(ctx, fn)
		if !errors.Is(err, errSpoilt) || i == attempts {
			return err
		}
	}
}

func (w *writer) once(ctx context.Context, fn func(*conn.Conn) error) error {
	t := newTurn()
	if err := w.take(ctx, t); err != nil {
		return err
	}
	if err := w.run(ctx, t, fn); err != nil {
		return err
	}
	return <-t.done
}

// take waits for the baton.
func (w *writer) take(ctx context.Context, t *turn) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	if w.closed && !t.last {
		w.mu.Unlock()
		return ErrClosed
	}
	if !w.taken {
		w.taken = true
		w.mu.Unlock()
		return nil
	}
	w.waiting = append(w.waiting, t)
	w.mu.Unlock()
	select {
	case <-t.baton:
		return nil
	case <-ctx.Done():
	}
	if !w.withdraw(t) { // too late: the baton is here or about to come
		<-t.baton
		w.pass()
	}
	return ctx.Err()
}

// withdraw takes t out of the queue, or reports that it is not there any more.
func (w *writer) withdraw(t *turn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.waiting {
		if other == t {
			w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// next takes the oldest out of the queue. When there is none it gives the baton
// up, if release says so, and returns nil.
func (w *writer) next(release bool) *turn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.taken = !release
		return nil
	}
	t := w.waiting[0]
	w.waiting[0] = nil
	w.waiting = w.waiting[1:]
	return t
}

// pass gives the baton to the next, who goes on in the same transaction. When
// there is no next, or the group is large or old, it commits first.
func (w *writer) pass() {
	var t *turn
	if len(w.group) < groupSize && w.clock().Sub(w.begun) < groupTime {
		t = w.next(false)
	}
	if t == nil {
		w.commit()
		t = w.next(true)
	}
	if t != nil {
		t.baton <- struct{}{}
	}
}

// run runs fn with the baton, and passes it on. When it returns nil, t is in
// the group.
func (w *writer) run(ctx context.Context, t *turn, fn func(*conn.Conn) error) (err error) {
	defer w.pass()
	if err := w.begin(ctx); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done { // failed, or fn does not return at all
			w.undo()
		}
	}()
	w.conn.Calm()
	if err := fn(w.conn); err != nil {
		return err
	}
	if err := w.conn.Trouble(); err != nil {
		return fmt.Errorf("going on after a statement that failed: %w", err)
	}
	if len(w.group) > 0 {
		if _, err := w.conn.Exec(context.Background(), "RELEASE one"); err != nil {
			return fmt.Errorf("ending an update: %w", err)
		}
	}
	done = true
	w.group = append(w.group, t)
	return nil
}

// begin begins a transaction, or a savepoint in the one that is open.
func (w *writer) begin(ctx context.Context) (err error) {
	if w.conn == nil {
		if w.conn, err = w.open(ctx); err != nil {
			return err
		}
	}
	if len(w.group) > 0 {
		if _, err := w.conn.Exec(context.Background(), "SAVEPOINT one"); err != nil {
			w.spoil()
			return fmt.Errorf("beginning an update: %w", err)
		}
		return nil
	}
	if _, err := w.conn.Exec(context.Background(), "BEGIN IMMEDIATE"); err != nil {
		w.spoil()
		return fmt.Errorf("beginning an update: %w", err)
	}
	w.begun = w.clock()
	return nil
}

// undo takes back what the current update did. The first of a group needs no
// savepoint: nothing else is in its transaction.
func (w *writer) undo() {
	if w.conn == nil {
		return
	}
	if len(w.group) == 0 {
		w.begun = time.Time{}
		if _, err := w.conn.Exec(context.Background(), "ROLLBACK"); err != nil {
			w.spoil()
		}
		return
	}
	// An error that made SQLite roll back everything, such as a full disk,
	// shows here: the savepoint is gone.
	for _, q := range []string{"ROLLBACK TO one", "RELEASE one"} {
		if _, err := w.conn.Exec(context.Background(), q); err != nil {
			w.spoil()
			return
		}
	}
}

// spoil gives up the connection, whose state is unknown, and with it the open
// transaction. Those in its group run again.
func (w *writer) spoil() {
	w.conn.Discard()
	w.conn = nil
	w.settle(errSpoilt)
}

// commit ends the open transaction and tells its group. Whether a COMMIT that
// failed will be found after a crash is not known, so it is reported and not
// tried again.
func (w *writer) commit() {
	if len(w.group) == 0 {
		return
	}
	start := w.clock()
	n := len(w.group)
	if _, err := w.conn.Exec(context.Background(), "COMMIT"); err != nil {
		group := w.group
		w.group = nil
		w.undo()
		w.group = group
		w.settle(fmt.Errorf("committing: %w", err))
		return
	}
	w.settle(nil)
	w.committed(n, w.clock().Sub(start))
}

func (w *writer) settle(err error) {
	for _, t := range w.group {
		t.done <- err
	}
	clear(w.group)
	w.group = w.group[:0]
	w.begun = time.Time{}
}

// alone runs fn on the connection with no transaction open and nobody writing;
// there is nothing to do for it when no connection is open.
func (w *writer) alone(ctx context.Context, t *turn, fn func(*conn.Conn) error) error {
	if err := w.take(ctx, t); err != nil {
		return err
	}
	defer w.pass()
	w.commit()
	if w.conn == nil {
		return nil
	}
	return fn(w.conn)
}

// close refuses further updates and waits for those that were there before.
func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	t := newTurn()
	t.last = true
	return w.alone(context.Background(), t, func(c *conn.Conn) error {
		w.conn = nil
		return c.Close()
	})
}
