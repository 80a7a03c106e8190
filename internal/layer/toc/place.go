package toc

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/klauspost/compress/gzip"
)

// TailSize is how many bytes of a blob's end Find looks at.
const TailSize = 128

// Form is how a table of contents is kept.
type Form uint8

// The forms.
const (
	// Stargz: a gzip member with a tar whose first entry is the table, found by
	// an empty gzip member at the end of the blob.
	Stargz Form = iota + 1
	// Zstd: a skippable frame with zstd in it, found by another one at the end.
	Zstd
	// Elsewhere: in another blob, which an empty gzip member at the end tells.
	Elsewhere
)

// Place is where a blob has a table of contents, as its end says.
type Place struct {
	Form   Form
	Offset int64 // of what is compressed
	Size   int64 // bytes of that at most; all of them are the table if Form is Zstd
}

// Sizes of what tells the place, in bytes.
const (
	stargzFooter    = 51
	legacyFooter    = 47
	elsewhereFooter = 46
	zstdFooter      = 40
	zstdFooterNew   = 64
)

// Find returns the places that readers find who are given no other: tail is
// the end of a blob of size bytes, TailSize of them if it has as many. They
// look at the last bytes alone, whatever the compression of the blob, so that
// there can be several. A place need not be inside the blob.
func Find(tail []byte, size int64) []Place {
	var found []Place
	if extra := gzipExtra(tail, stargzFooter); len(extra) >= 4 && string(extra[:4]) == "SG\x16\x00" {
		found = stargz(found, extra[4:], size-stargzFooter)
	}
	found = stargz(found, gzipExtra(tail, legacyFooter), size-legacyFooter)
	if string(gzipExtra(tail, elsewhereFooter)) == "SG\x11\x00STARGZEXTERNALTOC" {
		found = append(found, Place{Form: Elsewhere})
	}
	found = zstdPlace(found, tail, zstdFooter, "GnUlInUx")
	return zstdPlace(found, tail, zstdFooterNew, "GNUlInUx")
}

// gzipExtra returns the extra field (RFC 1952, 2.3.1.1) of a gzip member of n
// bytes at the end.
func gzipExtra(tail []byte, n int) []byte {
	if len(tail) < n {
		return nil
	}
	z, err := gzip.NewReader(bytes.NewReader(tail[len(tail)-n:]))
	if err != nil {
		return nil
	}
	return z.Extra
}

// stargz reads "%016xSTARGZ"; the table is between there and end.
func stargz(found []Place, extra []byte, end int64) []Place {
	const digits = 16
	if len(extra) < digits || string(extra[digits:]) != "STARGZ" {
		return found
	}
	at, err := strconv.ParseInt(string(extra[:digits]), 16, 64)
	if err != nil {
		return found
	}
	return append(found, Place{Stargz, at, end - at})
}

// zstdPlace reads a footer of n bytes: the table's offset, its size in the
// blob, then what is of no interest, and the magic.
func zstdPlace(found []Place, tail []byte, n int, magic string) []Place {
	if len(tail) < n || !bytes.HasSuffix(tail, []byte(magic)) {
		return found
	}
	f := tail[len(tail)-n:]
	return append(found, Place{Zstd, int64(binary.LittleEndian.Uint64(f)), int64(binary.LittleEndian.Uint64(f[8:]))})
}
