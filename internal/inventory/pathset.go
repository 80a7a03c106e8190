package inventory

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// PathMark is what a layer does at one path. A path can have several.
type PathMark uint8

// The marks.
const (
	MarkFile    PathMark = 1 << iota // an entry that is no directory; it replaces what is below
	MarkDir                          // an entry that is a directory; it replaces what is no directory, and merges with a directory
	MarkParent                       // a directory that entries of the layer stand in, without an entry of its own before them
	MarkRemoved                      // a whiteout: what is below is gone
	MarkOpaque                       // an opaque directory: what is below, inside it, is gone
	MarkLink                         // with MarkFile: the entry is a symbolic link
)

// PathKey stands for a path: the first 15 bytes of the SHA-256 of the clean
// path ("" is the root). Fewer would let the author of an image search for two
// paths with one key, of which the upper would hide the lower.
type PathKey [15]byte

// KeyOf returns the key of a clean, relative, slash-separated path.
func KeyOf(path string) PathKey {
	sum := sha256.Sum256([]byte(path))
	return PathKey(sum[:len(PathKey{})])
}

// pathStride is the length of a record: a PathKey and its PathMark.
const pathStride = len(PathKey{}) + 1

// PathSet says what a layer does at each of its paths: records of a PathKey
// and one byte of marks, sorted, without duplicates. The overlay needs to know
// that a path was replaced even when the new file is of no interest.
type PathSet []byte

// NewPathSet returns the set of the given marks.
func NewPathSet(marks map[PathKey]PathMark) PathSet {
	keys := make([]PathKey, 0, len(marks))
	for k := range marks {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b PathKey) int { return bytes.Compare(a[:], b[:]) })
	set := make(PathSet, 0, len(keys)*pathStride)
	for _, k := range keys {
		set = append(append(set, k[:]...), byte(marks[k]))
	}
	return set
}

// Valid reports whether s has whole records in strictly ascending order.
func (s PathSet) Valid() bool {
	if len(s)%pathStride != 0 {
		return false
	}
	const n = len(PathKey{})
	for i := pathStride; i < len(s); i += pathStride {
		if bytes.Compare(s[i-pathStride:i-pathStride+n], s[i:i+n]) >= 0 {
			return false
		}
	}
	return true
}

// Len returns how many paths the set knows.
func (s PathSet) Len() int { return len(s) / pathStride }

// Marks returns what the layer does at the path of key k, 0 for nothing. Keys
// are evenly spread, so it guesses the place and needs about three probes in a
// set of any size.
func (s PathSet) Marks(k PathKey) PathMark {
	lo, hi := 0, s.Len() // the record is in [lo, hi)
	want := binary.BigEndian.Uint64(k[:])
	low, high := uint64(0), ^uint64(0)
	for probe := 0; lo < hi; probe++ {
		mid := lo + (hi-lo)/2
		if probe < 6 && high > low { // then halve, whatever the keys look like
			share := float64(want-low) / float64(high-low)
			mid = min(lo+int(share*float64(hi-lo)), hi-1)
		}
		rec := s[mid*pathStride : (mid+1)*pathStride]
		switch c := bytes.Compare(rec[:len(k)], k[:]); {
		case c == 0:
			return PathMark(rec[len(k)])
		case c < 0:
			lo, low = mid+1, binary.BigEndian.Uint64(rec)
		default:
			hi, high = mid, binary.BigEndian.Uint64(rec)
		}
	}
	return 0
}
