package disktest_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/blob/disk/disktest"
)

// do plays a script of steps: "mkdir a", "sync a", "create a/f", "write a/f
// text", "fsync a/f", "mv a/f b/f", "rm a/f".
func do(t *testing.T, d disk.FS, steps ...string) {
	t.Helper()
	for _, step := range steps {
		args := strings.Fields(step)
		if err := step1(d, args[0], "/"+args[1], args[2:]); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
}

func step1(d disk.FS, verb, name string, args []string) error {
	switch verb {
	case "mkdir":
		return d.Mkdir(name, 0o700)
	case "sync":
		return d.SyncDir(name)
	case "mv":
		return d.Rename(name, "/"+args[0])
	case "rm":
		return d.Remove(name)
	}
	flag := os.O_RDWR
	if verb == "create" {
		flag |= os.O_CREATE | os.O_EXCL
	}
	f, err := d.OpenFile(name, flag, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	switch verb {
	case "write":
		_, err = f.WriteAt([]byte(args[0]), 0)
	case "fsync":
		err = f.Sync()
	}
	return err
}

// tree lists the files below a folder with what they hold.
func tree(t *testing.T, d disk.FS, dir string) map[string]string {
	t.Helper()
	entries, err := d.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		name := strings.TrimSuffix(dir, "/") + "/" + e.Name()
		if e.IsDir() {
			for k, v := range tree(t, d, name) {
				out[k] = v
			}
			out[name[1:]] = "folder"
			continue
		}
		f, err := d.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := d.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, info.Size())
		if _, err := f.ReadAt(b, 0); err != nil && len(b) > 0 {
			t.Fatal(err)
		}
		out[name[1:]] = string(b)
	}
	return out
}

func TestPowerCut(t *testing.T) {
	type files = map[string]string
	for _, test := range []struct {
		name  string
		steps []string
		want  files // after losing all that was not synced
		kept  files // after losing nothing
	}{
		{"nothing synced", []string{"create f", "write f text"}, files{}, files{"f": "text"}},
		{"name not synced", []string{"create f", "write f text", "fsync f"}, files{}, files{"f": "text"}},
		{"bytes not synced", []string{"create f", "write f text", "sync /"}, files{"f": ""}, files{"f": "text"}},
		{"both synced", []string{"create f", "write f text", "fsync f", "sync /"}, files{"f": "text"}, files{"f": "text"}},
		{
			"overwritten", []string{"create f", "write f text", "fsync f", "sync /", "write f longer"},
			files{"f": "text"},
			files{"f": "longer"},
		},
		{
			"folder not synced", []string{"mkdir a", "create a/f", "write a/f text", "fsync a/f", "sync a"},
			files{},
			files{"a": "folder", "a/f": "text"},
		},
		{
			"renamed", []string{"mkdir a", "mkdir b", "sync /", "create a/f", "sync a", "mv a/f b/g"},
			files{"a": "folder", "b": "folder", "a/f": ""},
			files{"a": "folder", "b": "folder", "b/g": ""},
		},
		{
			"renamed, source synced", []string{"mkdir a", "mkdir b", "sync /", "create a/f", "sync a", "mv a/f b/g", "sync a"},
			files{"a": "folder", "b": "folder", "a/f": ""},
			files{"a": "folder", "b": "folder", "b/g": ""},
		},
		{
			"renamed, target synced", []string{"mkdir a", "mkdir b", "sync /", "create a/f", "mv a/f b/g", "sync b"},
			files{"a": "folder", "b": "folder", "b/g": ""},
			files{"a": "folder", "b": "folder", "b/g": ""},
		},
		{"removed", []string{"create f", "sync /", "rm f"}, files{"f": ""}, files{}},
		{"removed and synced", []string{"create f", "sync /", "rm f", "sync /"}, files{}, files{}},
		{"made again", []string{"create f", "sync /", "rm f", "create f", "write f new"}, files{"f": ""}, files{"f": "new"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := disktest.New()
			do(t, d, test.steps...)
			if diff := cmp.Diff(test.want, tree(t, d.Restart(disktest.Everything()), "/")); diff != "" {
				t.Errorf("after losing everything (-want +got):\n%s", diff)
			}
			kept := d.Restart(disktest.Nothing())
			if diff := cmp.Diff(test.kept, tree(t, kept, "/")); diff != "" {
				t.Errorf("after losing nothing (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.kept, tree(t, kept.Restart(disktest.Everything()), "/")); diff != "" {
				t.Errorf("what a restart found is lost at the next (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.kept, tree(t, d, "/")); diff != "" {
				t.Errorf("a restart changed the original (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCutAfter(t *testing.T) {
	d := disktest.New()
	do(t, d, "create f")
	d.CutAfter(1)
	do(t, d, "write f text")
	if d.Off() {
		t.Error("off before the cut")
	}
	for _, step := range []string{"write", "fsync", "open", "rm", "mkdir", "sync"} {
		if err := step1(d, step, "/f", []string{"x"}); !errors.Is(err, disktest.ErrPower) {
			t.Errorf("%s without power: %v", step, err)
		}
	}
	if got := tree(t, d.Restart(disktest.Nothing()), "/"); !d.Off() || got["f"] != "text" {
		t.Errorf("off %v, left %v", d.Off(), got)
	}
}

func TestLossesAreDeterministic(t *testing.T) {
	d := disktest.New()
	do(t, d, "mkdir a", "create a/f", "write a/f text", "create a/g", "write a/g more", "create h", "write h text", "rm h")
	for name := range disktest.Losses(5, 1) {
		first := tree(t, d.Restart(disktest.Losses(5, 1)[name]), "/")
		if diff := cmp.Diff(first, tree(t, d.Restart(disktest.Losses(5, 1)[name]), "/")); diff != "" {
			t.Errorf("%s differs from one time to the next:\n%s", name, diff)
		}
	}
}

func TestFaults(t *testing.T) {
	broken := errors.New("broken")
	for when, want := range map[disktest.When]string{disktest.Before: "", disktest.Half: "te", disktest.After: "text"} {
		d := disktest.New()
		f := &disktest.Faults{FS: d, At: 4, When: when, Err: broken}
		do(t, f, "create f") // open and close
		if err := step1(f, "write", "/f", []string{"text"}); !errors.Is(err, broken) {
			t.Errorf("the fourth call says %v", err)
		}
		if got := tree(t, d, "/")["f"]; got != want || f.Calls() != 5 {
			t.Errorf("%v: %q was written after %d calls, want %q after 5", when, got, f.Calls(), want)
		}
	}
	d := disktest.New()
	f := &disktest.Faults{FS: d, At: 7, Err: broken}
	do(t, f, "create f", "write f text", "sync /")
	f.At = 8 // open is the seventh
	if err := step1(f, "fsync", "/f", nil); !errors.Is(err, broken) {
		t.Errorf("the sync says %v", err)
	}
	do(t, f, "fsync f")
	if got := tree(t, d.Restart(disktest.Everything()), "/")["f"]; got != "" {
		t.Errorf("a second sync saved %q", got)
	}
	if _, err := f.Stat("/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of nothing: %v", err)
	}
}
