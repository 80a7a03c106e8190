// Package tuftest is the suite that admits an implementation of tuf.Store.
package tuftest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/bonded-dev/bonded/internal/trust/tuf"
)

// Open makes a new, empty store, and returns what opens it: each time as another
// process would, where there can be several.
type Open func(t testing.TB) func(testing.TB) tuf.Store

// Run admits an implementation.
func Run(t *testing.T, open Open) {
	t.Run("what is put is there", func(t *testing.T) { put(t, open(t)) })
	t.Run("a file is replaced if it is the old one", func(t *testing.T) { replace(t, open(t)) })
	t.Run("of those who replace a file one does", func(t *testing.T) { race(t, open(t)) })
}

func is(t testing.TB, s tuf.Store, name, want string) {
	t.Helper()
	if got, err := s.Get(t.Context(), name); err != nil || string(got) != want {
		t.Errorf("%s is %q, %v; want %q", name, got, err, want)
	}
}

func none(t testing.TB, s tuf.Store, name string) {
	t.Helper()
	if got, err := s.Get(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is %q, %v; want none", name, got, err)
	}
}

func put(t *testing.T, open func(testing.TB) tuf.Store) {
	one, other := open(t), open(t)
	none(t, one, "1.root.json")
	large := string(bytes.Repeat([]byte("0123456789abcdef"), 64<<10)) // a trusted root of many generations
	for name, content := range map[string]string{"1.root.json": "root", "targets/ab.trusted_root.json": large, "empty": ""} {
		if err := one.Put(t.Context(), name, []byte(content)); err != nil {
			t.Fatal(err)
		}
		is(t, one, name, content)
		is(t, other, name, content)
	}
	if err := other.Put(t.Context(), "1.root.json", []byte("another")); err != nil {
		t.Fatal(err)
	}
	is(t, one, "1.root.json", "another")
	for _, name := range []string{"2.root.json", "../1.root.json", "targets", "", "1.root.jso_"} {
		if _, err := one.Get(t.Context(), name); err == nil {
			t.Errorf("there is a file %q", name)
		}
	}
}

func replace(t *testing.T, open func(testing.TB) tuf.Store) {
	one, other := open(t), open(t)
	for _, step := range []struct {
		s       tuf.Store
		old, to []byte
		raced   bool
		is      string
	}{
		{one, []byte("x"), []byte("y"), true, ""},
		{one, nil, []byte("1"), false, "1"},
		{other, nil, []byte("2"), true, "1"},
		{other, []byte("0"), []byte("2"), true, "1"},
		{other, []byte("1"), []byte("2"), false, "2"},
		{one, []byte("1"), []byte("3"), true, "2"},
		{one, []byte("2"), []byte{0, 255, '\n'}, false, "\x00\xff\n"},
		{other, []byte{0, 255, '\n'}, []byte("4"), false, "4"},
	} {
		err := step.s.Replace(t.Context(), "timestamp.json", step.old, step.to)
		if errors.Is(err, tuf.ErrRaced) != step.raced || !step.raced && err != nil {
			t.Errorf("%q by %q: %v", step.old, step.to, err)
		}
		if step.is == "" {
			none(t, one, "timestamp.json")
			continue
		}
		is(t, one, "timestamp.json", step.is)
		is(t, other, "timestamp.json", step.is)
	}
}

func race(t *testing.T, open func(testing.TB) tuf.Store) {
	const all = 8
	for _, old := range [][]byte{nil, []byte("won")} {
		errs := make(chan error, all)
		for n := range all {
			s := open(t)
			to := []byte("won")
			if old != nil {
				to = fmt.Append(nil, n)
			}
			go func() { errs <- s.Replace(t.Context(), "timestamp.json", old, to) }()
		}
		won := 0
		for range all {
			switch err := <-errs; {
			case err == nil:
				won++
			case !errors.Is(err, tuf.ErrRaced):
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d of %d replaced %q", won, all, old)
		}
	}
}
