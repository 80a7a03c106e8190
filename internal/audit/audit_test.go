package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// memory is a Store in memory. It polices its contract: numbers are those of the
// log, and nothing is taken out twice.
type memory struct {
	*tlogtest.Memory // the log

	mu     sync.Mutex
	outbox []Waiting
	rows   []Entry
	next   int64
	fail   error
	taken  bool // another process is elected
	calls  int
}

func newMemory() *memory {
	m := &memory{Memory: &tlogtest.Memory{Blobs: mem.New(mem.Options{})}}
	return m
}

func (m *memory) append(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	m.outbox = append(m.outbox, Waiting{ID: m.next, Bytes: e.Bytes()})
}

func (m *memory) Waiting(_ context.Context, limit int) ([]Waiting, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	return slices.Clone(m.outbox[:min(limit, len(m.outbox))]), m.fail
}

func (m *memory) Integrate(ctx context.Context, s *tlog.Step, events []Waiting) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taken {
		return ErrTaken
	}
	if len(s.Index) > 0 || s.New.Size-s.Old.Size != int64(len(events)) {
		return fmt.Errorf("a step of %d entries for %d events", s.New.Size-s.Old.Size, len(events))
	}
	for i, w := range events {
		if i >= len(m.outbox) || m.outbox[i].ID != w.ID {
			return ErrTaken
		}
	}
	err := m.Append(ctx, s)
	h, herr := m.Head(ctx)
	if herr != nil { // this call was the one to fail
		h, herr = m.Head(ctx)
	}
	if herr != nil || h.Size != s.New.Size || h.Root != s.New.Root {
		return err
	}
	for i, w := range events {
		m.rows = append(m.rows, Entry{Seq: s.Old.Size + int64(i) + 1, Bytes: w.Bytes, Columns: columnsOf(w.Bytes)})
	}
	m.outbox = m.outbox[len(events):]
	return err
}

func (m *memory) Entries(_ context.Context, after int64, limit int) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var es []Entry
	for _, e := range m.rows {
		if e.Seq > after && len(es) < limit {
			es = append(es, e)
		}
	}
	return es, m.fail
}

func (m *memory) Latest(context.Context, Filter, int) ([]Entry, error) { panic("not asked for") }

func (m *memory) Numbered(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.rows) == 0 {
		return 0, nil
	}
	return m.rows[len(m.rows)-1].Seq, nil
}

// options are those of the log of events.
func (m *memory) options(t testing.TB) tlog.Options {
	return tlogtest.Options(t, m, m.Blobs)
}

// open begins, or opens, the log.
func (m *memory) open(t testing.TB, change ...func(*tlog.Options)) *tlog.Log {
	t.Helper()
	o := m.options(t)
	for _, fn := range change {
		fn(&o)
	}
	if err := tlog.Create(t.Context(), o); err != nil && !errors.Is(err, tlog.ErrExists) {
		t.Fatal(err)
	}
	l, err := tlog.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func event(i int) Event {
	p := authz.Principal{Issuer: "bonded", Subject: "alice", Method: "token"}
	return New(fmt.Sprintf("%032x", i), time.Date(2026, 11, 22, 6, 0, i, 7999, time.UTC), p, "manifest.pushed").
		On(oci.MustRepository("dev/payments/api"), oci.FromBytes([]byte{byte(i)})).With("kind", "image").With("tags", "v1,v2")
}

// fill integrates events with the given numbers.
func (m *memory) fill(t testing.TB, l *tlog.Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		m.append(event(i))
	}
	in := NewIntegrator(IntegratorOptions{Store: m, Log: l})
	for n := from; n < to; {
		took, err := in.Sequence(t.Context(), 100)
		if err != nil || took == 0 {
			t.Fatalf("took %d, %v", took, err)
		}
		n += took
	}
}

