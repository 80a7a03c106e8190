package vuln

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Memory keeps advisories without a database, for a scan that needs no server
// and for tests. It refuses what the contracts of Reader, Stager and Publisher
// forbid. What it publishes is gone with the process.
type Memory struct {
	mu        sync.Mutex
	rows      map[rowKey][]Row // by From, staged ones last
	snapshots []evidence.Snapshot
	feeds     map[string]FeedState
	documents map[oci.Digest][]byte
	load      LoadID          // Seq 0 when none is open
	touched   map[rowKey]bool // by the open load
}

type rowKey struct{ feed, id string }

var (
	_ Reader    = (*Memory)(nil)
	_ Stager    = (*Memory)(nil)
	_ Publisher = (*memoryTx)(nil)
)

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{rows: map[rowKey][]Row{}, feeds: map[string]FeedState{}, documents: map[oci.Digest][]byte{}, touched: map[rowKey]bool{}}
}

func (m *Memory) seq() int64 {
	if len(m.snapshots) == 0 {
		return 0
	}
	return m.snapshots[len(m.snapshots)-1].Seq
}

// Current implements Reader.
func (m *Memory) Current(context.Context) (evidence.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.snapshots) == 0 {
		return evidence.Snapshot{}, nil
	}
	return m.snapshots[len(m.snapshots)-1], nil
}

// Snapshot implements Reader.
func (m *Memory) Snapshot(_ context.Context, seq int64) (evidence.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snapshot(seq)
}

func (m *Memory) snapshot(seq int64) (evidence.Snapshot, error) {
	if seq < 1 || seq > int64(len(m.snapshots)) {
		return evidence.Snapshot{}, fmt.Errorf("snapshot %d: %w", seq, ErrNoSnapshot)
	}
	return m.snapshots[seq-1], nil
}

// Feeds implements Reader.
func (m *Memory) Feeds(context.Context) ([]FeedState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.feeds), func(a, b FeedState) int { return cmp.Compare(a.Name, b.Name) }), nil
}

// Rows implements Reader.
func (m *Memory) Rows(ctx context.Context, seq int64, fn func(Row) error) error {
	return m.each(ctx, seq, func(r *Row) bool { return r.From <= seq && (r.To == 0 || r.To > seq) }, fn)
}

// Changes implements Reader.
func (m *Memory) Changes(ctx context.Context, after, upto int64, fn func(Row) error) error {
	in := func(seq int64) bool { return seq > after && seq <= upto }
	return m.each(ctx, upto, func(r *Row) bool { return in(r.From) || in(r.To) }, fn)
}

// each calls fn with the rows that were published and are wanted.
func (m *Memory) each(ctx context.Context, seq int64, want func(*Row) bool, fn func(Row) error) error {
	m.mu.Lock()
	if _, err := m.snapshot(seq); err != nil {
		m.mu.Unlock()
		return err
	}
	var rows []Row
	for _, versions := range m.rows {
		for i := range versions {
			if r := m.published(versions[i]); r.From > 0 && want(&r) {
				rows = append(rows, r)
			}
		}
	}
	m.mu.Unlock()
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Feed, b.Feed), cmp.Compare(a.ID, b.ID), cmp.Compare(a.From, b.From))
	})
	for _, r := range rows {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// published returns the row as readers see it, the zero Row when they do not.
func (m *Memory) published(r Row) Row {
	if r.From > m.seq() {
		return Row{}
	}
	if r.To > m.seq() {
		r.To = 0
	}
	return r
}

// History implements Reader.
func (m *Memory) History(_ context.Context, id string) ([]Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Row
	for k, versions := range m.rows {
		for _, r := range versions {
			if r = m.published(r); k.id == id && r.From > 0 {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b Row) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Feed, b.Feed)) })
	return out, nil
}

// Document implements Reader.
func (m *Memory) Document(_ context.Context, d oci.Digest) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, ok := m.documents[d]
	if !ok {
		return nil, fmt.Errorf("reading document %s: %w", d, ErrNoDocument)
	}
	return content, nil
}

// Begin implements Stager.
func (m *Memory) Begin(_ context.Context, token string) (LoadID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if token == "" {
		return LoadID{}, errors.New("load has no token")
	}
	m.takeBack(func(rowKey) bool { return true })
	m.load = LoadID{Seq: m.seq() + 1, Token: token}
	return m.load, nil
}

// takeBack undoes what is staged for the rows that are wanted.
func (m *Memory) takeBack(want func(rowKey) bool) {
	for k := range m.touched {
		if !want(k) {
			continue
		}
		delete(m.touched, k)
		kept := m.rows[k][:0]
		for _, r := range m.rows[k] {
			if r.From <= m.seq() {
				kept = append(kept, m.published(r))
			}
		}
		if m.rows[k] = kept; len(kept) == 0 {
			delete(m.rows, k)
		}
	}
}

// Heads implements Stager.
func (m *Memory) Heads(_ context.Context, feed string, fn func(Head) error) error {
	m.mu.Lock()
	var heads []Head
	for k, versions := range m.rows {
		for _, r := range slices.Backward(versions) {
			if r = m.published(r); k.feed == feed && r.From > 0 {
				heads = append(heads, Head{ID: k.id, InForce: r.To == 0, Withdrawn: !r.Withdrawn.IsZero(), Known: r.Known, Digest: r.Digest, Format: r.Format})
				break
			}
		}
	}
	m.mu.Unlock()
	slices.SortFunc(heads, func(a, b Head) int { return cmp.Compare(a.ID, b.ID) })
	for _, h := range heads {
		if err := fn(h); err != nil {
			return err
		}
	}
	return nil
}

