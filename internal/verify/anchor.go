package verify

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Kind is the sort of proof that an anchor takes.
type Kind string

// The kinds.
const (
	// KindSigstore takes short-lived certificates of a Sigstore instance: the
	// certificate with an SCT, an entry in its log, and a time of signing that
	// the log or a timestamp authority proves. Notary Project signatures count by
	// certificates that the instance issued for those, which ours do: with an SCT
	// and a timestamp; there is no log of them.
	KindSigstore Kind = "sigstore"
	// KindGitHub is GitHub's own instance, for attestations of private
	// repositories: it has a timestamp authority, no log and no CT log.
	KindGitHub Kind = "github"
	// KindKey takes signatures by given public keys.
	KindKey Kind = "key"
	// KindX509 takes Notary Project signatures by certificates of given CAs, at
	// its verification level "strict".
	KindX509 Kind = "x509"
)

// Anchor is a root of trust by the name that gates call it. What it needs
// depends on its kind.
type Anchor struct {
	Name string
	Kind Kind
	// Roots are trusted_root.json documents, also several in one as JSON lines
	// (as `gh attestation trusted-root` prints them). Needed for sigstore and
	// github; for key they bring the logs and timestamp authorities.
	Roots [][]byte
	// Keys are PEM public keys (PKIX): ECDSA, RSA from 2048 bits, Ed25519. For key.
	Keys []byte
	// Log and Timestamp demand, of a key anchor, an entry in a log and a proven
	// time. Without them those are not looked at.
	Log, Timestamp bool
	// CAs are PEM certificates to which a chain must lead; TSAs those of
	// timestamp authorities, without which certificates must be valid now. CRLs
	// are PEM or DER; a certificate that names a CRL or OCSP server needs one
	// here that is in force, because no server is asked. For x509.
	CAs, TSAs []byte
	CRLs      [][]byte
	// Unavailable, where set, says why the anchor's material is not there. It
	// then answers that it cannot tell.
	Unavailable string
}

// Anchors is a set of anchors, ready to be asked. It never changes.
type Anchors struct {
	judges []judge
	digest string
}

// judge is an anchor at work.
type judge struct {
	name  string
	kind  Kind
	away  string // why it is not there
	roots []*sigstoreRoot
	keys  []*bareKey
	x509  *trustStore
}

// anchorError wraps what is wrong with one anchor.
func anchorError(name string, err error) error { return fmt.Errorf("reading anchor %s: %w", name, err) }

// NewAnchors reads anchors. Two of one name, and material that cannot be read,
// are errors: a gate must not find less behind a name than its author put there.
func NewAnchors(anchors ...Anchor) (*Anchors, error) {
	set := &Anchors{}
	sum := sha256.New()
	for _, a := range anchors {
		j, err := newJudge(a)
		if err != nil {
			return nil, anchorError(a.Name, err)
		}
		if slices.ContainsFunc(set.judges, func(o judge) bool { return o.name == j.name }) {
			return nil, anchorError(a.Name, errors.New("the name is taken"))
		}
		set.judges = append(set.judges, j)
		raw, err := json.Marshal(a)
		if err != nil {
			return nil, anchorError(a.Name, err)
		}
		sum.Write(raw)
		sum.Write([]byte{0})
	}
	set.digest = hex.EncodeToString(sum.Sum(nil))
	return set, nil
}

// Digest returns the SHA-256, in hex, of all that the set was made of.
func (a *Anchors) Digest() string { return a.digest }

// Names returns the names of the anchors, in the order they were given.
func (a *Anchors) Names() []string {
	names := make([]string, len(a.judges))
	for i, j := range a.judges {
		names[i] = j.name
	}
	return names
}

func newJudge(a Anchor) (judge, error) {
	j := judge{name: a.Name, kind: a.Kind, away: a.Unavailable}
	if a.Name == "" || len(a.Name) > 128 {
		return judge{}, fmt.Errorf("its name %s must have 1 to 128 bytes", oci.Quote(a.Name))
	}
	if err := a.check(); err != nil || j.away != "" {
		return j, err
	}
	var err error
	switch a.Kind {
	case KindSigstore:
		j.roots, err = readRoots(a.Roots, requireAll)
	case KindGitHub:
		j.roots, err = readRoots(a.Roots, requireTimestamp)
	case KindKey:
		j.keys, err = readKeys(a)
	case KindX509:
		j.x509, err = readTrustStore(a)
	}
	return j, err
}

// check refuses fields that the kind does not read: whoever gave them believes
// that they do something.
func (a Anchor) check() error {
	type field struct {
		name  string
		given bool
		kinds []Kind
	}
	fields := []field{
		{"roots", len(a.Roots) > 0, []Kind{KindSigstore, KindGitHub, KindKey}},
		{"keys", len(a.Keys) > 0, []Kind{KindKey}},
		{"log", a.Log, []Kind{KindKey}},
		{"timestamp", a.Timestamp, []Kind{KindKey}},
		{"CAs", len(a.CAs) > 0, []Kind{KindX509}},
		{"TSAs", len(a.TSAs) > 0, []Kind{KindX509}},
		{"CRLs", len(a.CRLs) > 0, []Kind{KindX509}},
	}
	if !slices.Contains([]Kind{KindSigstore, KindGitHub, KindKey, KindX509}, a.Kind) {
		return fmt.Errorf("kind %s: want sigstore, github, key or x509", oci.Quote(string(a.Kind)))
	}
	for _, f := range fields {
		if f.given && !slices.Contains(f.kinds, a.Kind) {
			return fmt.Errorf("an anchor of kind %s does not read %s", a.Kind, f.name)
		}
	}
	return nil
}

// keyID is the SHA-256 of a public key in PKIX form, hex.
func keyID(key any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}
