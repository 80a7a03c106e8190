package analyze

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/bonded-dev/bonded/internal/oci"
)

// algorithms in the order of their numbers in stored facts; 0 is no digest.
var algorithms = []oci.Algorithm{"", oci.SHA256, oci.SHA512}

// encoder appends values to b.
type encoder struct{ b []byte }

func (e *encoder) byte(v byte)      { e.b = append(e.b, v) }
func (e *encoder) number(v int64)   { e.b = binary.AppendUvarint(e.b, uint64(v)) }
func (e *encoder) textAt(s *string) { e.text(*s) }

func (e *encoder) text(s string) {
	e.number(int64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) texts(all ...string) {
	for _, s := range all {
		e.text(s)
	}
}

func (e *encoder) digest(d oci.Digest) {
	for n, alg := range algorithms {
		if d.Algorithm() == alg {
			e.byte(byte(n))
			e.b, _ = hex.AppendDecode(e.b, []byte(d.Hex())) // a Digest is valid hex
			return
		}
	}
}

// list appends the number of items and each of them.
func list[T any](e *encoder, items []T, one func(*T)) {
	e.number(int64(len(items)))
	for i := range items {
		one(&items[i])
	}
}

// decoder takes values from b. After the first fault all are zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrFacts, why)
	}
	d.b = nil
}

// end returns the fault, which bytes that are left over are, too.
func (d *decoder) end() error {
	if len(d.b) > 0 {
		d.fail("data behind the end")
	}
	return d.err
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("cut short")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) number() int64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > 1<<62 {
		d.fail("a malformed number")
		return 0
	}
	d.b = d.b[n:]
	return int64(v)
}

// bytes returns a part of what is decoded, nil when empty.
func (d *decoder) bytes() []byte {
	n := d.number()
	if n > int64(len(d.b)) {
		d.fail("cut short")
	}
	if n == 0 || d.err != nil {
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) text() string { return string(d.bytes()) }

func (d *decoder) digest() oci.Digest {
	n := int(d.byte())
	if n == 0 {
		return oci.Digest{}
	}
	if n >= len(algorithms) {
		d.fail("an unknown digest algorithm")
		return oci.Digest{}
	}
	alg := algorithms[n]
	size := alg.New().Size()
	if size > len(d.b) {
		d.fail("cut short")
		return oci.Digest{}
	}
	v, err := oci.ParseDigest(string(alg) + ":" + hex.EncodeToString(d.b[:size]))
	if err != nil {
		d.fail("a malformed digest")
		return oci.Digest{}
	}
	d.b = d.b[size:]
	return v
}

// items reads what list wrote; an empty list is nil.
func items[T any](d *decoder, one func() T) []T {
	n := d.number()
	if n > int64(len(d.b)) { // each item takes a byte at least
		d.fail("cut short")
	}
	if n == 0 || d.err != nil {
		return nil
	}
	all := make([]T, 0, min(n, 4096))
	for range n {
		all = append(all, one())
		if d.err != nil {
			return nil
		}
	}
	return all
}
