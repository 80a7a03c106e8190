package trust

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// recordName is the file that says what an instance is. It is written last: a
// folder without it holds no instance.
const recordName = "instance.json"

// maxRecord bounds what is read of it, in bytes.
const maxRecord = 4 << 20

// record is the JSON of instance.json. Nothing in it is secret, and all of it
// must be kept: it is what old signatures are verified by.
type record struct {
	Version      int                `json:"version"`
	Origin       string             `json:"origin"`
	Server       string             `json:"server,omitempty"` // see Instance.Server
	Organization string             `json:"organization"`
	Made         time.Time          `json:"made"`
	Keys         map[Slot]keyRecord `json:"keys"`
	Offline      map[Slot][]byte    `json:"offline"` // public keys (SPKI) of the offline file
	// Of each of these the newest is last, and the one in use.
	Authorities  []chainRecord `json:"authorities"`
	Timestampers []chainRecord `json:"timestampers"`
	Logs         []logRecord   `json:"logs"`
	Issuers      []logRecord   `json:"issuers"`
}

// keyRecord is a private key that the server needs.
type keyRecord struct {
	Place string `json:"place"`
	SPKI  []byte `json:"spki"`
}

// period is how long a key or chain is good for. Until is zero while it is in
// use.
type period struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until,omitzero"`
}

type chainRecord struct {
	period
	Chain [][]byte `json:"chain"` // DER, the root last
}

// logRecord is a public key that signatures out there are checked by.
type logRecord struct {
	period
	Slot Slot   `json:"slot"`
	SPKI []byte `json:"spki"`
}

// Chain is certificates that are, or were, in use. The root is last.
type Chain struct {
	Certs       []*x509.Certificate
	From, Until time.Time // Until is zero while it is in use
}

// state is a record with all it names, opened and checked.
type state struct {
	rec          *record
	digest       string // SHA-256 of the record, hex
	keys         map[Slot]Key
	authorities  []Chain
	timestampers []Chain
	offlineHere  bool // the offline file lies in the folder
	offlineOpen  bool // and not encrypted
}

// readRecord reads the record of a folder. Errors match ErrNone or ErrUnusable.
func readRecord(dir, name string) (*record, error) {
	name = filepath.Join(dir, name)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the trust folder %s: %w", dir, ErrNone)
	}
	if err == nil && info.Size() > maxRecord {
		err = fmt.Errorf("%s has %d bytes and may have %d", name, info.Size(), maxRecord)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the trust folder: %w: %v", ErrUnusable, err)
	}
	rec, err := parseRecord(b)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w: %v; restore the folder from a backup", name, ErrUnusable, err)
	}
	return rec, nil
}

func parseRecord(b []byte) (*record, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, err
	}
	if head.Version != 1 {
		return nil, fmt.Errorf("its version is %d and this program reads 1", head.Version)
	}
	var rec record
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&rec); err != nil {
		return nil, err
	}
	if !originPattern().MatchString(rec.Origin) || len(rec.Authorities) == 0 || len(rec.Timestampers) == 0 || len(rec.Issuers) == 0 {
		return nil, errors.New("it is not complete")
	}
	for _, s := range []Slot{LogRekor, LogCT, LogAudit} {
		if !slices.ContainsFunc(rec.Logs, func(l logRecord) bool { return l.Slot == s }) {
			return nil, fmt.Errorf("it has no log of slot %s", s)
		}
	}
	return &rec, nil
}

func (r *record) encode() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	return append(b, '\n'), err
}

// clone returns a copy whose lists can be changed.
func (r *record) clone() *record {
	c := *r
	c.Keys, c.Offline = map[Slot]keyRecord{}, map[Slot][]byte{}
	for s, k := range r.Keys {
		c.Keys[s] = k
	}
	for s, k := range r.Offline {
		c.Offline[s] = k
	}
	c.Authorities, c.Timestampers = slices.Clone(r.Authorities), slices.Clone(r.Timestampers)
	c.Logs, c.Issuers = slices.Clone(r.Logs), slices.Clone(r.Issuers)
	return &c
}

