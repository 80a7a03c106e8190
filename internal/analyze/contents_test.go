package analyze

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/layer"
	"github.com/bonded-dev/bonded/internal/oci"
)

// TestRealTables: what the tools of today make says what its tar says, and is
// announced by digests that are known then.
func TestRealTables(t *testing.T) {
	const stargz, chunked, old = "containerd.io/snapshot/stargz/toc.digest", "io.github.containers.zstd-chunked.manifest-checksum", "io.containers.zstd-chunked.manifest-checksum"
	for file, annotations := range map[string]map[string]string{
		"estargz":          {stargz: "sha256:40f8de5fc837848918d538820875e369d27c63a794e45eb61d7dd32069795abb"},
		"estargz-min":      {stargz: "sha256:c7ba7a4168f78657aca7f79df29429e2a22ca3b3ab23664250da6bd5a8a6218c"},
		"zstd-stargz":      {old: "sha256:c7f40da76c08390ac1f90588e1ab434edfa6a9b33dcf9da19e2cdcca2d00ce0c", stargz: "sha256:75560ccee6f9d0f9f33949267b5296288b4f27c75f475dd23953a52eac398d9a"},
		"zstd-chunked":     {chunked: "sha256:17730578cbcfe4279a6acfd0bf6ce596376ad3c6dcf3990ab33bce124f72e6c4"},
		"zstd-chunked-old": {old: "sha256:391c26fa8d749abc756460fef271c82d38e0be361fbd740c37c65532ba245639"},
	} {
		t.Run(file, func(t *testing.T) {
			blob, err := os.ReadFile(filepath.Join("testdata/tables", file+".blob"))
			if err != nil {
				t.Fatal(err)
			}
			l := analyse(t, newTestAnalyzer(t, newWords()), blob).Layer
			if l.Coverage.State != inventory.CoverageFull || len(l.Contents) == 0 {
				t.Fatalf("got %+v, %v", l.Coverage, l.Contents)
			}
			s := Stack{Layers: []inventory.Layer{l}, Descriptors: []oci.Descriptor{{Annotations: annotations}}}
			if c := Overlay(s).Layers[0].Coverage; c.State != inventory.CoverageFull {
				t.Errorf("announced, it is %+v", c)
			}
			for key := range annotations {
				annotations[key] = oci.FromBytes(nil).String()
			}
			want := inventory.Coverage{State: inventory.CoverageAmbiguous, Gaps: []inventory.Gap{{Reason: tocUnknown}}}
			if diff := cmp.Diff(want, Overlay(s).Layers[0].Coverage); diff != "" {
				t.Errorf("with another digest announced: %s", diff)
			}
		})
	}
}

// tabled is a tar, and the table that is right for it.
func tabled(t *testing.T) (tarball []byte, table string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, body string) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	add(tar.Header{Name: "bin/su", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 7, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}}, "12345678")
	add(tar.Header{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "su", Mode: 0o777}, "")
	add(tar.Header{Name: "bin/ln", Typeflag: tar.TypeLink, Linkname: "bin/su", Mode: 0o755}, "")
	add(tar.Header{Name: "zero", Typeflag: tar.TypeReg, Mode: 0o644}, "a\x00\x00b")
	add(tar.Header{Name: "tty", Typeflag: tar.TypeChar, Devmajor: 5, Mode: 0o666}, "")
	add(tar.Header{Name: ".wh.gone", Typeflag: tar.TypeReg}, "")
	add(tar.Header{Name: "bin/.wh..wh..opq", Typeflag: tar.TypeReg}, "")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	d := func(s string) string { return oci.FromBytes([]byte(s)).String() }
	return b.Bytes(), `{"version":1,"entries":[
{"name":"bin/","type":"dir","mode":493},
{"name":"bin/su","type":"reg","mode":2541,"uid":7,"size":8,"digest":"` + d("12345678") + `","chunkSize":4,"chunkDigest":"` + d("1234") + `","xattrs":{"user.a":"Yg=="}},
{"type":"chunk","chunkOffset":4,"chunkDigest":"` + d("5678") + `"},
{"name":"bin/sh","type":"symlink","mode":511,"linkName":"su"},
{"name":"bin/ln","type":"hardlink","mode":493,"linkName":"bin/su"},
{"name":"zero","type":"reg","mode":420,"size":4,"chunkSize":1,"chunkDigest":"` + d("a") + `"},
{"name":"zero","type":"chunk","chunkOffset":1,"chunkSize":2,"chunkType":"zeros"},
{"name":"zero","type":"chunk","chunkOffset":3,"chunkSize":1,"chunkDigest":"` + d("b") + `"},
{"name":"tty","type":"char","mode":438,"devMajor":5},
{"name":".wh.gone","type":"reg"},
{"name":"bin/.wh..wh..opq","type":"reg"}]}`
}

