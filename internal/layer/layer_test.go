package layer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// A file is an entry to write with archive/tar; names ending in / are
// directories, those with a target links.
type file struct {
	name, body, symlink, hardlink string
}

// pack writes a tar with its end marker.
func pack(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(f.body))}
		switch {
		case f.symlink != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.symlink
		case f.hardlink != "":
			h.Typeflag, h.Linkname = tar.TypeLink, f.hardlink
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(b)
	_ = w.Close() // memory takes all
	return buf.Bytes()
}

func zst(t testing.TB, b []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf, o...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func options() Options {
	return Options{Now: func() time.Time { return time.Time{} }}
}

// seen is an entry as a visitor saw it.
type seen struct {
	Path   string
	Kind   Kind
	Target string
	Body   string
}

func walkAll(r io.Reader, o Options) (*Summary, []seen, error) {
	var all []seen
	sum, err := Walk(context.Background(), r, o, func(e *Entry) error {
		s := seen{Path: e.Path, Kind: e.Kind, Target: e.Target}
		if e.Body != nil {
			b, err := io.ReadAll(e.Body)
			if err == nil && int64(len(b)) != e.Size {
				return fmt.Errorf("%s has %d bytes, said to be %d", e.Path, len(b), e.Size)
			}
			s.Body = string(b)
		}
		all = append(all, s)
		return nil
	})
	return sum, all, err
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

var plainFiles = []file{
	{name: "./"}, {name: "etc/"}, {name: "etc/os-release", body: "ID=debian\n"},
	{name: "lib", symlink: "usr/lib"}, {name: "usr/"}, {name: "usr/lib/"},
	{name: "usr/lib/a.so", body: strings.Repeat("elf", 100_000)},
	{name: "usr/lib/b.so", hardlink: "usr/lib/a.so"},
	{name: strings.Repeat("long/", 50) + "näme", body: "x"},
	{name: "etc/.wh.gone"}, {name: "etc/.wh..wh..opq"},
}

func TestWalk(t *testing.T) {
	raw := pack(t, plainFiles...)
	half := len(raw) / 2
	tests := []struct {
		name, compression string
		blob              []byte
	}{
		{"plain", "", raw},
		{"gzip", "gzip", gz(raw)},
		{"gzip members", "gzip", concat(gz(raw[:half]), gz(nil), gz(raw[half:]))},
		{"zstd", "zstd", zst(t, raw)},
		{"zstd frames", "zstd", concat([]byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9}, zst(t, raw[:half]), zst(t, raw[half:]))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sum, entries, err := walkAll(iotest.OneByteReader(bytes.NewReader(tt.blob)), options())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(inventory.Coverage{State: inventory.CoverageFull}, sum.Gaps.Coverage()); diff != "" {
				t.Error(diff)
			}
			if want := oci.FromBytes(raw); sum.DiffID != want || sum.Compression != tt.compression {
				t.Errorf("got %v %q, want %v %q", sum.DiffID, sum.Compression, want, tt.compression)
			}
			if sum.Size != int64(len(tt.blob)) || sum.Uncompressed != int64(len(raw)) || sum.Entries != len(plainFiles) {
				t.Errorf("got %d bytes, %d uncompressed, %d entries", sum.Size, sum.Uncompressed, sum.Entries)
			}
			checkPlain(t, sum, entries)
		})
	}
}

func checkPlain(t *testing.T, sum *Summary, entries []seen) {
	t.Helper()
	long := strings.Repeat("long/", 50)
	want := []seen{
		{Kind: Directory}, {Path: "etc", Kind: Directory}, {Path: "etc/os-release", Kind: Regular, Body: "ID=debian\n"},
		{Path: "lib", Kind: Symlink, Target: "usr/lib"}, {Path: "usr", Kind: Directory}, {Path: "usr/lib", Kind: Directory},
		{Path: "usr/lib/a.so", Kind: Regular, Body: strings.Repeat("elf", 100_000)},
		{Path: "usr/lib/b.so", Kind: Hardlink, Target: "usr/lib/a.so"},
		{Path: long + "näme", Kind: Regular, Body: "x"},
	}
	if diff := cmp.Diff(want[1:], entries[1:]); diff != "" {
		t.Error(diff)
	}
	if len(sum.Parents) != 50 || sum.Parents[0] != "long" {
		t.Errorf("got parents %q", sum.Parents)
	}
	if diff := cmp.Diff([]string{"etc/gone"}, sum.Whiteouts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"etc"}, sum.Opaque); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]inventory.Link{{Path: "lib", Target: "usr/lib"}}, sum.Links); diff != "" {
		t.Error(diff)
	}
	marks := map[string]inventory.PathMark{
		"": inventory.MarkDir, "etc": inventory.MarkDir | inventory.MarkOpaque, "etc/gone": inventory.MarkRemoved,
		"lib": inventory.MarkFile | inventory.MarkLink, "usr/lib/b.so": inventory.MarkFile, "long": inventory.MarkParent,
		"etc/.wh.gone": 0, "nothing": 0,
	}
	for path, want := range marks {
		if got := sum.Paths.Marks(inventory.KeyOf(path)); got != want {
			t.Errorf("marks of %q: got %b, want %b", path, got, want)
		}
	}
	if !sum.Paths.Valid() {
		t.Error("paths are not sorted")
	}
}

