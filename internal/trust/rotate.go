package trust

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bonded-dev/bonded/internal/durable"
)

// DefaultOverlap is how long what was replaced goes on being good for new
// signatures: the time in which every process reads the folder again.
const DefaultOverlap = 24 * time.Hour

// RotateOptions say what is replaced. What is replaced stays in the trusted
// root, with the time it was good for, so that old signatures verify.
type RotateOptions struct {
	// Slots are the keys to replace. Those in files are made; of those in a
	// credential or plug-in the new one must be there already. Intermediate and
	// TSA get a new certificate in any case, if need be over the same key. Root
	// replaces them too, and TUFRoot and TUFTargets can be among them.
	Slots []Slot
	// NewOffline is where the offline file with new keys of its own goes; there
	// must be none. Needed for Root, TUFRoot and TUFTargets.
	NewOffline string
	Passphrase []byte          // of NewOffline. Optional.
	Plugins    map[Slot]string // URIs of new offline keys that a KMS or HSM has. Optional.
	// Chain, in PEM, makes the root key a subordinate of a company's authority:
	// the certificate over the key of Request first, the company's root last.
	Chain []byte
	// Forget are IDs of log keys (Public.ID) that leave the trusted root: what
	// they signed verifies no more. The one in use cannot be forgotten.
	Forget []string
	// Offline are the offline keys. It may be nil where only Issuer, Sign and
	// Witness are replaced, which the trusted root does not name.
	Offline *Offline
	// Overlap is how long what is replaced stays good for new signatures.
	// Optional. Default DefaultOverlap; negative for none, after a theft.
	Overlap time.Duration
	// Publish is called with the instance as it will be, before it is: clients
	// learn of a key before anything is signed with it. On an error the instance
	// stays as it was, and the rotation is pending. It may be called again for
	// the same rotation. Optional.
	Publish func(ctx context.Context, p Publication) error
}

// Publication is a rotation that clients have to learn of.
type Publication struct {
	Next, Was               *Instance
	NextOffline, WasOffline *Offline // nil where no offline keys were given
}

func (c RotateOptions) replaces(slots ...Slot) bool {
	return slices.ContainsFunc(c.Slots, func(s Slot) bool { return slices.Contains(slots, s) })
}

// offlineFree are the slots that no document signed by an offline key names.
var offlineFree = []Slot{Issuer, Sign, Witness}

// pendingName is the record of a rotation that clients may have learned of
// already, and that this instance has not taken yet.
const pendingName = "instance.next.json"

// Rotate replaces keys and certificates of the instance in a folder. Processes
// that have it open go on with what they have until their Reload. A rotation that
// was interrupted, or whose publication failed, is finished by the next call with
// the same options, which then makes nothing new. Errors match those of Open,
// ErrRotation and ErrChain.
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
	if err := i.mayRotate(c); err != nil {
		return nil, err
	}
	rec, err := readRecord(o.Dir, pendingName)
	off := c.Offline
	switch {
	case errors.Is(err, ErrNone):
		rec, off, err = i.prepare(ctx, c)
	case err == nil:
		o.Log.WarnContext(ctx, "finishing a rotation that was interrupted", "folder", o.Dir)
		if !maps.EqualFunc(rec.Offline, i.now.Load().rec.Offline, bytes.Equal) {
			off, err = OpenOffline(ctx, c.NewOffline, c.Passphrase)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("rotating keys: %w", err)
	}
	if err := i.finish(ctx, c, rec, off); err != nil {
		return nil, fmt.Errorf("rotating keys: %w; repeat it with the same options to finish it", err)
	}
	return i, i.Reload(ctx)
}

// prepare makes all that is asked for and stores it as pending.
func (i *Instance) prepare(ctx context.Context, c RotateOptions) (*record, *Offline, error) {
	if c.Overlap == 0 {
		c.Overlap = DefaultOverlap
	}
	d := i.draft(max(c.Overlap, 0))
	off, err := d.change(ctx, i.now.Load(), c)
	if err == nil {
		_, err = load(ctx, d.rec, i.o.opener(), i.places)
	}
	if err == nil {
		err = writeRecord(i.o.Dir, pendingName, d.rec)
	}
	if err != nil {
		d.undo()
	}
	return d.rec, off, err
}

// finish publishes a pending record and makes it the instance's.
func (i *Instance) finish(ctx context.Context, c RotateOptions, rec *record, off *Offline) error {
	st, err := load(ctx, rec, i.o.opener(), i.places)
	if err != nil {
		return err
	}
	if c.Publish != nil {
		p := Publication{Next: i.as(st), Was: i.as(i.now.Load()), NextOffline: off, WasOffline: c.Offline}
		if err := c.Publish(ctx, p); err != nil {
			return fmt.Errorf("publishing the new keys: %w", err)
		}
	}
	dir := i.o.Dir
	if err := errors.Join(os.Rename(filepath.Join(dir, pendingName), filepath.Join(dir, recordName)), durable.SyncDir(dir)); err != nil {
		return fmt.Errorf("storing the record of the instance: %w", err)
	}
	i.sweep(rec)
	return nil
}

