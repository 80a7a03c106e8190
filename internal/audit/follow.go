package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Follow verifies that a log went on from an older head to a newer one, whose
// signature was verified, and calls fn with the events between, in order. Errors
// match tlog.ErrProof when the log does not go on from there, or has not got
// these events; those of fn are returned as they are.
func Follow(ctx context.Context, src tlog.Source, older, newer tlog.Checkpoint, fn func(seq int64, event []byte) error) error {
	cached := &cache{Source: src}
	proof, err := tlog.ProveConsistency(ctx, cached, older.Size, newer.Size)
	if err != nil {
		return err
	}
	if err := tlog.VerifyConsistency(proof, older, newer); err != nil {
		return err
	}
	for at := older.Size; at < newer.Size; {
		n := at / tlog.TileWidth
		t := tlog.Tile{Level: tlog.Entries, N: n, Width: int(min(newer.Size-n*tlog.TileWidth, tlog.TileWidth))}
		b, err := src.Tile(ctx, t)
		if err != nil {
			return err
		}
		entries, err := tlog.PlainEntries.Split(b, t.Width)
		if err != nil {
			return fmt.Errorf("reading events %d to %d: %w", n*tlog.TileWidth+1, n*tlog.TileWidth+int64(t.Width), err)
		}
		for _, e := range entries[at-n*tlog.TileWidth:] {
			proof, err := tlog.ProveInclusion(ctx, cached, at, newer.Size)
			if err != nil {
				return err
			}
			if err := tlog.VerifyInclusion(proof, newer, at, e.Leaf); err != nil {
				return err
			}
			at++
			if err := fn(at, e.Data); err != nil {
				return err
			}
		}
	}
	return nil
}

// cache keeps the tiles that were read last: proofs of neighbours are from the same.
type cache struct {
	tlog.Source
	tiles map[tlog.Tile][]byte
}

// cachedTiles is how many.
const cachedTiles = 64

// Tile implements tlog.Source.
func (c *cache) Tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	if b, ok := c.tiles[t]; ok {
		return b, nil
	}
	b, err := c.Source.Tile(ctx, t)
	if err != nil {
		return nil, err
	}
	if c.tiles == nil || len(c.tiles) == cachedTiles {
		c.tiles = map[tlog.Tile][]byte{}
	}
	c.tiles[t] = b
	return b, nil
}

// Find returns the number of the newest event with an ID, or whose leaf has a
// hash in hex, by reading the log from its end. What it finds is unverified:
// prove it. Errors match tlog.ErrNotFound.
func Find(ctx context.Context, src tlog.Source, size int64, what string) (int64, error) {
	if b, err := hex.DecodeString(what); err == nil && len(b) == len(tlog.Hash{}) {
		index, err := tlog.Find(ctx, src, size, tlog.Hash(b))
		return index + 1, err
	}
	for n := (size - 1) / tlog.TileWidth; n >= 0 && size > 0; n-- {
		t := tlog.Tile{Level: tlog.Entries, N: n, Width: int(min(size-n*tlog.TileWidth, tlog.TileWidth))}
		b, err := src.Tile(ctx, t)
		if err != nil {
			return 0, err
		}
		entries, err := tlog.PlainEntries.Split(b, t.Width)
		if err != nil {
			return 0, err
		}
		for i := len(entries) - 1; i >= 0; i-- {
			var e Event
			if bytes.Contains(entries[i].Data, []byte(what)) && json.Unmarshal(entries[i].Data, &e) == nil && e.ID == what {
				return n*tlog.TileWidth + int64(i) + 1, nil
			}
		}
	}
	return 0, fmt.Errorf("finding the event %.100q among %d: %w", what, size, tlog.ErrNotFound)
}
