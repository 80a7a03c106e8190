package tuf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"sync"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/bonded-dev/bonded/internal/trust"
)

// Update is what is published, with the keys it takes.
type Update struct {
	// Files are all targets by name.
	Files   map[string][]byte
	Offline *trust.Offline
	// Was are the offline keys of the root that is published now, where Offline
	// has others. Optional.
	Was *trust.Offline
	// WasKeys are the hot keys of that root, where the repository's are others.
	// Optional.
	WasKeys Keys
}

// Documents returns what an instance publishes, for Update.Files.
func Documents(i *trust.Instance) (map[string][]byte, error) {
	tr, err := i.TrustedRoot()
	if err != nil {
		return nil, err
	}
	sc, err := i.SigningConfig()
	if err != nil {
		return nil, err
	}
	logs, err := i.LogKeys()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{trust.TrustedRootName: tr, trust.SigningConfigName: sc, trust.LogsName: logs}, nil
}

// Publish replaces all targets, in a new repository where there is none. A
// client sees all of the old or all of the new: while keys change, snapshot and
// timestamp are signed with old and new ones before the root that names the
// new ones appears. It may be repeated.
func (r *Repository) Publish(ctx context.Context, u Update) error {
	if u.Offline == nil {
		return errors.New("publishing TUF metadata: the offline keys are needed (--offline-keys FILE)")
	}
	if u.Was == nil {
		u.Was = u.Offline
	}
	keys := hot{r.o.Keys}
	if u.WasKeys != nil {
		keys = hot{u.WasKeys, r.o.Keys}
	}
	for name := range u.Files {
		if !targetPattern().MatchString(name) {
			return fmt.Errorf("publishing TUF metadata: %.100q is no name for a target", name)
		}
	}
	err := r.publish(ctx, u, keys)
	if errors.Is(err, ErrRaced) { // by a refresh, of which there is one in hours
		err = r.publish(ctx, u, keys)
	}
	if err != nil {
		return fmt.Errorf("publishing TUF metadata: %w", err)
	}
	return nil
}

// stored returns what is published as far as it can be used: only the root
// must be whole, because clients have it already.
func (r *Repository) stored(ctx context.Context) (*current, error) {
	c, err := r.load(ctx)
	if err == nil {
		return c, nil
	}
	c = &current{snapshot: metadata.Snapshot(), timestamp: metadata.Timestamp(), targets: metadata.Targets()}
	if c.root, err = r.newestRoot(ctx); err != nil && !errors.Is(err, ErrNone) {
		return nil, err
	}
	if c.raw, err = r.o.Store.Get(ctx, timestampName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", timestampName, err)
	}
	return c, nil
}

// publish writes what the timestamp leads to, then the timestamp, and the root
// last.
func (r *Repository) publish(ctx context.Context, u Update, keys hot) error {
	c, err := r.stored(ctx)
	if err != nil {
		return err
	}
	root, err := r.rootFor(c, u)
	if err != nil {
		return err
	}
	t := metadata.Targets(r.in(targetsLife))
	t.Signed.Version = r.next(c.targets.Signed.Version)
	for name, b := range u.Files {
		sum := sha256.Sum256(b)
		t.Signed.Targets[name] = &metadata.TargetFiles{Length: int64(len(b)), Hashes: metadata.Hashes{"sha256": sum[:]}, Path: name}
		if err := r.o.Store.Put(ctx, "targets/"+hex.EncodeToString(sum[:])+"."+name, b); err != nil {
			return fmt.Errorf("storing target %s: %w", name, err)
		}
	}
	if err := signBoth(u.Was.TUFTargets, u.Offline.TUFTargets, t); err != nil {
		return err
	}
	if err := put(ctx, r, versioned(t.Signed.Version, metadata.TARGETS), t); err != nil {
		return err
	}
	c.targets = t
	if err := r.signSnapshot(ctx, c, keys); err != nil {
		return err
	}
	if err := r.signTimestamp(ctx, c, keys); err != nil {
		return err
	}
	if root == nil {
		return nil
	}
	return put(ctx, r, versioned(root.Signed.Version, metadata.ROOT), root)
}

func signBoth[T metadata.Roles](was, is trust.Key, m *metadata.Metadata[T]) error {
	keys := []trust.Key{was, is}
	if bytes.Equal(was.SPKI, is.SPKI) {
		keys = keys[1:]
	}
	for _, k := range keys {
		if _, err := m.Sign(signer{k.Signer}); err != nil {
			return fmt.Errorf("signing with key %s: %v", k.Slot, err)
		}
	}
	return nil
}

// rootFor returns the root that names the keys now in use, or nil where the
// published one does and lasts.
func (r *Repository) rootFor(c *current, u Update) (*metadata.Metadata[metadata.RootType], error) {
	next := metadata.Root(r.in(rootLife))
	next.Signed.ConsistentSnapshot = true
	for role, k := range map[string]trust.Key{
		metadata.ROOT: u.Offline.TUFRoot, metadata.TARGETS: u.Offline.TUFTargets,
		metadata.SNAPSHOT: r.o.Keys.Key(trust.TUFSnapshot), metadata.TIMESTAMP: r.o.Keys.Key(trust.TUFTimestamp),
	} {
		_, key, err := tufKey(k)
		if err != nil {
			return nil, err
		}
		if err := next.Signed.AddKey(key, role); err != nil {
			return nil, fmt.Errorf("naming the TUF key of %s: %v", role, err)
		}
	}
	if c.root != nil {
		if sameRoles(c.root, next) && r.o.Clock().Before(due(c.root.Signed.Expires, rootLife)) {
			return nil, nil
		}
		// Roots are fetched one after the other: their versions have no gaps.
		next.Signed.Version = c.root.Signed.Version + 1
	}
	if err := signBoth(u.Was.TUFRoot, u.Offline.TUFRoot, next); err != nil {
		return nil, err
	}
	if c.root != nil {
		if err := c.root.VerifyDelegate(metadata.ROOT, next); err != nil {
			return nil, fmt.Errorf("%w: the offline file is not the one whose TUF root key clients trust", ErrKeys)
		}
	}
	return next, nil
}

func sameRoles(a, b *metadata.Metadata[metadata.RootType]) bool {
	return maps.EqualFunc(a.Signed.Roles, b.Signed.Roles, func(x, y *metadata.Role) bool {
		return x.Threshold == y.Threshold && slices.Equal(x.KeyIDs, y.KeyIDs)
	})
}

// targetPattern is what a target may be called.
var targetPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,100}$`)
})

// Published reports whether the targets are these files: a server whose URL
// changed publishes other ones.
func (r *Repository) Published(ctx context.Context, files map[string][]byte) (bool, error) {
	c, err := r.load(ctx)
	if err != nil {
		return false, err
	}
	return maps.EqualFunc(c.targets.Signed.Targets, files, func(t *metadata.TargetFiles, b []byte) bool {
		sum := sha256.Sum256(b)
		return bytes.Equal(t.Hashes["sha256"], sum[:])
	}), nil
}

// Hook returns a Publish function for trust.Rotate.
func Hook(o Options) func(context.Context, trust.Publication) error {
	return func(ctx context.Context, p trust.Publication) error {
		files, err := Documents(p.Next)
		if err != nil {
			return err
		}
		if p.NextOffline == nil {
			return nil // only keys that no document names
		}
		o.Keys = p.Next
		return New(o).Publish(ctx, Update{Files: files, Offline: p.NextOffline, Was: p.WasOffline, WasKeys: p.Was})
	}
}
