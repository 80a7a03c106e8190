// Package tuf publishes the trusted root of an instance as a TUF repository
// (The Update Framework, specification 1.0), from which cosign initialize takes
// it and by which it stays fresh.
//
// The keys of root and targets are offline: they sign when the trusted root
// changes. Those of snapshot and timestamp are hot, and sign again before
// what they signed expires. Version numbers never go back, not even after a
// backup was restored, because they are at least the unix time.
package tuf

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/bonded-dev/bonded/internal/trust"
)

// Errors that callers may test for.
var (
	// ErrNone: the store holds no repository yet. Publish makes one.
	ErrNone = errors.New("no TUF repository")
	// ErrRaced is returned by Store.Replace when the file is another by now.
	ErrRaced = errors.New("changed meanwhile")
	// ErrUnusable: metadata that are missing or that do not verify.
	ErrUnusable = errors.New("TUF metadata not usable")
	// ErrKeys: a hot key that the root does not name: it was replaced without
	// publishing, or this process has not read the keys again.
	ErrKeys = errors.New("key not in the TUF root")
)

// How long metadata are good. Clients fail when any of them has expired, so
// those that need the offline keys last long, and the freshness of all is the
// timestamp's. What is hot is signed again when a third of its time is over.
const (
	rootLife             = 5 * 365 * 24 * time.Hour
	targetsLife          = 2 * 365 * 24 * time.Hour
	snapshotLife         = 30 * 24 * time.Hour
	DefaultTimestampLife = 72 * time.Hour
)

// Store keeps the files of a repository under their names, such as
// "1.root.json" or "targets/…": on return of a method that writes they are durable
// and whole. It is safe for concurrent use by several processes; the suite tuftest
// admits one.
type Store interface {
	// Get returns a file. Errors match fs.ErrNotExist.
	Get(ctx context.Context, name string) ([]byte, error)
	// Put writes a file, or replaces it as a whole.
	Put(ctx context.Context, name string, b []byte) error
	// Replace does so if the file is old; a nil old means there is none. Errors
	// match ErrRaced.
	Replace(ctx context.Context, name string, old, b []byte) error
}

// Keys gives the hot keys; trust.Instance does.
type Keys interface {
	Key(trust.Slot) trust.Key
}

// Options are what a repository works with.
type Options struct {
	Store Store
	Keys  Keys
	Clock func() time.Time
	Log   *slog.Logger
	// TimestampLife is how long clients trust the repository without hearing of
	// it again. Optional. Default DefaultTimestampLife.
	TimestampLife time.Duration
}

// Repository is a TUF repository. It is safe for concurrent use; each method
// reads what the store has then.
type Repository struct {
	o Options
}

// New returns the repository in a store. It reads nothing.
func New(o Options) *Repository {
	if o.TimestampLife <= 0 {
		o.TimestampLife = DefaultTimestampLife
	}
	return &Repository{o: o}
}

const timestampName = "timestamp.json"

func versioned(v int64, role string) string { return fmt.Sprintf("%d.%s.json", v, role) }

// current is what the store has, verified from the root down.
type current struct {
	root      *metadata.Metadata[metadata.RootType]
	targets   *metadata.Metadata[metadata.TargetsType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	raw       []byte // of timestamp, for Replace
}

// load reads what is published. Errors match ErrNone or ErrUnusable.
func (r *Repository) load(ctx context.Context) (*current, error) {
	var c current
	var err error
	if c.root, err = r.newestRoot(ctx); err != nil {
		return nil, err
	}
	if c.timestamp, c.raw, err = read(ctx, r, timestampName, metadata.Timestamp()); err != nil {
		return nil, err
	}
	if err := c.root.VerifyDelegate(metadata.TIMESTAMP, c.timestamp); err != nil {
		return nil, unusable(timestampName, err)
	}
	name := versioned(versionOf(c.timestamp.Signed.Meta, "snapshot.json"), metadata.SNAPSHOT)
	if c.snapshot, _, err = read(ctx, r, name, metadata.Snapshot()); err != nil {
		return nil, err
	}
	if err := c.root.VerifyDelegate(metadata.SNAPSHOT, c.snapshot); err != nil {
		return nil, unusable(name, err)
	}
	name = versioned(versionOf(c.snapshot.Signed.Meta, "targets.json"), metadata.TARGETS)
	if c.targets, _, err = read(ctx, r, name, metadata.Targets()); err != nil {
		return nil, err
	}
	if err := c.root.VerifyDelegate(metadata.TARGETS, c.targets); err != nil {
		return nil, unusable(name, err)
	}
	return &c, nil
}

func versionOf(meta map[string]*metadata.MetaFiles, name string) int64 {
	if m := meta[name]; m != nil {
		return m.Version
	}
	return 0
}

// newestRoot follows the roots as a client does: each is signed by the keys of
// the one before.
func (r *Repository) newestRoot(ctx context.Context) (*metadata.Metadata[metadata.RootType], error) {
	last, _, err := read(ctx, r, versioned(1, metadata.ROOT), metadata.Root())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the TUF repository: %w", ErrNone)
	}
	for v := int64(2); err == nil; v++ {
		name := versioned(v, metadata.ROOT)
		next, _, notThere := read(ctx, r, name, metadata.Root())
		if errors.Is(notThere, fs.ErrNotExist) {
			return last, nil
		}
		if notThere != nil {
			return nil, notThere
		}
		if err := last.VerifyDelegate(metadata.ROOT, next); err != nil {
			return nil, unusable(name, err)
		}
		last = next
	}
	return nil, err
}