func gzipped(t *testing.T, extra string, parts ...[]byte) []byte {
	t.Helper()
	level := gzip.DefaultCompression
	if extra != "" {
		level = gzip.NoCompression
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Extra = []byte(extra)
	if extra == "" {
		w.Extra = nil
	}
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// stargz puts a tar, as a blob, and a table together.
func stargz(t *testing.T, compressed []byte, table string) []byte {
	t.Helper()
	var index bytes.Buffer
	w := tar.NewWriter(&index)
	if err := w.WriteHeader(&tar.Header{Name: "stargz.index.json", Typeflag: tar.TypeReg, Size: int64(len(table))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(table)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(compressed, gzipped(t, "", index.Bytes()), gzipped(t, fmt.Sprintf("SG\x16\x00%016xSTARGZ", len(compressed))))
}

func zstded(t *testing.T, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	return w.EncodeAll(plain, nil)
}

func skippable(content []byte) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{0x50, 0x2a, 0x4d, 0x18}, uint32(len(content))), content...)
}

func chunked(t *testing.T, plain []byte, table string) []byte {
	t.Helper()
	blob, packed := zstded(t, plain), zstded(t, []byte(table))
	footer := make([]byte, 64)
	binary.LittleEndian.PutUint64(footer, uint64(len(blob)+8))
	binary.LittleEndian.PutUint64(footer[8:], uint64(len(packed)))
	binary.LittleEndian.PutUint64(footer[16:], uint64(len(table)))
	binary.LittleEndian.PutUint64(footer[24:], 1)
	copy(footer[56:], "GNUlInUx")
	return slices.Concat(blob, skippable(packed), skippable(footer))
}

// TestTables: whatever a table says that the tar does not is found in both
// formats.
func TestTables(t *testing.T) {
	tarball, right := tabled(t)
	other := oci.FromBytes([]byte("other")).String()
	digest := func(s string) string { return oci.FromBytes([]byte(s)).String() }
	for _, test := range []struct {
		name     string
		old, new string // in the table
		path     string
		why      string // "" where the two say the same
	}{
		{"right", "", "", "", ""},
		{"names as they may be written", `"name":"bin/su"`, `"name":"/./bin//su"`, "", ""},
		{"a hard link as it may be written", `"linkName":"bin/su"`, `"linkName":"./bin/su"`, "", ""},
		{"type twice in the mode", `"mode":511`, `"mode":41471`, "", ""},
		{"what nobody compares", `"type":"dir"`, `"type":"dir","modtime":"x","new":1`, "", ""},
		{"another entry", `[`, `[{"name":"etc/ld.so.preload","type":"reg"},`, "etc/ld.so.preload", tocMore},
		{"a parent without an entry", `[`, `[{"name":"","type":"dir","mode":493},`, "", tocMore},
		{"an entry less", `{"name":"tty","type":"char","mode":438,"devMajor":5},`, ``, "tty", tocLess},
		{"another whiteout", `.wh.gone`, `.wh.bin`, ".wh.bin", tocMore},
		{"another opaque directory", `bin/.wh..wh..opq`, `.wh..wh..opq`, ".wh..wh..opq", tocMore},
		{"a whiteout less", `{"name":".wh.gone","type":"reg"},`, ``, "", tocLess},
		{"a path twice", `[`, `[{"name":"tty","type":"char","mode":438,"devMajor":5},`, "tty", tocOther},
		{"another type", `"char"`, `"block"`, "tty", tocOther},
		{"another device", `"devMajor":5`, `"devMajor":1,"devMinor":1`, "tty", tocOther},
		{"another mode", `"mode":511`, `"mode":510`, "bin/sh", tocOther},
		{"without setuid", `"mode":2541`, `"mode":493`, "bin/su", tocOther},
		{"another user", `"uid":7`, `"uid":0`, "bin/su", tocOther},
		{"another group", `"uid":7`, `"uid":7,"gid":1`, "bin/su", tocOther},
		{"another attribute", `Yg==`, `Yw==`, "bin/su", tocOther},
		{"an attribute more", `"mode":438`, `"mode":438,"xattrs":{"security.capability":"AQ=="}`, "tty", tocOther},
		{"another target", `"linkName":"su"`, `"linkName":"/tmp/su"`, "bin/sh", tocOther},
		{"another link", `"linkName":"bin/su"`, `"linkName":"zero"`, "bin/ln", tocOther},
		{"another size", `"mode":420,"size":4,"chunkSize":1`, `"mode":420,"size":5,"chunkSize":2`, "", tocUnreadable},
		{"another chunk", digest("5678"), other, "bin/su", tocContent},
		{"another file in the same chunks", digest("12345678"), other, "bin/su", tocContent},
		{"a hole where there is none", `"chunkDigest":"` + digest("5678") + `"`, `"chunkType":"zeros"`, "bin/su", tocContent},
		{"a chunk less", `{"name":"zero","type":"chunk","chunkOffset":3,"chunkSize":1,"chunkDigest":"` + digest("b") + `"},`, ``, "", tocUnreadable},
		{"a chunk without a digest", `,"chunkDigest":"` + digest("5678") + `"`, ``, "", tocUnreadable},
		{"a key twice", `"type":"char"`, `"type":"char","type":"char"`, "", tocUnreadable},
		{"a key in another case", `"type":"char"`, `"type":"char","Type":"reg"`, "", tocUnreadable},
		{"two lists", `"version":1`, `"Entries":[]`, "", tocUnreadable},
		{"text behind it", `]}`, `]} {}`, "", tocUnreadable},
		{"no list", `"entries"`, `"others"`, "", tocUnreadable},
		{"no JSON", `{`, ``, "", tocUnreadable},
		{"a name that goes up", `"name":"tty"`, `"name":"bin/../tty"`, "", tocUnreadable},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := right
			if test.old != "" {
				table = strings.Replace(right, test.old, test.new, 1)
				if table == right {
					t.Fatal("nothing was changed")
				}
			}
			for form, blob := range map[string][]byte{"eStargz": stargz(t, gzipped(t, "", tarball), table), "zstd:chunked": chunked(t, tarball, table)} {
				l := analyse(t, newTestAnalyzer(t, newWords()), blob).Layer
				if test.why == "" {
					if l.Coverage.State != inventory.CoverageFull || !slices.Contains(l.Contents, oci.FromBytes([]byte(table))) {
						t.Errorf("%s: got %+v, %v", form, l.Coverage, l.Contents)
					}
					continue
				}
				want := inventory.Gap{Path: test.path, Reason: test.why}
				if l.Coverage.State != inventory.CoverageAmbiguous || !slices.Contains(l.Coverage.Gaps, want) || len(l.Contents) > 0 {
					t.Errorf("%s: got %+v, %v, want %+v", form, l.Coverage, l.Contents, want)
				}
			}
		})
	}
}

