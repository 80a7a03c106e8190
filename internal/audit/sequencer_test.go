package audit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a Log that counts what waits and what it took.
type counted struct {
	mu                    sync.Mutex
	waiting, taken, calls int
	fail                  error
}

func (c *counted) Sequence(_ context.Context, limit int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.fail != nil {
		return 0, c.fail
	}
	n := min(limit, c.waiting)
	c.waiting, c.taken = c.waiting-n, c.taken+n
	return n, nil
}

func (c *counted) append(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting += n
}

func (c *counted) failWith(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

// state returns how many events wait, were taken, and how often was asked.
func (c *counted) state() (waiting, taken, calls int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting, c.taken, c.calls
}

// pass lets time pass, until all wait for what is later.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestSequencer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counted{}
		s := NewSequencer(SequencerOptions{Log: c, Batch: 10})
		s.Start()
		s.Start()
		pass(time.Minute + time.Millisecond)
		if _, _, calls := c.state(); calls < 119 || calls > 123 {
			t.Errorf("looked %d times in a minute without events, want twice a second", calls)
		}
		c.append(1) // and nobody says so
		pass(time.Second)
		if _, taken, _ := c.state(); taken != 1 {
			t.Error("an event that nobody told of is not logged within a second")
		}
		c.append(95)
		s.Wake()
		pass(100 * time.Millisecond)
		_, taken, before := c.state()
		if taken != 96 {
			t.Errorf("%d events are logged after 100 ms, want 96", taken)
		}
		for range 200 { // one each 5 ms for a second
			c.append(1)
			s.Wake()
			pass(5 * time.Millisecond)
		}
		_, _, calls := c.state()
		if n := calls - before; n > 40 {
			t.Errorf("%d transactions for a second of events, want few", n)
		}
		c.failWith(errors.New("the database is away"))
		c.append(1)
		s.Wake()
		_, _, before = c.state()
		pass(10 * time.Second)
		if _, _, calls = c.state(); calls-before > 22 {
			t.Errorf("%d attempts in 10 s while it fails, want two a second", calls-before)
		}
		if s.Err() == nil {
			t.Error("nobody says that it fails")
		}
		c.failWith(nil)
		c.append(1)
		for range 2 {
			if err := s.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if waiting, taken, _ := c.state(); waiting != 0 || taken != 298 || s.Err() != nil {
			t.Errorf("after Stop %d events wait and %d are logged, want 0 and 298; %v", waiting, taken, s.Err())
		}
	})
}

func TestSequencerNeverStarted(t *testing.T) {
	s := NewSequencer(SequencerOptions{Log: &counted{}})
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	s.Start()
}
