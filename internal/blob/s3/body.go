package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
)

const (
	// partSize is the most that one part of an upload holds. It is what each
	// Append needs of memory, and what readers lag behind.
	partSize = 8 << 20
	// segmentSize is the unit in which that memory is taken, so that a small
	// blob, or a slow client, does not hold all of it.
	segmentSize = 256 << 10
)

type segment [segmentSize]byte

// buffer is memory that grows by segments. Its owner releases it.
type buffer struct {
	s        *Store
	segments []*segment
	size     int64
}

func (s *Store) newBuffer() *buffer { return &buffer{s: s} }

// reset makes b empty and keeps its memory.
func (b *buffer) reset() { b.size = 0 }

func (b *buffer) release() {
	for _, seg := range b.segments {
		b.s.segments.Put(seg)
	}
	b.segments, b.size = nil, 0
}

// fill reads from r until b holds limit bytes or an error comes, which is r's own.
func (b *buffer) fill(ctx context.Context, r io.Reader, limit int64) error {
	for empty := 0; b.size < limit; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(b.room(limit))
		b.size += int64(n)
		if empty++; n > 0 {
			empty = 0
		}
		switch {
		case err != nil:
			return err
		case empty >= maxEmptyReads:
			return io.ErrNoProgress
		}
	}
	return nil
}

// maxEmptyReads is how often in a row a reader may give neither bytes nor an
// error before it counts as broken; bufio has the same.
const maxEmptyReads = 100

// room returns the rest of the segment that is being filled, up to limit.
func (b *buffer) room(limit int64) []byte {
	i, at := b.size/segmentSize, b.size%segmentSize
	if int(i) == len(b.segments) {
		b.segments = append(b.segments, b.s.segments.Get().(*segment))
	}
	return b.segments[i][at:min(segmentSize, at+limit-b.size)]
}

// body is what a request sends. Seeking is what lets it be sent again.
type body interface {
	io.ReadSeeker
	Len() int64
}

// body returns a reader of what b holds, valid until b changes.
func (b *buffer) body() body { return &bufferBody{b: b} }

type bufferBody struct {
	b  *buffer
	at int64
}

func (r *bufferBody) Len() int64 { return r.b.size }

func (r *bufferBody) Read(p []byte) (int, error) {
	if r.at >= r.b.size {
		return 0, io.EOF
	}
	seg, off := r.b.segments[r.at/segmentSize], r.at%segmentSize
	n := copy(p, seg[off:min(segmentSize, off+r.b.size-r.at)])
	r.at += int64(n)
	return n, nil
}

func (r *bufferBody) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.b.size
	}
	if offset < 0 {
		return 0, errors.New("seeking before the start")
	}
	r.at = offset
	return offset, nil
}

// bytesBody returns a reader of p.
func bytesBody(p []byte) body { return memoryBody{bytes.NewReader(p)} }

type memoryBody struct{ *bytes.Reader }

func (b memoryBody) Len() int64 { return b.Size() }

// sameBytes reports whether two readers give the same bytes and end together.
func sameBytes(a, b io.Reader) (bool, error) {
	pa, pb := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		na, aerr := io.ReadFull(a, pa)
		nb, berr := io.ReadFull(b, pb)
		if err := errors.Join(notEnd(aerr), notEnd(berr)); err != nil {
			return false, err
		}
		if !bytes.Equal(pa[:na], pb[:nb]) {
			return false, nil
		}
		if na < len(pa) { // the end, of both as the counts are equal
			return true, nil
		}
	}
}

// notEnd is err unless io.ReadFull says by it that a reader ended.
func notEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
