package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// TileLog is the store of one transparency log.
type TileLog struct {
	db   *DB
	name string
}

var _ tlog.Store = (*TileLog)(nil)

// TileLog returns the store of the log with a name. It need not be there yet.
func (db *DB) TileLog(name string) *TileLog { return &TileLog{db, name} }

// Create implements tlog.Store.
func (l *TileLog) Create(ctx context.Context, h tlog.Head) error {
	err := l.db.Update(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, `INSERT INTO tlog (name, origin, size, root, checkpoint, published_size, published) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (name) DO NOTHING`, l.name, h.Origin, h.Size, h.Root[:], h.Checkpoint, h.PublishedSize, h.Published)
		if err == nil && n == 0 {
			err = tlog.ErrExists
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("creating the log %s: %w", l.name, err)
	}
	return nil
}

// Head implements tlog.Store.
func (l *TileLog) Head(ctx context.Context) (h tlog.Head, err error) {
	err = l.db.read(ctx, func(tx *Tx) error {
		h, err = tx.tileHead(ctx, l.name)
		return err
	})
	if err != nil {
		return h, fmt.Errorf("reading the head of the log %s: %w", l.name, err)
	}
	return h, nil
}

func (tx *Tx) tileHead(ctx context.Context, name string) (h tlog.Head, err error) {
	var root []byte
	err = tx.row(ctx, `SELECT origin, size, root, checkpoint, published_size, published FROM tlog WHERE name = ?`, []any{name},
		&h.Origin, &h.Size, &root, &h.Checkpoint, &h.PublishedSize, &h.Published)
	if errors.Is(err, conn.ErrNoRow) {
		return h, tlog.ErrNoLog
	}
	if err == nil {
		h.Root, err = hashOf(root)
	}
	return h, err
}

// Tail implements tlog.Store.
func (l *TileLog) Tail(ctx context.Context) (h tlog.Head, pieces []tlog.Piece, err error) {
	err = l.db.View(ctx, func(tx *Tx) error {
		pieces = nil
		if h, err = tx.tileHead(ctx, l.name); err != nil {
			return err
		}
		return tx.each(ctx, `SELECT start, leaves, bundle FROM tlog_tail WHERE log = ? ORDER BY start`, []any{l.name}, func(rows *sql.Rows) error {
			var p tlog.Piece
			var leaves []byte
			if err := rows.Scan(&p.Start, &leaves, &p.Bundle); err != nil {
				return err
			}
			p.Leaves, err = tlog.SplitHashes(leaves)
			pieces = append(pieces, p)
			return err
		})
	})
	if err != nil {
		return h, nil, fmt.Errorf("reading the tail of the log %s: %w", l.name, err)
	}
	return h, pieces, nil
}

