package toc

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/bonded-dev/bonded/internal/oci"
)

// gzipFooter is an empty gzip member with an extra field.
func gzipFooter(t testing.TB, extra string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Extra = []byte(extra)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packedFooter(n int, magic string, offset, size uint64) []byte {
	b := make([]byte, n)
	binary.LittleEndian.PutUint64(b, offset)
	binary.LittleEndian.PutUint64(b[8:], size)
	copy(b[n-len(magic):], magic)
	return b
}

func TestFind(t *testing.T) {
	pad := func(b []byte) []byte { return append(make([]byte, TailSize-len(b)), b...) }
	for name, test := range map[string]struct {
		tail []byte
		want []Place
	}{
		"nothing":       {nil, nil},
		"short":         {[]byte("STARGZ"), nil},
		"stargz":        {pad(gzipFooter(t, "SG\x16\x0000000000000003e7STARGZ")), []Place{{Stargz, 999, 1000 - stargzFooter - 999}}},
		"alone":         {gzipFooter(t, "SG\x16\x00000000000000000aSTARGZ"), []Place{{Stargz, 10, 1000 - stargzFooter - 10}}},
		"legacy":        {pad(gzipFooter(t, "000000000000000aSTARGZ")), []Place{{Stargz, 10, 1000 - legacyFooter - 10}}},
		"elsewhere":     {pad(gzipFooter(t, "SG\x11\x00STARGZEXTERNALTOC")), []Place{{Form: Elsewhere}}},
		"no number":     {pad(gzipFooter(t, "SG\x16\x00zzzzzzzzzzzzzzzzSTARGZ")), nil},
		"other magic":   {pad(gzipFooter(t, "SG\x16\x00000000000000000aSTARGx")), nil},
		"other field":   {pad(gzipFooter(t, "XX\x16\x00000000000000000aSTARGZ")), nil},
		"zstd":          {pad(packedFooter(40, "GnUlInUx", 5, 7)), []Place{{Zstd, 5, 7}}},
		"zstd, new":     {pad(packedFooter(64, "GNUlInUx", 5, 7)), []Place{{Zstd, 5, 7}}},
		"zstd, short":   {packedFooter(40, "GNUlInUx", 5, 7), nil},
		"not at an end": {pad(append(packedFooter(40, "GnUlInUx", 5, 7), 0)), nil},
	} {
		if diff := cmp.Diff(test.want, Find(test.tail, 1000)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// blobOf puts a table at a place of a form.
func blobOf(t testing.TB, form Form, table string) ([]byte, Place) {
	t.Helper()
	var b bytes.Buffer
	if form == Stargz {
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		err := w.WriteHeader(&tar.Header{Name: IndexName, Typeflag: tar.TypeReg, Size: int64(len(table))})
		_, werr := io.WriteString(w, table)
		if err := errors.Join(err, werr, w.Close(), z.Close()); err != nil {
			t.Fatal(err)
		}
	} else {
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		_, werr := io.WriteString(z, table)
		if err := errors.Join(werr, z.Close()); err != nil {
			t.Fatal(err)
		}
	}
	size := int64(b.Len())
	return append([]byte("before"), append(b.Bytes(), "after"...)...), Place{form, 6, size}
}

func readAll(blob []byte, at Place) (all []Entry, digests []oci.Digest, err error) {
	digests, err = Read(bytes.NewReader(blob), at, func(e *Entry) error {
		all = append(all, *e)
		return nil
	})
	return all, digests, err
}

func sum(s string) Sum { return *mustSum(oci.FromBytes([]byte(s)).String()) }

func mustSum(s string) *Sum {
	sum, err := parseSum(s)
	if err != nil {
		panic(err)
	}
	return sum
}

func TestRead(t *testing.T) {
	a, b := oci.FromBytes([]byte("a")).String(), oci.FromBytes([]byte("b")).String()
	table := `{"version":1,"entries":[
		{"name":"./d/","type":"dir","mode":493,"modtime":"2020-01-01T00:00:00Z"},
		{"name":"d/f","type":"reg","size":3,"mode":420,"uid":1,"gid":2,"digest":"` + a + `","offset":9,"chunkSize":1,"chunkDigest":"` + b + `","xattrs":{"user.x":"eQ=="}},
		{"type":"chunk","chunkOffset":1,"chunkDigest":"` + a + `"},
		{"name":"/e","type":"reg"},{"name":"o","type":"reg","size":1,"digest":"` + a + `"},
		{"name":"l","type":"symlink","linkName":"../x","size":4},{"name":"c","type":"char","devMajor":1,"devMinor":3}
	],"tarSplitDigest":"x"}`
	want := []Entry{
		{Name: "d", Type: "dir", Mode: 0o755},
		{Name: "d/f", Type: "reg", Size: 3, Mode: 0o644, UID: 1, GID: 2, Xattrs: map[string]string{"user.x": "y"}, Digest: mustSum(a), Chunks: []Chunk{{Size: 1, Sum: sum("b")}, {Size: 2, Sum: sum("a")}}},
		{Name: "e", Type: "reg"},
		{Name: "o", Type: "reg", Size: 1, Digest: mustSum(a), Chunks: []Chunk{{Size: 1, Sum: sum("a")}}},
		{Name: "l", Type: "symlink", Link: "../x"},
		{Name: "c", Type: "char", Major: 1, Minor: 3},
	}
	for form, digests := range map[Form]int{Stargz: 1, Zstd: 2} {
		blob, at := blobOf(t, form, table)
		got, known, err := readAll(blob, at)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".described" }, cmp.Ignore())); diff != "" {
			t.Error(diff)
		}
		if len(known) != digests || known[0] != oci.FromBytes([]byte(table)) || digests == 2 && known[1] != oci.FromBytes(blob[at.Offset:at.Offset+at.Size]) {
			t.Errorf("form %d: digests %v", form, known)
		}
	}
}

// TestUnreadable: what readers could understand differently, or not at all.
func TestUnreadable(t *testing.T) {
	chunk := `{"name":"f","type":"reg","size":4,"chunkSize":2,"chunkDigest":"` + oci.FromBytes(nil).String() + `"}`
	for name, entries := range map[string]string{
		"no object":             `1`,
		"null":                  `null`,
		"an unknown type":       `{"name":"a","type":"socket"}`,
		"no type":               `{"name":"a"}`,
		"a chunk alone":         `{"type":"chunk","chunkSize":1}`,
		"a chunk of a link":     `{"name":"a","type":"symlink"},{"type":"chunk","chunkSize":1}`,
		"a chunk after the end": `{"name":"f","type":"reg"},{"type":"chunk","chunkOffset":0}`,
		"a chunk too few":       chunk,
		"a chunk that overlaps": chunk + `,{"type":"chunk","chunkOffset":1,"chunkDigest":"` + oci.FromBytes(nil).String() + `"}`,
		"a chunk of another":    chunk + `,{"type":"chunk","name":"g","chunkOffset":2,"chunkDigest":"` + oci.FromBytes(nil).String() + `"}`,
		"a chunk of a kind":     `{"name":"f","type":"reg","size":4,"chunkType":"x","chunkDigest":"` + oci.FromBytes(nil).String() + `"}`,
		"no digest":             `{"name":"f","type":"reg","size":4}`,
		"another digest":        `{"name":"f","type":"reg","size":4,"digest":"md5:00"}`,
		"a size that is none":   `{"name":"f","type":"reg","size":-4}`,
		"a size with a point":   `{"name":"f","type":"reg","size":1.5}`,
		"a key twice":           `{"name":"a","type":"dir","name":"b"}`,
		"an unknown key twice":  `{"name":"a","type":"dir","x":1,"x":2}`,
		"a key by its case":     `{"name":"a","type":"dir","NAME":"b"}`,
		"a key by Unicode":      "{\"name\":\"a\",\"type\":\"dir\",\"lin\u212aName\":\"b\"}",
		"a key with an escape":  `{"name":"a","type":"dir","n\u0061me":"b"}`,
		"an attribute twice":    `{"name":"a","type":"dir","xattrs":{"a":"","a":"YQ=="}}`,
		"attributes as a list":  `{"name":"a","type":"dir","xattrs":[1]}`,
		"an attribute as text":  `{"name":"a","type":"dir","xattrs":{"a":"!"}}`,
		"no UTF-8":              "{\"name\":\"\xff\",\"type\":\"dir\"}",
		"a NUL":                 `{"name":"a\u0000b","type":"dir"}`,
		"upwards":               `{"name":"a/../b","type":"dir"}`,
		"an entry of 5 MiB":     `{"name":"a","type":"dir","x":"` + strings.Repeat("x", 5<<20) + `"}`,
		"too many keys":         `{"name":"a","type":"dir"` + manyKeys(120) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, form := range []Form{Stargz, Zstd} {
				blob, at := blobOf(t, form, `{"entries":[`+entries+`]}`)
				if _, _, err := readAll(blob, at); !errors.Is(err, ErrUnreadable) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	for name, table := range map[string]string{
		"nothing": "", "a list": "[]", "no entries": "{}", "entries twice": `{"entries":[],"entries":[]}`, "entries by case": `{"ENTRIES":[],"entries":[]}`,
		"no list": `{"entries":{}}`, "data behind it": `{"entries":[]}x`, "cut": `{"entries":[{"name":"a"`, "a large value": `{"x":"` + strings.Repeat("x", 5<<20) + `","entries":[]}`,
	} {
		blob, at := blobOf(t, Zstd, table)
		if _, _, err := readAll(blob, at); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	blob, at := blobOf(t, Zstd, `{"entries":[]}`)
	for name, at := range map[string]Place{
		"before the start": {Zstd, -1, 5}, "of no size": {Zstd, 6, 0}, "cut": {Zstd, at.Offset, at.Size - 1}, "with a tail": {Zstd, at.Offset, at.Size + 3}, "too large": {Zstd, 6, 1 << 40},
		"of another form": {Stargz, at.Offset, at.Size}, "elsewhere": {Elsewhere, 6, 1}, "behind the end": {Zstd, 1 << 40, 9},
	} {
		if _, _, err := readAll(blob, at); !errors.Is(err, ErrUnreadable) {
			t.Errorf("at a place %s: got %v", name, err)
		}
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":1`, i)
	}
	return b.String()
}

// failing is a blob that cannot be read.
type failing struct{ io.Reader }

func (failing) Seek(int64, int) (int64, error) { return 0, nil }

// TestErrors: those of the blob and of the caller are not the table's.
func TestErrors(t *testing.T) {
	gone := errors.New("gone")
	if _, err := Read(failing{iotest.ErrReader(gone)}, Place{Zstd, 0, 9}, nil); !errors.Is(err, gone) || errors.Is(err, ErrUnreadable) {
		t.Errorf("got %v", err)
	}
	blob, at := blobOf(t, Stargz, `{"entries":[{"name":"a","type":"dir"},{"name":"b","type":"dir"}]}`)
	calls := 0
	_, err := Read(bytes.NewReader(blob), at, func(*Entry) error { calls++; return gone })
	if !errors.Is(err, gone) || errors.Is(err, ErrUnreadable) || calls != 1 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}

// BenchmarkRead reads a table of 10 000 files.
func BenchmarkRead(b *testing.B) {
	var table strings.Builder
	table.WriteString(`{"version":1,"entries":[`)
	for i := range 10_000 {
		if i > 0 {
			table.WriteByte(',')
		}
		fmt.Fprintf(&table, `{"name":"usr/share/doc/package-%d/copyright","type":"reg","size":3000,"modtime":"2023-11-14T22:13:20Z","mode":420,"offset":%d,"digest":"%s"}`, i, i, oci.FromBytes(nil))
	}
	table.WriteString("]}")
	blob, at := blobOf(b, Zstd, table.String())
	b.SetBytes(int64(table.Len()))
	for b.Loop() {
		if _, err := Read(bytes.NewReader(blob), at, func(*Entry) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
