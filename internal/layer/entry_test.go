package layer

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/layer/toc"
)

// raw builds a tar block by block.
type raw struct{ b []byte }

// head adds a ustar header; change may spoil it before the checksum is made.
func (r *raw) head(typ byte, name, link string, size int, change ...func(*block)) *raw {
	var b block
	copy(b[0:], name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00%011o\x00", size, 0))
	b[156] = typ
	copy(b[157:], link)
	copy(b[257:], magicUSTAR)
	for _, c := range change {
		c(&b)
	}
	sum(&b)
	r.b = append(r.b, b[:]...)
	return r
}

func sum(b *block) {
	copy(b[148:], "        ")
	n := 0
	for _, c := range b {
		n += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", n))
}

// data adds content, padded.
func (r *raw) data(s string) *raw {
	r.b = append(r.b, s...)
	r.b = append(r.b, make([]byte, -len(s)&(blockSize-1))...)
	return r
}

func (r *raw) file(name, body string) *raw { return r.head('0', name, "", len(body)).data(body) }

// ext adds an extended header.
func (r *raw) ext(typ byte, data string) *raw { return r.head(typ, "ext", "", len(data)).data(data) }

func (r *raw) end() []byte { return append(r.b, make([]byte, 1024)...) }

// record writes a PAX record.
func record(key, value string) string {
	n := len(key) + len(value) + 3
	for len(fmt.Sprint(n))+len(key)+len(value)+3 != n {
		n++
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

func gnu(b *block) { copy(b[257:], magicGNU) }

func set(at int, s string) func(*block) { return func(b *block) { copy(b[at:], s) } }

// TestOddEntries: every reason why an entry makes a layer ambiguous, and what
// is seen of the layer nevertheless.
func TestOddEntries(t *testing.T) {
	tests := []struct {
		name  string
		blob  *raw
		why   reason
		paths []string // visited
	}{
		{"malformed mode", new(raw).head('0', "a", "", 0, set(100, "0x64\x00")), oddNumber, []string{"a"}},
		{"mode with junk behind it", new(raw).head('0', "a", "", 0, set(100, "0644\x00zz")), oddNumber, []string{"a"}},
		{"malformed size", new(raw).file("z", "").head('0', "a", "", 0, set(124, "size")).file("b", ""), damagedHeader, []string{"z"}},
		{"negative size", new(raw).file("z", "").head('0', "a", "", 0, set(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe")), damagedHeader, []string{"z"}},
		{"huge size", new(raw).head('0', "a", "", 0, set(124, "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")), truncatedTar, []string{"a"}},
		{"unknown magic", new(raw).head('0', "a", "", 0, set(257, "ustar 00")), oddMagic, []string{"a"}},
		{"star's prefix", new(raw).head('0', "a", "", 0, set(345, "pre"), set(508, "tar\x00")), oddMagic, []string{"pre/a"}},
		{"prefix in the GNU form", new(raw).head('0', "a", "", 0, gnu, set(345, "pre")), oddMagic, []string{"pre/a"}},
		{"directory with a size", new(raw).head('5', "a/", "", 1).file("b", ""), oddSize, []string{"a", "b"}},
		{"hard link with a size", new(raw).file("a", "x").head('1', "b", "a", 1), oddSize, []string{"a", "b"}},
		{"contiguous file", new(raw).head('7', "a", "", 1).data("x").file("b", ""), oddType, []string{"a", "b"}},
		{"unknown type", new(raw).head('V', "a", "", 1).data("x").file("b", ""), oddType, []string{"a", "b"}},
		{"file with a slash", new(raw).file("a/", ""), slashFile, []string{"a"}},
		{"no name", new(raw).file("", "x").file("b", ""), oddName, []string{"b"}},
		{"sparse", new(raw).head('S', "a", "", 1, gnu, set(482, "\x01")).data("\x00").data("x").file("b", ""), sparseFile, []string{"a", "b"}},
		{"sparse PAX", new(raw).ext('x', record("GNU.sparse.major", "1")).file("a", ""), sparseFile, []string{"a"}},
		{"malformed record", new(raw).ext('x', "8 path=x\n").file("a", ""), paxMalformed, []string{"a"}},
		{"record without key", new(raw).ext('x', "5 =x\n").file("a", ""), paxMalformed, []string{"a"}},
		{"record longer than the header", new(raw).ext('x', "99 path=x\n").file("a", ""), paxMalformed, []string{"a"}},
		{"empty path", new(raw).ext('x', record("path", "")).file("a", ""), paxMalformed, []string{"a"}},
		{"NUL in path", new(raw).ext('x', record("path", "b\x00c")).file("a", ""), paxMalformed, []string{"a"}},
		{"bad size", new(raw).ext('x', record("size", "-1")).file("a", ""), paxMalformed, []string{"a"}},
		{"bad owner", new(raw).ext('x', record("uid", "root")).file("a", ""), paxMalformed, []string{"a"}},
		{"two PAX headers", new(raw).ext('x', record("path", "b")).ext('x', record("mtime", "1")).file("a", ""), paxTwice, []string{"a"}},
		{"path twice", new(raw).ext('x', record("path", "b")+record("path", "c")).file("a", ""), paxTwice, []string{"c"}},
		{"PAX and GNU path", new(raw).ext('x', record("path", "b")).ext('L', "c\x00").file("a", ""), paxTwice, []string{"c"}},
		{"two long names", new(raw).ext('L', "b\x00").ext('L', "c\x00").file("a", ""), paxTwice, []string{"c"}},
		{"long name with a tail", new(raw).ext('L', "b\x00c\x00").file("a", ""), oddName, []string{"b"}},
		{"extended header at the end", new(raw).file("a", "").ext('L', "b\x00"), paxAlone, []string{"a"}},
		{"odd extended header at the end", new(raw).file("a", "").head('g', "", "", 0, set(136, "x")), oddNumber, []string{"a"}},
		{"global path", new(raw).ext('g', record("path", "b")).file("a", ""), paxGlobal, []string{"a"}},
		{"global between", new(raw).ext('x', record("path", "b")).ext('g', record("comment", "b")).file("a", ""), paxTwice, []string{"a"}},
		{"two sizes", new(raw).ext('x', record("size", "1")).head('0', "a", "", 512).data("x").file("b", ""), paxSize, []string{"a", "b"}},
		{"overlay attribute", new(raw).ext('x', record("SCHILY.xattr.trusted.overlay.opaque", "y")).head('5', "a", "", 0), overlayXattr, []string{"a"}},
		{"large extended header", new(raw).file("a", "").head('x', "ext", "", 2<<20).data("x"), overHeader, []string{"a"}},
		{"dot dot", new(raw).file("../../a", "").file("b/../c", ""), dotDot, []string{"a", "c"}},
		{"twice", new(raw).file("a", "1").file("./a", "2"), duplicate, []string{"a", "a"}},
		{"twice after cleaning", new(raw).file("a//b", "1").file("/a/./b", "2"), duplicate, []string{"a/b", "a/b"}},
		{"directory over a file", new(raw).file("a", "").head('5', "a", "", 0), duplicate, []string{"a", "a"}},
		{"file over a directory", new(raw).head('5', "a", "", 0).file("a", ""), dirAfterEntries, []string{"a", "a"}},
		{"link over a parent", new(raw).file("a/b", "").head('2', "a", "c", 0), dirAfterEntries, []string{"a/b", "a"}},
		{"below a file", new(raw).file("a", "").file("a/b", ""), belowFile, []string{"a", "a/b"}},
		{"through a link", new(raw).head('2', "lib", "usr/lib", 0).file("lib/x/y", ""), throughLink, []string{"lib", "usr/lib/x/y"}},
		{"through an absolute link", new(raw).head('2', "a/lib", "/usr/lib", 0).file("a/lib/y", ""), throughLink, []string{"a/lib", "usr/lib/y"}},
		{"through a link upwards", new(raw).head('2', "a/lib", "../../../b", 0).file("a/lib/y", ""), throughLink, []string{"a/lib", "b/y"}},
		{"in a circle", new(raw).head('2', "a", "b", 0).head('2', "b", "a", 0).file("a/y", ""), linkLoop, []string{"a", "b"}},
		{"hard link to nothing", new(raw).head('1', "a", "etc/passwd", 0), outsideLink, []string{"a"}},
		{"hard link to a directory", new(raw).head('5', "d", "", 0).head('1', "a", "d", 0), outsideLink, []string{"d", "a"}},
		{"hard link with dot dot", new(raw).file("x", "").head('1', "a", "../x", 0), dotDot, []string{"x", "a"}},
		{"late whiteout", new(raw).file("a", "").file(".wh.a", ""), lateWhiteout, []string{"a"}},
		{"late whiteout of a directory", new(raw).file("a/b", "").file(".wh.a", ""), lateWhiteout, []string{"a/b"}},
		{"whiteout of nothing", new(raw).file("a/.wh.", ""), oddWhiteout, nil},
		{"whiteout of the parent", new(raw).file("a/.wh...", ""), oddWhiteout, nil},
		{"aufs", new(raw).file(".wh..wh.plnk/1.2", "").file(".wh..wh.aufs", ""), oddWhiteout, []string{".wh..wh.plnk/1.2"}},
		{"device 0/0", new(raw).head('3', "a", "", 0), deviceWhiteout, []string{"a"}},
		{"root as a file", new(raw).file(".", "").file("b", ""), oddRoot, []string{"b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, paths := visited(t, tt.blob.end())
			wantGap(t, c, tt.why)
			if diff := cmp.Diff(tt.paths, paths); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func visited(t *testing.T, blob []byte) (inventory.Coverage, []string) {
	t.Helper()
	sum, entries, err := walkAll(newBytes(blob), options())
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range entries {
		paths = append(paths, e.Path)
	}
	return sum.Gaps.Coverage(), paths
}

// TestPlainEntries: what looks odd but all unpackers read alike.
func TestPlainEntries(t *testing.T) {
	tests := []struct {
		name  string
		blob  *raw
		paths []string
	}{
		{"absolute names", new(raw).file("/ko-app/x", "").head('5', "/ko-app/", "", 0), []string{"ko-app/x", "ko-app"}},
		{"leading dot", new(raw).head('5', "./", "", 0).file("./a", ""), []string{"", "a"}},
		{"directories twice", new(raw).head('5', "a", "", 0).head('5', "a/", "", 0), []string{"a", "a"}},
		{"v7", new(raw).head(0, "a", "", 1, set(257, "\x00\x00\x00\x00\x00\x00\x00\x00")).data("x").head(0, "b/", "", 0), []string{"a", "b"}},
		{"version forgotten", new(raw).head('0', "a", "", 0, set(263, "\x00\x00")), []string{"a"}},
		{"GNU with times", new(raw).head('0', "a", "", 0, gnu, set(345, "14766072021\x0014766072021\x00")), []string{"a"}},
		{"spaces before numbers", new(raw).head('0', "a", "", 0, set(100, "   644 \x00")), []string{"a"}},
		{"base-256 size", new(raw).head('0', "a", "", 0, set(124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")).data("x").file("b", ""), []string{"a", "b"}},
		{"comment of git archive", new(raw).ext('g', record("comment", "23ba46c")).file("a", ""), []string{"a"}},
		{"size in both places", new(raw).ext('x', record("size", "1")).head('0', "a", "", 1).data("x").file("b", ""), []string{"a", "b"}},
		{"long PAX name", new(raw).ext('x', record("path", "a/b")+record("SCHILY.xattr.user.overlay.origin", "x")).file("short", ""), []string{"a/b"}},
		{"name that is no UTF-8", new(raw).file("a\xff", ""), []string{"a\xff"}},
		{"whiteout before its file", new(raw).file(".wh.a", "").file("a", ""), []string{"a"}},
		{"opaque after its file", new(raw).file("d/a", "").file("d/.wh..wh..opq", ""), []string{"d/a"}},
		{"device", new(raw).head('3', "a", "", 0, set(329, "0000001\x00")), []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, paths := visited(t, tt.blob.end())
			if c.State != inventory.CoverageFull {
				t.Errorf("got %+v", c)
			}
			if diff := cmp.Diff(tt.paths, paths); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHeader: what the header says is told, and extended headers stand above it.
func TestHeader(t *testing.T) {
	blob := new(raw).head('2', "a", "./b", 0, set(100, "0104755\x00"), set(108, "0000007\x00")).
		ext('x', record("gid", "3000000")+record("SCHILY.xattr.user.x", "y")+record("linkpath", "c")).head('1', "d", "", 0).
		head('3', "e", "", 0, set(329, "0000005\x00"), set(337, "0000001\x00")).end()
	var got []Header
	sum, err := Walk(t.Context(), iotest.OneByteReader(newBytes(blob)), options(), func(e *Entry) error {
		got = append(got, e.Header)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Header{
		{Type: '2', Mode: 0o104755, UID: 7, Link: "./b"},
		{Type: '1', Mode: 0o644, GID: 3000000, Link: "c", Xattrs: map[string]string{"user.x": "y"}},
		{Type: '3', Mode: 0o644, Major: 5, Minor: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(sum.Tail, blob[len(blob)-toc.TailSize:]) {
		t.Errorf("the end is %x", sum.Tail)
	}
}

func TestHardLinkToSymlink(t *testing.T) {
	blob := new(raw).head('2', "a", "target", 0).head('1', "b", "a", 0).end()
	sum, entries, err := walkAll(newBytes(blob), options())
	if err != nil {
		t.Fatal(err)
	}
	if want := (seen{Path: "b", Kind: Symlink, Target: "target"}); !slices.Contains(entries, want) {
		t.Errorf("got %+v", entries)
	}
	if len(sum.Links) != 2 {
		t.Errorf("got links %+v", sum.Links)
	}
}

func TestClean(t *testing.T) {
	tests := []struct {
		name, want string
		up         bool
	}{
		{"", "", false}, {".", "", false}, {"./", "", false}, {"/", "", false}, {"..", "", true},
		{"a", "a", false}, {"a/", "a", false}, {"./a/b", "a/b", false}, {"/a/b", "a/b", false},
		{"a//b", "a/b", false}, {"a/./b/.", "a/b", false}, {"a/../b", "b", true}, {"../../x", "x", true},
		{"...", "...", false}, {"a..b/..c", "a..b/..c", false}, {"././a", "a", false},
	}
	for _, tt := range tests {
		got, up := clean(tt.name)
		if got != tt.want || up != tt.up {
			t.Errorf("clean(%q) = %q, %v, want %q, %v", tt.name, got, up, tt.want, tt.up)
		}
	}
}
