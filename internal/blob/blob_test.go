package blob_test

import (
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

func TestVerify(t *testing.T) {
	b := []byte("content")
	for _, test := range []struct {
		d    oci.Digest
		b    []byte
		want error
	}{
		{oci.FromBytes(b), b, nil},
		{oci.SHA512.DigestOf(b), b, nil},
		{oci.FromBytes(nil), nil, nil},
		{oci.FromBytes(b), b[1:], blob.ErrDigest},
		{oci.SHA512.DigestOf(b), nil, blob.ErrDigest},
		{oci.Digest{}, nil, blob.ErrDigest},
	} {
		if err := blob.Verify(test.d, test.b); !errors.Is(err, test.want) {
			t.Errorf("Verify(%q, %q) = %v, want %v", test.d, test.b, err, test.want)
		}
	}
}

func TestParsePath(t *testing.T) {
	d := oci.FromBytes([]byte("content"))
	two := d.Hex()[:2]
	if got, ok := blob.ParsePath("sha256", two, d.Hex()); !ok || got != d {
		t.Errorf("the path of %s names %s, %v", d, got, ok)
	}
	for _, path := range [][3]string{{"sha512", two, d.Hex()}, {"sha256", "00", d.Hex()}, {"sha256", "", d.Hex()}, {"sha256", two, d.Hex() + ".bak"}, {}} {
		if got, ok := blob.ParsePath(path[0], path[1], path[2]); ok {
			t.Errorf("%q names %s", path, got)
		}
	}
}

// FuzzUploadID checks that nothing but a plain file name is a name, and that
// what is printed of others is short.
func FuzzUploadID(f *testing.F) {
	form := regexp.MustCompile(`\A[0-9a-f]{32}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		id := blob.UploadID(s)
		if id.Valid() != form.MatchString(s) {
			t.Errorf("%q is valid: %v", s, id.Valid())
		}
		if out := fmt.Sprint(id); id.Valid() && out != s || len(out) > 500 {
			t.Errorf("%q prints as %q", s, out)
		}
	})
}
