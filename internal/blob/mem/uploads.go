package mem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// chunk is how many bytes Append reads before it keeps them.
const chunk = 32 << 10

// upload is what has arrived of one blob, guarded by Store.mu. Bytes below
// len(data) are never written again, so that they are read outside it.
type upload struct {
	data    []byte
	written time.Time
	busy    bool // an Append is under way
}

// Uploads implements blob.Uploads in memory.
type Uploads struct{ s *Store }

// Uploads returns the uploads that are committed into s.
func (s *Store) Uploads() *Uploads { return &Uploads{s} }

var _ blob.Uploads = (*Uploads)(nil)

// Begin implements blob.Uploads.
func (u *Uploads) Begin(ctx context.Context, id blob.UploadID) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	_, exists := u.s.uploads[id]
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("beginning upload %s: %w", id, ctx.Err())
	case !id.Valid():
		return fmt.Errorf("beginning upload %s: %w", id, blob.ErrUploadUnknown)
	case exists:
		return fmt.Errorf("beginning upload %s: it exists", id)
	}
	u.s.uploads[id] = &upload{written: u.now()}
	return nil
}

func (u *Uploads) now() time.Time {
	if u.s.opts.Now == nil {
		return time.Time{}
	}
	return u.s.opts.Now()
}

// Append implements blob.Uploads.
func (u *Uploads) Append(ctx context.Context, id blob.UploadID, offset int64, r io.Reader, kept func(int64)) (int64, error) {
	if err := u.claim(ctx, id, offset); err != nil {
		return 0, fmt.Errorf("appending to upload %s at %d: %w", id, offset, err)
	}
	defer u.release(id)
	buf := make([]byte, chunk)
	for at := offset; ; {
		var n int
		err := ctx.Err()
		if err == nil {
			n, err = r.Read(buf)
		}
		size, kerr := u.keep(id, buf[:n])
		if size > at && kept != nil {
			kept(size)
		}
		at = max(at, size)
		switch {
		case kerr != nil:
			return at - offset, fmt.Errorf("appending to upload %s at %d: %w", id, at, kerr)
		case errors.Is(err, io.EOF):
			return at - offset, nil
		case err != nil:
			return at - offset, fmt.Errorf("appending to upload %s at %d: %w", id, at, err)
		}
	}
}

// claim makes the caller the one writer of the upload, until release.
func (u *Uploads) claim(ctx context.Context, id blob.UploadID, offset int64) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	up, err := u.find(ctx, id)
	switch {
	case err != nil:
		return err
	case up.busy:
		return errors.New("another Append is under way")
	case int64(len(up.data)) != offset:
		return fmt.Errorf("%w: its size is %d", blob.ErrOffset, len(up.data))
	}
	up.busy = true
	return nil
}

func (u *Uploads) release(id blob.UploadID) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if up := u.s.uploads[id]; up != nil {
		up.busy = false
	}
}

// find returns the upload. Callers hold mu.
func (u *Uploads) find(ctx context.Context, id blob.UploadID) (*upload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	up, ok := u.s.uploads[id]
	if !ok {
		return nil, blob.ErrUploadUnknown
	}
	return up, nil
}

// keep adds as much of b as there is room for and returns the new size.
func (u *Uploads) keep(id blob.UploadID, b []byte) (int64, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	up := u.s.uploads[id]
	if up == nil {
		return 0, blob.ErrUploadUnknown
	}
	room := min(max(u.s.room(), 0), int64(len(b)))
	if room > 0 {
		up.data = append(up.data, b[:room]...)
		up.written = u.now()
		u.s.used += room
	}
	if room < int64(len(b)) {
		return int64(len(up.data)), blob.ErrNoSpace
	}
	return int64(len(up.data)), nil
}

// Size implements blob.Uploads.
func (u *Uploads) Size(ctx context.Context, id blob.UploadID) (int64, error) {
	data, err := u.data(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("looking at upload %s: %w", id, err)
	}
	return int64(len(data)), nil
}

func (u *Uploads) data(ctx context.Context, id blob.UploadID) ([]byte, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	up, err := u.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return up.data, nil
}

// ReadAt implements blob.Uploads.
func (u *Uploads) ReadAt(ctx context.Context, id blob.UploadID, p []byte, off int64) (int, error) {
	data, err := u.data(ctx, id)
	switch {
	case err != nil:
		return 0, fmt.Errorf("reading upload %s at %d: %w", id, off, err)
	case off < 0:
		return 0, fmt.Errorf("reading upload %s at %d: negative offset", id, off)
	case off >= int64(len(data)) && len(p) > 0:
		return 0, io.EOF
	}
	n := copy(p, data[min(off, int64(len(data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Commit implements blob.Uploads, and verifies that the bytes have the digest.
func (u *Uploads) Commit(ctx context.Context, id blob.UploadID, size int64, d oci.Digest) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if err := u.commit(ctx, id, size, d); err != nil {
		return fmt.Errorf("committing upload %s as %s: %w", id, d, err)
	}
	return nil
}

func (u *Uploads) commit(ctx context.Context, id blob.UploadID, size int64, d oci.Digest) error {
	up, err := u.find(ctx, id)
	switch {
	case err != nil:
		return err
	case up.busy:
		return errors.New("an Append is under way")
	case size < 0 || size > int64(len(up.data)):
		return fmt.Errorf("%w: want %d bytes, have %d", blob.ErrOffset, size, len(up.data))
	}
	data := up.data[:size:size]
	if err := blob.Verify(d, data); err != nil {
		return err
	}
	u.s.used -= int64(len(up.data))
	delete(u.s.uploads, id)
	if _, ok := u.s.blobs[d]; !ok {
		u.s.blobs[d] = data
		u.s.used += size
	}
	return nil
}

// Cancel implements blob.Uploads.
func (u *Uploads) Cancel(ctx context.Context, id blob.UploadID) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cancelling upload %s: %w", id, err)
	}
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if up := u.s.uploads[id]; up != nil {
		u.s.used -= int64(len(up.data))
		delete(u.s.uploads, id)
	}
	return nil
}

// Walk implements blob.Uploads. It shows what there was when it was called.
func (u *Uploads) Walk(ctx context.Context, fn func(blob.UploadID, int64, time.Time) error) error {
	u.s.mu.Lock()
	uploads := make(map[blob.UploadID]upload, len(u.s.uploads))
	for id, up := range u.s.uploads {
		uploads[id] = *up
	}
	u.s.mu.Unlock()
	for id, up := range uploads {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("walking uploads: %w", err)
		}
		if err := fn(id, int64(len(up.data)), up.written); err != nil {
			return err
		}
	}
	return nil
}
