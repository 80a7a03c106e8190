package trust

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bonded-dev/bonded/internal/durable"
)

// keySuffix ends the names of key files.
const keySuffix = ".key"

// InitOptions are the choices of a new instance.
type InitOptions struct {
	// OfflinePath is where the offline file goes; there must be none. Optional.
	// Default: OfflineName in the instance's folder, which Places warns of.
	OfflinePath string
	// Passphrase encrypts the offline file. Optional, and recommended.
	Passphrase []byte
	// Organization is the O of certificates. Optional. Default "Bonded".
	Organization string
	// Plugins are URIs of offline keys that are in a KMS or HSM. Optional.
	Plugins map[Slot]string
	// Prepare is called with the finished instance and the offline keys before
	// the folder gets its name, to make in dir what also needs those keys: the
	// first TUF metadata. Optional.
	Prepare func(ctx context.Context, dir string, i *Instance, off *Offline) error
}

// Init makes an instance in a folder that is not there or empty. The folder
// appears as a whole: a process that dies within leaves none. Errors match
// ErrExists.
func Init(ctx context.Context, o Options, c InitOptions) (*Instance, error) {
	o, places, err := o.check()
	if err != nil {
		return nil, err
	}
	if left, err := os.ReadDir(o.Dir); err == nil && len(left) > 0 {
		return nil, fmt.Errorf("making an instance in %s: %w: the folder is not empty", o.Dir, ErrExists)
	}
	if err := os.MkdirAll(filepath.Dir(o.Dir), 0o700); err != nil {
		return nil, fmt.Errorf("making the trust folder: %w", err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(o.Dir), "."+filepath.Base(o.Dir)+"-*") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("making the trust folder: %w", err)
	}
	defer os.RemoveAll(dir)
	inside := o
	inside.Dir = dir
	if err := initIn(ctx, inside, places, c); err != nil {
		return nil, fmt.Errorf("making an instance in %s: %w", o.Dir, err)
	}
	// Linux renames a folder over an empty one.
	err = errors.Join(durable.SyncDir(dir), os.Rename(dir, o.Dir), durable.SyncDir(filepath.Dir(o.Dir)))
	if err != nil {
		return nil, fmt.Errorf("making an instance in %s: %w", o.Dir, err)
	}
	i, err := Open(ctx, o)
	if err == nil {
		o.Log.InfoContext(ctx, "made the keys of this instance", "origin", o.Origin, "folder", o.Dir)
	}
	return i, err
}

func initIn(ctx context.Context, o Options, places map[Slot]Place, c InitOptions) error {
	if c.Organization == "" {
		c.Organization = "Bonded"
	}
	off, err := makeOffline(ctx, o.Origin, c.Plugins, o.Rand)
	if err != nil {
		return err
	}
	rec, err := newRecord(ctx, o, places, c.Organization, off)
	if err != nil {
		return err
	}
	if err := writeRecord(o.Dir, recordName, rec); err != nil {
		return err
	}
	b, err := off.encode(c.Passphrase, o.Clock(), o.Rand)
	if err != nil {
		return err
	}
	if c.Prepare != nil {
		i, err := Open(ctx, o)
		if err != nil {
			return err
		}
		if err := c.Prepare(ctx, o.Dir, i, off); err != nil {
			return err
		}
	}
	if c.OfflinePath == "" {
		c.OfflinePath = filepath.Join(o.Dir, OfflineName)
	}
	return writeOffline(c.OfflinePath, b)
}

// newRecord makes the keys and certificates of a new instance.
func newRecord(ctx context.Context, o Options, places map[Slot]Place, organization string, off *Offline) (*record, error) {
	now := o.Clock().UTC().Truncate(time.Second)
	rec := &record{Version: 1, Origin: o.Origin, Server: o.server(), Organization: organization, Made: now, Keys: map[Slot]keyRecord{}, Offline: map[Slot][]byte{}}
	for _, s := range offlineSlots() {
		rec.Offline[s] = off.key(s).SPKI
	}
	d := draft{o: o, places: places, rec: rec, from: now.Add(-backdate), m: maker{organization, o.Clock, o.Rand}}
	for _, s := range needed() {
		if err := d.key(ctx, s); err != nil {
			return nil, err
		}
	}
	root, err := d.m.root(off.Root.Signer)
	if err != nil {
		return nil, err
	}
	return rec, d.certify([]*x509.Certificate{root}, off)
}