func read[T metadata.Roles](ctx context.Context, r *Repository, name string, into *metadata.Metadata[T]) (*metadata.Metadata[T], []byte, error) {
	b, err := r.o.Store.Get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("reading %s: %w: %w; restore the folder, or publish again with the offline keys", name, ErrUnusable, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", name, err)
	}
	m, err := into.FromBytes(b)
	if err != nil {
		return nil, nil, unusable(name, err)
	}
	return m, b, nil
}

func unusable(name string, err error) error {
	return fmt.Errorf("reading %s: %w: %v; restore the folder, or publish again with the offline keys", name, ErrUnusable, err)
}

// next is the version after a stored one: never lower than the unix time, so
// that metadata from a restored backup do not lock clients out.
func (r *Repository) next(stored int64) int64 { return max(stored+1, r.o.Clock().Unix()) }

func (r *Repository) in(life time.Duration) time.Time {
	return r.o.Clock().Add(life).UTC().Truncate(time.Second)
}

// due reports when metadata of a life that expire then are signed again.
func due(expires time.Time, life time.Duration) time.Time { return expires.Add(-life * 2 / 3) }

// Refresh signs the timestamp again, and the snapshot, where they are due, and
// returns when it wants to be called next. Errors match ErrNone, ErrUnusable or
// ErrKeys.
func (r *Repository) Refresh(ctx context.Context) (time.Time, error) {
	return r.refresh(ctx, false)
}

// Renew signs both again now: a store that was set back to a backup has versions
// that clients have seen the followers of, and they take it for an attack until
// there are higher ones. Results are those of Refresh.
func (r *Repository) Renew(ctx context.Context) (time.Time, error) {
	return r.refresh(ctx, true)
}

func (r *Repository) refresh(ctx context.Context, all bool) (time.Time, error) {
	c, err := r.load(ctx)
	if err != nil {
		return time.Time{}, err
	}
	now := r.o.Clock()
	again := min(due(c.timestamp.Signed.Expires, r.o.TimestampLife).Unix(), due(c.snapshot.Signed.Expires, snapshotLife).Unix())
	if !all && now.Unix() < again {
		return time.Unix(again, 0), nil
	}
	keys := hot{r.o.Keys}
	if err := keys.in(c.root); err != nil {
		return time.Time{}, err
	}
	if all || !now.Before(due(c.snapshot.Signed.Expires, snapshotLife)) {
		if err := r.signSnapshot(ctx, c, keys); err != nil {
			return time.Time{}, err
		}
	}
	err = r.signTimestamp(ctx, c, keys)
	if errors.Is(err, ErrRaced) {
		r.o.Log.DebugContext(ctx, "another process signed the TUF timestamp")
		return now.Add(r.o.TimestampLife / 3), nil
	}
	if err != nil {
		return time.Time{}, err
	}
	r.o.Log.InfoContext(ctx, "signed the TUF timestamp again", "version", c.timestamp.Signed.Version, "expires", c.timestamp.Signed.Expires)
	return due(c.timestamp.Signed.Expires, r.o.TimestampLife), nil
}

// hot are the keys that may sign snapshot and timestamp: those in use, and
// while they are replaced those before too.
type hot []Keys

// in reports whether the root names the keys in use, which are the last.
func (h hot) in(root *metadata.Metadata[metadata.RootType]) error {
	for role, slot := range map[string]trust.Slot{metadata.SNAPSHOT: trust.TUFSnapshot, metadata.TIMESTAMP: trust.TUFTimestamp} {
		id, _, err := tufKey(h[len(h)-1].Key(slot))
		if err != nil {
			return err
		}
		if r := root.Signed.Roles[role]; r == nil || len(r.KeyIDs) != 1 || r.KeyIDs[0] != id {
			return fmt.Errorf("signing TUF metadata: %w: %s is %.16s…; reload the keys, or publish with the offline keys", ErrKeys, slot, id)
		}
	}
	return nil
}

