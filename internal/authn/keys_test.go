package authn

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestRotateKey: a new key signs at once, in all processes that are asked for a
// token; what the one before has signed is good until it ends, and no longer.
func TestRotateKey(t *testing.T) {
	h := newHouse(t)
	other := h.process(2)
	secret := h.enrol("ann", "reader")
	before := h.token("ann", secret).Token
	h.add(time.Second)
	made, err := h.RotateKey(t.Context(), admin(t))
	if err != nil {
		t.Fatal(err)
	}
	if made.Replaces == "" || !made.ReplacedUntil.Equal(h.Now().Add(11*time.Minute)) || made.ID == made.Replaces {
		t.Errorf("the new key is %+v", made)
	}
	after := h.token("ann", secret).Token
	good := func(when string, a *Accounts, token string, want bool) {
		t.Helper()
		if _, err := with(a, "Bearer "+token); (err == nil) != want || err != nil && !errors.Is(err, authz.ErrUnauthenticated) {
			t.Errorf("%s: %v, want it to be good: %v", when, err, want)
		}
	}
	good("the old one, after the change", h.Accounts, before, true)
	good("the new one", h.Accounts, after, true)
	h.add(2 * unknownEvery)
	good("the new one, in a process that has not heard of it", other, after, true)
	good("the old one there", other, before, true)

	// Who stole the old key makes tokens that live for ever, for no longer than
	// honest ones would.
	stolen, err := other.keys.look(t.Context(), h.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	eternal := h.signer
	eternal.ttl = 1000 * time.Hour
	long, err := eternal.sign(stolen[0], "1", "ann", h.db.events[2].Details["token"], nil, h.Now())
	if err != nil {
		t.Fatal(err)
	}
	good("under the stolen key", other, long, true)
	h.add(11 * time.Minute)
	good("under the stolen key, later", other, long, false)
	good("the old one, later", h.Accounts, before, false)

	second, err := h.RotateKey(t.Context(), admin(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(h.db.keys) != 2 || h.db.keys[0].ID != made.ID || h.db.keys[1].ID != second.ID {
		t.Errorf("keys that are kept: %+v", h.db.keys)
	}
	if got := h.kinds(); !slices.Equal(got[len(got)-2:], []string{"key.made", "key.made"}) || h.db.events[len(got)-1].Details["replaces"] != made.ID {
		t.Errorf("events %v, the last %+v", got, h.db.events[len(got)-1])
	}
	act, err := authz.Check(authz.Internal("x"), authz.ReadAudit, oci.Repository{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.RotateKey(t.Context(), act); !errors.Is(err, authz.ErrNotPermitted) {
		t.Errorf("by who may not administer: %v", err)
	}
}

// TestKeepKeys: a key that has signed for long is replaced, once.
func TestKeepKeys(t *testing.T) {
	h := newHouse(t)
	other := h.process(2)
	keep := func(a *Accounts, want int) {
		t.Helper()
		if err := a.KeepKeys(t.Context()); err != nil || len(h.db.keys) != want {
			t.Errorf("%d keys, %v, want %d", len(h.db.keys), err, want)
		}
	}
	keep(h.Accounts, 1)
	h.add(KeyLife)
	keep(h.Accounts, 2)
	keep(other, 2)
	h.add(-2 * KeyLife) // the clock was set back
	keep(h.Accounts, 2)
	h.add(KeyLife)
	if _, err := h.RotateKey(t.Context(), admin(t)); err != nil {
		t.Errorf("with a clock that was set back: %v", err)
	}
	h.db.fail = map[string]error{"PutKey": repo.ErrConflict}
	h.add(3 * KeyLife)
	if err := h.KeepKeys(t.Context()); err != nil {
		t.Errorf("another process was faster: %v", err)
	}
}

// TestUnknownKeys: tokens that name made-up keys do not make the database work
// for each of them.
func TestUnknownKeys(t *testing.T) {
	h := newHouse(t)
	key, err := h.keys.newest(t.Context(), h.Now())
	if err != nil {
		t.Fatal(err)
	}
	looks := h.db.looks
	h.add(2 * unknownEvery)
	for i := range 50 {
		key.ID = string(rune('a' + i%26))
		token, err := h.signer.sign(key, "1", "ann", "x", nil, h.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := with(h.Accounts, "Bearer "+token); !errors.Is(err, authz.ErrUnauthenticated) {
			t.Fatal(err)
		}
	}
	if n := h.db.looks - looks; n > 1 {
		t.Errorf("looked %d times at the keys", n)
	}
}
