package oidc

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// Memory keeps sign-ins where there is one process and no database.
type Memory struct {
	clock func() time.Time

	mu    sync.Mutex
	flows map[string]Flow   // by ID
	codes map[string]string // user code to ID
	from  map[netip.Addr]int
}

// NewMemory returns an empty one.
func NewMemory(clock func() time.Time) *Memory {
	return &Memory{clock: clock, flows: map[string]Flow{}, codes: map[string]string{}, from: map[netip.Addr]int{}}
}

// Add keeps a new flow, and drops those that ended.
func (m *Memory) Add(_ context.Context, f Flow) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if Room(f.From, len(m.flows), m.from[f.From]) != nil {
		m.drop(m.clock())
	}
	if err := Room(f.From, len(m.flows), m.from[f.From]); err != nil {
		return err
	}
	_, id := m.flows[f.ID]
	if _, code := m.codes[f.UserCode]; id || code {
		return ErrSameCode
	}
	m.flows[f.ID], m.codes[f.UserCode] = f, f.ID
	m.from[f.From]++
	return nil
}

func (m *Memory) drop(now time.Time) {
	for id, f := range m.flows {
		if now.Before(f.Expires) {
			continue
		}
		delete(m.flows, id)
		delete(m.codes, f.UserCode)
		if m.from[f.From]--; m.from[f.From] == 0 {
			delete(m.from, f.From)
		}
	}
}

// ByID finds a flow.
func (m *Memory) ByID(_ context.Context, id string) (Flow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.flows[id]
	if !ok {
		return Flow{}, ErrNoFlow
	}
	return f, nil
}

// ByUserCode finds a flow.
func (m *Memory) ByUserCode(ctx context.Context, code string) (Flow, error) {
	m.mu.Lock()
	id := m.codes[code]
	m.mu.Unlock()
	return m.ByID(ctx, id)
}

// Change replaces a flow.
func (m *Memory) Change(_ context.Context, f Flow) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch have, ok := m.flows[f.ID]; {
	case !ok:
		return ErrNoFlow
	case have.Version != f.Version:
		return ErrRaced
	}
	f.Version++
	m.flows[f.ID] = f
	return nil
}