// TestHiddenTables: a table that its readers find, and that is not where the
// tar has one.
func TestHiddenTables(t *testing.T) {
	tarball, right := tabled(t)
	lie := strings.Replace(right, `"linkName":"su"`, `"linkName":"/x"`, 1)
	elsewhere := slices.Concat(gzipped(t, "", tarball), gzipped(t, "SG\x11\x00STARGZEXTERNALTOC"))
	// The entry in sight is right, and the footer leads to another one.
	inside := gzipped(t, "", []byte(tarEntry(t, "stargz.index.json", lie)))
	decoy := slices.Concat(gzipped(t, "", tarball), gzipped(t, "x", []byte(tarEntry(t, "opaque", string(inside)))))
	at := bytes.Index(decoy, inside)
	blob := stargz(t, decoy, right)
	blob = append(blob[:len(blob)-51], gzipped(t, fmt.Sprintf("SG\x16\x00%016xSTARGZ", at))...)
	// A plain tar without an end, whose last file ends as an eStargz blob does.
	file := stargz(t, nil, lie)
	footer := gzipped(t, fmt.Sprintf("%016xSTARGZ", len(tarball)+512))
	file = slices.Concat(file[:len(file)-51], make([]byte, 512-(len(file)-51+len(footer))%512), footer)
	plain := slices.Concat(tarball, []byte(tarEntry(t, "innocent", string(file))))
	for name, test := range map[string]struct {
		blob []byte
		why  string
	}{
		"elsewhere":                  {elsewhere, tocElsewhere},
		"in a file":                  {blob, tocOther},
		"in a file, at the end":      {plain, tocOther},
		"beyond the end":             {slices.Concat(gzipped(t, "", tarball), gzipped(t, "SG\x16\x007fffffffffffff00STARGZ")), tocUnreadable},
		"where there is no table":    {slices.Concat(gzipped(t, "", tarball), gzipped(t, "SG\x16\x000000000000000000STARGZ")), tocUnreadable},
		"of a size beyond all sense": {slices.Concat(zstded(t, tarball), skippable(append(bytes.Repeat([]byte{0xff}, 32), "GnUlInUx"...))), tocUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			l := analyse(t, newTestAnalyzer(t, newWords()), test.blob).Layer
			if c := l.Coverage; c.State != inventory.CoverageAmbiguous || !slices.ContainsFunc(c.Gaps, func(g inventory.Gap) bool { return g.Reason == test.why }) || len(l.Contents) > 0 {
				t.Errorf("got %+v, want %s", c, test.why)
			}
		})
	}
}