// mayRotate refuses what cannot be done before anything is.
func (i *Instance) mayRotate(c RotateOptions) error {
	trusted := c.Chain != nil || len(c.Forget) > 0
	all := append(Slots(), offlineSlots()...)
	for _, s := range c.Slots {
		if !slices.Contains(all, s) {
			return fmt.Errorf("rotating keys: %w: there is no slot %.40q; slots are %v", ErrRotation, s, all)
		}
		trusted = trusted || !slices.Contains(offlineFree, s)
	}
	switch {
	case trusted && c.Offline == nil:
		return fmt.Errorf("rotating keys: %w: the offline keys are needed, because clients learn of the new key from what they sign (--offline-keys FILE)", ErrRotation)
	case c.replaces(Root) && c.Chain != nil:
		return fmt.Errorf("rotating keys: %w: a new root key has no chain yet; rotate the root first, then send its request to the company's authority", ErrRotation)
	case c.replaces(offlineSlots()...) && c.NewOffline == "":
		return fmt.Errorf("rotating keys: %w: say where the offline file with the new keys goes (--new-offline-keys FILE)", ErrRotation)
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

// as returns an instance that stays in one state.
func (i *Instance) as(st *state) *Instance {
	same := &Instance{o: i.o, places: i.places}
	same.now.Store(st)
	return same
}

// change makes all that is asked for and returns the offline keys that are
// good from then on.
func (d *draft) change(ctx context.Context, was *state, c RotateOptions) (*Offline, error) {
	if err := d.forget(c.Forget); err != nil {
		return nil, err
	}
	above := newest(was.authorities).Certs[1:]
	slots := slices.DeleteFunc(slices.Clone(c.Slots), func(s Slot) bool { return slices.Contains(offlineSlots(), s) })
	off, err := d.newOffline(ctx, c)
	if err != nil {
		return nil, err
	}
	switch {
	case c.replaces(Root):
		cert, err := d.m.root(off.Root.Signer)
		if err != nil {
			return nil, err
		}
		above = []*x509.Certificate{cert}
		slots = append(slots, Intermediate, TSA)
	case c.Chain != nil:
		if above, err = parseChain(c.Chain); err != nil {
			return nil, err
		}
		if err := checkChain(above, off.Root.Signer.Public(), d.o.Clock()); err != nil {
			return nil, err
		}
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

// newOffline makes those offline keys that are replaced and stores them with
// the others. The file stays when the rotation fails: it may have been moved.
func (d *draft) newOffline(ctx context.Context, c RotateOptions) (*Offline, error) {
	if !c.replaces(offlineSlots()...) {
		return c.Offline, nil
	}
	off := *c.Offline
	for _, s := range offlineSlots() {
		if !c.replaces(s) {
			continue
		}
		key, err := makeOfflineKey(ctx, s, c.Plugins[s], d.o.Rand)
		if err != nil {
			return nil, fmt.Errorf("making key %s: %w", s, err)
		}
		if bytes.Equal(key.SPKI, d.rec.Offline[s]) {
			return nil, fmt.Errorf("replacing key %s: %w: the key in %s is the one in use; make the new one there, and name it in trust.keys", s, ErrRotation, key.Place)
		}
		off.set(key)
		d.rec.Offline[s] = key.SPKI
	}
	b, err := off.encode(c.Passphrase, d.o.Clock(), d.o.Rand)
	if err != nil {
		return nil, err
	}
	return &off, writeOffline(c.NewOffline, b)
}

// forget takes log keys out of the record.
func (d *draft) forget(ids []string) error {
	for _, id := range ids {
		at := slices.IndexFunc(d.rec.Logs, func(l logRecord) bool { return keyID(l.SPKI) == id })
		switch {
		case at < 0:
			return fmt.Errorf("forgetting log key %.16s…: %w: the instance never had it", id, ErrRotation)
		case bytes.Equal(d.rec.current(d.rec.Logs[at].Slot).SPKI, d.rec.Logs[at].SPKI):
			return fmt.Errorf("forgetting log key %.16s…: %w: it is in use; rotate slot %s first", id, ErrRotation, d.rec.Logs[at].Slot)
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

// madeKey is a file name that generate gives.
var madeKey = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z-]+-[0-9a-f]{8}\.key$`)
})

// sweep removes the files of private keys that the record does not name.
// Processes that have them open go on; their signatures are good for the overlap.
func (i *Instance) sweep(rec *record) {
	named := map[string]bool{}
	for _, k := range rec.Keys {
		named[strings.TrimPrefix(k.Place, "file:")] = true
	}
	files, _ := filepath.Glob(filepath.Join(i.o.Dir, "*"+keySuffix))
	for _, file := range files {
		if name := filepath.Base(file); named[name] || !madeKey().MatchString(name) {
			continue
		}
		if err := os.Remove(file); err != nil {
			i.o.Log.Warn("a replaced private key was left behind: remove it", "file", file, "err", err)
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
