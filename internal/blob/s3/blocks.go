package s3

import (
	"context"
	"sync"
)

const (
	// blockSize is what is asked of the server for a smaller read of a part:
	// whoever follows an upload reads it in order, some KiB at a time.
	blockSize = 512 << 10
	// maxBlocks is how many blocks are kept: one for each of so many readers.
	maxBlocks = 32
)

// blocks keeps what was read last of parts. Parts do not change, so that what
// is kept stays true.
type blocks struct {
	mu   sync.Mutex
	kept []block // the one used last comes last
}

// block is a piece of a part: the n-th of blockSize, the last one shorter.
type block struct {
	key, etag string
	n         int64
	data      []byte
}

func (b block) is(o block) bool { return b.key == o.key && b.etag == o.etag && b.n == o.n }

// get returns a block that is kept.
func (b *blocks) get(want block) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, k := range b.kept {
		if k.is(want) {
			copy(b.kept[i:], b.kept[i+1:])
			b.kept[len(b.kept)-1] = k
			return k.data, true
		}
	}
	return nil, false
}

func (b *blocks) put(k block) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) >= maxBlocks {
		copy(b.kept, b.kept[1:])
		b.kept = b.kept[:len(b.kept)-1]
	}
	b.kept = append(b.kept, k)
}

// readPart reads some bytes of a part from off, at least one and at most up to
// the end of p, which is not beyond the part.
func (s *Store) readPart(ctx context.Context, key string, pt part, p []byte, off int64) (int, error) {
	if len(p) >= blockSize {
		return s.read(ctx, key, pt.etag, p, off)
	}
	want := block{key: key, etag: pt.etag, n: off / blockSize}
	from := want.n * blockSize
	data, ok := s.blocks.get(want)
	if !ok {
		data = make([]byte, min(blockSize, pt.size-from))
		if _, err := s.read(ctx, key, pt.etag, data, from); err != nil {
			return 0, err
		}
		want.data = data
		s.blocks.put(want)
	}
	return copy(p, data[off-from:]), nil
}
