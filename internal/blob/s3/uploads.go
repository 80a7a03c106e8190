package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"

	"github.com/bonded-dev/bonded/internal/blob"
)

// MaxUpload is how large an upload may become: a join has at most 10,000
// pieces, each of at least 5 MiB but for the last.
const MaxUpload = maxPieces * minPiece

// Uploads implements blob.Uploads in the bucket of a Store.
type Uploads struct{ s *Store }

// Uploads returns the uploads that are committed into s.
func (s *Store) Uploads() *Uploads { return &Uploads{s} }

var _ blob.Uploads = (*Uploads)(nil)

// Begin implements blob.Uploads.
func (u *Uploads) Begin(ctx context.Context, id blob.UploadID) error {
	if err := u.begin(ctx, id); err != nil {
		return fmt.Errorf("beginning upload %s: %w", id, full(err))
	}
	return nil
}

func (u *Uploads) begin(ctx context.Context, id blob.UploadID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !id.Valid() {
		return blob.ErrUploadUnknown
	}
	// Not once: an upload that exists has the same bytes, which are none.
	var opts minio.PutObjectOptions
	opts.SetMatchETagExcept("*")
	_, err := u.s.core.PutObject(ctx, u.s.bucket, u.s.openKey(id), bytesBody(nil), 0, "", "", opts)
	if code(err) == minio.NotImplemented {
		_, err = u.s.write(ctx, u.s.openKey(id), bytesBody(nil), anyway)
	}
	if unmet(err) {
		return errors.New("it exists")
	}
	return err
}

// Append implements blob.Uploads. It calls kept after each part of up to
// 8 MiB. What was read when the context ends is written nonetheless, within
// a few seconds.
func (u *Uploads) Append(ctx context.Context, id blob.UploadID, offset int64, r io.Reader, kept func(int64)) (int64, error) {
	n, err := u.append(ctx, id, offset, r, kept)
	if err != nil {
		return n, fmt.Errorf("appending to upload %s at %d: %w", id, offset+n, full(err))
	}
	return n, nil
}

func (u *Uploads) append(ctx context.Context, id blob.UploadID, offset int64, r io.Reader, kept func(int64)) (int64, error) {
	parts, err := u.parts(ctx, id)
	if err != nil {
		return 0, err
	}
	if size := end(parts); size != offset {
		return 0, fmt.Errorf("%w: its size is %d", blob.ErrOffset, size)
	}
	u.s.memory.begin(id)
	defer u.s.memory.end(id)
	buf := u.s.newBuffer()
	defer buf.release()
	for at := offset; ; buf.reset() {
		rerr := buf.fill(ctx, r, partSize)
		if buf.size > 0 {
			if err := u.writePart(ctx, id, at, buf); err != nil {
				return at - offset, err
			}
			at += buf.size
			if kept != nil {
				kept(at)
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

// writePart makes a part of what buf holds.
func (u *Uploads) writePart(ctx context.Context, id blob.UploadID, at int64, buf *buffer) error {
	if at+buf.size > MaxUpload {
		return fmt.Errorf("an upload to S3 can have %d bytes at most", int64(MaxUpload))
	}
	ctx, cancel := lingering(ctx)
	defer cancel()
	etag, err := u.s.write(ctx, u.s.partKey(id, at), buf.body(), once)
	if errors.Is(err, errTaken) {
		return fmt.Errorf("%w: another writer was here", blob.ErrOffset)
	}
	if err != nil {
		return err
	}
	u.s.memory.add(id, part{at, buf.size, etag})
	return nil
}

// Size implements blob.Uploads.
func (u *Uploads) Size(ctx context.Context, id blob.UploadID) (int64, error) {
	parts, writing := u.s.memory.get(id)
	err := ctx.Err()
	if err == nil && !writing {
		parts, err = u.parts(ctx, id)
	}
	if err != nil {
		return 0, fmt.Errorf("looking at upload %s: %w", id, err)
	}
	return end(parts), nil
}

// ReadAt implements blob.Uploads. It makes a request for each part that it
// touches, or for half a MiB of it, which serves the small reads that follow.
func (u *Uploads) ReadAt(ctx context.Context, id blob.UploadID, p []byte, off int64) (int, error) {
	n, err := u.readAt(ctx, id, p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("reading upload %s at %d: %w", id, off, err)
	}
	return n, err
}

func (u *Uploads) readAt(ctx context.Context, id blob.UploadID, p []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	parts, writing := u.s.memory.get(id)
	if !writing && (len(parts) == 0 || end(parts) < off+int64(len(p))) {
		var err error
		if parts, err = u.parts(ctx, id); err != nil {
			return 0, err
		}
	}
	n, err := u.readParts(ctx, id, parts, p, off)
	return n, u.lost(ctx, id, err)
}

func (u *Uploads) readParts(ctx context.Context, id blob.UploadID, parts []part, p []byte, off int64) (int, error) {
	n := 0
	for _, pt := range parts {
		for at := off + int64(n); n < len(p) && pt.offset <= at && at < pt.end(); at = off + int64(n) {
			want := min(int64(len(p)-n), pt.end()-at)
			m, err := u.s.readPart(ctx, u.s.partKey(id, pt.offset), pt, p[n:n+int(want)], at-pt.offset)
			n += m
			if err != nil {
				return n, err
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Cancel implements blob.Uploads.
func (u *Uploads) Cancel(ctx context.Context, id blob.UploadID) error {
	err := ctx.Err()
	if err == nil && id.Valid() {
		err = u.remove(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("cancelling upload %s: %w", id, err)
	}
	return nil
}

// remove removes all of an upload, first that it exists.
func (u *Uploads) remove(ctx context.Context, id blob.UploadID) error {
	if err := u.close(ctx, id); err != nil {
		return err
	}
	return u.removeParts(ctx, id)
}

// close makes an upload unknown.
func (u *Uploads) close(ctx context.Context, id blob.UploadID) error {
	u.s.memory.forget(id)
	return u.s.core.RemoveObject(ctx, u.s.bucket, u.s.openKey(id), minio.RemoveObjectOptions{})
}

// removeParts removes what there is of a closed upload.
func (u *Uploads) removeParts(ctx context.Context, id blob.UploadID) error {
	var lerr error
	objects := func(yield func(minio.ObjectInfo) bool) {
		stop := errors.New("enough")
		lerr = u.s.list(ctx, folder(id), "", func(_ string, o minio.ObjectInfo) error {
			if !yield(minio.ObjectInfo{Key: o.Key}) {
				return stop
			}
			return nil
		})
		if errors.Is(lerr, stop) {
			lerr = nil
		}
	}
	results, err := u.s.core.RemoveObjectsWithIter(ctx, u.s.bucket, objects, minio.RemoveObjectsOptions{})
	if err != nil {
		return err
	}
	for r := range results {
		if r.Err != nil && err == nil {
			err = r.Err
		}
	}
	return errors.Join(err, lerr, ctx.Err())
}
