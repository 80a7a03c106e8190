package feed

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/vuln/vexset"
)

// TestPackVEX: which files of a folder are its documents, in the layouts that
// publishers have.
func TestPackVEX(t *testing.T) {
	sum := fmt.Sprintf("%x  b.json\n", sha512.Sum512([]byte("b")))
	for name, c := range map[string]struct {
		files map[string]string
		want  string // names, or what the error says
	}{
		"files":        {map[string]string{"b.json": "b", "d/e/a.json": "a", "d/x.txt": "x", ".git/c.json": "c", "vex-repository.json": "{}", "provider-metadata.json": "{}"}, "b.json d/e/a.json"},
		"vex hub":      {map[string]string{"index.json": `{"updated_at":"2026-01-01","packages":[{"id":"pkg:npm/a","location":"pkg/a/vex.json"}]}`, "pkg/a/vex.json": "a", "pkg/b/vex.json": "b"}, "pkg/a/vex.json"},
		"other index":  {map[string]string{"index.json": `[1]`, "a.json": "a"}, "a.json"},
		"csaf":         {map[string]string{"index.txt": "2026/b.json\n2026/a.json\n", "2026/a.json": "a", "2026/b.json": "b", "2026/old.json": "o"}, "2026/a.json 2026/b.json"},
		"good sum":     {map[string]string{"b.json": "b", "b.json.sha512": sum}, "b.json"},
		"bad sum":      {map[string]string{"b.json": "c", "b.json.sha512": sum}, "not what its checksum"},
		"bad sum 256":  {map[string]string{"b.json": "c", "b.json.sha256": "00"}, "not what its checksum"},
		"out of it":    {map[string]string{"index.txt": "../a.json\n", "a.json": "a"}, "no file below it"},
		"from root":    {map[string]string{"index.json": `{"packages":[{"location":"/etc/passwd"}]}`}, "no file below it"},
		"listed, gone": {map[string]string{"index.txt": "a.json\n"}, "no such file"},
		"nothing":      {map[string]string{"a.txt": "a"}, "holds no VEX documents"},
		"too much":     {map[string]string{"a.json": strings.Repeat("a", 2000)}, "too large"},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(dir, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		var b bytes.Buffer
		err := packVEX(t.Context(), dir, &b, 1000)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
			continue
		}
		var names []string
		for in := tar.NewReader(&b); ; {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: documents are %s, want %s", name, got, c.want)
		}
	}
}

// TestPackVEXLinks: a link leads out of no folder, and a file stands alone.
func TestPackVEXLinks(t *testing.T) {
	out, dir := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(out, "secret.json"), []byte("secret"), 0o600),
		os.Symlink(filepath.Join(out, "secret.json"), filepath.Join(dir, "a.json")),
		os.WriteFile(filepath.Join(dir, "index.txt"), []byte("a.json\n"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := packVEX(t.Context(), dir, &b, 1000); err == nil || bytes.Contains(b.Bytes(), []byte("secret")) {
		t.Errorf("a link out of the folder was followed: %v", err)
	}
	b.Reset()
	if err := packVEX(t.Context(), filepath.Join(out, "secret.json"), &b, 1000); err != nil || !bytes.Contains(b.Bytes(), []byte("secret")) {
		t.Errorf("a file by itself: %v", err)
	}
	if err := packVEX(t.Context(), filepath.Join(out, "none"), &b, 1000); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestRealVEX reads what publishers have written.
func TestRealVEX(t *testing.T) {
	for folder, least := range map[string]int{"openvex": 5, "csaf": 5} {
		var b bytes.Buffer
		if err := packVEX(t.Context(), filepath.Join(testparts.Feeds(t), "vex", folder), &b, 1<<30); err != nil {
			t.Fatal(err)
		}
		set, p, err := vexset.Parse(&b, attest.ReadVEX)
		if err != nil || set.Len() < least {
			t.Errorf("%s: %d documents, %+v, %v", folder, set.Len(), p, err)
		}
		t.Logf("%s: %d documents of %d bytes; skipped %q", folder, set.Len(), len(set.Document().Content), p.Reasons)
	}
}

// FuzzLists: whatever lists documents names none outside of its folder.
func FuzzLists(f *testing.F) {
	f.Add([]byte(`{"packages":[{"location":"pkg/a.json"},{"location":"../b"}]}`))
	f.Add([]byte("2026/a.json\n\n../x\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, read := range []func([]byte) ([]string, error){hubDocuments, csafDocuments} {
			names, err := read(raw)
			for _, name := range names {
				if err == nil && (!fs.ValidPath(name) || name == ".") {
					t.Errorf("it names %q", name)
				}
			}
		}
	})
}
