package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/inventory"
)

func newBytes(b []byte) *bytes.Reader { return bytes.NewReader(b) }

// FuzzWalk: whatever the bytes, Walk ends without a panic and says something
// consistent; and when it says that a plain tar is covered fully, Go's own
// reader sees the same entries with the same content.
func FuzzWalk(f *testing.F) {
	plain := pack(f, plainFiles...)
	f.Add(plain)
	f.Add(gz(plain))
	f.Add(zst(f, plain[:3000]))
	f.Add(concat(gz(plain[:5000]), gz(plain[5000:])))
	f.Add(new(raw).ext('x', record("path", "b")+record("size", "1")).head('0', "a", "", 1).data("x").end())
	f.Add(new(raw).ext('L', "b\x00").head('S', "a", "", 1, gnu, set(482, "\x01")).data("\x00").data("x").end())
	f.Add(new(raw).head('2', "a", "b", 0).file("a/y", "").file(".wh.a", "").head('1', "c", "b/y", 0).end())
	f.Fuzz(func(t *testing.T, blob []byte) {
		o := options()
		o.Budget = Standard()
		o.Budget.Uncompressed, o.Budget.Entries, o.Budget.Window = 16<<20, 1000, 1<<20
		sum, entries, err := walkAll(newBytes(blob), o)
		if err != nil {
			if !errors.Is(err, ErrNotLayer) {
				t.Fatalf("got %v, which is neither a result nor ErrNotLayer", err)
			}
			return
		}
		if !sum.Paths.Valid() {
			t.Error("paths are not sorted")
		}
		if !sum.DiffID.IsZero() && sum.Size != int64(len(blob)) {
			t.Errorf("took %d of %d bytes", sum.Size, len(blob))
		}
		if sum.Compression == "" && sum.Gaps.Coverage().State == inventory.CoverageFull {
			compareWithGo(t, blob, entries)
		}
	})
}

func compareWithGo(t *testing.T, blob []byte, got []seen) {
	t.Helper()
	want, err := readWithGo(blob)
	if err != nil {
		t.Fatalf("covered fully, but archive/tar says %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("archive/tar sees otherwise:\n%s", diff)
	}
}

// readWithGo lists the entries of a tar as TestWalk's visitor does.
func readWithGo(blob []byte) (all []seen, err error) {
	links := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(blob)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		path, _ := clean(h.Name)
		s := seen{Path: path, Kind: kindWithGo(h.Typeflag)}
		switch s.Kind {
		case Regular:
			b, err := io.ReadAll(r)
			if err != nil {
				return nil, err
			}
			s.Body = string(b)
		case Symlink:
			s.Target = h.Linkname
			links[path] = h.Linkname
		case Hardlink:
			s.Target, _ = clean(h.Linkname)
			if target, ok := links[s.Target]; ok {
				s.Kind, s.Target, links[path] = Symlink, target, target
			}
		}
		if _, base := split(path); len(base) < 4 || base[:4] != whiteoutPrefix {
			all = append(all, s)
		}
	}
}

func kindWithGo(typ byte) Kind {
	switch typ {
	case tar.TypeReg:
		return Regular
	case tar.TypeDir:
		return Directory
	case tar.TypeSymlink:
		return Symlink
	case tar.TypeLink:
		return Hardlink
	}
	return Other
}

// FuzzHeaders is FuzzWalk past the checksums: they are made right in every
// block that asks for it with "CS" in the place of one.
func FuzzHeaders(f *testing.F) {
	for _, seed := range []*raw{
		new(raw).file("a", "x").head('5', "b/", "", 0).head('2', "c", "b", 0).head('1', "d", "a", 0),
		new(raw).ext('x', record("path", "b")+record("size", "1")).head('0', "a", "", 1).data("x"),
		new(raw).ext('L', "b\x00").head('0', "a", "", 1, gnu).data("x"),
		new(raw).ext('K', "b\x00").head('2', "a", "", 0, gnu),
		new(raw).head('S', "a", "", 1, gnu, set(482, "\x01")).data("\x00").data("x"),
		new(raw).ext('g', record("comment", "b")).head(0, "a", "", 1, set(257, "\x00\x00\x00\x00\x00\x00\x00\x00")).data("x"),
		new(raw).head('0', "a", "", 1, set(124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"), set(345, "pre")).data("x"),
	} {
		blob := seed.end()
		for i := 0; i < len(blob); i += blockSize {
			if (*block)(blob[i:]).checksumOK() {
				copy(blob[i+148:], "CS")
			}
		}
		f.Add(blob)
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		blob = bytes.Clone(blob)
		for i := 0; i+blockSize <= len(blob); i += blockSize {
			if b := (*block)(blob[i:]); b[148] == 'C' && b[149] == 'S' {
				sum(b)
			}
		}
		s, entries, err := walkAll(newBytes(blob), options())
		if err == nil && s.Compression == "" && s.Gaps.Coverage().State == inventory.CoverageFull {
			compareWithGo(t, blob, entries)
		}
	})
}
