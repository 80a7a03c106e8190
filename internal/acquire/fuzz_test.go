package acquire

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
)

// FuzzTar: whatever the bytes, reading them as an image ends without a panic,
// what is read where it lies is what the reader of tar gives, and no content
// is given out that is not what it is named by.
func FuzzTar(f *testing.F) {
	l := newLayout(f)
	one := l.image("linux/amd64", "one", "two")
	l.root(l.index(one, l.image("unknown/unknown", "att")), "1.0")
	f.Add(tarOf(f, l.all()))
	linked := l.saved(one, "app:1", "app:2")
	linked["1/layer.tar"] = []byte("-> ../0/layer.tar")
	f.Add(tarOf(f, linked))
	f.Add(sparseIndex)
	f.Add(tarOf(f, map[string][]byte{indexFile: []byte(indexWith(`"sha256:../x"`)), "./a/../b": nil, "c": []byte("-> c")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = checksummed(b)
		files, err := readTar(t.Context(), bytes.NewReader(b), int64(len(b)), 1000)
		if err != nil {
			return
		}
		files.closer = io.NopCloser(nil)
		checkEntries(t, b, files)
		s, err := openImages(t.Context(), files, target{shown: "x.tar", path: "x.tar"})
		if err != nil {
			checkKind(t, err)
			return
		}
		if _, err := oci.ParseRepository("zone/" + s.Path()); err != nil {
			t.Error(err)
		}
		c, err := Choose(t.Context(), s, oci.Platform{})
		if err != nil {
			checkKind(t, err)
			return
		}
		for _, d := range c.Manifest.References() {
			b, err := blobOf(t, s, d)
			if err != nil {
				checkKind(t, err)
			} else if d.Digest.Algorithm().DigestOf(b) != d.Digest || int64(len(b)) != d.Size {
				t.Errorf("%s: %d bytes that are something else", d.Digest, len(b))
			}
		}
	})
}

// checksummed makes the headers of a tar good, which chance would not.
func checksummed(b []byte) []byte {
	b = bytes.Clone(b)
	for block := range slices.Chunk(b, 512) {
		if len(block) < 512 || string(block[257:262]) != "ustar" {
			continue
		}
		copy(block[148:], "        ")
		sum := 0
		for _, c := range block {
			sum += int(c)
		}
		copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	}
	return b
}

// checkKind: every error is of a kind that callers can tell.
func checkKind(t *testing.T, err error) {
	t.Helper()
	for _, kind := range []error{ErrNotFound, ErrInvalid, ErrCorrupt, oci.ErrManifestInvalid, oci.ErrSchema1} {
		if errors.Is(err, kind) {
			return
		}
	}
	t.Errorf("an error of no kind: %v", err)
}

// checkEntries compares the files of a tar with what is read one after the
// other.
func checkEntries(t *testing.T, b []byte, files *tarFile) {
	t.Helper()
	last := map[string]string{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if err != nil {
			break
		}
		name, ok := tarName(h.Name)
		if !ok || h.Typeflag != tar.TypeReg || sparse(h) {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return
		}
		last[name] = string(content)
	}
	for name, e := range files.entries {
		if e.link != "" || files.twice[name] {
			continue
		}
		got, _, err := files.open(name)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(got)
		if err != nil || string(content) != last[name] {
			t.Errorf("%q: %d bytes, %v; the reader of tar gives %d", name, len(content), err, len(last[name]))
		}
	}
}

// FuzzReference: what is taken as a reference has one meaning, and a place
// below a zone.
func FuzzReference(f *testing.F) {
	for _, s := range []string{"docker.io/library/debian:12", "localhost:5000/x", "[::1]:5000/x/y@sha256:" + strings.Repeat("a", 64), "docker.io/debian", "a.b/../c", "ex ample/.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := oci.ParseRepository("zone/" + pathOf(s)); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		ref, err := parseReference(s)
		if err != nil {
			return
		}
		again, err := parseReference(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q is %s, which is %s, %v", s, ref, again, err)
		}
	})
}