// TestNotLayer: what is no layer is found out from the first bytes.
func TestNotLayer(t *testing.T) {
	tests := map[string][]byte{
		"empty":           nil,
		"config":          []byte(`{"architecture":"amd64"}`),
		"long json":       bytes.Repeat([]byte(`{"a":"b"}`), 10_000),
		"gzip of text":    gz([]byte("apiVersion: v1")),
		"gzip of json":    gz(bytes.Repeat([]byte(`{"a":"b"}`), 100_000)),
		"cut gzip header": {0x1f, 0x8b, 8, 0},
		"cut gzip":        gz(pack(t, plainFiles...))[:40],
		"zstd of text":    zst(t, bytes.Repeat([]byte("text "), 1000)),
		"zstd magic only": {0x28, 0xb5, 0x2f, 0xfd},
		"elf":             concat([]byte("\x7fELF\x02\x01\x01"), make([]byte, 2000)),
	}
	for name, blob := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := walkAll(bytes.NewReader(blob), options()); !errors.Is(err, ErrNotLayer) {
				t.Errorf("got %v, want ErrNotLayer", err)
			}
		})
	}
}

// TestReadErrors: an error of the reader is an error of Walk, wherever it comes.
func TestReadErrors(t *testing.T) {
	gone := errors.New("upload is gone")
	for _, blob := range [][]byte{pack(t, plainFiles...), gz(pack(t, plainFiles...)), zst(t, pack(t, plainFiles...))} {
		for _, n := range []int{0, 1, 300, len(blob) / 2, len(blob) - 1, len(blob)} {
			r := io.MultiReader(bytes.NewReader(blob[:n]), iotest.ErrReader(gone))
			if sum, _, err := walkAll(r, options()); !errors.Is(err, gone) || sum != nil {
				t.Errorf("after %d of %d bytes: got %v", n, len(blob), err)
			}
		}
	}
}

