package acquire

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
)

const (
	maxTarName = 512 // bytes of a name that is kept; those that matter have 100
	maxHops    = 10  // links that lead to one file
)

// tarFile is a tar whose files are read where they lie.
type tarFile struct {
	content io.ReaderAt
	closer  io.Closer
	entries map[string]tarEntry
	twice   map[string]bool // there more than once
}

// tarEntry is a file, or a link to one.
type tarEntry struct {
	offset, size int64
	link         string // name of what it stands for; "" for a file
}

// openTar opens a tar, decompressing it to a temporary file where it is
// compressed.
func openTar(ctx context.Context, name string, o *Options) (*tarFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	plain, err := decompress(ctx, f, o)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	info, err := plain.Stat()
	if err == nil {
		var t *tarFile
		if t, err = readTar(ctx, plain, info.Size(), o.Limits.Entries); err == nil {
			t.closer = plain
			return t, nil
		}
	}
	return nil, errors.Join(err, plain.Close())
}

// readTar notes where the files of a tar of size bytes lie.
func readTar(ctx context.Context, content io.ReaderAt, size int64, limit int) (*tarFile, error) {
	t := &tarFile{content: content, entries: map[string]tarEntry{}, twice: map[string]bool{}}
	section := io.NewSectionReader(content, 0, size)
	r := tar.NewReader(section)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		h, err := r.Next()
		switch {
		case err == io.EOF:
			return t, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, invalid("copy it again", "the tar is cut short after %d entries", n)
		case errors.Is(err, tar.ErrHeader):
			return nil, invalid("copy it again", "the tar is damaged after %d entries", n)
		case err != nil:
			return nil, fmt.Errorf("reading the tar after %d entries: %w", n, err)
		case n >= limit:
			return nil, invalid("", "the tar has more than %d entries", limit)
		}
		// The reader of tar takes blocks as they come and skips by seeking, so
		// that the content begins where the section stands.
		at, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, fmt.Errorf("reading the tar after %d entries: %w", n, err)
		}
		t.note(h, at)
	}
}

// note keeps an entry that can be part of an image. Names that lead out of the
// tar, devices, and files with holes, whose bytes do not lie in one piece, are
// no part of one.
func (t *tarFile) note(h *tar.Header, at int64) {
	name, ok := tarName(h.Name)
	if !ok {
		return
	}
	var e tarEntry
	switch h.Typeflag {
	case tar.TypeReg:
		if sparse(h) {
			return
		}
		e = tarEntry{offset: at, size: h.Size}
	case tar.TypeSymlink:
		e.link, ok = tarName(path.Join(path.Dir(name), h.Linkname))
		ok = ok && !path.IsAbs(h.Linkname)
	case tar.TypeLink:
		e.link, ok = tarName(h.Linkname)
	default:
		return
	}
	if !ok {
		return
	}
	// A blob is what its digest says, whichever of several is read.
	if _, twice := t.entries[name]; twice && !strings.HasPrefix(name, "blobs/") {
		t.twice[name] = true
	}
	t.entries[name] = e
}

// tarName returns the one form of a name in a tar.
func tarName(name string) (string, bool) {
	if len(name) > maxTarName {
		return "", false
	}
	name = strings.TrimPrefix(name, "./")
	return name, fs.ValidPath(name) && name != "."
}

// sparse reports whether a regular file is one of GNU's with holes.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (t *tarFile) has(name string) bool {
	_, ok := t.entries[name]
	return ok
}

func (t *tarFile) open(name string) (io.ReadCloser, int64, error) {
	e, ok := t.entries[name]
	for hops := 0; ; hops++ {
		switch {
		case !ok:
			return nil, 0, fmt.Errorf("%s: %w", oci.Quote(name), ErrNotFound)
		case t.twice[name]:
			return nil, 0, invalid("save it again", "%s is in the tar more than once, and readers differ in which they take", oci.Quote(name))
		case e.link == "":
			return io.NopCloser(io.NewSectionReader(t.content, e.offset, e.size)), e.size, nil
		case hops == maxHops:
			return nil, 0, invalid("", "%s is a link that leads in a circle", oci.Quote(name))
		}
		name = e.link
		e, ok = t.entries[name]
	}
}

func (t *tarFile) close() error { return t.closer.Close() }
