package acquire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bonded-dev/bonded/internal/oci"
)

// files is a folder, or a tar as one. Names are slash-separated and valid by
// fs.ValidPath. Safe for concurrent use, apart from close.
type files interface {
	// open returns a file and its size. Errors match ErrNotFound.
	open(name string) (io.ReadCloser, int64, error)
	// has reports whether there is something by that name.
	has(name string) bool
	close() error
}

// openFiles opens a folder or a tar.
func openFiles(ctx context.Context, path string, o *Options) (files, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("looking at it: %w", err)
	case info.IsDir():
		return folder(path), nil
	case !info.Mode().IsRegular():
		return nil, invalid("put what comes through a pipe into a file first", "it is neither a file nor a folder")
	}
	return openTar(ctx, path, o)
}

// readAll returns the content of a file of at most limit bytes.
func readAll(f files, name string, limit int64) ([]byte, error) {
	r, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > limit {
		return nil, invalid("", "%s has %d bytes, at most %d", oci.Quote(name), size, limit)
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", oci.Quote(name), err)
	}
	if int64(len(b)) > limit {
		return nil, invalid("", "%s has more than %d bytes", oci.Quote(name), limit)
	}
	return b, nil
}

// folder is a folder on disk. Symbolic links in it are followed wherever they
// lead, as builders make layouts of links to the blobs that they keep: what is
// read is verified, so that whoever made the link has to know the content.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

func (f folder) open(name string) (io.ReadCloser, int64, error) {
	// A pipe would hold up the opening itself.
	if info, err := os.Stat(f.path(name)); err == nil && !info.Mode().IsRegular() {
		return nil, 0, invalid("", "%s is no file", name)
	}
	file, err := os.Open(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

func (f folder) has(name string) bool {
	_, err := os.Stat(f.path(name))
	return err == nil
}

func (f folder) close() error { return nil }
