package trust

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// originPattern is a host name without a port: sigstore-go takes the host name
// of a log's URL for its origin, and nothing else.
var originPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
})

// Options are what an instance works with.
type Options struct {
	// Dir is the folder of the instance.
	Dir string
	// Origin is the host name that the logs go by, for ever. It need not be the
	// host of URL.
	Origin string
	// URL is how clients reach the server, without a slash at the end.
	URL string
	// Places say where keys are, where that is not a file of the folder:
	// "credential:NAME" or "PLUGIN://REFERENCE". Optional.
	Places map[Slot]string
	// Credentials is the folder in which systemd puts credentials
	// ($CREDENTIALS_DIRECTORY). Optional.
	Credentials string
	// Witnesses are the keys, NAME+ID+KEY, of those who cosign the logs, and Quorum
	// how many of them must: clients are told. Optional.
	Witnesses []string
	Quorum    int
	Clock     func() time.Time
	Log       *slog.Logger
	// Rand is the source of randomness. Optional. Default crypto/rand.Reader.
	Rand io.Reader
}

func (o Options) check() (Options, map[Slot]Place, error) {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if !originPattern().MatchString(o.Origin) || len(o.Origin) > 253 {
		return o, nil, fmt.Errorf("%.100q is no origin: want a host name in lower case, without a port (trust.origin)", o.Origin)
	}
	if u, err := url.Parse(o.URL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.HasSuffix(o.URL, "/") {
		return o, nil, fmt.Errorf("%.100q is no URL of this server: want https://HOST[:PORT]", o.URL)
	}
	places := map[Slot]Place{}
	for s, text := range o.Places {
		if !slices.Contains(Slots(), s) {
			return o, nil, fmt.Errorf("there is no key slot %.40q; slots are %v", s, Slots())
		}
		p, err := ParsePlace(text)
		if err != nil {
			return o, nil, fmt.Errorf("placing key %s: %w", s, err)
		}
		places[s] = p
	}
	return o, places, nil
}

func (o Options) opener() opener { return opener{dir: o.Dir, credentials: o.Credentials} }

// Instance is what this server is to those who verify. It is safe for
// concurrent use; each method answers from one state, which Reload replaces as a
// whole.
type Instance struct {
	o      Options
	places map[Slot]Place

	mu  sync.Mutex // one Reload at a time
	now atomic.Pointer[state]
}

// Open reads the instance of a folder. Errors match ErrNone, ErrOrigin or
// ErrUnusable.
func Open(ctx context.Context, o Options) (*Instance, error) {
	o, places, err := o.check()
	if err != nil {
		return nil, err
	}
	i := &Instance{o: o, places: places}
	if err := i.Reload(ctx); err != nil {
		return nil, err
	}
	return i, nil
}

// Reload reads the folder again, such as after a rotation by another process.
// Where it is not usable the present state stays, and the error says why.
// Errors are those of Open.
func (i *Instance) Reload(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if info, err := os.Stat(i.o.Dir); err == nil && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("opening the trust folder %s: %w: others can look into it (mode %04o): chmod 700 it", i.o.Dir, ErrUnusable, info.Mode().Perm())
	}
	rec, err := readRecord(i.o.Dir, recordName)
	if errors.Is(err, ErrNone) {
		return i.foundNone(err)
	}
	if err != nil {
		return err
	}
	if rec.Origin != i.o.Origin {
		return fmt.Errorf("opening the trust folder %s: %w: it is the instance %s, and the configuration says %s; set trust.origin back to %s, because an origin never changes: signatures out there name it", i.o.Dir, ErrOrigin, rec.Origin, i.o.Origin, rec.Origin)
	}
	st, err := load(ctx, rec, i.o.opener(), i.places)
	if err != nil {
		return err
	}
	st.offlineHere, st.offlineOpen = findOffline(i.o.Dir)
	i.now.Store(st)
	return nil
}

// foundNone tells a folder that was never an instance from one that lost its
// record: keys without a record are not taken for nothing.
func (i *Instance) foundNone(err error) error {
	left, _ := filepath.Glob(filepath.Join(i.o.Dir, "*"+keySuffix))
	if len(left) > 0 {
		return fmt.Errorf("opening the trust folder %s: %w: it has keys and no %s; restore the whole folder from a backup", i.o.Dir, ErrUnusable, recordName)
	}
	return err
}

// findOffline looks for an offline file that was never taken away.
func findOffline(dir string) (here, open bool) {
	b, err := os.ReadFile(filepath.Join(dir, OfflineName))
	if err != nil {
		return false, false
	}
	var f offlineFile
	return true, json.Unmarshal(b, &f) != nil || f.KDF == nil
}

