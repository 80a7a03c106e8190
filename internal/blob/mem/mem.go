// Package mem is a content store in memory, for tests and for commands that
// look at one image and forget it.
//
// It polices the contract that it stands in for: a second writer of an upload,
// and a Commit under a digest that the bytes do not have, are errors here,
// where the other stores trust their caller.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Store implements blob.Store in memory. Its Uploads method gives the
// blob.Uploads that commit into it.
type Store struct {
	opts Options

	// mu guards all below. A blob's bytes are never written again, so that
	// they are read outside it.
	mu      sync.Mutex
	blobs   map[oci.Digest][]byte
	uploads map[blob.UploadID]*upload
	used    int64
}

// Options are what a Store may be told.
type Options struct {
	// Limit is how many bytes blobs and uploads may hold together before
	// writes fail with blob.ErrNoSpace. Optional: 0 means no limit.
	Limit int64
	// Now tells the time at which uploads are written. Optional: without it
	// uploads were written at the zero time.
	Now func() time.Time
}

// New returns an empty store.
func New(opts Options) *Store {
	return &Store{opts: opts, blobs: map[oci.Digest][]byte{}, uploads: map[blob.UploadID]*upload{}}
}

var _ blob.Store = (*Store)(nil)

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, d oci.Digest) (blob.Content, error) {
	b, err := s.get(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", d, err)
	}
	return content{bytes.NewReader(b)}, nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, d oci.Digest) (int64, error) {
	b, err := s.get(ctx, d)
	if err != nil {
		return 0, fmt.Errorf("looking at blob %s: %w", d, err)
	}
	return int64(len(b)), nil
}

func (s *Store) get(ctx context.Context, d oci.Digest) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[d]
	if !ok {
		return nil, blob.ErrNotFound
	}
	return b, nil
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, d oci.Digest, b []byte) error {
	if err := s.put(ctx, d, b); err != nil {
		return fmt.Errorf("putting blob %s: %w", d, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, d oci.Digest, b []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := blob.Verify(d, b); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.blobs[d]; ok {
		return nil
	}
	if s.room() < int64(len(b)) {
		return blob.ErrNoSpace
	}
	s.blobs[d] = bytes.Clone(b)
	s.used += int64(len(b))
	return nil
}

// room returns how many bytes more may be held. Callers hold mu.
func (s *Store) room() int64 {
	if s.opts.Limit == 0 {
		return 1 << 62
	}
	return s.opts.Limit - s.used
}

// Delete implements blob.Store. Open contents stay readable.
func (s *Store) Delete(ctx context.Context, d oci.Digest) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("deleting blob %s: %w", d, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= int64(len(s.blobs[d]))
	delete(s.blobs, d)
	return nil
}

// Walk implements blob.Store. It shows what there was when it was called.
func (s *Store) Walk(ctx context.Context, fn func(oci.Digest, int64) error) error {
	s.mu.Lock()
	blobs := maps.Clone(s.blobs)
	s.mu.Unlock()
	for d, b := range blobs {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("walking blobs: %w", err)
		}
		if err := fn(d, int64(len(b))); err != nil {
			return err
		}
	}
	return nil
}

// content is an open blob; *bytes.Reader has Read, Seek, ReadAt and Size.
type content struct{ *bytes.Reader }

func (content) Close() error        { return nil }
func (content) File() io.ReadSeeker { return nil }