// draft is a record that is being changed.
type draft struct {
	o      Options
	places map[Slot]Place
	rec    *record
	m      maker
	from   time.Time // when what is new begins
	until  time.Time // when what it replaces ends
	fresh  []Key     // made or taken in this draft
}

// key puts a new key into a slot: one that is made and stored as a file, or
// the one that the place of the configuration has.
func (d *draft) key(ctx context.Context, s Slot) error {
	at, ok := d.places[s]
	var k Key
	var err error
	if ok && at.Strength != InFile {
		k, err = d.o.opener().open(ctx, s, at)
	} else {
		k, err = d.generate(s)
	}
	if err != nil {
		return err
	}
	old, had := d.rec.Keys[s]
	if had && keyID(old.SPKI) == k.ID() {
		if s == Intermediate || s == TSA {
			return nil // the same key gets another certificate
		}
		return fmt.Errorf("replacing key %s: the key in %s is the one in use; put the new one there first", s, at)
	}
	d.rec.Keys[s] = keyRecord{Place: k.Place.String(), SPKI: k.SPKI}
	d.fresh = append(d.fresh, k)
	d.enter(s, k.SPKI)
	return nil
}

// generate makes a key in a file of a name that no other key has.
func (d *draft) generate(s Slot) (Key, error) {
	signer, err := kinds[s].generate(d.o.Rand)
	if err != nil {
		return Key{}, fmt.Errorf("making key %s: %v", s, err)
	}
	k, err := newKey(s, signer, Place{Strength: InFile})
	if err != nil {
		return Key{}, err
	}
	k.Place.Name = fmt.Sprintf("%s-%.8s%s", s, k.ID(), keySuffix)
	b, err := encodeKey(signer)
	if err != nil {
		return Key{}, err
	}
	if err := durable.WriteFile(filepath.Join(d.o.Dir, k.Place.Name), b, 0o600); err != nil {
		return Key{}, fmt.Errorf("storing key %s: %w", s, err)
	}
	return k, nil
}

// enter writes a new public key into the lists that verifiers read, and ends
// the one before it.
func (d *draft) enter(s Slot, spki []byte) {
	list := &d.rec.Logs
	switch s {
	case Issuer:
		list = &d.rec.Issuers
	case LogRekor, LogCT, LogAudit:
	default:
		return
	}
	for i := range *list {
		if l := &(*list)[i]; l.Slot == s && l.Until.IsZero() {
			l.Until = d.until
		}
	}
	*list = append(*list, logRecord{period{From: d.from}, s, spki})
}

// certify makes the certificates of the intermediate and the timestamp
// authority as the record has their keys. above is what signs them: the
// certificate of our root key, and what is over it.
func (d *draft) certify(above []*x509.Certificate, off *Offline) error {
	if err := d.certifyCA(above, off); err != nil {
		return err
	}
	return d.certifyTSA(above, off)
}

func (d *draft) certifyCA(above []*x509.Certificate, off *Offline) error {
	pub, err := x509.ParsePKIXPublicKey(d.rec.Keys[Intermediate].SPKI)
	if err != nil {
		return err
	}
	cert, err := d.m.intermediate(pub, above[0], off.Root.Signer)
	if err != nil {
		return err
	}
	chain := append([]*x509.Certificate{cert}, above...)
	d.rec.Authorities, err = d.succeed(d.rec.Authorities, chain, x509.ExtKeyUsageCodeSigning)
	return err
}

func (d *draft) certifyTSA(above []*x509.Certificate, off *Offline) error {
	pub, err := x509.ParsePKIXPublicKey(d.rec.Keys[TSA].SPKI)
	if err != nil {
		return err
	}
	cert, err := d.m.timestamper(pub, above[0], off.Root.Signer)
	if err != nil {
		return err
	}
	chain := append([]*x509.Certificate{cert}, above...)
	d.rec.Timestampers, err = d.succeed(d.rec.Timestampers, chain, x509.ExtKeyUsageTimeStamping)
	return err
}

// succeed adds a chain to a list and ends the one before it.
func (d *draft) succeed(list []chainRecord, chain []*x509.Certificate, usage x509.ExtKeyUsage) ([]chainRecord, error) {
	if err := prove(chain, usage, d.o.Clock()); err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Until.IsZero() {
			list[i].Until = d.until
		}
	}
	return append(list, newChain(chain[0].NotBefore, chain...)), nil
}

func writeRecord(dir, name string, rec *record) error {
	b, err := rec.encode()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		return fmt.Errorf("storing the record of the instance: %w", err)
	}
	return nil
}
