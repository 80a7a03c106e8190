package server

import (
	"testing"
	"time"
)

// TestSteady: time goes on whatever the clock does, never back, and is that of
// the clock again once it has caught up.
func TestSteady(t *testing.T) {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := start
	s := newSteady(func() time.Time { return at })
	for i, step := range []struct{ wall, want, behind time.Duration }{
		{0, 0, 0},
		{time.Minute, time.Minute, 0},
		{-time.Hour, time.Minute, time.Hour + time.Minute},
		{-time.Hour + 2*time.Minute, 2 * time.Minute, time.Hour},
		{-2 * time.Hour, 2 * time.Minute, 2*time.Hour + 2*time.Minute},
		{time.Minute, 62*time.Minute + 30*time.Second, 61*time.Minute + 30*time.Second},
		{3 * time.Hour, 3 * time.Hour, 0},
	} {
		at = start.Add(step.wall)
		if got := s.now(); !got.Equal(start.Add(step.want)) {
			t.Errorf("%d: %s, want %s", i, got, start.Add(step.want))
		}
		if got := s.behind(); got != step.behind {
			t.Errorf("%d: %s behind, want %s", i, got, step.behind)
		}
	}
	if s = newSteady(func() time.Time { return at }); !s.now().Equal(at) {
		t.Errorf("at its beginning: %s", s.now())
	}
	s = newSteady(func() time.Time { return at })
	if s.atLeast(at.Add(-time.Minute)); !s.now().Equal(at) {
		t.Errorf("after a decision of before: %s", s.now())
	}
	s.atLeast(start)
	s.atLeast(start.Add(24 * time.Hour))
	if got := s.now(); !got.Equal(start.Add(24 * time.Hour)) {
		t.Errorf("after the decision of another: %s", got)
	}
}

// TestSteadyAfterRestart: what was decided before a restart, or never, is taken
// over before anybody has asked for the time.
func TestSteadyAfterRestart(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, newest := range []time.Time{time.Unix(0, 0), noon.Add(-time.Hour), noon.Add(time.Hour)} {
		s := newSteady(func() time.Time { return noon })
		s.atLeast(newest)
		want := noon
		if newest.After(noon) {
			want = newest
		}
		if got := s.now(); !got.Equal(want) {
			t.Errorf("after a decision at %s: %s, want %s", newest, got, want)
		}
	}
}
