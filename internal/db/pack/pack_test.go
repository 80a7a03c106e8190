package pack

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

func TestPack(t *testing.T) {
	d := oci.SHA512.DigestOf([]byte("x"))
	for _, m := range []repo.Manifest{
		{},
		{References: []repo.Reference{{Digest: d, MediaType: "\x00\xff", Size: math.MaxInt64, Role: repo.RoleLayer, Platform: "linux/arm64/v8"}, {Digest: d, Role: "new role"}}},
		{Annotations: map[string]string{"": "", "a": string(make([]byte, 300))}},
	} {
		packed := Pack(&m)
		var got repo.Manifest
		if err := Unpack(packed, &got); err != nil {
			t.Errorf("%+v: %v", m, err)
		}
		if diff := cmp.Diff(m, got, cmp.Comparer(func(a, b oci.Digest) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
		for i := range packed { // what is cut short, or too long, is an error and no panic
			if err := Unpack(packed[:i], new(repo.Manifest)); !errors.Is(err, ErrFormat) {
				t.Errorf("%d of %d bytes: %v", i, len(packed), err)
			}
		}
		if err := Unpack(append(packed, 0), new(repo.Manifest)); !errors.Is(err, ErrFormat) {
			t.Errorf("one byte too many: %v", err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(Pack(&repo.Manifest{Annotations: map[string]string{"a": "b"}}))
	f.Add(Pack(&repo.Manifest{References: []repo.Reference{{Digest: oci.FromBytes(nil), Role: repo.RoleConfig}}}))
	f.Add([]byte{format, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again repo.Manifest
		if Unpack(b, &m) != nil {
			return
		}
		if err := Unpack(Pack(&m), &again); err != nil || !cmp.Equal(m, again, cmp.Comparer(func(a, b oci.Digest) bool { return a == b })) {
			t.Errorf("%+v came back as %+v, %v", m, again, err)
		}
	})
}
