package tlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Source is where a log is read: the log itself, or what a Client reads. What it
// returns is not verified.
type Source interface {
	// Checkpoint returns the newest published checkpoint, signed.
	Checkpoint(ctx context.Context) ([]byte, error)
	// Tile returns a tile: Width hashes one after the other, or Width entries as
	// the layout has them. Errors match ErrNotFound.
	Tile(ctx context.Context, t Tile) ([]byte, error)
}

// Reader is the published part of a log, out of its store.
type Reader struct {
	Layout Layout
	Store  Store
	Blobs  blob.Store

	published atomic.Int64 // a size known to be published
}

// Checkpoint implements Source.
func (r *Reader) Checkpoint(ctx context.Context) ([]byte, error) {
	h, err := r.Store.Head(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	return h.Published, nil
}

// Tile implements Source. Partial tiles of any width exist up to the published size.
func (r *Reader) Tile(ctx context.Context, t Tile) ([]byte, error) {
	end, ok := t.end()
	if !ok {
		return nil, fmt.Errorf("reading %s: %w", t.Path(r.Layout), ErrNotFound)
	}
	if end > r.published.Load() {
		h, err := r.Store.Head(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", t.Path(r.Layout), err)
		}
		if end > h.PublishedSize {
			return nil, fmt.Errorf("reading %s: %w: it has %d entries", t.Path(r.Layout), ErrNotFound, h.PublishedSize)
		}
		r.published.Store(h.PublishedSize)
	}
	return r.tile(ctx, t)
}

// tile reads a tile, published or not.
func (r *Reader) tile(ctx context.Context, t Tile) ([]byte, error) {
	b, err := r.partial(ctx, t)
	if errors.Is(err, ErrNotFound) { // the tile is full, or became so meanwhile
		b, err = r.full(ctx, t)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", t.Path(r.Layout), err)
	}
	return b, nil
}

// full reads the beginning of a full tile.
func (r *Reader) full(ctx context.Context, t Tile) ([]byte, error) {
	fs, err := r.Store.Tiles(ctx, max(t.Level, 0), t.N, t.N+1)
	if err != nil {
		return nil, err
	}
	if len(fs) == 0 {
		return nil, ErrNotFound
	}
	if t.Level != Entries {
		b, err := r.blob(ctx, fs[0].Hashes)
		if err == nil && len(b) != TileWidth*len(Hash{}) {
			err = fmt.Errorf("%w: the blob %s of a tile has %d bytes", ErrDamaged, fs[0].Hashes, len(b))
		}
		if err != nil {
			return nil, err
		}
		return b[:t.Width*len(Hash{})], nil
	}
	b, err := r.blob(ctx, fs[0].Entries)
	if err != nil || t.Width == TileWidth {
		return b, err
	}
	return r.Layout.prefix(b, t.Width)
}

func (r *Reader) blob(ctx context.Context, d oci.Digest) ([]byte, error) {
	c, err := r.Blobs.Open(ctx, d)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("%w: the blob %s of a tile is gone", ErrDamaged, d)
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	b := make([]byte, c.Size())
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, fmt.Errorf("reading %s: %w", d, err)
	}
	return b, nil
}

// partial makes a partial tile out of the rows of what is in no full one. It
// returns ErrNotFound when those have less of it.
func (r *Reader) partial(ctx context.Context, t Tile) ([]byte, error) {
	if t.Width == TileWidth {
		return nil, ErrNotFound
	}
	if t.Level > 0 {
		fs, err := r.Store.Tiles(ctx, t.Level-1, t.N*TileWidth, t.N*TileWidth+int64(t.Width))
		if err != nil {
			return nil, err
		}
		if len(fs) != t.Width {
			return nil, ErrNotFound
		}
		return JoinHashes(roots(fs)), nil
	}
	_, pieces, err := r.Store.Tail(ctx)
	if err != nil {
		return nil, err
	}
	leaves, bundle, err := tail(pieces, t.N*TileWidth)
	if err != nil || len(leaves) < t.Width {
		return nil, ErrNotFound
	}
	if t.Level == 0 {
		return JoinHashes(leaves[:t.Width]), nil
	}
	return r.Layout.prefix(bundle, t.Width)
}

func roots(fs []Full) []Hash {
	hashes := make([]Hash, len(fs))
	for i, f := range fs {
		hashes[i] = f.Root
	}
	return hashes
}

// tail puts the pieces from an index on together.
func tail(pieces []Piece, from int64) (leaves []Hash, bundle []byte, err error) {
	for _, p := range pieces {
		if p.Start != from+int64(len(leaves)) {
			return nil, nil, fmt.Errorf("%w: the entries from %d on follow those up to %d", ErrDamaged, p.Start, from+int64(len(leaves)))
		}
		leaves = append(leaves, p.Leaves...)
		bundle = append(bundle, p.Bundle...)
	}
	return leaves, bundle, nil
}

// Head returns the log as it is stored, published or not, once it is known that
// its rows fit its head. Errors match ErrNoLog or ErrDamaged.
func (r *Reader) Head(ctx context.Context) (Head, error) {
	h, pieces, err := r.Store.Tail(ctx)
	if err == nil {
		_, err = r.assemble(ctx, h, pieces)
	}
	if err != nil {
		return Head{}, fmt.Errorf("reading the head of the log: %w", err)
	}
	return h, nil
}

// assemble makes the state of a head, and checks that it is.
func (r *Reader) assemble(ctx context.Context, h Head, pieces []Piece) (*State, error) {
	leaves, bundle, err := tail(pieces, h.Size&^(TileWidth-1))
	if err != nil {
		return nil, err
	}
	s := &State{Size: h.Size, levels: [][]Hash{leaves}, tail: bundle}
	for level := 1; h.Size>>uint(tileHeight*level) > 0; level++ {
		to := h.Size >> uint(tileHeight*level)
		fs, err := r.Store.Tiles(ctx, level-1, to&^(TileWidth-1), to)
		if err != nil {
			return nil, err
		}
		s.levels = append(s.levels, roots(fs))
	}
	for level, hashes := range s.levels {
		if want := widthAt(h.Size, level, h.Size>>uint(tileHeight*(level+1))); len(hashes) != want {
			return nil, fmt.Errorf("%w: its edge at level %d has %d hashes, not the %d of %d entries", ErrDamaged, level, len(hashes), want, h.Size)
		}
	}
	if s.Root = s.root(); s.Root != h.Root {
		return nil, fmt.Errorf("%w: its rows have the root %s, and its head %s, at %d entries", ErrDamaged, s.Root, h.Root, h.Size)
	}
	return s, nil
}

// Unpublished returns the log with what is not published yet, for who checks the
// database that it is in.
func (r *Reader) Unpublished() Source { return unbounded{r} }

// unbounded is a log with what is not published yet: for proofs to witnesses, and
// for entries that are about to be.
type unbounded struct{ *Reader }

func (u unbounded) Tile(ctx context.Context, t Tile) ([]byte, error) { return u.tile(ctx, t) }
