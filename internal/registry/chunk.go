package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
)

var (
	// errRange: a Content-Range that says nothing.
	errRange = errors.New("not a valid Content-Range")
	// errLength: more or fewer bytes came than were announced.
	errLength = errors.New("the body has another length than its headers say")
	// errBody: the client's side of the connection ended in the middle.
	errBody = errors.New("the body ended before it was complete")
	// errIdle: the client sent nothing for too long.
	errIdle = errors.New("nothing was sent for too long")
)

// chunk is where the body of a request belongs in its upload.
type chunk struct {
	offset int64 // push.AnyOffset when the client does not say
	length int64 // -1 when the client does not say
}

// parseContentRange reads the Content-Range of an upload: "first-last", both
// inclusive (distribution specification 1.1, "Pushing a blob in chunks"), or
// RFC 9110's "bytes first-last/size", which some clients send. Errors match
// errRange.
func parseContentRange(s string) (chunk, error) {
	span := s
	if rest, ok := strings.CutPrefix(s, "bytes "); ok {
		span, _, _ = strings.Cut(rest, "/")
	}
	first, last, ok := strings.Cut(span, "-")
	a, errA := parseOffset(first)
	b, errB := parseOffset(last)
	if !ok || errA != nil || errB != nil || b < a {
		return chunk{}, fmt.Errorf("%w: %s, want FIRST-LAST, both inclusive", errRange, oci.Quote(s))
	}
	return chunk{offset: a, length: b - a + 1}, nil
}

// parseOffset reads digits only, up to 2^62, so that sums do not overflow.
func parseOffset(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 62) // takes no sign, no underscores
	return int64(n), err
}

// chunkOf reads where the body of r belongs, and compares what two headers say
// about its length.
func chunkOf(r *http.Request) (chunk, error) {
	c := chunk{offset: push.AnyOffset, length: r.ContentLength}
	s := r.Header.Get("Content-Range")
	if s == "" {
		return c, nil
	}
	ranged, err := parseContentRange(s)
	if err != nil {
		return c, err
	}
	if c.length >= 0 && c.length != ranged.length {
		return c, fmt.Errorf("%w: Content-Range %s is %d bytes, Content-Length says %d", errLength, s, ranged.length, c.length)
	}
	return ranged, nil
}

// body reads the body of a request: exactly as long as announced, with errors
// of the client's side told apart from others, and cut off when nothing comes.
type body struct {
	r    io.Reader
	left int64 // still to come; negative when nothing was announced
	idle func(done bool)
	err  error // what the client's side ended with, nil while it is good
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.idle(false)
	n, err := b.r.Read(p)
	if b.left >= 0 {
		if int64(n) > b.left {
			n = int(b.left)
			err = fmt.Errorf("%w: there is more", errLength)
		}
		b.left -= int64(n)
	}
	switch {
	case errors.Is(err, io.EOF):
		b.idle(true)
		if b.left > 0 {
			err = fmt.Errorf("%w: %d bytes are missing", errLength, b.left)
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: %v", errIdle, err)
	case err != nil && !errors.Is(err, errLength):
		err = fmt.Errorf("%w: %v", errBody, err)
	}
	b.err = err
	return n, err
}

// failed returns what the client's side of a body that was read ended with,
// nil for a clean end.
func (b *body) failed() error {
	if b.err == nil || errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}
