package tlogtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// MemoryWitness is a tlog.WitnessStore in memory.
type MemoryWitness struct {
	mu     sync.Mutex
	latest map[string]tlog.Checkpoint
}

// Latest implements tlog.WitnessStore.
func (m *MemoryWitness) Latest(_ context.Context, origin string) (tlog.Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(origin), nil
}

func (m *MemoryWitness) get(origin string) tlog.Checkpoint {
	if c, ok := m.latest[origin]; ok {
		return c
	}
	return tlog.Checkpoint{Origin: origin, Root: tlog.EmptyRoot()}
}

// Swap implements tlog.WitnessStore.
func (m *MemoryWitness) Swap(_ context.Context, old, next tlog.Checkpoint, signed []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(signed) == 0 || next.Origin != old.Origin || next.Size <= old.Size {
		return fmt.Errorf("replacing %+v by %+v, which no witness does", old, next)
	}
	if m.get(old.Origin) != old {
		return tlog.ErrConflict
	}
	if m.latest == nil {
		m.latest = map[string]tlog.Checkpoint{}
	}
	m.latest[next.Origin] = next
	return nil
}

// RunWitness tests a tlog.WitnessStore. Each call of create makes an empty one,
// whose result opens it as a new process would.
func RunWitness(t *testing.T, create func(t testing.TB) func(t testing.TB) tlog.WitnessStore) {
	at := func(origin string, size int64, root byte) tlog.Checkpoint {
		if size == 0 {
			return tlog.Checkpoint{Origin: origin, Root: tlog.EmptyRoot()}
		}
		return tlog.Checkpoint{Origin: origin, Size: size, Root: tlog.Hash{root}}
	}
	t.Run("Swap", func(t *testing.T) {
		open := create(t)
		for _, step := range []struct {
			old, next tlog.Checkpoint
			want      error
			latest    tlog.Checkpoint
		}{
			{at("a", 3, 1), at("a", 5, 1), tlog.ErrConflict, at("a", 0, 0)},
			{at("a", 0, 0), at("a", 5, 1), nil, at("a", 5, 1)},
			{at("a", 0, 0), at("a", 7, 1), tlog.ErrConflict, at("a", 5, 1)},
			{at("b", 0, 0), at("b", 2, 9), nil, at("b", 2, 9)},
			{at("a", 5, 2), at("a", 6, 2), tlog.ErrConflict, at("a", 5, 1)},
			{at("a", 4, 1), at("a", 6, 1), tlog.ErrConflict, at("a", 5, 1)},
			{at("a", 5, 1), at("a", 6, 2), nil, at("a", 6, 2)},
		} {
			if err := open(t).Swap(t.Context(), step.old, step.next, []byte("signed")); !errors.Is(err, step.want) {
				t.Errorf("%v to %v: %v, want %v", step.old, step.next, err, step.want)
			}
			if got, err := open(t).Latest(t.Context(), step.next.Origin); err != nil || got != step.latest {
				t.Errorf("after %v to %v: %v, %v", step.old, step.next, got, err)
			}
		}
	})
	t.Run("Race", func(t *testing.T) {
		open := create(t)
		var won, lost int
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 8 {
			s := open(t)
			all.Go(func() {
				err := s.Swap(t.Context(), at("a", 0, 0), at("a", int64(i+1), byte(i)), []byte("signed"))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case errors.Is(err, tlog.ErrConflict):
					lost++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won != 1 || lost != 7 {
			t.Errorf("%d won and %d lost, want one", won, lost)
		}
	})
}
