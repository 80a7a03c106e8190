package tlog

import (
	"context"
	"fmt"

	sumdb "golang.org/x/mod/sumdb/tlog"
)

// ProveInclusion proves entry index in the tree of the given size. The proof
// follows from what src returns, which is unverified: verify it.
func ProveInclusion(ctx context.Context, src Source, index, size int64) ([]Hash, error) {
	if index < 0 || index >= size || size > maxSize {
		return nil, fmt.Errorf("proving entry %d among %d: %w", index, size, ErrNotFound)
	}
	p, err := sumdb.ProveRecord(size, index, &hashes{ctx: ctx, src: src, size: size})
	if err != nil {
		return nil, fmt.Errorf("proving entry %d among %d: %w", index, size, err)
	}
	return p, nil
}

// ProveConsistency proves that the tree of one size begins with that of a smaller
// one. From size 0, and to the same size, the proof is empty.
func ProveConsistency(ctx context.Context, src Source, from, to int64) ([]Hash, error) {
	if from < 0 || from > to || to > maxSize {
		return nil, fmt.Errorf("proving that %d entries go on from %d: %w", to, from, ErrNotFound)
	}
	if from == 0 || from == to {
		return nil, nil
	}
	p, err := sumdb.ProveTree(to, from, &hashes{ctx: ctx, src: src, size: to})
	if err != nil {
		return nil, fmt.Errorf("proving that %d entries go on from %d: %w", to, from, err)
	}
	return p, nil
}

// Prove reads an entry of a log whose checkpoint was verified, and its proof. Both
// are verified: the entry is in the log. Errors match ErrNotFound, ErrProof and
// ErrMalformed.
func Prove(ctx context.Context, src Source, l Layout, c Checkpoint, index int64) (BundleEntry, []Hash, error) {
	p, err := ProveInclusion(ctx, src, index, c.Size)
	if err != nil {
		return BundleEntry{}, nil, err
	}
	t := Tile{Level: Entries, N: index / TileWidth, Width: widthAt(c.Size, Entries, index/TileWidth)}
	b, err := src.Tile(ctx, t)
	if err != nil {
		return BundleEntry{}, nil, fmt.Errorf("proving entry %d: %w", index, err)
	}
	entries, err := l.Split(b, t.Width)
	if err != nil {
		return BundleEntry{}, nil, fmt.Errorf("proving entry %d: %w", index, err)
	}
	e := entries[index%TileWidth]
	return e, p, VerifyInclusion(p, c, index, e.Leaf)
}

// Find returns the index of the newest entry with a leaf, by reading the tiles of
// the log from its end. What src returns is unverified: prove the entry. Errors
// match ErrNotFound.
func Find(ctx context.Context, src Source, size int64, leaf Hash) (int64, error) {
	h := &hashes{ctx: ctx, src: src, size: size}
	for n := (size - 1) / TileWidth; n >= 0 && size > 0; n-- {
		row, err := h.tile(0, n)
		if err != nil {
			return 0, err
		}
		clear(h.tiles)
		for i := len(row) - 1; i >= 0; i-- {
			if row[i] == leaf {
				return n*TileWidth + int64(i), nil
			}
		}
	}
	return 0, fmt.Errorf("finding the leaf %s among %d entries: %w", leaf, size, ErrNotFound)
}

// VerifyInclusion checks that the log of a checkpoint has a leaf at an index.
// Errors match ErrProof.
func VerifyInclusion(proof []Hash, c Checkpoint, index int64, leaf Hash) error {
	if err := sumdb.CheckRecord(proof, c.Size, c.Root, index, leaf); err != nil {
		return fmt.Errorf("%w: entry %d is not what %d entries with root %s have there", ErrProof, index, c.Size, c.Root)
	}
	return nil
}

// VerifyConsistency checks that the newer checkpoint goes on from the older one.
// Errors match ErrProof.
func VerifyConsistency(proof []Hash, older, newer Checkpoint) error {
	bad := func() error {
		return fmt.Errorf("%w: %d entries with root %s do not go on from %d with root %s", ErrProof, newer.Size, newer.Root, older.Size, older.Root)
	}
	switch {
	case older.Size < 0 || older.Size > newer.Size:
		return bad()
	case older.Size == newer.Size:
		if older.Root != newer.Root || len(proof) > 0 {
			return bad()
		}
		return nil
	case older.Size == 0:
		if older.Root != EmptyRoot() || len(proof) > 0 {
			return bad()
		}
		return nil
	}
	if sumdb.CheckTree(proof, newer.Size, newer.Root, older.Size, older.Root) != nil {
		return bad()
	}
	return nil
}

// rootAt is the root of the first size entries, as src has them.
func rootAt(ctx context.Context, src Source, size int64) (Hash, error) {
	return sumdb.TreeHash(size, &hashes{ctx: ctx, src: src, size: size})
}

// hashes reads nodes of the tree of the given size out of tiles.
type hashes struct {
	ctx   context.Context // of the one call it is made for
	src   Source
	size  int64
	tiles map[Tile][]Hash
}

// ReadHashes implements tlog.HashReader.
func (h *hashes) ReadHashes(indexes []int64) ([]Hash, error) {
	all := make([]Hash, len(indexes))
	for i, index := range indexes {
		level, n := sumdb.SplitStoredHashIndex(index)
		height := uint(level % tileHeight)
		first := n << height // at the level of the tile
		row, err := h.tile(level/tileHeight, first/TileWidth)
		if err != nil {
			return nil, err
		}
		from := int(first % TileWidth)
		if from+1<<height > len(row) {
			return nil, fmt.Errorf("reading hash %d of level %d: %w", n, level, ErrNotFound)
		}
		all[i] = subtree(row[from : from+1<<height])
	}
	return all, nil
}

func (h *hashes) tile(level int, n int64) ([]Hash, error) {
	t := Tile{Level: level, N: n, Width: widthAt(h.size, level, n)}
	if row, ok := h.tiles[t]; ok {
		return row, nil
	}
	if t.Width == 0 {
		return nil, fmt.Errorf("reading tile %d of level %d: %w", n, level, ErrNotFound)
	}
	b, err := h.src.Tile(h.ctx, t)
	if err != nil {
		return nil, err
	}
	row, err := SplitHashes(b)
	if err != nil {
		return nil, err
	}
	if len(row) != t.Width {
		return nil, fmt.Errorf("%w: tile %d of level %d has %d hashes, not %d", ErrMalformed, n, level, len(row), t.Width)
	}
	if h.tiles == nil {
		h.tiles = map[Tile][]Hash{}
	}
	h.tiles[t] = row
	return row, nil
}
