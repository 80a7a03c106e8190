package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/bonded-dev/bonded/internal/layer/toc"
)

// A fault is why the uncompressed stream ends, when it is the content's doing
// and not the reader's.
type fault struct {
	why reason
	// damaged says that the compressed stream could not be understood.
	damaged bool
	// whole says that the stream was read to its end all the same: what is
	// wrong comes after it.
	whole bool
}

func (f *fault) Error() string { return f.why.text }

// source is the compressed side: it counts what it takes from the reader,
// keeps the reader's own error apart from damage, and measures the waits.
// Reads are made by one goroutine; taken and waited may be asked by another.
type source struct {
	r      io.Reader
	now    func() time.Time
	taken  atomic.Int64
	waited atomic.Int64 // nanoseconds
	failed error        // of r; valid for others, as tail is, once the reading goroutine has ended
	tail   []byte       // see Summary.Tail
}

func newSource(r io.Reader, o Options) *source { return &source{r: r, now: o.Now} }

func (s *source) Read(p []byte) (int, error) {
	before := s.now()
	n, err := s.r.Read(p)
	s.waited.Add(int64(s.now().Sub(before)))
	s.taken.Add(int64(n))
	s.keep(p[:n])
	if err != nil && err != io.EOF {
		s.failed = err
	}
	return n, err
}

// keep makes tail the last of what was read.
func (s *source) keep(p []byte) {
	p = p[max(0, len(p)-toc.TailSize):]
	s.tail = append(s.tail, p...)
	s.tail = s.tail[:copy(s.tail, s.tail[max(0, len(s.tail)-toc.TailSize):])]
}

func (s *source) readErr() error {
	if s.failed == nil {
		return nil
	}
	return fmt.Errorf("reading a layer at byte %d: %w", s.taken.Load(), s.failed)
}

// explain prefers the reader's own error to what followed from it.
func (s *source) explain(err error) error {
	if own := s.readErr(); own != nil {
		return own
	}
	return err
}

// open recognises the compression by the first bytes, as containerd and Docker
// do, and returns its name and the uncompressed stream.
func (s *source) open(b Budget) (string, io.ReadCloser, error) {
	br := bufio.NewReaderSize(s, 128<<10)
	head, err := br.Peek(blockSize)
	if err != nil && err != io.EOF {
		return "", nil, err
	}
	switch {
	case isGzip(head):
		r, err := newGzipReader(br, s)
		return "gzip", r, err
	case isZstd(head):
		r, err := newZstdReader(br, s, b)
		return "zstd", r, err
	case isTar(head):
		return "", io.NopCloser(br), nil
	}
	return "", nil, ErrNotLayer
}

func isGzip(head []byte) bool { return bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8}) }

// isZstd accepts a frame and a skippable frame (RFC 8878, 3.1).
func isZstd(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	return bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		(head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}))
}

func isTar(head []byte) bool {
	if len(head) < blockSize {
		return false
	}
	block := (*block)(head)
	return block.isZero() || block.checksumOK()
}

// gzipReader reads all members of a gzip stream as one (RFC 1952, 2.2), which
// every unpacker of images does, and refuses what follows the last.
type gzipReader struct {
	br  *bufio.Reader
	z   *gzip.Reader
	src *source
	err error
}

func newGzipReader(br *bufio.Reader, src *source) (io.ReadCloser, error) {
	z, err := gzip.NewReader(br)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotLayer, err)
	}
	z.Multistream(false)
	return &gzipReader{br: br, z: z, src: src}, nil
}

func (g *gzipReader) Close() error { return g.z.Close() }

func (g *gzipReader) Read(p []byte) (int, error) {
	for g.err == nil {
		n, err := g.z.Read(p)
		switch {
		case err == io.EOF:
			g.err = g.nextMember()
		case err != nil:
			g.err = damage(g.src, damagedGzip)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, g.err
}

// nextMember goes on after the end of a member: nil when another begins,
// io.EOF at the end, a fault when something else follows.
func (g *gzipReader) nextMember() error {
	head, err := g.br.Peek(3)
	switch {
	case len(head) == 0 && err == io.EOF:
		return io.EOF
	case err != nil && err != io.EOF:
		return err
	case !isGzip(head):
		return g.trailing()
	}
	err = g.z.Reset(g.br)
	g.z.Multistream(false)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, gzip.ErrHeader):
		return g.trailing()
	}
	return damage(g.src, damagedGzip)
}

// trailing reads what follows the last member to its end: Go's reader refuses
// it, GNU gzip and pigz ignore it.
func (g *gzipReader) trailing() error {
	if _, err := io.Copy(io.Discard, g.br); err != nil {
		return err
	}
	return &fault{why: trailingGzip, whole: true}
}

// damage returns the reader's own error if that is what ended the stream, else
// a fault.
func damage(src *source, why reason) error {
	if src.failed != nil {
		return src.failed
	}
	return &fault{why: why, damaged: true}
}

// zstdReader reads all frames of a zstd stream as one (RFC 8878, 3), skippable
// ones left out.
type zstdReader struct {
	z    *zstd.Decoder
	src  *source
	br   *bufio.Reader
	some bool // something was decompressed
}

func newZstdReader(br *bufio.Reader, src *source, b Budget) (io.ReadCloser, error) {
	z, err := zstd.NewReader(br,
		zstd.WithDecoderConcurrency(1), // decode in the calling goroutine, with one block in memory
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(b.Window)),
		zstd.WithDecoderMaxMemory(uint64(b.Uncompressed)+1),
	)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotLayer, err)
	}
	return &zstdReader{z: z, src: src, br: br}, nil
}

func (z *zstdReader) Close() error { z.z.Close(); return nil }

func (z *zstdReader) Read(p []byte) (int, error) {
	n, err := z.z.Read(p)
	z.some = z.some || n > 0
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return n, &fault{why: overWindow}
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return n, &fault{why: overBytes}
	case errors.Is(err, zstd.ErrMagicMismatch) && z.some:
		if _, err := io.Copy(io.Discard, z.br); err != nil {
			return n, err
		}
		return n, &fault{why: trailingZstd, whole: true}
	}
	return n, damage(z.src, damagedZstd)
}