// Stage implements Stager.
func (m *Memory) Stage(_ context.Context, load LoadID, b Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(load, &b); err != nil {
		return err
	}
	for _, id := range b.Close {
		k := rowKey{b.Feed, id}
		versions := m.rows[k]
		versions[len(versions)-1].To = load.Seq
		m.touched[k] = true
	}
	for _, r := range b.Insert {
		k := rowKey{b.Feed, r.ID}
		r.Packed = slices.Clone(r.Packed)
		m.rows[k] = append(m.rows[k], r)
		m.touched[k] = true
	}
	return nil
}

// check refuses a batch that breaks the contract of Stage.
func (m *Memory) check(load LoadID, b *Batch) error {
	if load != m.load {
		return ErrSuperseded
	}
	if n := len(b.Close) + len(b.Insert); n > MaxBatch {
		return fmt.Errorf("batch of %d ids and rows, more than %d", n, MaxBatch)
	}
	closed := map[string]bool{}
	for _, id := range b.Close {
		versions := m.rows[rowKey{b.Feed, id}]
		if m.touched[rowKey{b.Feed, id}] || closed[id] {
			return fmt.Errorf("%s of feed %s is closed twice", id, b.Feed)
		}
		if len(versions) == 0 || versions[len(versions)-1].To != 0 {
			return fmt.Errorf("%s of feed %s is not in force", id, b.Feed)
		}
		closed[id] = true
	}
	inserted := map[string]bool{}
	for _, r := range b.Insert {
		k := rowKey{b.Feed, r.ID}
		versions := m.rows[k]
		switch {
		case r.Feed != b.Feed || r.From != load.Seq || r.To != 0:
			return fmt.Errorf("row of %s is of feed %s from %d to %d, not of %s from %d", r.ID, r.Feed, r.From, r.To, b.Feed, load.Seq)
		case inserted[r.ID] || m.touched[k]:
			return fmt.Errorf("%s of feed %s is inserted twice", r.ID, b.Feed)
		case len(versions) > 0 && versions[len(versions)-1].To == 0 && !closed[r.ID]:
			return fmt.Errorf("%s of feed %s is in force already", r.ID, b.Feed)
		}
		inserted[r.ID] = true
	}
	return nil
}

// Unstage implements Stager.
func (m *Memory) Unstage(_ context.Context, load LoadID, feed string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if load != m.load {
		return ErrSuperseded
	}
	m.takeBack(func(k rowKey) bool { return k.feed == feed })
	return nil
}

// Abandon implements Stager.
func (m *Memory) Abandon(_ context.Context, load LoadID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if load == m.load && load.Seq > 0 {
		m.takeBack(func(rowKey) bool { return true })
		m.load = LoadID{}
	}
	return nil
}

// Update runs fn with a Publisher whose acts take effect, together, when fn
// returns nil.
func (m *Memory) Update(_ context.Context, fn func(Publisher) error) error {
	tx := &memoryTx{m: m}
	if err := fn(tx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if tx.publish != nil {
		if err := m.publishable(tx.load, *tx.publish); err != nil {
			return err
		}
		m.snapshots = append(m.snapshots, *tx.publish)
		m.load = LoadID{}
		clear(m.touched)
	}
	for _, f := range tx.feeds {
		m.feeds[f.Name] = f
	}
	maps.Copy(m.documents, tx.documents)
	return nil
}

func (m *Memory) publishable(load LoadID, s evidence.Snapshot) error {
	switch {
	case load != m.load || load.Seq == 0:
		return ErrSuperseded
	case s.Seq != load.Seq:
		return fmt.Errorf("snapshot %d is not the load's, %d", s.Seq, load.Seq)
	}
	return nil
}

// memoryTx is what one Update is to do.
type memoryTx struct {
	m       *Memory
	load    LoadID
	publish *evidence.Snapshot
	feeds   []FeedState

	documents map[oci.Digest][]byte
}

func (tx *memoryTx) Keep(_ context.Context, d oci.Digest, content []byte) error {
	if got := oci.FromBytes(content); got != d {
		return fmt.Errorf("keeping a document of digest %s as %s", got, d)
	}
	if tx.documents == nil {
		tx.documents = map[oci.Digest][]byte{}
	}
	tx.documents[d] = slices.Clone(content)
	return nil
}

func (tx *memoryTx) Publish(_ context.Context, load LoadID, s evidence.Snapshot, feeds []FeedState) error {
	tx.m.mu.Lock()
	defer tx.m.mu.Unlock()
	if err := tx.m.publishable(load, s); err != nil {
		return err
	}
	if tx.publish != nil {
		return ErrSuperseded
	}
	tx.load, tx.publish = load, &s
	tx.feeds = append(tx.feeds, feeds...)
	return nil
}

func (tx *memoryTx) Record(_ context.Context, feeds []FeedState) error {
	tx.feeds = append(tx.feeds, feeds...)
	return nil
}
