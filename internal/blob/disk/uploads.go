package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// bufferSize is how many bytes Append collects for one write. Request bodies
// come in pieces of 4 to 16 KiB, and a larger buffer leaves the cache of the
// processor between being filled and being written.
const bufferSize = 256 << 10

// Uploads implements blob.Uploads in the folder of a Store.
type Uploads struct{ s *Store }

// Uploads returns the uploads that are committed into s.
func (s *Store) Uploads() *Uploads { return &Uploads{s} }

var _ blob.Uploads = (*Uploads)(nil)

// path returns the file of an upload; an id that is none must not reach the
// file system.
func (u *Uploads) path(ctx context.Context, id blob.UploadID) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if !id.Valid() {
		return "", blob.ErrUploadUnknown
	}
	return filepath.Join(u.s.uploads, string(id)), nil
}

// open opens the file of an upload.
func (u *Uploads) open(ctx context.Context, id blob.UploadID, flag int) (File, error) {
	name, err := u.path(ctx, id)
	if err != nil {
		return nil, err
	}
	f, err := u.s.fs.OpenFile(name, flag, 0)
	if err != nil {
		return nil, missing(err, blob.ErrUploadUnknown)
	}
	return f, nil
}

// Begin implements blob.Uploads.
func (u *Uploads) Begin(ctx context.Context, id blob.UploadID) error {
	if err := u.begin(ctx, id); err != nil {
		return fmt.Errorf("beginning upload %s: %w", id, full(err))
	}
	return nil
}

func (u *Uploads) begin(ctx context.Context, id blob.UploadID) error {
	name, err := u.path(ctx, id)
	if err != nil {
		return err
	}
	f, err := u.s.fs.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	return f.Close()
}

// Append implements blob.Uploads. It calls kept after each write of up to
// 256 KiB, and syncs nothing: Commit does.
func (u *Uploads) Append(ctx context.Context, id blob.UploadID, offset int64, r io.Reader, kept func(int64)) (int64, error) {
	n, err := u.append(ctx, id, offset, r, kept)
	if err != nil {
		return n, fmt.Errorf("appending to upload %s at %d: %w", id, offset+n, full(err))
	}
	return n, nil
}