func TestIntegrate(t *testing.T) {
	m := newMemory()
	l := m.open(t)
	m.fill(t, l, 0, 700)
	n, err := m.Numbered(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h, err := m.Head(t.Context()); err != nil || h.Size != 700 || h.PublishedSize != 700 || n != 700 {
		t.Errorf("%d rows, a log of %d, %d published: %v", n, h.Size, h.PublishedSize, err)
	}
	in := NewIntegrator(IntegratorOptions{Store: m, Log: l})
	m.append(event(700))
	m.taken = true
	if n, err := in.Sequence(t.Context(), 10); n != 0 || err != nil {
		t.Errorf("another is elected: %d, %v", n, err)
	}
	m.taken = false
	for at := 1; ; at++ { // each call of the log's store fails once
		for _, after := range []bool{false, true} {
			m.Arm(at, after)
			_, _ = in.Sequence(t.Context(), 10) // fails or not, as the call is among its own; what is left is looked at below
			m.Arm(0, false)
			m.append(event(1000 + at))
		}
		if at == 12 {
			break
		}
	}
	for range 5 {
		if _, err := in.Sequence(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
	}
	if h, err := m.Head(t.Context()); err != nil || len(m.outbox) > 0 || h.Size != int64(len(m.rows)) || h.PublishedSize != h.Size {
		t.Errorf("%d wait, %d rows, a log of %d (%d published), %v", len(m.outbox), len(m.rows), h.Size, h.PublishedSize, err)
	}
	for i, row := range m.rows {
		if row.Seq != int64(i+1) {
			t.Fatalf("row %d has the number %d", i, row.Seq)
		}
	}
}

// TestChainOfBefore: what was chained before there was a log is checked when it
// is moved, also over batches; where it does not follow, that is said, and it is
// moved all the same.
func TestChainOfBefore(t *testing.T) {
	for _, tt := range []struct {
		name   string
		harm   func(w []Waiting) []Waiting
		broken []int64
	}{
		{"whole", func(w []Waiting) []Waiting { return w }, nil},
		{"edited", func(w []Waiting) []Waiting { w[4].Bytes = event(99).Bytes(); return w }, []int64{5}},
		{"dropped", func(w []Waiting) []Waiting { return slices.Delete(w, 4, 5) }, []int64{5}},
		{"the first edited", func(w []Waiting) []Waiting { w[0].Bytes = event(99).Bytes(); return w }, []int64{1}},
	} {
		m := newMemory()
		var chain [sha256.Size]byte
		for i := range 10 {
			b := event(i).Bytes()
			chain = Link(chain, b)
			m.outbox = append(m.outbox, Waiting{ID: int64(i) - 1<<40, Bytes: b, Chain: bytes.Clone(chain[:])})
		}
		m.outbox = tt.harm(m.outbox)
		m.append(event(10))
		var broken []int64
		in := NewIntegrator(IntegratorOptions{Store: m, Log: m.open(t), Broken: func(_ context.Context, seq int64) error {
			broken = append(broken, seq)
			return nil
		}})
		for len(m.outbox) > 0 {
			if _, err := in.Sequence(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(broken, tt.broken) {
			t.Errorf("%s: broken at %v, want %v", tt.name, broken, tt.broken)
		}
	}
}

// TestUnpublished: events that the witnesses did not sign are published later,
// without another event.
func TestUnpublished(t *testing.T) {
	m := newMemory()
	heads := &flaky{}
	l := m.open(t, func(o *tlog.Options) { o.Heads = heads })
	in := NewIntegrator(IntegratorOptions{Store: m, Log: l})
	m.append(event(1))
	heads.err = errors.New("the disk is away")
	if _, err := in.Sequence(t.Context(), 10); !errors.Is(err, heads.err) {
		t.Fatalf("got %v, want the reason", err)
	}
	if _, err := in.Sequence(t.Context(), 10); !errors.Is(err, heads.err) {
		t.Fatalf("got %v, want the reason again", err)
	}
	heads.err = nil
	if _, err := in.Sequence(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	if h, err := m.Head(t.Context()); err != nil || h.Size != 1 || h.PublishedSize != 1 {
		t.Errorf("%d entries, %d published, %v", h.Size, h.PublishedSize, err)
	}
}

// flaky is a head store that can fail.
type flaky struct {
	err  error
	head []byte
}

func (f *flaky) Load(context.Context, string) ([]byte, error) { return f.head, f.err }

func (f *flaky) Save(_ context.Context, _ string, b []byte) error {
	if f.err == nil {
		f.head = b
	}
	return f.err
}

func TestEventsShareNothing(t *testing.T) {
	a := event(1)
	before := string(a.Bytes())
	a.With("kind", "index").With("more", "x")
	if after := string(a.Bytes()); after != before {
		t.Errorf("With changed the event it was called on: %s", after)
	}
}

// TestLargeEvents: any event fits into the log.
func TestLargeEvents(t *testing.T) {
	many := map[string]string{}
	for i := range 5000 {
		many[fmt.Sprint("a detail with number ", i)] = "x"
	}
	for name, e := range map[string]Event{
		"a long detail":    event(1).With("problem", strings.Repeat("ü", 100_000)),
		"several":          event(1).With("a", strings.Repeat("<", 50_000)).With("b", strings.Repeat("\x00", 50_000)),
		"many small ones":  {ID: "1", Kind: "x.y", Details: many},
		"a long principal": {ID: "1", Kind: "x.y", Principal: strings.Repeat("p", 200_000)},
	} {
		b := e.Bytes()
		if len(b) > MaxEvent {
			t.Errorf("%s: %d bytes", name, len(b))
		}
		if f := columnsOf(b); f.Kind != e.Kind {
			t.Errorf("%s: %.200s", name, b)
		}
	}
}

func TestColumns(t *testing.T) {
	plainly := event(1)
	for name, e := range map[string]Event{
		"all":         plainly,
		"quotes":      {ID: "a", Kind: "x.y", Principal: `https://issuer#"quoted\`, Method: "oidc"},
		"lookalikes":  {ID: "a", Kind: "x.y", Principal: "p", Method: "m", Details: map[string]string{"repository": "no", "digest": "no", "kind": "no"}},
		"html":        {ID: "a", Kind: "x.y", Principal: "<b>&", Method: "m", Repository: "r"},
		"digest only": {ID: "a", Kind: "x.y", Principal: "p", Method: "m", Digest: "sha256:1"},
	} {
		want := Filter{Repository: e.Repository, Digest: e.Digest, Principal: e.Principal, Kind: e.Kind}
		if got := columnsOf(e.Bytes()); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for _, b := range []string{"", "{", `{"id":"1"`, `{"id":1}`, `[]`} {
		columnsOf([]byte(b)) // does not panic
	}
}
