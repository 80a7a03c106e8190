// Package pack holds the packed form of what a manifest's row says beside its
// bytes: references and annotations. They are read with every pull, and JSON
// would cost more than the query.
package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// format is the first byte of what Pack writes.
const format = 1

// ErrFormat matches errors of Unpack.
var ErrFormat = errors.New("not what a manifest is packed as")

// Pack packs the references and annotations of m. Numbers are unsigned
// varints; texts have their length before them.
//
//	format, count, count × (digest, media type, size, role, platform),
//	count, count × (key, value) in order of key
func Pack(m *repo.Manifest) []byte {
	b := []byte{format}
	b = binary.AppendUvarint(b, uint64(len(m.References)))
	for _, r := range m.References {
		b = appendText(b, r.Digest.String())
		b = appendText(b, r.MediaType)
		b = binary.AppendUvarint(b, uint64(r.Size))
		b = appendText(b, string(r.Role))
		b = appendText(b, r.Platform)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Annotations)))
	for _, k := range slices.Sorted(maps.Keys(m.Annotations)) {
		b = appendText(b, k)
		b = appendText(b, m.Annotations[k])
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Unpack sets the references and annotations of m. Errors match ErrFormat.
func Unpack(b []byte, m *repo.Manifest) error {
	u := unpacker{s: string(b)} // one copy that all texts share
	if u.byte() != format {
		return ErrFormat
	}
	if n := u.count(); n > 0 {
		m.References = make([]repo.Reference, n)
	}
	for i := range m.References {
		r := &m.References[i]
		d, err := oci.ParseDigest(u.text())
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		*r = repo.Reference{Digest: d, MediaType: u.text(), Size: int64(u.uint()), Role: roleOf(u.text()), Platform: u.text()}
	}
	if n := u.count(); n > 0 {
		m.Annotations = make(map[string]string, n)
		for range n {
			k := u.text()
			m.Annotations[k] = u.text()
		}
	}
	if u.bad || u.s != "" {
		return ErrFormat
	}
	return nil
}

// roleOf returns the constant, so that the text that is shared can be freed.
func roleOf(s string) repo.Role {
	for _, r := range []repo.Role{repo.RoleLayer, repo.RoleConfig, repo.RoleChild, repo.RoleForeign} {
		if s == string(r) {
			return r
		}
	}
	return repo.Role(s)
}

// unpacker reads from the front of s; bad says that there was not enough.
type unpacker struct {
	s   string
	bad bool
}

func (u *unpacker) byte() byte {
	if u.s == "" {
		u.bad = true
		return 0
	}
	c := u.s[0]
	u.s = u.s[1:]
	return c
}

func (u *unpacker) uint() uint64 {
	var n uint64
	for shift := 0; shift < 64; shift += 7 {
		c := u.byte()
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return n
		}
	}
	u.bad = true
	return 0
}

// count is a uint that no more things than bytes can follow.
func (u *unpacker) count() int {
	n := u.uint()
	if n > uint64(len(u.s)) {
		u.bad, u.s = true, ""
		return 0
	}
	return int(n)
}

func (u *unpacker) text() string {
	n := u.count()
	t := u.s[:n]
	u.s = u.s[n:]
	return t
}
