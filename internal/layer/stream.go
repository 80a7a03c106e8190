package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// chunkSize and chunks bound what is between the goroutine that decompresses
// and the one that hashes and walks. Multiples of blockSize keep headers in one
// chunk. The first is small, as many layers are.
const (
	firstChunk = 16 << 10
	chunkSize  = 256 << 10
	chunks     = 4
)

// chunk is a piece of the uncompressed stream. err ends the stream after it.
type chunk struct {
	buf []byte
	n   int // bytes of buf that count
	err error
}

// stream is the uncompressed side: a second goroutine decompresses into
// chunks, the methods hash them and hand them out. It enforces the budgets of
// bytes, ratio and time.
type stream struct {
	ctx    context.Context
	src    *source
	dec    io.ReadCloser
	budget Budget
	now    func() time.Time
	start  time.Time

	full chan chunk
	free chan []byte
	stop chan struct{} // closed by close
	done chan struct{} // closed when the goroutine has ended

	cur   []byte // handed out from here
	last  []byte // the buffer cur is part of
	hash  hash.Hash
	total int64
	err   error // ends the stream once cur is empty: io.EOF, a *fault, or a fatal error
}

func newStream(ctx context.Context, dec io.ReadCloser, src *source, o Options) *stream {
	s := &stream{
		ctx: ctx, src: src, dec: dec, budget: o.Budget, now: o.Now, start: o.Now(),
		full: make(chan chunk, chunks), free: make(chan []byte, chunks),
		stop: make(chan struct{}), done: make(chan struct{}),
		hash: sha256.New(),
	}
	s.free <- make([]byte, firstChunk)
	for range chunks - 1 {
		s.free <- nil // made when it is needed
	}
	go s.decompress()
	return s
}

// close stops the goroutine and waits for it.
func (s *stream) close() {
	close(s.stop)
	<-s.done
	s.dec.Close()
}

func (s *stream) decompress() {
	defer close(s.done)
	for {
		select {
		case buf := <-s.free:
			c := s.fillChunk(buf)
			select {
			case s.full <- c:
			case <-s.stop:
				return
			}
			if c.err != nil {
				return
			}
		case <-s.stop:
			return
		}
	}
}

// fillChunk reads until buf is full or the stream ends. A decoder that panics
// on foreign bytes is a damaged stream, not the end of the process.
func (s *stream) fillChunk(buf []byte) (c chunk) {
	if c.buf = buf; buf == nil {
		c.buf = make([]byte, chunkSize)
	}
	defer func() {
		if p := recover(); p != nil {
			c.err = &fault{why: gaveUp, damaged: true}
		}
	}()
	for c.n < len(c.buf) && c.err == nil {
		var n int
		n, c.err = s.dec.Read(c.buf[c.n:])
		c.n += n
	}
	return c
}

// fill makes cur non-empty or returns why it cannot.
func (s *stream) fill() error {
	for len(s.cur) == 0 {
		if s.err != nil {
			return s.err
		}
		if s.last != nil {
			s.free <- s.last
			s.last = nil
		}
		select {
		case c := <-s.full:
			s.take(c)
		case <-s.ctx.Done():
			s.err = context.Cause(s.ctx)
		}
	}
	return nil
}

func (s *stream) take(c chunk) {
	s.last, s.cur, s.err = c.buf, c.buf[:c.n], c.err
	s.hash.Write(s.cur)
	s.total += int64(c.n)
	if why, over := s.overBudget(); over {
		s.cur, s.err = nil, &fault{why: why}
	}
}

func (s *stream) overBudget() (reason, bool) {
	b := &s.budget
	switch {
	case s.total > b.Uncompressed:
		return overBytes, true
	case s.total > b.RatioFrom && s.total/max(s.src.taken.Load(), 1) > b.Ratio:
		return overRatio, true
	case s.now().Sub(s.start)-time.Duration(s.src.waited.Load()) > b.Time:
		return overTime, true
	}
	return reason{}, false
}

// next returns at least one and at most n bytes, valid until the next call.
func (s *stream) next(n int64) ([]byte, error) {
	if err := s.fill(); err != nil {
		return nil, err
	}
	p := s.cur
	if int64(len(p)) > n {
		p = p[:n]
	}
	s.cur = s.cur[len(p):]
	return p, nil
}

// readFull fills p and returns how many bytes it got when the stream ends.
func (s *stream) readFull(p []byte) (int, error) {
	got := 0
	for got < len(p) {
		b, err := s.next(int64(len(p) - got))
		if err != nil {
			return got, err
		}
		got += copy(p[got:], b)
	}
	return got, nil
}

// skip passes over n bytes.
func (s *stream) skip(n int64) error {
	for n > 0 {
		b, err := s.next(n)
		if err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}

// drain reads to the end and reports whether all of it was zero.
func (s *stream) drain() (zero bool, err error) {
	zero = true
	for {
		b, err := s.next(chunkSize)
		if err != nil {
			return zero, err
		}
		zero = zero && allZero(b)
	}
}

var zeros [4096]byte

func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// diffID is the digest of all that was handed out, which is the whole stream
// only when that has ended.
func (s *stream) diffID() oci.Digest { return oci.SHA256.FromHash(s.hash) }
