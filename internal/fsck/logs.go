package fsck

import (
	"context"
	"errors"
	"fmt"
	"math"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Log is a log whose rows and blobs are checked. One that was not begun is passed
// over.
type Log struct {
	Origin string
	Reader *tlog.Reader
	// Known are its keys, all that ever signed for it.
	Known []note.Verifier
	// ReadElsewhere says that its entries are read by another check, and not with
	// Options.Content.
	ReadElsewhere bool
}

// tilesPage is how many rows of tiles are read at once.
const tilesPage = 1000

// logs: the head of each log is signed and fits its rows, every tile is named,
// and what is named is in the content store.
func (c *checker) logs(ctx context.Context) error {
	for i := range c.Logs {
		if err := c.log(ctx, &c.Logs[i]); err != nil {
			return fmt.Errorf("checking the log %s: %w", c.Logs[i].Origin, err)
		}
	}
	return nil
}

func (c *checker) log(ctx context.Context, l *Log) error {
	h, err := l.Reader.Head(ctx)
	switch {
	case errors.Is(err, tlog.ErrNoLog):
		return nil
	case errors.Is(err, tlog.ErrDamaged):
		c.wrong("log", l.Origin, "%v", err)
		// The tiles can be looked at all the same.
		if h, err = l.Reader.Store.Head(ctx); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	c.head(l, "head", h.Checkpoint, h.Size)
	by := c.head(l, "published head", h.Published, h.PublishedSize)
	if h.PublishedSize > h.Size {
		c.wrong("log", l.Origin, "%d entries are published, and it has %d", h.PublishedSize, h.Size)
	}
	if err := c.rows(ctx, l, h.Size); err != nil {
		return err
	}
	if !c.Content || l.ReadElsewhere || by == nil {
		return nil
	}
	r, err := tlog.Verify(ctx, tlog.VerifyOptions{Source: l.Reader, Layout: l.Reader.Layout, Origin: l.Origin, Verifier: by})
	if err == nil && r.Bad != nil {
		subject := l.Origin
		if r.Bad.Tile != "" {
			subject += "/" + r.Bad.Tile
		}
		c.wrong("log", subject, "%s", r.Bad.Reason)
	}
	return err
}

// head checks that a head is signed, by a key of the log and for that many
// entries, and returns the key.
func (c *checker) head(l *Log, what string, signed []byte, size int64) note.Verifier {
	err := fmt.Errorf("the keys of this log are not there: %w", tlog.ErrSignature)
	for _, v := range l.Known {
		var found tlog.Checkpoint
		if found, err = tlog.OpenCheckpoint(signed, l.Origin, v); err != nil {
			continue
		}
		if found.Size != size {
			c.wrong("log", l.Origin, "its %s is recorded with %d entries, and signed for %d", what, size, found.Size)
		}
		return v
	}
	c.wrong("log", l.Origin, "its %s is not signed by a key of it: %v", what, err)
	return nil
}

// rows: each level has the full tiles of so many entries, and no others.
func (c *checker) rows(ctx context.Context, l *Log, size int64) error {
	for level := 0; ; level++ {
		want := size >> (8 * (level + 1))
		for from := int64(0); from < want; from += tilesPage {
			if err := c.page(ctx, l, level, from, min(from+tilesPage, want)); err != nil {
				return err
			}
		}
		beyond, err := l.Reader.Store.Tiles(ctx, level, want, math.MaxInt64)
		if err != nil {
			return err
		}
		for _, f := range beyond {
			c.wrong("log", l.tile(level, f.N), "it is of entries that the log does not have: those end at %d", size)
		}
		if want == 0 {
			return nil
		}
	}
}

// page checks the tiles of a level with from <= N < to.
func (c *checker) page(ctx context.Context, l *Log, level int, from, to int64) error {
	tiles, err := l.Reader.Store.Tiles(ctx, level, from, to)
	if err != nil {
		return err
	}
	for n := from; n < to; n++ {
		if len(tiles) == 0 || tiles[0].N != n {
			c.wrong("log", l.tile(level, n), "no row names this tile")
			continue
		}
		f := tiles[0]
		tiles = tiles[1:]
		if err := c.tile(ctx, l.tile(level, n), f.Hashes, tlog.TileWidth*int64(len(tlog.Hash{}))); err != nil {
			return err
		}
		if level > 0 {
			continue
		}
		if err := c.tile(ctx, l.tile(tlog.Entries, n), f.Entries, 0); err != nil {
			return err
		}
	}
	return nil
}

// tile checks that the blob of a tile is there, with so many bytes; 0 for any.
func (c *checker) tile(ctx context.Context, subject string, d oci.Digest, size int64) error {
	if d.IsZero() {
		c.wrong("log", subject, "its row names no blob")
		return nil
	}
	c.report.Tiles++
	c.logged[d] = subject
	have, err := c.Blobs.Stat(ctx, d)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		c.wrong("log", subject, "its blob %s is not in the content store", d)
	case err != nil:
		return err
	case size > 0 && have != size:
		c.wrong("log", subject, "its blob %s has %d bytes, not %d", d, have, size)
	}
	return nil
}

// tile names a full tile as those who read the log do.
func (l *Log) tile(level int, n int64) string {
	return l.Origin + "/" + tlog.Tile{Level: level, N: n, Width: tlog.TileWidth}.Path(l.Reader.Layout)
}
