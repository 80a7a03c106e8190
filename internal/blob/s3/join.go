package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Limits of multipart uploads, the same on all servers.
const (
	// minPiece is the least that a piece may have, but for the last one. A
	// source must be larger for a range of it to be copied.
	minPiece = 5 << 20
	// maxPieces is how many there may be.
	maxPieces = 10_000
	// copiesAtOnce is how many pieces the server is asked for at a time.
	copiesAtOnce = 8
)

// span is bytes from, included, to to, excluded, of a part.
type span struct {
	part     part
	from, to int64
}

func (s span) size() int64 { return s.to - s.from }
func (s span) whole() bool { return s.from == 0 && s.to == s.part.size }

// piece is what becomes one piece of a join: one span that the server copies,
// or some that go through this process.
type piece struct {
	spans []span
	copy  bool
}

func (p piece) size() (n int64) {
	for _, s := range p.spans {
		n += s.size()
	}
	return n
}

// cut returns the spans of the first size bytes.
func cut(parts []part, size int64) []span {
	var spans []span
	for _, p := range parts {
		if p.offset < size {
			spans = append(spans, span{p, 0, min(p.size, size-p.offset)})
		}
	}
	return spans
}

// plan says how to join spans: as much as can be is copied, and what is too
// small is gathered, by itself or with the beginning of what follows, in pieces
// of less than two times minPiece.
func plan(spans []span) []piece {
	var pieces []piece
	for len(spans) > 0 {
		if copyable(spans[0], len(spans) == 1) {
			pieces = append(pieces, piece{spans[:1:1], true})
			spans = spans[1:]
			continue
		}
		var p piece
		for len(spans) > 0 && p.size() < minPiece {
			s := spans[0]
			if need := minPiece - p.size(); s.size() >= need+minPiece {
				// What stays can be copied.
				p.spans = append(p.spans, span{s.part, s.from, s.from + need})
				spans = append([]span{{s.part, s.from + need, s.to}}, spans[1:]...)
				continue
			}
			p.spans = append(p.spans, s)
			spans = spans[1:]
		}
		pieces = append(pieces, p)
	}
	return pieces
}

// copyable reports whether the server can copy the span as a piece.
func copyable(s span, last bool) bool {
	return (last || s.size() >= minPiece) && (s.whole() || s.part.size > minPiece)
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
	parts, err := u.parts(ctx, id)
	if err != nil {
		return err
	}
	if have := end(parts); size < 0 || size > have {
		return fmt.Errorf("%w: want %d bytes, have %d", blob.ErrOffset, size, have)
	}
	there, err := u.s.there(ctx, d, size)
	if err == nil && !there {
		err = u.lost(ctx, id, u.s.make(ctx, id, cut(parts, size), size, d))
	}
	if err != nil {
		return err
	}
	ctx, cancel := lingering(ctx)
	defer cancel()
	if err := u.close(ctx, id); err != nil {
		return err
	}
	if err := u.removeParts(ctx, id); err != nil {
		// The upload is gone, and this is garbage that Walk finds.
		u.s.log.WarnContext(ctx, "parts of a committed upload stay until they are collected", "upload", id, "error", err)
	}
	return nil
}

// make makes the blob d of spans of an upload.
func (s *Store) make(ctx context.Context, id blob.UploadID, spans []span, size int64, d oci.Digest) error {
	var err error
	switch {
	case len(spans) == 1 && spans[0].whole():
		err = s.copy(ctx, id, spans[0].part, d)
	case size <= partSize:
		err = s.gather(ctx, id, spans, func(b *buffer) error {
			_, err := s.write(ctx, s.key(d), b.body(), anyway)
			return err
		})
	default:
		err = s.join(ctx, id, plan(spans), d)
	}
	if err != nil {
		return err
	}
	return s.verify(ctx, d, size)
}

// verify checks that the blob has its size, and removes it if not: that would
// be the server's mistake, and must not be taken for the blob.
func (s *Store) verify(ctx context.Context, d oci.Digest, size int64) error {
	got, err := s.size(ctx, d)
	if err != nil || got == size {
		return err
	}
	err = fmt.Errorf("the server made %d bytes of parts of %d bytes", got, size)
	return errors.Join(err, s.core.RemoveObject(ctx, s.bucket, s.key(d), minio.RemoveObjectOptions{}))
}

// ifSame is the condition that a copy is made of the part that is known.
func ifSame(p part) map[string]string {
	return map[string]string{"x-amz-copy-source-if-match": `"` + p.etag + `"`}
}

