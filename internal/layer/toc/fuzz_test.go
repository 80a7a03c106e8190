package toc

import (
	"bytes"
	"encoding/json"
	"errors"
	"path"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/oci"
)

// loose is a table as its readers decode it, who take what they get.
type loose struct {
	Entries []struct {
		Name, Type, LinkName string
		Size, Mode           int64
	}
}

type brief struct {
	Name, Type, Link string
	Size, Mode       int64
}

// FuzzTable: what is read of a table is what its loose readers see, and the
// chunks of a file are the file.
func FuzzTable(f *testing.F) {
	d := oci.FromBytes(nil).String()
	f.Add([]byte(`{"version":1,"entries":[{"name":"a/","type":"dir","mode":493},{"name":"b","type":"reg","size":3,"chunkSize":1,"chunkDigest":"` + d + `"},{"type":"chunk","chunkOffset":1,"chunkType":"zeros"}]}`))
	f.Add([]byte(`{"entries":[{"name":"a","type":"reg","size":1,"digest":"` + d + `","xattrs":{"user.a":"YQ=="}}],"tarSplitDigest":"x"}`))
	f.Add([]byte(`{"entries":[{"name":"a","type":"symlink","linkName":"b","Type":"reg"}]}`))
	f.Fuzz(func(t *testing.T, table []byte) {
		var got []brief
		err := parse(bytes.NewReader(table), func(e *Entry) error {
			got = append(got, brief{e.Name, e.Type, e.Link, e.Size, e.Mode})
			size := int64(0)
			for _, c := range e.Chunks {
				size += c.Size
			}
			if size != e.Size {
				t.Errorf("%q has %d bytes, and chunks of %d", e.Name, e.Size, size)
			}
			return nil
		})
		if err != nil {
			if !errors.Is(err, ErrUnreadable) {
				t.Fatalf("got %v", err)
			}
			return
		}
		var all loose
		if err := json.Unmarshal(table, &all); err != nil {
			t.Fatalf("a loose reader says %v", err)
		}
		var want []brief
		for _, e := range all.Entries {
			if e.Type == "chunk" {
				continue
			}
			if e.Type != "reg" {
				e.Size = 0
			}
			want = append(want, brief{path.Clean("/" + e.Name)[1:], e.Type, e.LinkName, e.Size, e.Mode})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// fuzzPlaces reads whatever the end of a blob leads to.
func fuzzPlaces(t *testing.T, blob []byte, form Form) {
	for _, at := range Find(blob[max(0, len(blob)-TailSize):], int64(len(blob))) {
		if at.Form != form {
			continue
		}
		digests, err := Read(bytes.NewReader(blob), at, func(*Entry) error { return nil })
		if err != nil && !errors.Is(err, ErrUnreadable) {
			t.Errorf("got %v", err)
		}
		if err == nil && len(digests) == 0 {
			t.Error("a table without a digest")
		}
	}
}

// FuzzStargz: a gzip member with a tar with a table; the footer is made right.
func FuzzStargz(f *testing.F) {
	blob, at := blobOf(f, Stargz, `{"entries":[{"name":"a","type":"dir"}]}`)
	f.Add(blob[at.Offset : at.Offset+at.Size])
	f.Fuzz(func(t *testing.T, member []byte) {
		fuzzPlaces(t, append(bytes.Clone(member), gzipFooter(t, "SG\x16\x000000000000000000STARGZ")...), Stargz)
	})
}

// FuzzZstd: a skippable frame with a table, and the footer.
func FuzzZstd(f *testing.F) {
	for _, footer := range [][]byte{packedFooter(40, "GnUlInUx", 6, 0), packedFooter(64, "GNUlInUx", 6, 0)} {
		blob, at := blobOf(f, Zstd, `{"entries":[{"name":"a","type":"dir"}]}`)
		footer[8] = byte(at.Size)
		f.Add(append(blob[:at.Offset+at.Size], footer...))
	}
	f.Fuzz(func(t *testing.T, blob []byte) { fuzzPlaces(t, blob, Zstd) })
}

// FuzzFind: any end of a blob.
func FuzzFind(f *testing.F) {
	f.Add(gzipFooter(f, "SG\x16\x0000000000000003e7STARGZ"))
	f.Add(gzipFooter(f, "00000000000003e7STARGZ"))
	f.Add(gzipFooter(f, "SG\x11\x00STARGZEXTERNALTOC"))
	f.Add(packedFooter(40, "GnUlInUx", 5, 7))
	f.Add(packedFooter(64, "GNUlInUx", 5, 7))
	f.Fuzz(func(t *testing.T, tail []byte) {
		for _, at := range Find(tail, 1000) {
			if at.Form < Stargz || at.Form > Elsewhere {
				t.Errorf("found %+v", at)
			}
		}
	})
}
