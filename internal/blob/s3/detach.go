package s3

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// detaching takes the body away from a request that is over. A transport may
// go on reading it after RoundTrip has returned, when the server answered, or
// the connection broke, before it had all of it; but then the body is sought to
// its start for another attempt, and its memory is filled for another part.
type detaching struct{ next http.RoundTripper }

func (d detaching) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return d.next.RoundTrip(r)
	}
	l := &lent{body: r.Body, left: r.ContentLength}
	r = r.WithContext(r.Context())
	r.Body, r.GetBody = l, nil
	defer l.end()
	return d.next.RoundTrip(r)
}

// errOver is what a late reader of a body gets; it breaks the connection, on
// which less was sent than was announced.
var errOver = errors.New("the request is over")

// lent is a body until end.
type lent struct {
	mu   sync.Mutex // held while body is in use
	body io.ReadCloser
	left int64 // bytes that were announced and not read; below 0 when none were
	over bool
}

func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over && l.left == 0: // only the end was still to be seen
		return 0, io.EOF
	case l.over:
		return 0, errOver
	}
	n, err := l.body.Read(p)
	l.left -= int64(n)
	return n, err
}

func (l *lent) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.body.Close()
}

func (l *lent) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}
