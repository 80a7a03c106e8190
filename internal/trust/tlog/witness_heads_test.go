package tlog_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// TestHeadedWitnessStore: a store with a head store is one that a witness can have.
func TestHeadedWitnessStore(t *testing.T) {
	tlogtest.RunWitness(t, func(t testing.TB) func(testing.TB) tlog.WitnessStore {
		m := &tlogtest.MemoryWitness{}
		heads := must[*tlog.HeadFolder](t)(tlog.NewHeadFolder(t.TempDir(), nil))
		return func(testing.TB) tlog.WitnessStore { return tlog.HeadedWitness{WitnessStore: m, Heads: heads} }
	})
}

// TestRestoredWitness: what the database lost the head store brings back, and
// what contradicts it ends all cosigning of that log.
func TestRestoredWitness(t *testing.T) {
	ctx := t.Context()
	heads := must[*tlog.HeadFolder](t)(tlog.NewHeadFolder(t.TempDir(), nil))
	none := tlog.Checkpoint{Origin: "a.example", Root: tlog.EmptyRoot()}
	at := func(size int64, root byte) tlog.Checkpoint {
		return tlog.Checkpoint{Origin: "a.example", Size: size, Root: tlog.Hash{root}}
	}
	swap := func(w tlog.WitnessStore, old, next tlog.Checkpoint) {
		t.Helper()
		if err := w.Swap(ctx, old, next, []byte(next.Text()+"\n— signed\n")); err != nil {
			t.Fatal(err)
		}
	}
	swap(tlog.HeadedWitness{WitnessStore: &tlogtest.MemoryWitness{}, Heads: heads}, none, at(5, 1))

	restored := &tlogtest.MemoryWitness{}
	w := tlog.HeadedWitness{WitnessStore: restored, Heads: heads}
	if c, err := w.Latest(ctx, "a.example"); err != nil || c != at(5, 1) {
		t.Errorf("an empty database has cosigned %+v, %v", c, err)
	}
	if c, err := restored.Latest(ctx, "a.example"); err != nil || c != at(5, 1) {
		t.Errorf("the database was not brought up to it: %+v, %v", c, err)
	}
	swap(restored, at(5, 1), at(7, 2)) // by a process that has another head store
	if c, err := w.Latest(ctx, "a.example"); err != nil || c != at(7, 2) {
		t.Errorf("another process has cosigned 7, and this one says %+v, %v", c, err)
	}
	again := tlog.HeadedWitness{WitnessStore: &tlogtest.MemoryWitness{}, Heads: heads}
	if c, err := again.Latest(ctx, "a.example"); err != nil || c != at(7, 2) {
		t.Errorf("the head store did not learn of it: %+v, %v", c, err)
	}
	other := &tlogtest.MemoryWitness{}
	swap(other, none, at(7, 3))
	_, err := tlog.HeadedWitness{WitnessStore: other, Heads: heads}.Latest(ctx, "a.example")
	if !errors.Is(err, tlog.ErrFork) || !strings.Contains(err.Error(), "another root") {
		t.Errorf("another root of the same size: %v", err)
	}
}
