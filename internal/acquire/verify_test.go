package acquire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/bonded-dev/bonded/internal/oci"
)

func TestVerify(t *testing.T) {
	content := bytes.Repeat([]byte("content "), 1000)
	sha512 := oci.SHA512.DigestOf(content)
	fault := errors.New("fault")
	for name, tt := range map[string]struct {
		r    io.Reader
		want oci.Descriptor
		err  error
	}{
		"right":             {bytes.NewReader(content), oci.Descriptor{Digest: oci.FromBytes(content), Size: 8000}, nil},
		"sha512":            {bytes.NewReader(content), oci.Descriptor{Digest: sha512, Size: 8000}, nil},
		"byte by byte":      {iotest.OneByteReader(bytes.NewReader(content)), oci.Descriptor{Digest: oci.FromBytes(content), Size: 8000}, nil},
		"end with the data": {iotest.DataErrReader(bytes.NewReader(content)), oci.Descriptor{Digest: oci.FromBytes(content), Size: 8000}, nil},
		"nothing":           {bytes.NewReader(nil), oci.Descriptor{Digest: oci.FromBytes(nil)}, nil},
		"said to be longer": {bytes.NewReader(content), oci.Descriptor{Digest: oci.FromBytes(content), Size: 8001}, ErrCorrupt},
		// The bytes up to Size have the digest, and others follow.
		"said to be shorter": {bytes.NewReader(content), oci.Descriptor{Digest: oci.FromBytes(content[:7999]), Size: 7999}, ErrCorrupt},
		"something":          {bytes.NewReader(content), oci.Descriptor{Digest: oci.FromBytes(nil)}, ErrCorrupt},
		"another":            {bytes.NewReader(content), oci.Descriptor{Digest: oci.FromBytes([]byte("x")), Size: 8000}, ErrCorrupt},
		"cannot be read":     {io.MultiReader(bytes.NewReader(content), iotest.ErrReader(fault)), oci.Descriptor{Digest: oci.FromBytes(content), Size: 8000}, fault},
	} {
		t.Run(name, func(t *testing.T) {
			r := verify(t.Context(), io.NopCloser(tt.r), tt.want)
			b, err := io.ReadAll(r)
			if !errors.Is(err, tt.err) || tt.err == nil && int64(len(b)) != tt.want.Size {
				t.Errorf("%d bytes, %v; want %v", len(b), err, tt.err)
			}
			if _, again := r.Read(make([]byte, 10)); again == nil || tt.err != nil && !errors.Is(again, tt.err) {
				t.Errorf("read again: %v", again)
			}
		})
	}
}
