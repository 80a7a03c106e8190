package tlogtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// ErrInjected is what a call that was broken returns.
var ErrInjected = errors.New("injected fault")

// Memory is a tlog.Store in memory. It polices what a store trusts its caller
// with: that the blobs of a tile are there before the tile is named, and that a
// published checkpoint is one of the log.
type Memory struct {
	Blobs blob.Store // where tiles are looked for; without it nobody looks

	mu     sync.Mutex
	made   bool
	head   tlog.Head
	pieces []tlog.Piece
	tiles  map[int][]tlog.Full
	index  map[tlog.Hash]int64
	heads  map[int64]bool // sizes there were
	count  int
	at     int
	after  bool
}

var _ tlog.Store = (*Memory)(nil)

// Arm makes the n-th call from now fail, none for 0: before it does anything, or
// after it has done it, as when an answer is lost.
func (m *Memory) Arm(n int, after bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count, m.at, m.after = 0, n, after
}

// Calls returns how many calls there were since Arm.
func (m *Memory) Calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// call runs fn, unless it is broken.
func (m *Memory) call(ctx context.Context, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	if m.count == m.at && !m.after {
		return ErrInjected
	}
	err := fn()
	if m.count == m.at && err == nil {
		return ErrInjected
	}
	return err
}

// Create implements tlog.Store.
func (m *Memory) Create(ctx context.Context, h tlog.Head) error {
	return m.call(ctx, func() error {
		if m.made {
			return tlog.ErrExists
		}
		m.made, m.head = true, h
		m.tiles, m.index, m.heads = map[int][]tlog.Full{}, map[tlog.Hash]int64{}, map[int64]bool{0: true}
		return nil
	})
}

// Head implements tlog.Store.
func (m *Memory) Head(ctx context.Context) (h tlog.Head, err error) {
	err = m.call(ctx, func() error {
		if !m.made {
			return tlog.ErrNoLog
		}
		h = m.head
		return nil
	})
	return h, err
}

// Tail implements tlog.Store.
func (m *Memory) Tail(ctx context.Context) (h tlog.Head, pieces []tlog.Piece, err error) {
	err = m.call(ctx, func() error {
		if !m.made {
			return tlog.ErrNoLog
		}
		h, pieces = m.head, slices.Clone(m.pieces)
		return nil
	})
	return h, pieces, err
}

// Tiles implements tlog.Store.
func (m *Memory) Tiles(ctx context.Context, level int, from, to int64) (tiles []tlog.Full, err error) {
	err = m.call(ctx, func() error {
		for _, f := range m.tiles[level] {
			if from <= f.N && f.N < to {
				tiles = append(tiles, f)
			}
		}
		return nil
	})
	return tiles, err
}

// Find implements tlog.Store.
func (m *Memory) Find(ctx context.Context, leaves []tlog.Hash) (found map[tlog.Hash]int64, err error) {
	err = m.call(ctx, func() error {
		found = map[tlog.Hash]int64{}
		for _, leaf := range leaves {
			if i, ok := m.index[leaf]; ok {
				found[leaf] = i
			}
		}
		return nil
	})
	return found, err
}

// Append implements tlog.Store.
func (m *Memory) Append(ctx context.Context, s *tlog.Step) error {
	return m.call(ctx, func() error {
		if m.head.Size != s.Old.Size || m.head.Root != s.Old.Root {
			return tlog.ErrConflict
		}
		if err := m.stored(ctx, s); err != nil {
			return err
		}
		m.head.Size, m.head.Root, m.head.Checkpoint = s.New.Size, s.New.Root, s.Signed
		m.heads[s.New.Size] = true
		if s.Publish {
			m.head.Published, m.head.PublishedSize = s.Signed, s.New.Size
		}
		for _, f := range s.Full {
			m.tiles[f.Level] = append(m.tiles[f.Level], f)
		}
		if len(s.Full) > 0 {
			m.pieces = nil
		}
		if len(s.Tail.Leaves) > 0 {
			m.pieces = append(m.pieces, s.Tail)
		}
		for i, leaf := range s.Index {
			if _, ok := m.index[leaf]; !ok {
				m.index[leaf] = s.Old.Size + int64(i)
			}
		}
		return nil
	})
}

func (m *Memory) stored(ctx context.Context, s *tlog.Step) error {
	if m.Blobs == nil {
		return nil
	}
	for _, f := range s.Full {
		if _, err := m.Blobs.Stat(ctx, f.Hashes); err != nil {
			return fmt.Errorf("tile %d of level %d is named before it is stored: %w", f.N, f.Level, err)
		}
		if f.Level > 0 {
			continue
		}
		if _, err := m.Blobs.Stat(ctx, f.Entries); err != nil {
			return fmt.Errorf("bundle %d is named before it is stored: %w", f.N, err)
		}
	}
	return nil
}

// Publish implements tlog.Store.
func (m *Memory) Publish(ctx context.Context, size int64, checkpoint []byte) error {
	return m.call(ctx, func() error {
		if !m.heads[size] {
			return fmt.Errorf("publishing a head of %d entries, which the log never had", size)
		}
		if size >= m.head.PublishedSize {
			m.head.PublishedSize, m.head.Published = size, checkpoint
		}
		return nil
	})
}