// Origin is the host name that the logs go by.
func (i *Instance) Origin() string { return i.o.Origin }

// URL is how clients reach the server, without a slash at the end.
func (i *Instance) URL() string { return i.o.URL }

// Version is a digest over all that the instance is; it changes with each
// rotation.
func (i *Instance) Version() string { return i.now.Load().digest }

// Key returns the key of one of Slots; the zero Key for any other slot, and for
// Witness while there is none.
func (i *Instance) Key(s Slot) Key { return i.now.Load().keys[s] }

// CA returns the chain that signs certificates, our intermediate first, and
// the key of its first certificate.
func (i *Instance) CA() ([]*x509.Certificate, crypto.Signer) {
	st := i.now.Load()
	return newest(st.authorities).Certs, st.keys[Intermediate].Signer
}

// Timestamper returns the chain of the timestamp authority, the leaf first,
// and the leaf's key.
func (i *Instance) Timestamper() ([]*x509.Certificate, crypto.Signer) {
	st := i.now.Load()
	return newest(st.timestampers).Certs, st.keys[TSA].Signer
}

// Authorities returns all chains that ever signed certificates, oldest first.
func (i *Instance) Authorities() []Chain { return slices.Clone(i.now.Load().authorities) }

// Timestampers returns all chains that ever signed timestamps, oldest first.
func (i *Instance) Timestampers() []Chain { return slices.Clone(i.now.Load().timestampers) }

// Public is a key that signatures are checked by.
type Public struct {
	Slot        Slot
	SPKI        []byte
	From, Until time.Time // Until is zero while it is in use
}

// ID is the SHA-256 of the public key (SPKI) in hex.
func (p Public) ID() string { return keyID(p.SPKI) }

// Logs returns all keys that a log's checkpoints, or certificate timestamps,
// were ever signed by, oldest first. slot is LogRekor, LogCT or LogAudit.
func (i *Instance) Logs(slot Slot) []Public {
	var all []Public
	for _, l := range i.now.Load().rec.Logs {
		if l.Slot == slot {
			all = append(all, l.public())
		}
	}
	return all
}

// Issuers returns the keys by which identity tokens verify at a time: the one
// in use first, then those that tokens may still be out from.
func (i *Instance) Issuers(at time.Time) []Public {
	var all []Public
	for _, l := range slices.Backward(i.now.Load().rec.Issuers) {
		if l.Until.IsZero() || at.Before(l.Until) {
			all = append(all, l.public())
		}
	}
	return all
}

func (l logRecord) public() Public {
	return Public{Slot: l.Slot, SPKI: l.SPKI, From: l.From, Until: l.Until}
}

// Offline returns the public keys (SPKI) of the offline file.
func (i *Instance) Offline() map[Slot][]byte { return i.now.Load().rec.clone().Offline }

// OfflinePath returns where the offline file lies while it was never taken
// away, and whether it opens without a passphrase; "" once it is gone.
func (i *Instance) OfflinePath() (path string, open bool) {
	st := i.now.Load()
	if !st.offlineHere {
		return "", false
	}
	return filepath.Join(i.o.Dir, OfflineName), st.offlineOpen
}

// Guard says where the keys live, for /health.
type Guard struct {
	Weakest Strength
	Keys    []GuardedKey // in the order of Slots
	Warning string       // for people; "" where there is none
}

// GuardedKey is a slot and where its key lives.
type GuardedKey struct {
	Slot  Slot
	Place Place
}

// Places returns where every key lives, and the weakest of these places.
func (i *Instance) Places() Guard {
	st := i.now.Load()
	g := Guard{Weakest: Plugin}
	for _, s := range Slots() {
		if st.keys[s].Signer == nil {
			continue
		}
		p := st.keys[s].Place
		g.Keys = append(g.Keys, GuardedKey{s, p})
		g.Weakest = min(g.Weakest, p.Strength)
	}
	if st.offlineHere {
		g.Weakest = OnThisDisk
		g.Warning = "the offline keys lie on this server: move " + filepath.Join(i.o.Dir, OfflineName) + " to a place that is not connected"
		if st.offlineOpen {
			g.Warning += "; it is not encrypted"
		}
	}
	return g
}

// Expiry is when something of the instance ends.
type Expiry struct {
	What string
	At   time.Time
}

// Expiries returns when the certificates in use end, for /health.
func (i *Instance) Expiries() []Expiry {
	st := i.now.Load()
	ca, tsa := newest(st.authorities).Certs, newest(st.timestampers).Certs
	return []Expiry{
		{"intermediate", ca[0].NotAfter},
		{"timestamp authority", tsa[0].NotAfter},
		{"root", ca[len(ca)-1].NotAfter},
	}
}
