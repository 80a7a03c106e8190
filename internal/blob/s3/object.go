package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/bonded-dev/bonded/internal/blob"
)

// condition says when an object may be written.
type condition int

const (
	anyway condition = iota
	// once: only if there is none of that name, or one with the same bytes.
	once
)

// errTaken says that there is another object of that name.
var errTaken = errors.New("there is another object of that name")

// write puts an object and returns its ETag. Errors match errTaken.
func (s *Store) write(ctx context.Context, key string, b body, c condition) (string, error) {
	// A second attempt comes about when the object that was in the way is
	// gone again, or was being written; a third would be for a fourth.
	for range 3 {
		var opts minio.PutObjectOptions
		conditional := c == once && !s.unconditional.Load()
		if conditional {
			opts.SetMatchETagExcept("*")
		}
		if _, err := b.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		info, err := s.core.PutObject(ctx, s.bucket, key, b, b.Len(), "", "", opts)
		switch {
		case err == nil:
			return info.ETag, nil
		case conditional && code(err) == minio.NotImplemented:
			if !s.unconditional.Swap(true) {
				s.log.WarnContext(ctx, "S3 server has no conditional writes; a late request may damage an upload, which Commit then refuses")
			}
		case conditional && (unmet(err) || status(err) == http.StatusConflict): // it is there, or about to be
			etag, err := s.compare(ctx, key, b)
			if !errors.Is(err, blob.ErrNotFound) {
				return etag, err
			}
		case conditional && status(err) == 0 && ctx.Err() == nil:
			// No answer. A server may close the connection over a condition
			// that does not hold before it has read the body.
			if etag, cerr := s.compare(ctx, key, b); cerr == nil || errors.Is(cerr, errTaken) {
				return etag, cerr
			}
			return "", err
		default:
			return "", err
		}
	}
	return "", fmt.Errorf("%w that comes and goes", errTaken)
}

// compare returns the ETag of the object if it has the bytes of b, as it does
// when a request was answered but the answer was lost. Errors match errTaken
// and blob.ErrNotFound.
func (s *Store) compare(ctx context.Context, key string, b body) (string, error) {
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	r, info, _, err := s.core.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return "", missing(err, blob.ErrNotFound)
	}
	defer r.Close()
	same, err := sameBytes(r, b)
	if err == nil && !same {
		err = errTaken
	}
	return info.ETag, err
}

// stream reads bytes of an object in one request, and asks again for the rest
// when the connection breaks.
type stream struct {
	ctx  context.Context
	s    *Store
	key  string
	etag string // "": of whatever has that name

	at, end  int64         // what is next, and where it stops
	body     io.ReadCloser // from at to end, nil if not asked for
	failures int           // of bodies, without a byte between them
}

// maxFailures is how often in a row a connection may break without a byte.
const maxFailures = 3

func (r *stream) Read(p []byte) (int, error) {
	if r.at >= r.end {
		return 0, io.EOF
	}
	for {
		if r.body == nil {
			if err := r.open(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(p)
		r.at += int64(n)
		if err != nil {
			r.close()
		}
		if n > 0 || err == nil {
			r.failures = 0
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if r.failures++; r.failures >= maxFailures || r.ctx.Err() != nil {
			return 0, err
		}
	}
}

// open asks for the bytes from at to end.
func (r *stream) open() error {
	var opts minio.GetObjectOptions
	err := opts.SetRange(r.at, r.end-1)
	if err == nil && r.etag != "" {
		err = opts.SetMatchETag(r.etag)
	}
	if err != nil {
		return err
	}
	body, info, _, err := r.s.core.GetObject(r.ctx, r.s.bucket, r.key, opts)
	if err != nil {
		return err
	}
	if info.Size != r.end-r.at {
		body.Close()
		return fmt.Errorf("the server sends %d bytes of %s, asked for %d", info.Size, r.key, r.end-r.at)
	}
	r.body = body
	return nil
}

// close gives up the request. Read makes another.
func (r *stream) close() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// read fills p with the bytes from off of an object. An empty ETag stands for
// whatever has that name.
func (s *Store) read(ctx context.Context, key, etag string, p []byte, off int64) (int, error) {
	r := stream{ctx: ctx, s: s, key: key, etag: etag, at: off, end: off + int64(len(p))}
	defer r.close()
	return io.ReadFull(&r, p)
}

// lingering returns a context that ends a while after ctx does, for what must
// not be left half done when a client goes away. The function ends it at once.
func lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(linger)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-out.Done():
		}
	})
	return out, func() {
		stop()
		cancel()
	}
}

// linger is how long a part may take to be written, or garbage to be removed,
// after the caller stopped waiting.
const linger = 15 * time.Second
