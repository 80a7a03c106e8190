package extractor

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"

	"github.com/bonded-dev/bonded/internal/analyze"
)

// Limits of archives, so that one of 256 MiB cannot cost gigabytes.
const (
	maxZipEntries = 200_000
	maxZipText    = 1 << 20  // bytes of an entry that is read as text
	maxZipInner   = 32 << 20 // bytes of a compressed archive in an archive
	maxZipDepth   = 4        // archives in archives
	maxZipTotal   = 512 << 20
)

// centralHeader begins the record of one entry in the directory of a zip file.
var centralHeader = []byte("PK\x01\x02")

// openZip opens an archive whose directory is not too large to be held.
func openZip(r io.ReaderAt, size int64) (*zip.Reader, error) {
	n, buf := 0, make([]byte, 256<<10)
	for off := int64(0); off < size; {
		got, err := r.ReadAt(buf, off)
		if err != nil && err != io.EOF || got == 0 {
			return nil, errors.Join(err, io.ErrUnexpectedEOF)
		}
		n += bytes.Count(buf[:got], centralHeader)
		if off += int64(got); off < size {
			off -= int64(len(centralHeader)) - 1 // one may stand on the seam
		}
	}
	if n > maxZipEntries {
		return nil, analyze.Reason("an archive with more than 200000 entries")
	}
	return zip.NewReader(r, size)
}

// zipText reads an entry that should be short.
func zipText(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxZipText+1))
	if err == nil && len(b) > maxZipText {
		err = analyze.Reason("an archive with a description larger than 1 MiB")
	}
	return b, err
}

// zipInner opens an archive in an archive: in place if it is only stored, else
// in memory.
func zipInner(outer io.ReaderAt, f *zip.File) (io.ReaderAt, int64, error) {
	if f.Method == zip.Store {
		at, err := f.DataOffset()
		size := int64(f.CompressedSize64)
		return io.NewSectionReader(outer, at, size), size, err
	}
	if f.UncompressedSize64 > maxZipInner {
		return nil, 0, analyze.Reason("an archive in an archive, larger than 32 MiB")
	}
	r, err := f.Open()
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxZipInner+1))
	return bytes.NewReader(b), int64(len(b)), err
}
