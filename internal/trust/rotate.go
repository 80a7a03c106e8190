package trust

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// DefaultOverlap is how long what was replaced goes on being good for new
// signatures: the time in which every process reads the folder again.
const DefaultOverlap = 24 * time.Hour

// RotateOptions say what is replaced. What is replaced stays in the trusted
// root, with the time it was good for, so that old signatures verify.
type RotateOptions struct {
	// Slots are the keys to replace. Those in files are made; of those in a
	// credential or plug-in the new one must be there already. Intermediate and
	// TSA get a new certificate in any case, if need be over the same key.
	Slots []Slot
	// NewRoot replaces the root's key and certificate, and so the intermediate
	// and the timestamp authority. NewOffline is then where the offline file with
	// the new key goes.
	NewRoot    bool
	NewOffline string
	Passphrase []byte // of NewOffline. Optional.
	RootPlugin string // URI of the new root key where a KMS or HSM has it. Optional.
	// Chain, in PEM, makes the root key a subordinate of a company's authority:
	// the certificate over the key of Request first, the company's root last.
	Chain []byte
	// Forget are IDs of log keys (Public.ID) that leave the trusted root: what
	// they signed verifies no more. The one in use cannot be forgotten.
	Forget []string
	// Offline are the offline keys. It may be nil where only Issuer and Sign
	// are replaced, which the trusted root does not name.
	Offline *Offline
	// Overlap is how long what is replaced stays good for new signatures.
	// Optional. Default DefaultOverlap; negative for none, after a theft.
	Overlap time.Duration
	// Publish is called with the instance as it will be, before it is: clients
	// learn of a key before anything is signed with it. An error leaves all as
	// it was. It may be called again for the same rotation. Optional.
	Publish func(ctx context.Context, next *Instance, off *Offline) error
}

// offlineFree are the slots that no document signed by an offline key names.
var offlineFree = []Slot{Issuer, Sign}

