package verify

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// memoryKey is the SHA-256 of all that an answer depends on: the envelope's
// bytes, the anchors, how statements are read, and what must be signed. A tag,
// or the digest of the subject alone, would remember too much.
type memoryKey [sha256.Size]byte

// key names the check of p. Each part is written with its length, so that no
// two checks have one name.
func (v *Verifier) key(anchors *Anchors, subject oci.Descriptor, p parcel) memoryKey {
	h := sha256.New()
	part := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	part("bonded verify 1")
	part(anchors.digest)
	part(v.policy)
	part(string(p.form))
	part(subject.Digest.String())
	part(subject.MediaType)
	part(string(binary.BigEndian.AppendUint64(nil, uint64(subject.Size))))
	part(p.layer.Digest.String())
	part(p.layer.MediaType)
	for _, name := range slices.Sorted(maps.Keys(p.layer.Annotations)) {
		part(name)
		part(p.layer.Annotations[name])
	}
	return memoryKey(h.Sum(nil))
}

// memory remembers answers, the least recently used forgotten first. "No
// signature" and "could not be checked" are never put in.
type memory struct {
	mu    sync.Mutex // guards all below
	room  int64      // bytes that are left
	max   int64
	order *list.List // of *remembered, newest use first
	byKey map[memoryKey]*list.Element
}

type remembered struct {
	key    memoryKey
	result Result
	until  time.Time
	size   int64
}

// entryOverhead is what an answer takes beside its statement, in bytes, roughly.
const entryOverhead = 2 << 10

func newMemory(size int64) *memory {
	return &memory{room: size, max: size, order: list.New(), byKey: map[memoryKey]*list.Element{}}
}

// get returns a remembered answer as a copy of its own.
func (m *memory) get(key memoryKey, clock func() time.Time) (Result, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byKey[key]
	if !ok {
		return Result{}, false
	}
	entry := e.Value.(*remembered)
	if !entry.until.IsZero() && !clock().Before(entry.until) {
		m.forget(e)
		return Result{}, false
	}
	m.order.MoveToFront(e)
	return entry.result.clone(), true
}

// put remembers result, which must not change afterwards.
func (m *memory) put(key memoryKey, result Result, until time.Time) {
	entry := &remembered{key: key, result: result.clone(), until: until, size: entryOverhead}
	for _, s := range result.Signatures {
		if s.Statement != nil {
			// The facts of a predicate take about as much as the predicate, also
			// where that is too large to be kept.
			entry.size += int64(len(s.Statement.Predicate)) + s.Statement.Size + entryOverhead
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.byKey[key]; ok {
		m.forget(e)
	}
	if entry.size > m.max {
		return
	}
	for m.room < entry.size {
		m.forget(m.order.Back())
	}
	m.room -= entry.size
	m.byKey[key] = m.order.PushFront(entry)
}

// forget drops e. The caller holds mu.
func (m *memory) forget(e *list.Element) {
	entry := m.order.Remove(e).(*remembered)
	delete(m.byKey, entry.key)
	m.room += entry.size
}