// tarEntry is one entry without the end of a tar.
func tarEntry(t *testing.T, name, body string) string {
	t.Helper()
	var b strings.Builder
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestTableOfUnread: a layer that was not read to its end has no table that
// was compared, and announcing one does not go unnoticed.
func TestTableOfUnread(t *testing.T) {
	tarball, table := tabled(t)
	blob := chunked(t, tarball, table)
	a := newTestAnalyzer(t, newWords())
	a.o.Budget = layer.Standard()
	a.o.Budget.Uncompressed = 1024
	l := analyse(t, a, blob).Layer
	if l.Coverage.State != inventory.CoveragePartial || len(l.Contents) > 0 {
		t.Errorf("got %+v, %v", l.Coverage, l.Contents)
	}
	s := Stack{Layers: []inventory.Layer{l}, Descriptors: []oci.Descriptor{{Annotations: map[string]string{announcements[0]: oci.FromBytes([]byte(table)).String()}}}}
	if c := Overlay(s).Layers[0]; c.Coverage.State != inventory.CoverageAmbiguous || c.Uncompared != l.Coverage.Gaps[0].Reason {
		t.Errorf("got %+v", c)
	}
}

// TestTableWithoutTime: when there is time for one reading only, the table is
// not compared, and not taken for good.
func TestTableWithoutTime(t *testing.T) {
	tarball, table := tabled(t)
	blob := chunked(t, tarball, table)
	a := newTestAnalyzer(t, newWords())
	r := &rewound{Reader: bytes.NewReader(blob)}
	now := time.Now()
	a.o.Now = func() time.Time {
		if r.times == 2 { // for the table, and for the second reading
			now = now.Add(time.Hour)
		}
		return now
	}
	res, err := a.Layer(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if c := res.Layer.Coverage; c.State != inventory.CoveragePartial || len(res.Layer.Contents) > 0 || res.Layer.DiffID.IsZero() {
		t.Errorf("got %+v", res.Layer)
	}
}

// rewound counts how often somebody seeks.
type rewound struct {
	*bytes.Reader
	times int
}

func (r *rewound) Seek(offset int64, whence int) (int64, error) {
	r.times++
	return r.Reader.Seek(offset, whence)
}

// TestFollowedTable: a table is found in what is still being uploaded.
func TestFollowedTable(t *testing.T) {
	tarball, table := tabled(t)
	blob := stargz(t, gzipped(t, "", tarball), table)
	f := NewFollower(bytes.NewReader(blob).ReadAt)
	go func() {
		for n := range blob {
			f.Grow(int64(n))
		}
		f.Finish(int64(len(blob)))
	}()
	res, err := newTestAnalyzer(t, newWords()).Layer(t.Context(), f)
	if err != nil || len(res.Layer.Contents) != 1 {
		t.Errorf("got %+v, %v", res.Layer, err)
	}
	if _, err := f.Seek(0, 2); err == nil {
		t.Error("the end of an upload is known")
	}
}