func (u *Uploads) append(ctx context.Context, id blob.UploadID, offset int64, r io.Reader, kept func(int64)) (int64, error) {
	f, err := u.open(ctx, id, os.O_WRONLY)
	if err != nil {
		return 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	switch {
	case err != nil:
		return 0, errors.Join(err, f.Close())
	case size != offset:
		return 0, errors.Join(fmt.Errorf("%w: its size is %d", blob.ErrOffset, size), f.Close())
	}
	n, err := u.copy(ctx, f, offset, r, kept)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return n, err
}

// copy writes r to f at offset and returns how many bytes are there now.
func (u *Uploads) copy(ctx context.Context, f File, offset int64, r io.Reader, kept func(int64)) (int64, error) {
	buf := u.s.buffers.Get().(*[bufferSize]byte)
	defer u.s.buffers.Put(buf)
	for at := offset; ; {
		n, rerr := fill(ctx, r, buf[:])
		if n > 0 {
			w, err := f.WriteAt(buf[:n], at)
			at += int64(w)
			if w > 0 && kept != nil {
				kept(at)
			}
			if err != nil {
				// What a failing write left beyond w is nothing that was
				// promised; if it stays, Size tells of it.
				_ = f.Truncate(at)
				return at - offset, err
			}
		}
		switch {
		case errors.Is(rerr, io.EOF):
			return at - offset, nil
		case rerr != nil:
			return at - offset, rerr
		}
	}
}

// fill reads from r until p is full or an error comes, which is r's own:
// io.ReadFull would make an io.ErrUnexpectedEOF of it that a body cut short
// gives as well.
func fill(ctx context.Context, r io.Reader, p []byte) (n int, err error) {
	for empty := 0; n < len(p) && err == nil; {
		if err = ctx.Err(); err != nil {
			return n, err
		}
		var m int
		m, err = r.Read(p[n:])
		n += m
		if empty++; m > 0 {
			empty = 0
		}
		if empty >= maxEmptyReads && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// maxEmptyReads is how often in a row a reader may give neither bytes nor an
// error before it counts as broken; bufio has the same.
const maxEmptyReads = 100

// Size implements blob.Uploads.
func (u *Uploads) Size(ctx context.Context, id blob.UploadID) (int64, error) {
	name, err := u.path(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("looking at upload %s: %w", id, err)
	}
	info, err := u.s.fs.Stat(name)
	if err != nil {
		return 0, fmt.Errorf("looking at upload %s: %w", id, missing(err, blob.ErrUploadUnknown))
	}
	return info.Size(), nil
}

// ReadAt implements blob.Uploads.
func (u *Uploads) ReadAt(ctx context.Context, id blob.UploadID, p []byte, off int64) (int, error) {
	f, err := u.open(ctx, id, os.O_RDONLY)
	if err != nil {
		return 0, fmt.Errorf("reading upload %s at %d: %w", id, off, err)
	}
	defer f.Close()
	n, err := f.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("reading upload %s at %d: %w", id, off, err)
	}
	return n, err
}

// Commit implements blob.Uploads.
func (u *Uploads) Commit(ctx context.Context, id blob.UploadID, size int64, d oci.Digest) error {
	if err := u.commit(ctx, id, size, d); err != nil {
		return fmt.Errorf("committing upload %s as %s: %w", id, d, full(err))
	}
	return nil
}

func (u *Uploads) commit(ctx context.Context, id blob.UploadID, size int64, d oci.Digest) error {
	if d.IsZero() {
		return fmt.Errorf("%w: no digest given", blob.ErrDigest)
	}
	f, err := u.open(ctx, id, os.O_RDWR)
	if err != nil {
		return err
	}
	have, err := f.Seek(0, io.SeekEnd)
	if err == nil && (size < 0 || size > have) {
		err = fmt.Errorf("%w: want %d bytes, have %d", blob.ErrOffset, size, have)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	name := filepath.Join(u.s.uploads, string(id))
	there, err := u.s.there(ctx, d, size)
	if there || err != nil {
		return errors.Join(err, f.Close(), u.drop(name, there))
	}
	if err := u.seal(f, size, have); err != nil {
		return errors.Join(err, u.drop(name, errors.Is(err, errLost)))
	}
	return u.s.place(name, d)
}

// errLost says that bytes of an upload did not reach the disk. The kernel
// forgets which, so that syncing again would report a success that is none:
// the upload has to be sent again.
var errLost = errors.New("the upload is lost and must be sent again")

// seal cuts f to size, syncs and closes it.
func (u *Uploads) seal(f File, size, have int64) error {
	if size < have {
		if err := f.Truncate(size); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", errLost, err), f.Close())
	}
	return f.Close()
}

// drop removes the file of an upload if it is no longer of use.
func (u *Uploads) drop(name string, useless bool) error {
	if !useless {
		return nil
	}
	return missing(u.s.fs.Remove(name), nil)
}

// Cancel implements blob.Uploads.
func (u *Uploads) Cancel(ctx context.Context, id blob.UploadID) error {
	name, err := u.path(ctx, id)
	if err == nil {
		err = missing(u.s.fs.Remove(name), blob.ErrUploadUnknown)
	}
	if err != nil && !errors.Is(err, blob.ErrUploadUnknown) {
		return fmt.Errorf("cancelling upload %s: %w", id, err)
	}
	return nil
}

// Walk implements blob.Uploads. Names that are no ids are passed over.
func (u *Uploads) Walk(ctx context.Context, fn func(blob.UploadID, int64, time.Time) error) error {
	return u.s.walk(ctx, u.s.uploads, func(name string, e fs.DirEntry) error {
		id := blob.UploadID(name)
		if !id.Valid() {
			return nil
		}
		info, err := stillThere(e)
		if info == nil || err != nil {
			return err
		}
		return fn(id, info.Size(), info.ModTime())
	})
}
