package vuln

import "sync"

// memoCost bounds what an Index remembers of earlier matches, in package
// versions and faults together; a fault takes about 500 bytes with its strings.
const memoCost = 16_000

// memoKey is a package version as advisories see it.
type memoKey struct{ ecosystem, name, version string }

// memo remembers results of matching in two generations: when the young one is
// full it becomes the old one, and what was not asked for since is forgotten.
// Each holds half of the bound.
type memo struct {
	mu         sync.RWMutex
	young, old map[memoKey]*result
	cost       int // of young
	limit      int
}

func newMemo(limit int) *memo {
	return &memo{young: map[memoKey]*result{}, limit: limit}
}

func (m *memo) get(k memoKey) (*result, bool) {
	m.mu.RLock()
	r, ok := m.young[k]
	if ok {
		m.mu.RUnlock()
		return r, true
	}
	r, ok = m.old[k]
	m.mu.RUnlock()
	if ok {
		m.put(k, r)
	}
	return r, ok
}

func (m *memo) put(k memoKey, r *result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.young[k]; ok {
		return
	}
	if m.cost > m.limit/2 {
		m.old, m.young, m.cost = m.young, map[memoKey]*result{}, 0
	}
	m.young[k] = r
	m.cost += 1 + len(r.faults)
}
