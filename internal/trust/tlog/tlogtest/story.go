package tlogtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Story is what happens to a log in tests that break it: entries are added, alone
// and in transactions of the caller's. It knows what was acknowledged.
type Story struct {
	store  tlog.Store
	blobs  blob.Store
	heads  tlog.HeadStore
	acked  []tlog.Added
	wanted map[string]bool
	seen   tlog.Checkpoint
}

// NewStory creates the log of a story.
func NewStory(t testing.TB, s tlog.Store, b blob.Store, heads tlog.HeadStore) *Story {
	t.Helper()
	st := &Story{store: s, blobs: b, heads: heads, wanted: map[string]bool{}}
	if err := tlog.Create(context.Background(), st.options(t)); err != nil {
		t.Fatal(err)
	}
	return st
}

func (st *Story) options(t testing.TB) tlog.Options {
	o := Options(t, st.store, st.blobs)
	o.Index, o.Dedupe, o.Heads = true, true, st.heads
	return o
}

// Tell opens the log and appends to it until something fails. The entries differ
// by from.
func (st *Story) Tell(t testing.TB, from int) error {
	t.Helper()
	l, err := tlog.Open(context.Background(), st.options(t))
	if err != nil {
		return err
	}
	l.Start()
	defer func() {
		if err := l.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for i := range 3 {
		if err := st.chapter(l, from+i); err != nil {
			return err
		}
	}
	return nil
}

func (st *Story) chapter(l *tlog.Log, n int) error {
	batch := []tlog.Entry{st.entry("single ", n)}
	for j := range 200 {
		batch = append(batch, st.entry("batch ", n, " ", j))
	}
	a, err := l.Add(context.Background(), batch[0])
	if err != nil {
		return err
	}
	st.acked = append(st.acked, a)
	if a.Checkpoint.Size > st.seen.Size {
		st.seen = a.Checkpoint
	}
	_, err = l.Append(context.Background(), batch[1:], st.store.Append)
	return err
}

func (st *Story) entry(words ...any) tlog.Entry {
	text := fmt.Sprint(words...)
	st.wanted[text] = true
	return Entry(text)
}

// Check reads the log as anybody would: each entry acknowledged is where it was
// said to be, nothing is there that nobody asked for, and no head that was seen
// is of another history.
func (st *Story) Check(t testing.TB, when string) {
	t.Helper()
	l, err := tlog.Open(context.Background(), st.options(t))
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	l.Start() // publishes what was left
	if err := l.Stop(context.Background()); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	var known []tlog.Known
	if st.seen.Origin != "" {
		known = append(known, tlog.Known{From: "a client", Checkpoint: st.seen})
	}
	leaves := map[int64]tlog.Hash{}
	r, err := tlog.Verify(context.Background(), tlog.VerifyOptions{
		Source: l, Origin: Origin, Verifier: Verifier(t), Known: known,
		Entry: func(index int64, data []byte) error {
			leaves[index] = tlog.LeafHash(data)
			if !st.wanted[string(data)] {
				return fmt.Errorf("%w: nobody added %q", tlog.ErrMalformed, data)
			}
			return nil
		},
	})
	if err != nil || r.Bad != nil {
		t.Fatalf("%s: %v, %v", when, r.Bad, err)
	}
	if status := l.Status(); status.Published != status.Size {
		t.Fatalf("%s: %d of %d entries are published", when, status.Published, status.Size)
	}
	for _, a := range st.acked {
		if leaves[a.Index] != a.Leaf {
			t.Fatalf("%s: entry %d, acknowledged, is another", when, a.Index)
		}
	}
}