func TestVisitorAndContextErrors(t *testing.T) {
	stop := errors.New("stop")
	blob := gz(pack(t, plainFiles...))
	_, err := Walk(context.Background(), bytes.NewReader(blob), options(), func(*Entry) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("got %v, want the visitor's error", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	pr, pw := io.Pipe()
	context.AfterFunc(ctx, func() { pw.CloseWithError(context.Cause(ctx)) })
	if _, err := Walk(ctx, pr, options(), func(*Entry) error { return nil }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the cause of the cancellation", err)
	}
}

func gapOf(t *testing.T, blob []byte, o Options) (*Summary, inventory.Coverage) {
	t.Helper()
	sum, _, err := walkAll(bytes.NewReader(blob), o)
	if err != nil {
		t.Fatal(err)
	}
	return sum, sum.Gaps.Coverage()
}

func TestBudgets(t *testing.T) {
	raw := pack(t, file{name: "a/b/c", body: strings.Repeat("x", 4000)}, file{name: "d"}, file{name: "e"})
	ticks := time.Time{}
	tests := []struct {
		name   string
		change func(*Options)
		blob   []byte
		why    reason
		whole  bool // the diff_id is known all the same
	}{
		{"bytes", func(o *Options) { o.Budget.Uncompressed = 3000 }, gz(raw), overBytes, false},
		{"bytes of zstd", func(o *Options) { o.Budget.Uncompressed = 3000 }, zst(t, raw), overBytes, false},
		{"ratio", func(o *Options) { o.Budget.Ratio, o.Budget.RatioFrom = 10, 1000 }, gz(raw), overRatio, false},
		{"entries", func(o *Options) { o.Budget.Entries = 2 }, gz(raw), overEntries, true},
		{"path", func(o *Options) { o.Budget.PathBytes = 4 }, gz(raw), overPath, true},
		{"depth", func(o *Options) { o.Budget.PathDepth = 2 }, gz(raw), overPath, true},
		{"names", func(o *Options) { o.Budget.Names = 3 }, gz(raw), overNames, true},
		{"time", func(o *Options) {
			o.Budget.Time = time.Second
			o.Now = func() time.Time { ticks = ticks.Add(time.Minute); return ticks }
		}, raw[:1024], overTime, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			o.Budget = Standard()
			tt.change(&o)
			sum, c := gapOf(t, tt.blob, o)
			wantGap(t, c, tt.why)
			if !sum.DiffID.IsZero() != tt.whole {
				t.Errorf("got diff_id %q", sum.DiffID)
			}
			if tt.whole && sum.DiffID != oci.FromBytes(raw) {
				t.Error("wrong diff_id")
			}
		})
	}
}

// TestWindow: a zstd window beyond the budget is refused before it is allocated.
func TestWindow(t *testing.T) {
	o := options()
	o.Budget = Standard()
	o.Budget.Window = 1 << 20
	big := pack(t, file{name: "a", body: strings.Repeat("0123456789", 1<<20)})
	_, c := gapOf(t, zst(t, big, zstd.WithWindowSize(8<<20)), o)
	wantGap(t, c, overWindow)
	if c.State != inventory.CoverageNone {
		t.Errorf("got %s, want none", c.State)
	}
}

func wantGap(t *testing.T, c inventory.Coverage, why reason) {
	t.Helper()
	if c.State.Worse(why.state) != c.State {
		t.Errorf("coverage is %s, want %s or worse", c.State, why.state)
	}
	for _, g := range c.Gaps {
		if g.Reason == why.text {
			return
		}
	}
	t.Errorf("got %+v, want %q", c, why.text)
}

// TestOddStreams: what is wrong around the tar.
func TestOddStreams(t *testing.T) {
	raw := pack(t, plainFiles...)
	noEnd := raw[:len(raw)-1024]
	tests := []struct {
		name  string
		blob  []byte
		why   reason
		whole bool
	}{
		{"text after gzip", concat(gz(raw), []byte("hello")), trailingGzip, true},
		{"zeros after gzip", concat(gz(raw), make([]byte, 512)), trailingGzip, true},
		{"false member after gzip", concat(gz(raw), []byte{0x1f, 0x8b, 8, 0xe0, 0, 0, 0, 0, 0, 0, 0}), trailingGzip, true},
		{"cut gzip", gz(raw)[:len(gz(raw))-4], damagedGzip, false},
		{"cut second member", concat(gz(raw), gz(raw)[:30]), damagedGzip, false},
		{"wrong gzip checksum", flip(gz(raw), -5), damagedGzip, false},
		{"text after zstd", concat(zst(t, raw), []byte("hello")), trailingZstd, true},
		{"cut zstd", zst(t, raw)[:len(zst(t, raw))-4], damagedZstd, false},
		{"data after the end", concat(raw, []byte("x")), trailingTar, true},
		{"second tar after the end", gz(concat(raw, raw)), trailingTar, true},
		{"second tar in a second member", concat(gz(raw), gz(raw)), trailingTar, true},
		{"lone zero block", concat(noEnd, make([]byte, 512), raw), trailingTar, true},
		{"cut inside a header", raw[:512+100], truncatedTar, true},
		{"cut inside content", noEnd[:len(noEnd)-700], truncatedTar, true},
		{"garbage for a header", concat(noEnd, bytes.Repeat([]byte("garbage!"), 64)), damagedHeader, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sum, c := gapOf(t, tt.blob, options())
			wantGap(t, c, tt.why)
			if !sum.DiffID.IsZero() != tt.whole {
				t.Errorf("got diff_id %q", sum.DiffID)
			}
		})
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[len(b)+at] ^= 0x40
	return b
}

// TestEnds: ends that all readers take for ends.
func TestEnds(t *testing.T) {
	raw := pack(t, plainFiles...)
	noEnd := raw[:len(raw)-1024]
	for name, blob := range map[string][]byte{
		"no marker": noEnd, "half a marker": concat(noEnd, make([]byte, 512)),
		"tape block": concat(raw, make([]byte, 9000)), "nothing but a marker": make([]byte, 1024),
		"gzip of nothing": gz(nil), "gzip of a marker": gz(make([]byte, 1024)),
	} {
		sum, c := gapOf(t, blob, options())
		if c.State != inventory.CoverageFull || sum.DiffID.IsZero() {
			t.Errorf("%s: got %+v, diff_id %q", name, c, sum.DiffID)
		}
	}
}

func TestDiffIDIsThatOfTheStream(t *testing.T) {
	raw := concat(pack(t, plainFiles...), []byte("after the end"))
	sum, _ := gapOf(t, gz(raw), options())
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(raw)); sum.DiffID.String() != want {
		t.Errorf("got %s, want %s", sum.DiffID, want)
	}
}