// Rotate replaces keys and certificates of the instance in a folder. Processes
// that have it open go on with what they have until their Reload. Errors match
// those of Open, and ErrChain.
func Rotate(ctx context.Context, o Options, c RotateOptions) (*Instance, error) {
	i, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(o.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := i.Reload(ctx); err != nil { // another rotation may have just ended
		return nil, err
	}
	if c.Overlap == 0 {
		c.Overlap = DefaultOverlap
	}
	if err := i.mayRotate(c); err != nil {
		return nil, err
	}
	d := i.draft(max(c.Overlap, 0))
	done := false
	defer func() {
		if !done {
			d.undo()
		}
	}()
	off, err := d.change(ctx, i.now.Load(), c)
	if err != nil {
		return nil, fmt.Errorf("rotating keys: %w", err)
	}
	next, err := i.as(ctx, d.rec)
	if err != nil {
		return nil, fmt.Errorf("checking the rotated keys: %w", err)
	}
	if c.Publish != nil {
		if err := c.Publish(ctx, next, off); err != nil {
			return nil, fmt.Errorf("publishing the rotated keys: %w", err)
		}
	}
	if err := writeRecord(o.Dir, d.rec); err != nil {
		return nil, err
	}
	done = true
	d.sweep()
	return i, i.Reload(ctx)
}

// mayRotate refuses what cannot be done before anything is.
func (i *Instance) mayRotate(c RotateOptions) error {
	trusted := c.NewRoot || c.Chain != nil || len(c.Forget) > 0
	for _, s := range c.Slots {
		if !slices.Contains(Slots(), s) {
			return fmt.Errorf("rotating keys: there is no slot %.40q; slots are %v", s, Slots())
		}
		trusted = trusted || !slices.Contains(offlineFree, s)
	}
	switch {
	case trusted && c.Offline == nil:
		return errors.New("rotating keys: the offline keys are needed, because clients learn of the new key from what they sign (--offline-keys FILE)")
	case c.NewRoot && c.Chain != nil:
		return errors.New("rotating keys: a new root key has no chain yet: rotate the root first, then send its request to the company's authority")
	case c.NewRoot && c.NewOffline == "":
		return errors.New("rotating keys: say where the offline file with the new root key goes (--new-offline-keys FILE)")
	case c.Offline == nil:
		return nil
	}
	if err := c.Offline.belongs(i.o.Origin); err != nil {
		return fmt.Errorf("rotating keys: %w", err)
	}
	want := i.now.Load().rec.Offline
	for _, s := range offlineSlots() {
		if !bytes.Equal(c.Offline.key(s).SPKI, want[s]) {
			return fmt.Errorf("rotating keys: %w: the offline file is an older one: its key %s was replaced", ErrUnusable, s)
		}
	}
	return nil
}

func (i *Instance) draft(overlap time.Duration) *draft {
	now := i.o.Clock().UTC().Truncate(time.Second)
	rec := i.now.Load().rec.clone()
	return &draft{o: i.o, places: i.places, rec: rec, m: maker{rec.Organization, i.o.Clock, i.o.Rand}, from: now.Add(-backdate), until: now.Add(overlap)}
}

// as returns the instance that a record would make.
func (i *Instance) as(ctx context.Context, rec *record) (*Instance, error) {
	st, err := load(ctx, rec, i.o.opener(), i.places)
	if err != nil {
		return nil, err
	}
	next := &Instance{o: i.o, places: i.places}
	next.now.Store(st)
	return next, nil
}

// change makes all that is asked for and returns the offline keys that are
// good from then on.
func (d *draft) change(ctx context.Context, was *state, c RotateOptions) (*Offline, error) {
	if err := d.forget(c.Forget); err != nil {
		return nil, err
	}
	above := newest(was.authorities).Certs[1:]
	off, slots := c.Offline, slices.Clone(c.Slots)
	switch {
	case c.NewRoot:
		var err error
		if off, above, err = d.newRoot(ctx, c); err != nil {
			return nil, err
		}
		slots = append(slots, Intermediate, TSA)
	case c.Chain != nil:
		chain, err := parseChain(c.Chain)
		if err != nil {
			return nil, err
		}
		if err := checkChain(chain, off.Root.Signer.Public(), d.o.Clock()); err != nil {
			return nil, err
		}
		above = chain
		slots = append(slots, Intermediate, TSA)
	}
	slices.Sort(slots)
	for _, s := range slices.Compact(slots) {
		if err := d.key(ctx, s); err != nil {
			return nil, err
		}
		switch s {
		case Intermediate:
			if err := d.certifyCA(above, off); err != nil {
				return nil, err
			}
		case TSA:
			if err := d.certifyTSA(above, off); err != nil {
				return nil, err
			}
		}
	}
	return off, nil
}

// newRoot makes a root key, stores it with the other offline keys, and returns
// them and its certificate.
func (d *draft) newRoot(ctx context.Context, c RotateOptions) (*Offline, []*x509.Certificate, error) {
	off := *c.Offline
	key, err := makeOfflineKey(ctx, Root, c.RootPlugin, d.o.Rand)
	if err != nil {
		return nil, nil, fmt.Errorf("making key %s: %w", Root, err)
	}
	off.Root = key
	cert, err := d.m.root(key.Signer)
	if err != nil {
		return nil, nil, err
	}
	b, err := off.encode(c.Passphrase, d.o.Clock(), d.o.Rand)
	if err != nil {
		return nil, nil, err
	}
	if err := writeOffline(c.NewOffline, b); err != nil {
		return nil, nil, err
	}
	d.rec.Offline[Root] = key.SPKI
	return &off, []*x509.Certificate{cert}, nil
}

// forget takes log keys out of the record.
func (d *draft) forget(ids []string) error {
	for _, id := range ids {
		at := slices.IndexFunc(d.rec.Logs, func(l logRecord) bool { return keyID(l.SPKI) == id })
		switch {
		case at < 0:
			return fmt.Errorf("forgetting log key %.16s…: the instance never had it", id)
		case bytes.Equal(d.rec.current(d.rec.Logs[at].Slot).SPKI, d.rec.Logs[at].SPKI):
			return fmt.Errorf("forgetting log key %.16s…: it is in use; rotate slot %s first", id, d.rec.Logs[at].Slot)
		}
		d.rec.Logs = slices.Delete(d.rec.Logs, at, at+1)
	}
	return nil
}

// undo removes the key files of a draft that came to nothing.
func (d *draft) undo() {
	for _, k := range d.fresh {
		if k.Place.Strength == InFile {
			_ = os.Remove(filepath.Join(d.o.Dir, k.Place.Name)) // a leftover is in nobody's way
		}
	}
}

// sweep removes the files of replaced private keys. Processes that have them
// open go on; their signatures are good for the overlap.
func (d *draft) sweep() {
	for _, name := range d.stale {
		if err := os.Remove(filepath.Join(d.o.Dir, name)); err != nil {
			d.o.Log.Warn("a replaced private key was left behind: remove it", "file", filepath.Join(d.o.Dir, name), "err", err)
		}
	}
}

// Request returns a certificate signing request (PEM) for the root key, to be
// answered by a company's authority with a chain for RotateOptions.Chain.
func (i *Instance) Request(off *Offline) ([]byte, error) {
	if err := off.belongs(i.o.Origin); err != nil {
		return nil, fmt.Errorf("asking for a certificate: %w", err)
	}
	return maker{i.now.Load().rec.Organization, i.o.Clock, i.o.Rand}.request(off.Root.Signer)
}

// lock lets one rotation at a time into a folder. It ends with the process.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("locking the trust folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the trust folder %s: another rotation is under way (%v)", dir, err)
	}
	return func() { f.Close() }, nil
}
