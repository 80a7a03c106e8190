package feed

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSend(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string // of the folder
		want  map[string]string // of what arrives; nil for all
	}{
		{name: "archives and records", files: map[string]string{"Go/all.zip": "zip", "npm/N-1.json": "{}"}},
		{name: "loose records", files: map[string]string{"N-1.json": "{}", "N-2.json": ""}},
		{
			name:  "what no load reads stays behind",
			files: map[string]string{"Go/all.zip": "zip", "Go/G-1.json": "{}", "ecosystems.txt": "Go", "Go/notes.txt": "x", ".git/x.json": "x", "top.json": "x"},
			want:  map[string]string{"Go/all.zip": "zip"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, to := t.TempDir(), t.TempDir()
			putFiles(t, from, test.files)
			var b bytes.Buffer
			if err := Send(t.Context(), &b, from); err != nil {
				t.Fatal(err)
			}
			if err := Receive(t.Context(), &b, to); err != nil {
				t.Fatal(err)
			}
			want := test.want
			if want == nil {
				want = test.files
			}
			if diff := cmp.Diff(want, readFiles(t, to)); diff != "" {
				t.Errorf("what arrived (-want +got):\n%s", diff)
			}
			sent, err := Sendable(t.Context(), from)
			size := 0
			for _, s := range want {
				size += len(s)
			}
			if err != nil || sent != (Sent{Files: len(want), Bytes: int64(size)}) {
				t.Errorf("announced %+v, %v", sent, err)
			}
		})
	}
	if err := Send(t.Context(), io.Discard, t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no ECOSYSTEM/all.zip") {
		t.Errorf("an empty folder: %v", err)
	}
}

func putFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func readFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		files[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// tarOf returns a tar of what the headers say, each with as many bytes.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReceiveRefuses(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 3} }
	long := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "a.json", Size: 5000})
	for _, test := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"nothing", nil, "it holds no file"},
		{"no file", tarOf(t), "it holds no file"},
		{"no tar", bytes.Repeat([]byte("x"), 600), "invalid tar header"},
		{"out of the folder", tarOf(t, file("../a.json")), "not only"},
		{"absolute", tarOf(t, file("/a.json")), "not only"},
		{"an archive alone", tarOf(t, file("all.zip")), "not only"},
		{"too deep", tarOf(t, file("a/b/c.json")), "not only"},
		{"hidden", tarOf(t, file(".ssh/c.json")), "not only"},
		{"another file", tarOf(t, file("Go/evil.so")), "not only"},
		{"a link", tarOf(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "Go/a.json", Linkname: "/etc/passwd"}), "not only"},
		{"a folder", tarOf(t, tar.Header{Typeflag: tar.TypeDir, Name: "Go/"}), "not only"},
		{"twice", tarOf(t, file("a.json"), file("a.json")), "twice"},
		{"cut off", long[:1024], "ends early"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Receive(t.Context(), bytes.NewReader(test.raw), t.TempDir())
			if !errors.Is(err, ErrFolder) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestReceiveTooLarge(t *testing.T) {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a.json", Size: maxReceived + 1}); err != nil {
		t.Fatal(err)
	}
	if err := Receive(t.Context(), &b, t.TempDir()); !errors.Is(err, ErrFolder) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
}

// TestReceiveStops: the reader's error and the end of the context are told as
// they are.
func TestReceiveStops(t *testing.T) {
	cut := errors.New("the connection is gone")
	raw := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "a.json", Size: 5000})
	if err := Receive(t.Context(), io.MultiReader(bytes.NewReader(raw[:700]), failing{cut}), t.TempDir()); !errors.Is(err, cut) {
		t.Errorf("got %v, want the reader's error", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cut)
	if err := Receive(ctx, bytes.NewReader(raw), t.TempDir()); !errors.Is(err, cut) {
		t.Errorf("got %v, want the cause", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzReceive: whatever comes, nothing is written but what a load would read,
// and no more than came. The corpus has sparse files, which would be longer.
func FuzzReceive(f *testing.F) {
	f.Add(tarOf(f, tar.Header{Typeflag: tar.TypeReg, Name: "Go/all.zip", Size: 4}, tar.Header{Typeflag: tar.TypeReg, Name: "npm/N-1.json", Size: 2}))
	f.Add(tarOf(f, tar.Header{Typeflag: tar.TypeReg, Name: "../../a.json", Size: 4}))
	f.Add(tarOf(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "Go", Linkname: "/"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		to := filepath.Join(dir, "to")
		if err := os.Mkdir(to, 0o700); err != nil {
			t.Fatal(err)
		}
		err := Receive(t.Context(), bytes.NewReader(raw), to)
		if err != nil && !errors.Is(err, ErrFolder) {
			t.Errorf("an error that is nobody's: %v", err)
		}
		written := 0
		for name, text := range readFiles(t, dir) {
			written += len(text)
			if rest, ok := strings.CutPrefix(name, "to/"); !ok || !receivable(&tar.Header{Typeflag: tar.TypeReg, Name: rest}) {
				t.Errorf("%q was written", name)
			}
		}
		if written > len(raw) {
			t.Errorf("%d bytes became %d", len(raw), written)
		}
	})
}
