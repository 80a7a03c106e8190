package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/durable"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "name")
	for _, step := range []struct {
		text string
		mode os.FileMode
	}{
		{"first, and longer", 0o600},
		{"second", 0o644},
		{"", 0o400},
		{"over one that its owner cannot write", 0o600},
	} {
		if err := durable.WriteFile(name, []byte(step.text), step.mode); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"name": step.text}
		if diff := cmp.Diff(want, folder(t, dir)); diff != "" {
			t.Errorf("after writing %q (-want +got):\n%s", step.text, diff)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != step.mode {
			t.Errorf("after writing %q the mode is %v, want %v", step.text, got, step.mode)
		}
	}
}

// TestWriteFileBroken breaks each step that can be broken from outside: what was
// there stays, and nothing is left beside it. Where the folder is not durable
// any more is for test/fault, which cuts the power.
func TestWriteFileBroken(t *testing.T) {
	for _, tt := range []struct {
		name  string
		make  func(t *testing.T, dir string) (name string)
		bytes int
		want  error
	}{
		{"no folder", func(_ *testing.T, dir string) string { return filepath.Join(dir, "none", "name") }, 1, fs.ErrNotExist},
		{"the folder is a file", func(_ *testing.T, dir string) string { return filepath.Join(dir, "old", "name") }, 1, syscall.ENOTDIR},
		{"full", func(t *testing.T, dir string) string { full(t, 1000); return filepath.Join(dir, "old") }, 1001, syscall.EFBIG},
		{"the name is a folder's", func(t *testing.T, dir string) string {
			if err := os.Mkdir(filepath.Join(dir, "name"), 0o700); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "name")
		}, 1, fs.ErrExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "old"), []byte("as it was"), 0o600); err != nil {
				t.Fatal(err)
			}
			name := tt.make(t, dir)
			before := folder(t, dir)
			if err := durable.WriteFile(name, []byte(strings.Repeat("x", tt.bytes)), 0o600); !errors.Is(err, tt.want) {
				t.Errorf("WriteFile = %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(before, folder(t, dir)); diff != "" {
				t.Errorf("the folder changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestSyncDir(t *testing.T) {
	dir := t.TempDir()
	if err := durable.SyncDir(dir); err != nil {
		t.Error(err)
	}
	if err := durable.SyncDir(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir of a folder that is not there = %v, want %v", err, fs.ErrNotExist)
	}
}

// full lets this process write no file beyond size bytes, as a full disk would,
// until the test ends.
func full(t *testing.T, size uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	})
}

// folder returns the files of a folder and what is in them; folders have "/".
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			got[e.Name()+"/"] = ""
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(b)
	}
	return got
}
