package sqlite

import (
	"context"
	"errors"
	"sync"

	"github.com/bonded-dev/bonded/internal/db/conn"
)

// readers are the connections that read. The one that was used last is used
// next, because its page cache is warm and the others cost nothing meanwhile.
type readers struct {
	open func(context.Context) (*conn.Conn, error)
	free chan struct{} // one token for each that may be used now

	mu   sync.Mutex // guards idle
	idle []*conn.Conn
}

func newReaders(n int, open func(context.Context) (*conn.Conn, error)) *readers {
	r := &readers{open: open, free: make(chan struct{}, n)}
	for range n {
		r.free <- struct{}{}
	}
	return r
}

// use runs fn on a connection.
func (r *readers) use(ctx context.Context, fn func(*conn.Conn) error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case _, ok := <-r.free:
		if !ok {
			return ErrClosed
		}
	}
	defer func() { r.free <- struct{}{} }()
	c, err := r.take(ctx)
	if err != nil {
		return err
	}
	returned := false
	defer func() {
		// A connection with any trouble, or with rows still open because fn did
		// not return, is made anew: cheaper than to know which leaves it in order.
		if returned && c.Trouble() == nil {
			r.give(c)
		} else {
			c.Discard()
		}
	}()
	err = fn(c)
	returned = true
	return err
}

func (r *readers) take(ctx context.Context) (*conn.Conn, error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return c, nil
	}
	r.mu.Unlock()
	return r.open(ctx)
}

func (r *readers) give(c *conn.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle = append(r.idle, c)
}

// close waits until nobody reads any more, and refuses others.
func (r *readers) close() error {
	for range cap(r.free) {
		<-r.free
	}
	close(r.free)
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, c := range r.idle {
		errs = append(errs, c.Close())
	}
	r.idle = nil
	return errors.Join(errs...)
}