// copy makes the blob of one part.
func (s *Store) copy(ctx context.Context, id blob.UploadID, p part, d oci.Digest) error {
	_, err := s.core.CopyObject(ctx, s.bucket, s.partKey(id, p.offset), s.bucket, s.key(d), ifSame(p), minio.CopySrcOptions{}, minio.PutObjectOptions{})
	return err
}

// gather reads spans into memory and calls fn with them.
func (s *Store) gather(ctx context.Context, id blob.UploadID, spans []span, fn func(*buffer) error) error {
	b := s.newBuffer()
	defer b.release()
	for _, sp := range spans {
		r := stream{ctx: ctx, s: s, key: s.partKey(id, sp.part.offset), etag: sp.part.etag, at: sp.from, end: sp.to}
		err := b.fill(ctx, &r, b.size+sp.size())
		r.close()
		if err != nil {
			return err
		}
	}
	return fn(b)
}

// join makes the blob of pieces. It becomes visible in the last step, after
// the server has told which pieces it has.
func (s *Store) join(ctx context.Context, id blob.UploadID, pieces []piece, d oci.Digest) (err error) {
	join, err := s.core.NewMultipartUpload(ctx, s.bucket, s.key(d), minio.PutObjectOptions{})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.abort(ctx, join, d)
		}
	}()
	made, err := s.pieces(ctx, id, pieces, join, d)
	if err != nil {
		return err
	}
	if err := s.checkPieces(ctx, pieces, made, join, d); err != nil {
		return err
	}
	_, err = s.core.CompleteMultipartUpload(ctx, s.bucket, s.key(d), join, made, minio.PutObjectOptions{})
	if code(err) == minio.NoSuchUpload {
		// It was completed by a request whose answer was lost, as verify finds.
		return nil
	}
	return err
}

// abort gives up a join. What stays is for Sweep.
func (s *Store) abort(ctx context.Context, join string, d oci.Digest) {
	ctx, cancel := lingering(ctx)
	defer cancel()
	if err := s.core.AbortMultipartUpload(ctx, s.bucket, s.key(d), join); err != nil && code(err) != minio.NoSuchUpload {
		s.log.WarnContext(ctx, "an unfinished join stays until it is swept", "digest", d.String(), "error", err)
	}
}

// pieces makes the pieces of a join: copies in parallel, and beside them one
// after the other those that go through memory.
func (s *Store) pieces(ctx context.Context, id blob.UploadID, pieces []piece, join string, d oci.Digest) ([]minio.CompletePart, error) {
	made := make([]minio.CompletePart, len(pieces))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(copiesAtOnce)
	for i, p := range pieces {
		if p.copy {
			g.Go(func() (err error) {
				made[i], err = s.copyPiece(ctx, id, p.spans[0], join, i+1, d)
				return err
			})
		}
	}
	var err error
	for i, p := range pieces {
		if !p.copy && err == nil {
			err = s.gather(ctx, id, p.spans, func(b *buffer) error {
				got, err := s.core.PutObjectPart(ctx, s.bucket, s.key(d), join, i+1, b.body(), b.size, minio.PutObjectPartOptions{})
				made[i] = minio.CompletePart{PartNumber: i + 1, ETag: got.ETag}
				return err
			})
		}
	}
	if gerr := g.Wait(); gerr != nil {
		return nil, gerr
	}
	return made, err
}

func (s *Store) copyPiece(ctx context.Context, id blob.UploadID, sp span, join string, n int, d oci.Digest) (minio.CompletePart, error) {
	length := sp.size()
	if sp.whole() {
		length = -1
	}
	return s.core.CopyObjectPart(ctx, s.bucket, s.partKey(id, sp.part.offset), s.bucket, s.key(d), join, n, sp.from, length, ifSame(sp.part))
}

// checkPieces checks that the server has the pieces that were planned.
func (s *Store) checkPieces(ctx context.Context, pieces []piece, made []minio.CompletePart, join string, d oci.Digest) error {
	n, after := 0, 0
	for {
		page, err := s.core.ListObjectParts(ctx, s.bucket, s.key(d), join, after, s.page)
		if err != nil {
			return err
		}
		for _, got := range page.ObjectParts {
			if n >= len(pieces) || got.PartNumber != n+1 || got.Size != pieces[n].size() || trim(got.ETag) != trim(made[n].ETag) {
				return fmt.Errorf("the server has piece %d of %d bytes, which is not the one that was made", got.PartNumber, got.Size)
			}
			n++
		}
		if !page.IsTruncated {
			break
		}
		after = page.NextPartNumberMarker
	}
	if n < len(pieces) {
		return fmt.Errorf("the server has %d of %d pieces", n, len(pieces))
	}
	return nil
}

// trim removes the quotes that some answers have around an ETag.
func trim(etag string) string { return strings.Trim(etag, `"`) }