func (h hot) sign(slot trust.Slot, sign func(signature.Signer) (*metadata.Signature, error)) error {
	var done []byte
	for _, keys := range h {
		k := keys.Key(slot)
		if bytes.Equal(done, k.SPKI) {
			continue
		}
		if _, err := sign(signer{k.Signer}); err != nil {
			return fmt.Errorf("signing with key %s: %v", slot, err)
		}
		done = k.SPKI
	}
	return nil
}

func (r *Repository) signSnapshot(ctx context.Context, c *current, keys hot) error {
	version := r.next(c.snapshot.Signed.Version)
	s := metadata.Snapshot(r.in(snapshotLife))
	s.Signed.Version = version
	targets, err := c.targets.ToBytes(false)
	if err != nil {
		return fmt.Errorf("encoding TUF targets: %v", err)
	}
	s.Signed.Meta["targets.json"] = metaFile(c.targets.Signed.Version, targets)
	if err := keys.sign(trust.TUFSnapshot, s.Sign); err != nil {
		return err
	}
	c.snapshot = s
	return put(ctx, r, versioned(version, metadata.SNAPSHOT), s)
}

func (r *Repository) signTimestamp(ctx context.Context, c *current, keys hot) error {
	t := metadata.Timestamp(r.in(r.o.TimestampLife))
	t.Signed.Version = r.next(c.timestamp.Signed.Version)
	snapshot, err := c.snapshot.ToBytes(false)
	if err != nil {
		return fmt.Errorf("encoding the TUF snapshot: %v", err)
	}
	t.Signed.Meta["snapshot.json"] = metaFile(c.snapshot.Signed.Version, snapshot)
	if err := keys.sign(trust.TUFTimestamp, t.Sign); err != nil {
		return err
	}
	b, err := t.ToBytes(false)
	if err != nil {
		return fmt.Errorf("encoding the TUF timestamp: %v", err)
	}
	if err := r.o.Store.Replace(ctx, timestampName, c.raw, b); err != nil {
		return fmt.Errorf("storing %s: %w", timestampName, err)
	}
	c.timestamp, c.raw = t, b
	return nil
}

func metaFile(version int64, b []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(b)
	return &metadata.MetaFiles{Version: version, Length: int64(len(b)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

// put stores metadata in the bytes that metaFile hashes.
func put[T metadata.Roles](ctx context.Context, r *Repository, name string, m *metadata.Metadata[T]) error {
	b, err := m.ToBytes(false)
	if err != nil {
		return fmt.Errorf("encoding %s: %v", name, err)
	}
	if err := r.o.Store.Put(ctx, name, b); err != nil {
		return fmt.Errorf("storing %s: %w", name, err)
	}
	return nil
}

// tufKey returns a key as the root has it.
func tufKey(k trust.Key) (string, *metadata.Key, error) {
	if k.Signer == nil {
		return "", nil, fmt.Errorf("signing TUF metadata: there is no key %s", k.Slot)
	}
	key, err := metadata.KeyFromPublicKey(k.Signer.Public())
	if err != nil {
		return "", nil, fmt.Errorf("encoding key %s for TUF: %v", k.Slot, err)
	}
	id, err := key.ID()
	return id, key, err
}

// signer is a key of ours in the clothes of go-tuf's.
type signer struct{ key crypto.Signer }

func (s signer) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return s.key.Public(), nil
}

// SignMessage signs as ecdsa-sha2-nistp256.
func (s signer) SignMessage(message io.Reader, _ ...signature.SignOption) ([]byte, error) {
	h := sha256.New()
	if _, err := io.Copy(h, message); err != nil {
		return nil, err
	}
	return s.key.Sign(rand.Reader, h.Sum(nil), crypto.SHA256)
}

// FirstRoot returns the root that clients start from, and its SHA-256 in hex,
// for cosign initialize --root-checksum. Errors match ErrNone.
func (r *Repository) FirstRoot(ctx context.Context) ([]byte, string, error) {
	b, err := r.o.Store.Get(ctx, versioned(1, metadata.ROOT))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("reading the first TUF root: %w", ErrNone)
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading the first TUF root: %w", err)
	}
	sum := sha256.Sum256(b)
	return b, hex.EncodeToString(sum[:]), nil
}

// Expiries returns when metadata end, for /health.
func (r *Repository) Expiries(ctx context.Context) ([]trust.Expiry, error) {
	c, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	return []trust.Expiry{
		{What: "TUF timestamp", At: c.timestamp.Signed.Expires}, {What: "TUF snapshot", At: c.snapshot.Signed.Expires},
		{What: "TUF targets", At: c.targets.Signed.Expires}, {What: "TUF root", At: c.root.Signed.Expires},
	}, nil
}
