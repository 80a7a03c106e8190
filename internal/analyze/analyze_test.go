package analyze

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/layer"
	"github.com/bonded-dev/bonded/internal/oci"
)

func newTestAnalyzer(t testing.TB, x ...Extractor) *Analyzer {
	t.Helper()
	return New(Options{Extractors: x, TempDir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

// words is an extractor of files ending in .words: each line is a package.
type words struct{ info Info }

func newWords() words {
	return words{Info{Name: "words", Version: "1", Max: 16 << 20, Places: []string{"db/main.words", "var/db/main.words"}}}
}

func (w words) Info() Info                            { return w.info }
func (w words) Wants(path string, _ fs.FileMode) bool { return strings.HasSuffix(path, ".words") }

func (w words) Extract(_ context.Context, f *File) ([]inventory.Package, error) {
	b, err := f.Bytes()
	if err != nil {
		return nil, err
	}
	var found []inventory.Package
	for line := range strings.Lines(string(b)) {
		switch line = strings.TrimSpace(line); line {
		case "":
		case "panic!":
			panic("foreign bytes")
		case "fail!":
			return found, errors.New("some detail")
		case "reason!":
			return found, Reason("for people")
		default:
			found = append(found, inventory.Package{Type: "generic", Name: line})
		}
	}
	return found, nil
}

// entry is a tar entry of a test: names ending in / are directories.
type entry struct{ name, body, link, hard string }

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(e.body))}
		switch {
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case e.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, e.hard
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, e.body)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func analyse(t testing.TB, a *Analyzer, blob []byte) Result {
	t.Helper()
	res, err := a.Layer(context.Background(), bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// found lists "path: package" of a result.
func found(r Result) (all []string) {
	sets := map[oci.Digest]inventory.Set{}
	for _, s := range r.Sets {
		sets[s.ID] = s
	}
	for _, f := range r.Layer.Files {
		for _, p := range sets[f.Set].Packages {
			all = append(all, f.Path+": "+p.Name)
		}
	}
	return all
}

func TestLayer(t *testing.T) {
	raw := pack(t,
		entry{name: "etc/"}, entry{name: "etc/os-release", body: "ID=debian\nVERSION_ID=\"12\"\n"},
		entry{name: "a.words", body: "beta\nalpha\nalpha\n"}, entry{name: "same.words", body: "beta\nalpha\nalpha\n"},
		entry{name: "none.words"}, entry{name: "other.txt", body: "x"}, entry{name: "lib", link: "usr/lib"},
	)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write(raw)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	a := newTestAnalyzer(t, newWords())
	res := analyse(t, a, zipped.Bytes())

	if want := "analyze/" + version + " layer/" + layer.Version + " words/1"; a.Set() != want || res.Layer.ExtractorSet != want {
		t.Errorf("extractor set %q and %q, want %q", a.Set(), res.Layer.ExtractorSet, want)
	}
	content := oci.FromBytes([]byte("beta\nalpha\nalpha\n"))
	set := oci.FromBytes([]byte("words\x001\x00\x00" + content.String()))
	want := Result{
		Layer: inventory.Layer{
			DiffID: oci.FromBytes(raw), Size: int64(zipped.Len()), Uncompressed: int64(len(raw)), Entries: 7,
			Compression: "gzip", ExtractorSet: a.Set(), Budget: "standard",
			Files: []inventory.File{
				{Path: "a.words", Set: set, Digest: content, Size: 17},
				{Path: "etc/os-release", Digest: oci.FromBytes([]byte("ID=debian\nVERSION_ID=\"12\"\n")), Size: 26,
					Distro: &inventory.Distro{ID: "debian", VersionID: "12", Ecosystem: "Debian:12"}},
				{Path: "same.words", Set: set, Digest: content, Size: 17},
			},
			Links:    []inventory.Link{{Path: "lib", Target: "usr/lib"}},
			Paths:    res.Layer.Paths,
			Coverage: inventory.Coverage{State: inventory.CoverageFull},
			Searched: unsearched,
		},
		Sets: []inventory.Set{{ID: set, Extractor: "words", Packages: []inventory.Package{
			{Type: "generic", Name: "alpha"}, {Type: "generic", Name: "beta"},
		}}},
	}
	if diff := cmp.Diff(want, res, cmp.Comparer(func(a, b oci.Digest) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if res.Layer.Paths.Len() != 7 {
		t.Errorf("got %d paths", res.Layer.Paths.Len())
	}
}

// TestGaps: what an extractor misses is named.
func TestGaps(t *testing.T) {
	small := newWords()
	small.info.Max = 4
	tests := []struct {
		name    string
		x       Extractor
		entries []entry
		found   []string
		gap     inventory.Gap
	}{
		{"fails", newWords(), []entry{{name: "a.words", body: "x\nfail!\ny"}}, []string{"a.words: x"}, inventory.Gap{Path: "a.words", Reason: string(ErrUnreadable)}},
		{"says why", newWords(), []entry{{name: "a.words", body: "reason!"}}, nil, inventory.Gap{Path: "a.words", Reason: "for people"}},
		{"panics", newWords(), []entry{{name: "a.words", body: "x\npanic!"}, {name: "b.words", body: "y"}}, []string{"b.words: y"}, inventory.Gap{Path: "a.words", Reason: string(ErrUnreadable)}},
		{"too large", small, []entry{{name: "a.words", body: "abcde"}, {name: "b.words", body: "abcd"}}, []string{"b.words: abcd"}, inventory.Gap{Path: "a.words", Reason: "larger than 0 MiB"}},
		{"control characters", newWords(), []entry{{name: "a.words", body: "x\na\x01b"}}, []string{"a.words: x"}, inventory.Gap{Path: "a.words", Reason: "a package without a name, or with one that is not text"}},
		{"hard link to what was not looked at", newWords(), []entry{{name: "a", body: "x"}, {name: "a.words", hard: "a"}}, nil, inventory.Gap{Path: "a.words", Reason: "a hard link to a file that was not looked into under this name"}},
		{"database behind a link", newWords(), []entry{{name: "db/main.words", link: "../opt/my"}}, nil, inventory.Gap{Path: "db/main.words", Reason: "a package database behind a symbolic link"}},
		{"folder of the database behind a link", newWords(), []entry{{name: "var/db", link: "/opt"}}, nil, inventory.Gap{Path: "var/db", Reason: "a package database behind a symbolic link"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := analyse(t, newTestAnalyzer(t, tt.x), pack(t, tt.entries...))
			if diff := cmp.Diff(tt.found, found(res)); diff != "" {
				t.Error(diff)
			}
			tt.gap.Extractor = "words"
			want := inventory.Coverage{State: inventory.CoveragePartial, Gaps: []inventory.Gap{tt.gap}}
			if diff := cmp.Diff(want, res.Layer.Coverage); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSecondNames: links that need no gap.
func TestSecondNames(t *testing.T) {
	res := analyse(t, newTestAnalyzer(t, newWords()), pack(t,
		entry{name: "a.words", body: "x"}, entry{name: "b.words", hard: "a.words"}, entry{name: "c.words", hard: "b.words"},
		entry{name: "d.txt", hard: "a.words"}, entry{name: "db", link: "var/db"}, entry{name: "x.words", link: "a.words"},
		entry{name: "etc/my-os-release", body: "ID=alpine"}, entry{name: "etc/os-release", hard: "etc/my-os-release"},
	))
	if diff := cmp.Diff([]string{"a.words: x", "b.words: x", "c.words: x"}, found(res)); diff != "" {
		t.Error(diff)
	}
	if res.Layer.Coverage.State != inventory.CoverageFull {
		t.Errorf("got %+v", res.Layer.Coverage)
	}
	releases := 0
	for _, f := range res.Layer.Files {
		if f.Distro != nil && f.Distro.ID == "alpine" {
			releases++
		}
	}
	if releases != 2 {
		t.Errorf("got %d os-release files, want 2", releases)
	}
}

// TestLastEntryStays: of two entries at one path, and the layer is ambiguous.
func TestLastEntryStays(t *testing.T) {
	res := analyse(t, newTestAnalyzer(t, newWords()), pack(t,
		entry{name: "a.words", body: "old"}, entry{name: "a.words", body: "new"},
		entry{name: "b.words", body: "old"}, entry{name: "b.words", link: "x"},
	))
	if diff := cmp.Diff([]string{"a.words: new"}, found(res)); diff != "" {
		t.Error(diff)
	}
	if len(res.Sets) != 1 || res.Layer.Coverage.State != inventory.CoverageAmbiguous {
		t.Errorf("got %d sets, %+v", len(res.Sets), res.Layer.Coverage)
	}
}

// TestLargeFiles go through the disk, and leave nothing there.
func TestLargeFiles(t *testing.T) {
	dir := t.TempDir()
	a := New(Options{Extractors: []Extractor{newWords()}, TempDir: dir, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	long := strings.Repeat("w", 4000)
	body := strings.Repeat(long+"\n", 1200) + "last\n"
	blob := pack(t, entry{name: "a.words", body: body}, entry{name: "b.words", body: "x"})
	if diff := cmp.Diff([]string{"a.words: last", "a.words: " + long, "b.words: x"}, found(analyse(t, a, blob))); diff != "" {
		t.Error(diff)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	os.RemoveAll(dir)
	if _, err := a.Layer(context.Background(), bytes.NewReader(blob)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v without a folder for large files, want an error of ours", err)
	}
	cut := analyse(t, newTestAnalyzer(t, newWords()), blob[:3<<20])
	if len(cut.Layer.Files) > 0 || cut.Layer.Coverage.State != inventory.CoverageAmbiguous {
		t.Errorf("of a file cut short: got %v, %+v", cut.Layer.Files, cut.Layer.Coverage)
	}
}

func TestNotLayer(t *testing.T) {
	res := analyse(t, newTestAnalyzer(t), []byte(`{"architecture":"amd64"}`))
	if !res.NotLayer {
		t.Errorf("got %+v", res)
	}
}

func TestReaderErrors(t *testing.T) {
	gone := errors.New("gone")
	r := struct {
		io.Reader
		io.Seeker
	}{Reader: io.MultiReader(bytes.NewReader(pack(t, entry{name: "a.words", body: "x"})[:700]), iotest.ErrReader(gone))}
	if _, err := newTestAnalyzer(t, newWords()).Layer(context.Background(), r); !errors.Is(err, gone) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

// slowly waits for the end of its context.
type slowly struct{ words }

func (slowly) Extract(ctx context.Context, _ *File) ([]inventory.Package, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := newTestAnalyzer(t, slowly{newWords()}).Layer(ctx, bytes.NewReader(pack(t, entry{name: "a.words", body: "x"})))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// lists is a Claimer of *.list files.
type lists struct{}

func (lists) Info() Info                            { return Info{Name: "lists", Version: "1", Max: 1 << 20} }
func (lists) Wants(path string, _ fs.FileMode) bool { return strings.HasSuffix(path, ".list") }
func (lists) Claims(_ context.Context, f *File, claim func(string)) error {
	b, err := f.Bytes()
	for line := range strings.Lines(string(b)) {
		claim(strings.TrimSpace(line))
	}
	return err
}

func TestOwned(t *testing.T) {
	a := New(Options{
		Extractors: []Extractor{newWords()}, Claimers: []Claimer{lists{}},
		TempDir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	res := analyse(t, a, pack(t,
		entry{name: "usr/lib/a.words", body: "a"}, entry{name: "usr/b.words", body: "b"}, entry{name: "c.words", body: "c"},
		entry{name: "x.list", body: "/lib/a.words\n/usr/b.words\n/usr\n"},
	))
	owned := map[string]bool{}
	for _, f := range res.Layer.Files {
		owned[f.Path] = f.Owned
	}
	if diff := cmp.Diff(map[string]bool{"usr/lib/a.words": true, "usr/b.words": true, "c.words": false}, owned); diff != "" {
		t.Error(diff)
	}
}

func TestNewRefusesTwins(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("two extractors of one name are taken")
		}
	}()
	newTestAnalyzer(t, newWords(), newWords())
}

// unsearched is how far an analyzer without a searcher looks for secrets.
var unsearched = inventory.Coverage{State: inventory.CoverageNone, Gaps: []inventory.Gap{{Reason: notSearched}}}