// Tiles implements tlog.Store.
func (l *TileLog) Tiles(ctx context.Context, level int, from, to int64) (tiles []tlog.Full, err error) {
	err = l.db.read(ctx, func(tx *Tx) error {
		tiles = nil
		query := `SELECT n, root, hashes, entries FROM tlog_tile WHERE log = ? AND level = ? AND n >= ? AND n < ? ORDER BY n`
		return tx.each(ctx, query, []any{l.name, level, from, to}, func(rows *sql.Rows) error {
			f, err := scanTile(rows)
			f.Level = level
			tiles = append(tiles, f)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading tiles of the log %s: %w", l.name, err)
	}
	return tiles, nil
}

func scanTile(rows *sql.Rows) (f tlog.Full, err error) {
	var root []byte
	var hashes, entries string
	if err := rows.Scan(&f.N, &root, &hashes, &entries); err != nil {
		return f, err
	}
	if f.Root, err = hashOf(root); err != nil {
		return f, err
	}
	if f.Hashes, err = oci.ParseDigest(hashes); err != nil || entries == "" {
		return f, err
	}
	f.Entries, err = oci.ParseDigest(entries)
	return f, err
}

// Find implements tlog.Store.
func (l *TileLog) Find(ctx context.Context, leaves []tlog.Hash) (map[tlog.Hash]int64, error) {
	found := map[tlog.Hash]int64{}
	err := chunks(leaves, func(part []tlog.Hash) error {
		return l.db.read(ctx, func(tx *Tx) error {
			args := []any{l.name}
			for i := range part {
				args = append(args, part[i][:])
			}
			return tx.each(ctx, list(`SELECT hash, pos FROM tlog_leaf WHERE log = ? AND hash IN (#)`, len(part)), args, func(rows *sql.Rows) error {
				var hash []byte
				var pos int64
				if err := rows.Scan(&hash, &pos); err != nil {
					return err
				}
				h, err := hashOf(hash)
				found[h] = pos
				return err
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("finding entries of the log %s: %w", l.name, err)
	}
	return found, nil
}

// Append implements tlog.Store.
func (l *TileLog) Append(ctx context.Context, s *tlog.Step) error {
	return l.db.take(ctx, func(tx *Tx) error { return tx.AppendTiles(ctx, l.name, s) })
}

// AppendTiles writes a step of a log in this transaction, for a caller who
// appends what the transaction is about: see tlog.Log.Append. Errors match
// tlog.ErrConflict.
func (tx *Tx) AppendTiles(ctx context.Context, name string, s *tlog.Step) error {
	if err := tx.appendTiles(ctx, name, s); err != nil {
		return fmt.Errorf("appending to the log %s: %w", name, err)
	}
	return nil
}

func (tx *Tx) appendTiles(ctx context.Context, name string, s *tlog.Step) error {
	set, args := `UPDATE tlog SET size = ?, root = ?, checkpoint = ?`, []any{s.New.Size, s.New.Root[:], s.Signed}
	if s.Publish {
		set, args = set+`, published_size = ?, published = ?`, append(args, s.New.Size, s.Signed)
	}
	// The row lock orders those who append at the same time: the second finds
	// another size.
	n, err := tx.exec(ctx, set+` WHERE name = ? AND size = ? AND root = ?`, append(args, name, s.Old.Size, s.Old.Root[:])...)
	if err != nil {
		return err
	}
	if n == 0 {
		return tlog.ErrConflict
	}
	for _, f := range s.Full {
		var entries string
		if !f.Entries.IsZero() {
			entries = f.Entries.String()
		}
		_, err := tx.exec(ctx, `INSERT INTO tlog_tile (log, level, n, root, hashes, entries) VALUES (?, ?, ?, ?, ?, ?)`,
			name, f.Level, f.N, f.Root[:], f.Hashes.String(), entries)
		if err != nil {
			return err
		}
	}
	if len(s.Full) > 0 {
		if _, err := tx.exec(ctx, `DELETE FROM tlog_tail WHERE log = ?`, name); err != nil {
			return err
		}
	}
	if len(s.Tail.Leaves) > 0 {
		_, err := tx.exec(ctx, `INSERT INTO tlog_tail (log, start, leaves, bundle) VALUES (?, ?, ?, ?)`,
			name, s.Tail.Start, tlog.JoinHashes(s.Tail.Leaves), bytesOf(s.Tail.Bundle))
		if err != nil {
			return err
		}
	}
	return tx.indexLeaves(ctx, name, s)
}

// indexLeaves keeps where each leaf is, the first where there are several.
func (tx *Tx) indexLeaves(ctx context.Context, name string, s *tlog.Step) error {
	pos := s.Old.Size
	return chunks(s.Index, func(part []tlog.Hash) error {
		args := make([]any, 0, 3*len(part))
		for i := range part {
			args = append(args, name, part[i][:], pos)
			pos++
		}
		_, err := tx.exec(ctx, `INSERT INTO tlog_leaf (log, hash, pos) VALUES `+marks(len(part), "(?, ?, ?)")+` ON CONFLICT (log, hash) DO NOTHING`, args...)
		return err
	})
}

// Publish implements tlog.Store.
func (l *TileLog) Publish(ctx context.Context, size int64, checkpoint []byte) error {
	err := l.db.take(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, `UPDATE tlog SET published_size = ?, published = ? WHERE name = ? AND published_size <= ? AND size >= ?`,
			size, checkpoint, l.name, size, size)
		return err
	})
	if err != nil {
		return fmt.Errorf("publishing the log %s: %w", l.name, err)
	}
	return nil
}

// WitnessLog keeps what this instance has cosigned as a witness.
type WitnessLog struct{ db *DB }

var _ tlog.WitnessStore = (*WitnessLog)(nil)

// Witnessed returns the store of this instance as a witness.
func (db *DB) Witnessed() *WitnessLog { return &WitnessLog{db} }

// Latest implements tlog.WitnessStore.
func (w *WitnessLog) Latest(ctx context.Context, origin string) (tlog.Checkpoint, error) {
	c := tlog.Checkpoint{Origin: origin, Root: tlog.EmptyRoot()}
	err := w.db.read(ctx, func(tx *Tx) error {
		var root []byte
		err := tx.row(ctx, `SELECT size, root FROM witnessed WHERE origin = ?`, []any{origin}, &c.Size, &root)
		if errors.Is(err, conn.ErrNoRow) {
			return nil
		}
		if err == nil {
			c.Root, err = hashOf(root)
		}
		return err
	})
	if err != nil {
		return c, fmt.Errorf("reading what was cosigned of %q: %w", origin, err)
	}
	return c, nil
}

// Swap implements tlog.WitnessStore.
func (w *WitnessLog) Swap(ctx context.Context, old, next tlog.Checkpoint, signed []byte) error {
	err := w.db.take(ctx, func(tx *Tx) error {
		if old.Size == 0 {
			_, err := tx.exec(ctx, `INSERT INTO witnessed (origin, size, root, checkpoint) VALUES (?, 0, ?, ?) ON CONFLICT (origin) DO NOTHING`,
				next.Origin, old.Root[:], []byte{})
			if err != nil {
				return err
			}
		}
		n, err := tx.exec(ctx, `UPDATE witnessed SET size = ?, root = ?, checkpoint = ? WHERE origin = ? AND size = ? AND root = ?`,
			next.Size, next.Root[:], signed, next.Origin, old.Size, old.Root[:])
		if err == nil && n == 0 {
			err = tlog.ErrConflict
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("recording a cosignature of %q: %w", next.Origin, err)
	}
	return nil
}

// EachTileBlob calls fn with the name of every blob that a log consists of, level
// by level and in order, until fn fails. Whoever removes content keeps these.
func (db *DB) EachTileBlob(ctx context.Context, fn func(oci.Digest) error) error {
	logs, err := db.tileLogs(ctx)
	for i := 0; i < len(logs) && err == nil; i++ {
		err = logs[i].eachBlob(ctx, fn)
	}
	return err
}

func (db *DB) tileLogs(ctx context.Context) (logs []*TileLog, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		names, err := tx.texts(ctx, `SELECT name FROM tlog ORDER BY name`)
		logs = nil
		for _, name := range names {
			logs = append(logs, db.TileLog(name))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing logs: %w", err)
	}
	return logs, nil
}

func (l *TileLog) eachBlob(ctx context.Context, fn func(oci.Digest) error) error {
	for level := 0; ; level++ {
		from := int64(0)
		for {
			tiles, err := l.Tiles(ctx, level, from, from+censusPage)
			if err != nil {
				return err
			}
			for _, f := range tiles {
				if err := fn(f.Hashes); err != nil {
					return err
				}
				if f.Entries.IsZero() {
					continue
				}
				if err := fn(f.Entries); err != nil {
					return err
				}
			}
			if from += int64(len(tiles)); len(tiles) < censusPage {
				break
			}
		}
		if from == 0 {
			return nil
		}
	}
}
