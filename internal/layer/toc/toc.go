// Package toc reads the tables of contents of layers that are pulled lazily:
// eStargz and zstd:chunked.
//
// Snapshotters that know one of these formats make a container's files from
// the table and fetch their content when it is needed; all others unpack the
// tar. Nothing makes the two say the same. Find tells where a blob has a table,
// and Read reads it as strictly as the strictest of its readers, so that what
// it returns is what all of them see. The formats are described in
// https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md
// and https://github.com/containers/storage/tree/main/pkg/chunked.
package toc

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/bonded-dev/bonded/internal/oci"
)

// ErrUnreadable is returned for a table that is damaged, that its readers could
// understand differently, or that exceeds a limit.
var ErrUnreadable = errors.New("not a readable table of contents")

// Limits of a table. containers/storage refuses those of more than 150 MiB;
// real ones have 500 bytes per file.
const (
	maxPacked = 64 << 20  // bytes as stored
	maxTable  = 256 << 20 // bytes of JSON
	maxEntry  = 4 << 20   // bytes of JSON of one entry
	maxRows   = 2_000_000 // entries, those of chunks included
	maxWindow = 32 << 20  // bytes of zstd history
)

// IndexName is the path of the tar entry that holds an eStargz table.
const IndexName = "stargz.index.json"

// Read reads the table at a place of the blob r and calls add for each entry,
// in order. An error of add ends it and is returned.
//
// It returns the digests by which a manifest can announce this table: that of
// the JSON and, if Form is Zstd, that of the JSON as it is compressed. Errors
// match ErrUnreadable, or are those of r or add.
func Read(r io.ReadSeeker, at Place, add func(*Entry) error) ([]oci.Digest, error) {
	if at.Offset < 0 || at.Size <= 0 || at.Size > maxPacked {
		return nil, fmt.Errorf("%w: %d bytes at %d", ErrUnreadable, at.Size, at.Offset)
	}
	if _, err := r.Seek(at.Offset, io.SeekStart); err != nil {
		return nil, err
	}
	src := &source{r: io.LimitReader(r, at.Size)}
	digests, err := read(src, at, add)
	if src.err != nil {
		return nil, src.err
	}
	return digests, err
}

// source keeps the errors of the blob apart from those of its content.
type source struct {
	r   io.Reader
	n   int64
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func read(src *source, at Place, add func(*Entry) error) ([]oci.Digest, error) {
	switch at.Form {
	case Stargz:
		return readStargz(src, add)
	case Zstd:
		return readZstd(src, at, add)
	}
	return nil, fmt.Errorf("%w: it is not in the blob", ErrUnreadable)
}

// readStargz reads the first entry of the tar in one gzip member: some readers
// look no further than the member's end.
func readStargz(src *source, add func(*Entry) error) ([]oci.Digest, error) {
	z, err := gzip.NewReader(src)
	if err != nil {
		return nil, unreadable("reading its gzip header", err)
	}
	z.Multistream(false)
	t := tar.NewReader(z)
	h, err := t.Next()
	switch {
	case err != nil:
		return nil, unreadable("reading its tar header", err)
	case h.Name != IndexName || h.Typeflag != tar.TypeReg:
		return nil, fmt.Errorf("%w: it is called %s", ErrUnreadable, oci.Quote(h.Name))
	}
	sum := sha256.New()
	if err := parse(io.TeeReader(t, sum), add); err != nil {
		return nil, err
	}
	return []oci.Digest{oci.SHA256.FromHash(sum)}, nil
}

func readZstd(src *source, at Place, add func(*Entry) error) ([]oci.Digest, error) {
	packed, plain := sha256.New(), sha256.New()
	z, err := zstd.NewReader(io.TeeReader(src, packed),
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxTable+1))
	if err != nil {
		return nil, unreadable("reading its zstd header", err)
	}
	defer z.Close()
	if err := parse(io.TeeReader(z, plain), add); err != nil {
		return nil, err
	}
	if src.n != at.Size {
		return nil, fmt.Errorf("%w: it ends at byte %d of %d", ErrUnreadable, src.n, at.Size)
	}
	return []oci.Digest{oci.SHA256.FromHash(plain), oci.SHA256.FromHash(packed)}, nil
}

func unreadable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %v", ErrUnreadable, doing, err)
}
