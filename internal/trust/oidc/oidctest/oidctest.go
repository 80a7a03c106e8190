// Package oidctest is the suite that admits an implementation of oidc.Flows.
package oidctest

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bonded-dev/bonded/internal/trust/oidc"
)

// Open makes a new, empty place for sign-ins, and returns what opens it: each
// time as another process would, where there can be several. clock is the time
// for all of them.
type Open func(t testing.TB, clock func() time.Time) func(testing.TB) oidc.Flows

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// flow returns a sign-in that no other is like.
func flow(n int, from string) oidc.Flow {
	return oidc.Flow{
		ID: fmt.Sprintf("id-%d", n), UserCode: fmt.Sprintf("CODE-%04d", n), Kind: oidc.Device, State: oidc.Pending,
		Client: oidc.Client, Challenge: "challenge", Nonce: "nonce", Redirect: "http://localhost/auth/callback", Carried: "state", Code: "code",
		From: netip.MustParseAddr(from), Made: noon, Expires: noon.Add(10 * time.Minute), Polled: noon.Add(time.Second),
		Of: oidc.Subject{Principal: "alice", Sub: "https://x/people/alice", Email: "a@example.com", Certificate: "hash"},
	}
}

// Run admits an implementation.
func Run(t *testing.T, open Open) {
	for _, tt := range []struct {
		name string
		test func(*world, *testing.T)
	}{
		{"what is kept is found", (*world).found},
		{"a change is seen by all", (*world).changed},
		{"of two changes one is made", (*world).raced},
		{"codes are not shared", (*world).sameCode},
		{"room for an address", (*world).perAddress},
		{"what ended makes room", (*world).ended},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{now: noon}
			w.open = open(t, w.clock)
			tt.test(w, t)
		})
	}
}

type world struct {
	mu   sync.Mutex
	now  time.Time
	open func(testing.TB) oidc.Flows
}

// The clock is asked by goroutines of the store too.
func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func add(t testing.TB, s oidc.Flows, f oidc.Flow) {
	t.Helper()
	if err := s.Add(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, s oidc.Flows, want oidc.Flow) {
	t.Helper()
	for how, find := range map[string]func() (oidc.Flow, error){
		"by its ID":   func() (oidc.Flow, error) { return s.ByID(t.Context(), want.ID) },
		"by its code": func() (oidc.Flow, error) { return s.ByUserCode(t.Context(), want.UserCode) },
	} {
		got, err := find()
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", how, err, diff)
		}
	}
}

func (w *world) found(t *testing.T) {
	one, other := w.open(t), w.open(t)
	f, bare := flow(1, "192.0.2.1"), oidc.Flow{ID: "id-2", UserCode: "CODE-0002", From: netip.MustParseAddr("2001:db8::1"), Expires: noon.Add(time.Minute)}
	add(t, one, f)
	add(t, other, bare)
	for _, s := range []oidc.Flows{one, other} {
		is(t, s, f)
		is(t, s, bare)
		for _, err := range []error{second(s.ByID(t.Context(), "CODE-0001")), second(s.ByUserCode(t.Context(), "id-1")), second(s.ByUserCode(t.Context(), "")), second(s.ByID(t.Context(), ""))} {
			if !errors.Is(err, oidc.ErrNoFlow) {
				t.Errorf("what is not there: %v", err)
			}
		}
	}
}

func second(_ oidc.Flow, err error) error { return err }

func (w *world) changed(t *testing.T) {
	one, other := w.open(t), w.open(t)
	f := flow(1, "192.0.2.1")
	add(t, one, f)
	f.State, f.Expires = oidc.Approved, noon.Add(time.Minute)
	if err := other.Change(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.Version++
	is(t, one, f)
	f.State = oidc.Used
	if err := one.Change(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.Version++
	is(t, other, f)
	old := f
	old.Version = 0
	if err := one.Change(t.Context(), old); !errors.Is(err, oidc.ErrRaced) {
		t.Errorf("a change of what it was: %v", err)
	}
	is(t, one, f)
	if err := one.Change(t.Context(), flow(2, "192.0.2.1")); !errors.Is(err, oidc.ErrNoFlow) {
		t.Errorf("a change of none: %v", err)
	}
}

// raced is a token that two replicas would hand out.
func (w *world) raced(t *testing.T) {
	f := flow(1, "192.0.2.1")
	add(t, w.open(t), f)
	const all = 8
	errs := make(chan error, all)
	for range all {
		s := w.open(t)
		go func() {
			f := f
			f.State = oidc.Used
			errs <- s.Change(t.Context(), f)
		}()
	}
	made := 0
	for range all {
		switch err := <-errs; {
		case err == nil:
			made++
		case !errors.Is(err, oidc.ErrRaced):
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d of %d changes of one version were made", made, all)
	}
}

func (w *world) sameCode(t *testing.T) {
	s := w.open(t)
	f := flow(1, "192.0.2.1")
	add(t, s, f)
	code, id := flow(2, "192.0.2.1"), flow(3, "192.0.2.1")
	code.UserCode, id.ID = f.UserCode, f.ID
	for _, g := range []oidc.Flow{code, id} {
		if err := s.Add(t.Context(), g); !errors.Is(err, oidc.ErrSameCode) || !errors.Is(err, oidc.ErrBusy) {
			t.Errorf("%s %s: %v", g.ID, g.UserCode, err)
		}
	}
	is(t, s, f)
}

func (w *world) perAddress(t *testing.T) {
	s := w.open(t)
	for n := range oidc.MaxFlowsPer {
		add(t, s, flow(n, "192.0.2.1"))
	}
	if err := s.Add(t.Context(), flow(100, "192.0.2.1")); !errors.Is(err, oidc.ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	add(t, s, flow(100, "192.0.2.2"))
}

func (w *world) ended(t *testing.T) {
	s := w.open(t)
	for n := range oidc.MaxFlowsPer {
		add(t, s, flow(n, "192.0.2.1"))
	}
	short, err := s.ByID(t.Context(), "id-3")
	if err != nil {
		t.Fatal(err)
	}
	short.Expires = noon.Add(time.Minute)
	if err := s.Change(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	add(t, s, flow(100, "192.0.2.1"))
	if err := s.Add(t.Context(), flow(101, "192.0.2.1")); !errors.Is(err, oidc.ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	w.pass(9 * time.Minute)
	add(t, s, flow(101, "192.0.2.1"))
	if err := second(s.ByID(t.Context(), "id-5")); !errors.Is(err, oidc.ErrNoFlow) {
		t.Errorf("one that ended: %v", err)
	}
}
