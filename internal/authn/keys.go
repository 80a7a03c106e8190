package authn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/repo"
)

// keyLen is the length of a key of bearer tokens, in bytes.
const keyLen = 32

// KeyLife is how long a key signs before another takes over by itself.
const KeyLife = 30 * 24 * time.Hour

// keysFresh is how old what a process knows of the keys may be. A key signs at
// most so long after another process has replaced it; leeway allows for it.
const keysFresh = 30 * time.Second

// Key is a key that bearer tokens are signed with. The newest signs; the one
// before it is good for tokens that were signed before, until they end.
type Key struct {
	ID    string    // unique; tokens name it
	Made  time.Time // to the microsecond
	Value []byte    // keyLen bytes
}

// keyring is what a process knows of the keys. It is safe for concurrent use.
type keyring struct {
	store TokenStore
	ttl   time.Duration // of tokens

	mu   sync.Mutex // held while they are read
	keys []Key      // oldest first, never empty once made
	read time.Time
}

// look reads the keys anew where what is known is older than age.
func (r *keyring) look(ctx context.Context, now time.Time, age time.Duration) ([]Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := now.Sub(r.read); len(r.keys) > 0 && known >= 0 && known <= age {
		return r.keys, nil
	}
	keys, err := r.store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the keys of bearer tokens: %w", err)
	}
	for _, k := range keys {
		if len(k.Value) != keyLen {
			return nil, fmt.Errorf("key %s of bearer tokens has %d bytes, want %d", k.ID, len(k.Value), keyLen)
		}
	}
	r.keys, r.read = keys, now
	return keys, nil
}

// newest returns the key that signs.
func (r *keyring) newest(ctx context.Context, now time.Time) (Key, error) {
	keys, err := r.look(ctx, now, keysFresh)
	if err == nil && len(keys) == 0 {
		err = errors.New("there is no key for bearer tokens")
	}
	if err != nil {
		return Key{}, err
	}
	return keys[len(keys)-1], nil
}

// unknownEvery bounds how often keys are read again because a token names one
// that is not known: anybody can send such tokens.
const unknownEvery = time.Second

// good returns the key of that id if tokens under it can be good now, nil when
// not.
func (r *keyring) good(ctx context.Context, id string, now time.Time) (*Key, error) {
	for _, age := range []time.Duration{keysFresh, unknownEvery} {
		keys, err := r.look(ctx, now, age)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id })
		switch {
		case i < 0:
			continue // another process may just have made it
		case i+1 < len(keys) && !now.Before(r.ends(keys[i+1])):
			return nil, nil
		}
		return &keys[i], nil
	}
	return nil, nil
}

// ends is when the last token ends that was signed with the key before next.
func (r *keyring) ends(next Key) time.Time { return next.Made.Add(r.ttl + leeway) }

// rotate makes a new key, unless one was made since newest. Keys whose tokens
// have all ended are removed.
func (a *Accounts) rotate(ctx context.Context, by authz.Principal, keys []Key) (*api.SigningKey, error) {
	now := a.o.Clock().UTC().Truncate(time.Microsecond)
	newest := ""
	var ended []string
	for i, k := range keys {
		newest = k.ID
		if i+1 < len(keys) && !now.Before(a.keys.ends(keys[i+1])) {
			ended = append(ended, k.ID)
		}
	}
	made := now
	if n := len(keys); n > 0 && !made.After(keys[n-1].Made) { // the clock was set back
		made = keys[n-1].Made.Add(time.Microsecond)
	}
	k := Key{Made: made, Value: make([]byte, keyLen)}
	if _, err := io.ReadFull(a.o.Rand, k.Value); err != nil {
		return nil, fmt.Errorf("reading randomness for a key of bearer tokens: %v", err)
	}
	var err error
	if k.ID, err = a.random(); err != nil {
		return nil, err
	}
	id, err := a.random()
	if err != nil {
		return nil, err
	}
	ev := audit.New(id, now, by, "key.made").With("key", k.ID).With("replaces", newest)
	if err := a.o.Tokens.PutKey(ctx, k, newest, ended, ev); err != nil {
		return nil, err
	}
	if _, err := a.keys.look(ctx, now, -1); err != nil {
		return nil, err
	}
	out := &api.SigningKey{ID: k.ID, Made: made}
	if newest != "" {
		out.Replaces, out.ReplacedUntil = newest, a.keys.ends(k)
	}
	return out, nil
}

// RotateKey makes the key that bearer tokens are signed with from now on. Those
// under the one before stay good until they end, minutes later. act is one of
// administer on the server. Errors match repo.ErrConflict when another was made
// at the same time.
func (a *Accounts) RotateKey(ctx context.Context, act authz.Act) (*api.SigningKey, error) {
	if err := administers(act); err != nil {
		return nil, err
	}
	keys, err := a.keys.look(ctx, a.o.Clock(), -1)
	if err != nil {
		return nil, err
	}
	return a.rotate(ctx, act.Principal(), keys)
}

// KeepKeys makes a key where there is none, or the newest has signed for
// KeyLife. It is to be called now and then, by any number of processes.
func (a *Accounts) KeepKeys(ctx context.Context) error {
	now := a.o.Clock()
	keys, err := a.keys.look(ctx, now, -1)
	if err != nil {
		return err
	}
	if n := len(keys); n > 0 && now.Sub(keys[n-1].Made) < KeyLife {
		return nil
	}
	_, err = a.rotate(ctx, authz.Internal("keys"), keys)
	if errors.Is(err, repo.ErrConflict) { // another process was faster
		_, err = a.keys.look(ctx, now, -1)
	}
	return err
}
