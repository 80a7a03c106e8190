package witness_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
	"github.com/bonded-dev/bonded/internal/trust/witness"
)

func open(t testing.TB, dir string) *witness.Folder {
	t.Helper()
	f, err := witness.Open(witness.Options{Dir: dir, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestStore admits a folder as what a witness keeps.
func TestStore(t *testing.T) {
	tlogtest.RunWitness(t, func(t testing.TB) func(testing.TB) tlog.WitnessStore {
		f := open(t, t.TempDir()) // one process has it
		return func(testing.TB) tlog.WitnessStore { return f }
	})
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "witness")
	f := open(t, dir)
	if _, err := witness.Open(witness.Options{Dir: dir, Clock: time.Now}); !errors.Is(err, witness.ErrInUse) {
		t.Errorf("twice: %v", err)
	}
	first, err := f.Signer("witness.example")
	if err != nil {
		t.Fatal(err)
	}
	next := tlog.Checkpoint{Origin: "log.example/audit", Size: 1, Root: tlog.LeafHash(nil)}
	if err := f.Swap(t.Context(), tlog.Checkpoint{Origin: next.Origin, Root: tlog.EmptyRoot()}, next, []byte(next.Text()+"\n— x AAAA\n")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	key, seen := filepath.Join(dir, "witness.key"), filepath.Join(dir, "seen", "log.example%2Faudit.checkpoint")
	f = open(t, dir)
	if again, err := f.Signer("witness.example"); err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("the key is %s, and was %s: %v", again, first, err)
	}
	if err := os.WriteFile(seen, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Latest(t.Context(), next.Origin); !errors.Is(err, witness.ErrUnusable) {
		t.Errorf("a checkpoint that is none: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func() error{
		"readable for others": func() error { return os.Chmod(key, 0o644) },
		"no key":              func() error { return errors.Join(os.Chmod(key, 0o600), os.WriteFile(key, []byte("x"), 0o600)) },
		"gone":                func() error { return os.Remove(key) },
	} {
		b, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if _, err := witness.Open(witness.Options{Dir: dir, Clock: time.Now}); !errors.Is(err, witness.ErrUnusable) {
			t.Errorf("%s: %v", name, err)
		}
		if err := errors.Join(os.WriteFile(key, b, 0o600), os.Chmod(key, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