// load opens all that a record names. places, from the configuration, say
// where keys are now; the key must be the one of the record. Where another one is
// there, the place of the record counts, if it is none that guards less.
func load(ctx context.Context, rec *record, from opener, places map[Slot]Place) (*state, error) {
	b, err := rec.encode()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	st := &state{rec: rec, digest: hex.EncodeToString(sum[:]), keys: map[Slot]Key{}}
	for _, s := range Slots() {
		if _, ok := rec.Keys[s]; !ok && s == Witness {
			continue
		}
		if st.keys[s], err = rec.open(ctx, s, from, places); err != nil {
			return nil, err
		}
	}
	if st.authorities, err = parseChains(rec.Authorities); err != nil {
		return nil, err
	}
	if st.timestampers, err = parseChains(rec.Timestampers); err != nil {
		return nil, err
	}
	return st, st.fits()
}

func (r *record) open(ctx context.Context, s Slot, from opener, places map[Slot]Place) (Key, error) {
	kr, ok := r.Keys[s]
	if !ok {
		return Key{}, fmt.Errorf("opening key %s: %w: the record has none; restore the folder from a backup", s, ErrUnusable)
	}
	recorded, err := ParsePlace(kr.Place)
	if err != nil {
		return Key{}, fmt.Errorf("opening key %s: %w: %v", s, ErrUnusable, err)
	}
	at, ok := places[s]
	if !ok {
		at = recorded
	}
	k, err := from.open(ctx, s, at)
	if err == nil && !bytes.Equal(k.SPKI, kr.SPKI) && at != recorded && recorded.Strength >= at.Strength {
		// The configuration is the one from before a rotation, or one for the next.
		at = recorded
		k, err = from.open(ctx, s, at)
	}
	if err != nil {
		return Key{}, err
	}
	if !bytes.Equal(k.SPKI, kr.SPKI) {
		return Key{}, fmt.Errorf("opening key %s in %s: %w: it is not the key of this instance (SHA-256 %.16s…, recorded %.16s…); bring the right one, or make a new one known with bonded trust rotate", s, at, ErrUnusable, k.ID(), keyID(kr.SPKI))
	}
	return k, nil
}

func parseChains(all []chainRecord) ([]Chain, error) {
	chains := make([]Chain, len(all))
	for i, c := range all {
		chains[i] = Chain{From: c.From, Until: c.Until}
		for _, der := range c.Chain {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("reading a chain of %s: %w: %v", recordName, ErrUnusable, err)
			}
			chains[i].Certs = append(chains[i].Certs, cert)
		}
		if len(chains[i].Certs) < 2 {
			return nil, fmt.Errorf("reading a chain of %s: %w: it has no root", recordName, ErrUnusable)
		}
	}
	return chains, nil
}

// fits checks that keys and certificates are of each other.
func (st *state) fits() error {
	for _, c := range []struct {
		slot Slot
		last Chain
	}{{Intermediate, newest(st.authorities)}, {TSA, newest(st.timestampers)}} {
		pub, ok := c.last.Certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || !pub.Equal(st.keys[c.slot].Signer.Public()) {
			return fmt.Errorf("opening key %s: %w: the newest certificate of the record is over another key", c.slot, ErrUnusable)
		}
	}
	for _, l := range []Slot{LogRekor, LogCT, LogAudit} {
		if !bytes.Equal(st.rec.current(l).SPKI, st.keys[l].SPKI) {
			return fmt.Errorf("opening key %s: %w: the newest log of the record has another key", l, ErrUnusable)
		}
	}
	return nil
}

// current returns the newest log of a slot.
func (r *record) current(s Slot) logRecord {
	for _, l := range slices.Backward(r.Logs) {
		if l.Slot == s {
			return l
		}
	}
	return logRecord{}
}

func newest(all []Chain) Chain { return all[len(all)-1] }

func newChain(from time.Time, certs ...*x509.Certificate) chainRecord {
	c := chainRecord{period: period{From: from}}
	for _, cert := range certs {
		c.Chain = append(c.Chain, cert.Raw)
	}
	return c
}
