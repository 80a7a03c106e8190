package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// memory is a Log in memory that can fail.
type memory struct {
	mu     sync.Mutex
	outbox [][]byte
	chain  []Entry
	head   [sha256.Size]byte
	fail   error
	calls  int
}

func (m *memory) append(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outbox = append(m.outbox, e.Bytes())
}

func (m *memory) Sequence(_ context.Context, limit int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if m.fail != nil {
		return 0, m.fail
	}
	n := min(limit, len(m.outbox))
	for _, b := range m.outbox[:n] {
		m.head = Link(m.head, b)
		m.chain = append(m.chain, Entry{Seq: int64(len(m.chain) + 1), Bytes: b, Hash: m.head})
	}
	m.outbox = m.outbox[n:]
	return n, nil
}

func (m *memory) Entries(_ context.Context, after int64, limit int) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	var es []Entry
	for _, e := range m.chain {
		if e.Seq > after && len(es) < limit {
			es = append(es, e)
		}
	}
	return es, nil
}

func (m *memory) Latest(context.Context, Filter, int) ([]Entry, error) { panic("not asked for") }

func (m *memory) Head(context.Context) (int64, [sha256.Size]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.chain) == 0 {
		return 0, m.head, nil
	}
	return m.chain[len(m.chain)-1].Seq, m.head, nil
}

func event(i int) Event {
	p := authz.Principal{Issuer: "bonded", Subject: "alice", Method: "token"}
	return New(fmt.Sprintf("%032x", i), time.Date(2026, 11, 22, 6, 0, i, 7999, time.UTC), p, "manifest.pushed").
		On(oci.MustRepository("dev/payments/api"), oci.FromBytes([]byte{byte(i)})).With("kind", "image").With("tags", "v1,v2")
}

// filled is a log of n events, in the chain.
func filled(n int) *memory {
	m := &memory{}
	for i := range n {
		m.append(event(i))
	}
	if _, err := m.Sequence(context.Background(), n); err != nil {
		panic(err)
	}
	return m
}

func TestVerify(t *testing.T) {
	for _, tt := range []struct {
		name   string
		n      int
		damage func(m *memory)
		bad    int64
		reason string
	}{
		{"empty", 0, nil, 0, ""},
		{"one", 1, nil, 0, ""},
		{"many", 2*verifyBatch + 1, nil, 0, ""},
		{"a byte changed", 2500, func(m *memory) {
			m.chain[1200].Bytes = bytes.Replace(m.chain[1200].Bytes, []byte("alice"), []byte("mallo"), 1)
		}, 1201, "its hash is"},
		{"a hash changed", 10, func(m *memory) { m.chain[4].Hash[0]++ }, 5, "its hash is"},
		{"one removed", 10, func(m *memory) { m.chain = append(m.chain[:3], m.chain[4:]...) }, 4, "it is missing, the next has number 5"},
		{"the first removed", 10, func(m *memory) { m.chain = m.chain[1:] }, 1, "it is missing"},
		{"two swapped", 10, func(m *memory) { m.chain[3].Bytes, m.chain[4].Bytes = m.chain[4].Bytes, m.chain[3].Bytes }, 4, "its hash is"},
		{"one inserted", 10, func(m *memory) { m.chain = append(m.chain[:4], append([]Entry{m.chain[3]}, m.chain[4:]...)...) }, 5, "it is missing, the next has number 4"},
		{"no event", 10, func(m *memory) {
			m.chain[9].Bytes = []byte("{")
			m.chain[9].Hash = Link(m.chain[8].Hash, m.chain[9].Bytes)
			m.head = m.chain[9].Hash
		}, 10, "its bytes are no event"},
		{"another head", 10, func(m *memory) { m.head[0]++ }, 10, "the head says"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := filled(tt.n)
			if tt.damage != nil {
				tt.damage(m)
			}
			r, err := Verify(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			if tt.bad == 0 {
				if r.Bad != nil || r.Entries != int64(tt.n) || r.Head != m.head {
					t.Errorf("got %+v, want %d entries in order", r, tt.n)
				}
				return
			}
			if r.Bad == nil || r.Bad.Seq != tt.bad || !strings.Contains(r.Bad.Reason, tt.reason) {
				t.Errorf("got %+v, want entry %d: %s", r.Bad, tt.bad, tt.reason)
			}
		})
	}
	t.Run("cannot be read", func(t *testing.T) {
		m := filled(3)
		m.fail = errors.New("the disk is away")
		if _, err := Verify(t.Context(), m); !errors.Is(err, m.fail) {
			t.Errorf("got %v, want the reason", err)
		}
	})
}

// pass lets time pass, until all wait for what is later.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// state returns how many events wait, have numbers, and were asked for.
func (m *memory) state() (waiting, numbered, calls int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.outbox), len(m.chain), m.calls
}

func (m *memory) failWith(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func TestSequencer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		s := NewSequencer(SequencerOptions{Log: m, Batch: 10})
		s.Start()
		s.Start()
		pass(time.Minute + time.Millisecond)
		if _, _, calls := m.state(); calls < 60 || calls > 62 {
			t.Errorf("looked %d times in a minute without events, want once a second", calls)
		}
		for i := range 95 {
			m.append(event(i))
			s.Wake()
		}
		pass(100 * time.Millisecond)
		_, numbered, before := m.state()
		if numbered != 95 {
			t.Errorf("%d events have numbers after 100 ms, want 95", numbered)
		}
		for i := range 200 { // one each 5 ms for a second
			m.append(event(100 + i))
			s.Wake()
			pass(5 * time.Millisecond)
		}
		_, _, calls := m.state()
		if n := calls - before; n > 40 {
			t.Errorf("%d transactions for a second of events, want few", n)
		}
		m.failWith(errors.New("the database is away"))
		m.append(event(400))
		s.Wake()
		_, _, before = m.state()
		pass(10 * time.Second)
		if _, _, calls = m.state(); calls-before > 12 {
			t.Errorf("%d attempts in 10 s while it fails, want one a second", calls-before)
		}
		m.failWith(nil)
		m.append(event(401))
		for range 2 {
			if err := s.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if waiting, numbered, _ := m.state(); waiting != 0 || numbered != 297 {
			t.Errorf("after Stop %d events wait and %d have numbers, want 0 and 297", waiting, numbered)
		}
	})
}

func TestSequencerNeverStarted(t *testing.T) {
	s := NewSequencer(SequencerOptions{Log: &memory{}})
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	s.Start()
}

// TestFormat holds the code to docs/format/events.md: the events there are
// bytes as they are logged, and the hashes those of the chain.
func TestFormat(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format/events.md")
	if err != nil {
		t.Fatal(err)
	}
	pairs := regexp.MustCompile("(?m)^(\\{\"id\".*\\})\n([0-9a-f]{64})$").FindAllSubmatch(doc, -1)
	if len(pairs) < 2 {
		t.Fatalf("%d examples in the document", len(pairs))
	}
	m := filled(len(pairs))
	for i, p := range pairs {
		if got := string(m.chain[i].Bytes); got != string(p[1]) {
			t.Errorf("entry %d is\n%s, the document has\n%s", i+1, got, p[1])
		}
		if got := hex.EncodeToString(m.chain[i].Hash[:]); got != string(p[2]) {
			t.Errorf("hash %d is %s, the document has %s", i+1, got, p[2])
		}
	}
}

func TestEventsShareNothing(t *testing.T) {
	a := event(1)
	before := string(a.Bytes())
	a.With("kind", "index").With("more", "x")
	if after := string(a.Bytes()); after != before {
		t.Errorf("With changed the event it was called on: %s", after)
	}
}
