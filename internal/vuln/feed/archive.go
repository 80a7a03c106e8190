package feed

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// archive is the documents of a zip file.
type archive struct {
	zip                *zip.Reader
	etag, lastModified string
	close              func() error
}

// openArchive reads the table of contents of a zip file of size bytes. A file
// that is cut short has none, and is an error as a whole.
func openArchive(r io.ReaderAt, size int64, limits Limits) (*archive, error) {
	table, err := directorySize(r, size)
	if err != nil {
		return nil, err
	}
	if table > limits.Directory {
		return nil, fmt.Errorf("the archive's table of contents takes %d bytes, more than %d", table, limits.Directory)
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading the archive's table of contents: %w", err)
	}
	var total uint64
	for _, f := range z.File {
		if f.UncompressedSize64 > uint64(vuln.MaxRaw) {
			continue // never uncompressed
		}
		if total += f.UncompressedSize64; total > uint64(size)*uint64(limits.Ratio) {
			return nil, fmt.Errorf("the archive of %d bytes claims to hold more than %d times as much", size, limits.Ratio)
		}
	}
	return &archive{zip: z}, nil
}

// Signatures and offsets of https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
// sections 4.3.14 to 4.3.16.
const (
	endLen       = 22 // end of central directory record, without comment
	end64Len     = 56 // its zip64 form
	locatorLen   = 20 // of the zip64 form
	maxComment   = 1<<16 - 1
	endSig       = "PK\x05\x06"
	end64Sig     = "PK\x06\x06"
	locatorSig   = "PK\x06\x07"
	endOffset    = 16 // of the directory's offset in the end record
	end64Offset  = 48 // in the zip64 form
	locateOffset = 8  // of the zip64 form's offset in its locator
)

// directorySize returns how many bytes there are from the start of a zip
// file's table of contents to the file's end: archive/zip takes memory in
// proportion before it can be asked anything.
func directorySize(r io.ReaderAt, size int64) (int64, error) {
	tail := make([]byte, min(size, endLen+maxComment+locatorLen))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading the end of the archive: %w", err)
	}
	i := strings.LastIndex(string(tail), endSig)
	if i < 0 || len(tail)-i < endLen {
		return 0, errors.New("the archive is cut short or no zip file: it has no end record")
	}
	start := int64(binary.LittleEndian.Uint32(tail[i+endOffset:]))
	if start == 1<<32-1 {
		if i < locatorLen || string(tail[i-locatorLen:i-locatorLen+4]) != locatorSig {
			return 0, errors.New("the archive's end record has no zip64 locator before it")
		}
		at := int64(binary.LittleEndian.Uint64(tail[i-locatorLen+locateOffset:]))
		end := make([]byte, end64Len)
		if at < 0 || at > size-end64Len {
			return 0, errors.New("the archive's zip64 end record lies outside of it")
		}
		if _, err := r.ReadAt(end, at); err != nil {
			return 0, fmt.Errorf("reading the archive's zip64 end record: %w", err)
		}
		if string(end[:4]) != end64Sig {
			return 0, errors.New("the archive has no zip64 end record where it says")
		}
		start = int64(binary.LittleEndian.Uint64(end[end64Offset:]))
	}
	if start < 0 || start > size {
		return 0, errors.New("the archive is cut short: its table of contents lies outside of it")
	}
	return size - start, nil
}

func (a *archive) count() int { return len(a.zip.File) }

// each calls fn with the files at the top of the archive. A damaged one is an
// error: whoever damaged it may have damaged more.
func (a *archive) each(ctx context.Context, fn func(name string, raw []byte) error) error {
	var buf buffer
	for _, f := range a.zip.File {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if f.FileInfo().IsDir() || strings.Contains(f.Name, "/") {
			continue
		}
		raw, err := buf.unpack(f)
		if err != nil {
			return fmt.Errorf("reading %s in the archive: %w", oci.Quote(f.Name), err)
		}
		if err := fn(f.Name, raw); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) validators() (etag, lastModified string) { return a.etag, a.lastModified }

func (a *archive) Close() error {
	if a.close == nil {
		return nil
	}
	return a.close()
}

// buffer holds one record at a time.
type buffer struct{ b []byte }

// unpack returns the content of f, nil when it is too large.
func (b *buffer) unpack(f *zip.File) ([]byte, error) {
	if f.UncompressedSize64 > uint64(vuln.MaxRaw) {
		return nil, nil
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return b.read(r, int64(f.UncompressedSize64))
}

// read returns what r holds, nil when that is more than a record may be; size
// is what it claims to hold.
func (b *buffer) read(r io.Reader, size int64) ([]byte, error) {
	if n := min(size, vuln.MaxRaw) + 1; int64(cap(b.b)) < n {
		b.b = make([]byte, 0, max(n, 64<<10))
	}
	b.b = b.b[:0]
	r = io.LimitReader(r, vuln.MaxRaw+1)
	for {
		if len(b.b) == cap(b.b) {
			b.b = append(b.b, 0)[:len(b.b)]
		}
		n, err := r.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		switch {
		case errors.Is(err, io.EOF) && len(b.b) > vuln.MaxRaw:
			return nil, nil
		case errors.Is(err, io.EOF):
			return b.b, nil
		case err != nil:
			return nil, err
		}
	}
}
