package server

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// steady is a clock that never goes back: what has ended by time alone stays
// over. Where the clock below it is set back it goes on from where it was, at half
// the pace, until both agree again: deadlines, retries and leases still come.
// Decisions are made by it. It is safe for concurrent use.
type steady struct {
	clock clock

	mu   sync.Mutex
	wall time.Time // what the clock said last
	last time.Time // what this one did
}

func newSteady(c clock) *steady {
	wall := c().Round(0)
	return &steady{clock: c, wall: wall, last: wall}
}

func (s *steady) now() time.Time {
	wall := s.clock().Round(0) // the monotonic reading does not tell that it was set
	s.mu.Lock()
	defer s.mu.Unlock()
	var passed time.Duration
	if !s.wall.IsZero() { // the first time nothing has passed, whatever atLeast said before
		passed = max(wall.Sub(s.wall), 0)
	}
	s.wall = wall
	if s.last = s.last.Add(passed / 2); s.last.Before(wall) {
		s.last = wall
	}
	return s.last
}

// atLeast makes now return nothing before t.
func (s *steady) atLeast(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.Before(t) {
		s.last = t
	}
}

// behind is how far the clock below is behind this one.
func (s *steady) behind() time.Duration {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.wall)
}

// catchUp takes over the time of the newest decision, whichever process made it,
// and before a restart.
func (s *Server) catchUp(ctx context.Context) error {
	newest, err := s.db.NewestDecision(ctx)
	if err == nil {
		s.steady.atLeast(newest)
	}
	return err
}

// clockProblem says that the clock was set back, "" when it was not: clocks of
// several processes differ a little.
func (s *Server) clockProblem() string {
	if d := s.steady.behind(); d > time.Minute {
		return fmt.Sprintf("the clock is %s behind the newest decision: until it has caught up decisions are made at the time of that, and slowly later; set it right", d.Round(time.Second))
	}
	return ""
}
