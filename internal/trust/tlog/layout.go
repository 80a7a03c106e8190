package tlog

import (
	"encoding/binary"
	"fmt"
)

// Layout says how entries stand in a bundle and where bundles are found.
type Layout uint8

const (
	// PlainEntries is c2sp.org/tlog-tiles: tile/entries/N, "sequences of big-endian
	// uint16 length-prefixed log entries", each hashed as it is.
	PlainEntries Layout = iota
	// StaticCT is c2sp.org/static-ct-api: tile/data/N, sequences of TileLeaf, whose
	// leaf hash is that of the MerkleTreeLeaf within.
	StaticCT
)

// MaxEntry is the most bytes an entry of PlainEntries has: its length is two
// bytes. Larger things are logged as their digest.
const MaxEntry = 1<<16 - 1

// maxTileLeaf bounds a TileLeaf: two certificates of three bytes of length and
// two fields of two.
const maxTileLeaf = 2<<24 + 2<<16 + 64

// folder is the path element of bundles.
func (l Layout) folder() string {
	if l == StaticCT {
		return "data"
	}
	return "entries"
}

// maxEntry is the most bytes one entry takes in a bundle.
func (l Layout) maxEntry() int {
	if l == StaticCT {
		return maxTileLeaf
	}
	return 2 + MaxEntry
}

// next reads the first entry of b: how many bytes it takes there, and its leaf.
func (l Layout) next(b []byte) (n int, leaf Hash, err error) {
	if l == StaticCT {
		return nextTileLeaf(b)
	}
	if len(b) < 2 {
		return 0, leaf, fmt.Errorf("%w: an entry is cut off in its length", ErrMalformed)
	}
	n = 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return 0, leaf, fmt.Errorf("%w: an entry of %d bytes is cut off after %d", ErrMalformed, n-2, len(b)-2)
	}
	return n, LeafHash(b[2:n]), nil
}

// frame puts the length before data.
func frame(data []byte) ([]byte, error) {
	if len(data) > MaxEntry {
		return nil, fmt.Errorf("%w: it has %d bytes, and a log entry at most %d", ErrTooLarge, len(data), MaxEntry)
	}
	b := make([]byte, 0, 2+len(data))
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...), nil
}

// Split returns the entries of a bundle, which must be width of them and nothing
// else. Data aliases bundle: for PlainEntries it is what was appended, for
// StaticCT the whole TileLeaf. Errors match ErrMalformed.
func (l Layout) Split(bundle []byte, width int) ([]BundleEntry, error) {
	entries := make([]BundleEntry, 0, min(width, TileWidth))
	rest := bundle
	for range width {
		n, leaf, err := l.next(rest)
		if err != nil {
			return entries, fmt.Errorf("reading entry %d of a bundle: %w", len(entries), err)
		}
		data := rest[:n]
		if l == PlainEntries {
			data = data[2:]
		}
		entries = append(entries, BundleEntry{Data: data, Leaf: leaf})
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return entries, fmt.Errorf("%w: %d bytes after the %d entries of a bundle", ErrMalformed, len(rest), width)
	}
	return entries, nil
}

// BundleEntry is an entry as it was found in a bundle.
type BundleEntry struct {
	Data []byte
	Leaf Hash
}

// prefix returns the first width entries of a bundle with at least so many.
func (l Layout) prefix(bundle []byte, width int) ([]byte, error) {
	at := 0
	for range width {
		n, _, err := l.next(bundle[at:])
		if err != nil {
			return nil, err
		}
		at += n
	}
	return bundle[:at], nil
}

// nextTileLeaf reads a TileLeaf: a TimestampedEntry (RFC 6962, section 3.4), the
// precertificate if it is one of those, and fingerprints of the chain. The leaf
// is that of "version v1, timestamped_entry, TimestampedEntry".
func nextTileLeaf(b []byte) (n int, leaf Hash, err error) {
	r := reader{b: b}
	r.skip(8) // timestamp, in milliseconds
	kind := r.number(2)
	switch kind {
	case 0: // x509_entry: the certificate
		r.skip(r.number(3))
	case 1: // precert_entry: the hash of the issuer's key, the TBSCertificate
		r.skip(32)
		r.skip(r.number(3))
	default:
		if !r.short {
			return 0, leaf, fmt.Errorf("%w: a certificate entry is of type %d, not 0 or 1", ErrMalformed, kind)
		}
	}
	r.skip(r.number(2)) // extensions
	entry := r.at
	if kind == 1 {
		r.skip(r.number(3)) // the precertificate
	}
	chain := r.number(2)
	r.skip(chain)
	switch {
	case r.short:
		return 0, leaf, fmt.Errorf("%w: a certificate entry is cut off", ErrMalformed)
	case chain%32 != 0:
		return 0, leaf, fmt.Errorf("%w: a chain of fingerprints has %d bytes, which is not a multiple of 32", ErrMalformed, chain)
	}
	return r.at, LeafHash(append([]byte{0, 0}, b[:entry]...)), nil
}

// reader walks over fields of foreign bytes. After short nothing it returns counts.
type reader struct {
	b     []byte
	at    int
	short bool
}

func (r *reader) skip(n int) {
	if n > len(r.b)-r.at {
		r.short, n = true, len(r.b)-r.at
	}
	r.at += n
}

// number reads a big-endian number of up to three bytes.
func (r *reader) number(size int) (n int) {
	start := r.at
	r.skip(size)
	if r.short {
		return 0
	}
	for _, c := range r.b[start:r.at] {
		n = n<<8 | int(c)
	}
	return n
}
