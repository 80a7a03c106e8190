package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// bareKey is one public key of a key anchor.
type bareKey struct {
	id    string // SHA-256 of the PKIX form, hex
	roots []*sigstoreRoot
}

// maxKeys bounds the keys of one anchor: each may have to be tried.
const maxKeys = 64

// readKeys reads PEM public keys. The algorithm is the key's, never what an
// envelope says.
func readKeys(a Anchor) ([]*bareKey, error) {
	var logs []root.TrustedMaterial
	if err := eachRoot(a.Roots, func(m *root.TrustedRoot) error { logs = append(logs, m); return nil }); err != nil {
		return nil, err
	}
	if len(logs) == 0 && (a.Log || a.Timestamp) {
		return nil, errors.New("it demands a log or a timestamp, and no trusted root says which are trusted")
	}
	if len(logs) == 0 {
		logs = []root.TrustedMaterial{&root.BaseTrustedMaterial{}}
	}
	var keys []*bareKey
	rest := bytes.TrimSpace(a.Keys)
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil {
			return nil, fmt.Errorf("key %d: it is not PEM", len(keys)+1)
		}
		key, err := readKey(block, logs, demands{log: a.Log, timestamp: a.Timestamp})
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
		}
		if keys = append(keys, key); len(keys) > maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
		rest = bytes.TrimSpace(after)
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key was given")
	}
	return keys, nil
}

func readKey(block *pem.Block, logs []root.TrustedMaterial, d demands) (*bareKey, error) {
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("PEM block %s: want PUBLIC KEY", oci.Quote(block.Type))
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	if err := strong(public); err != nil {
		return nil, err
	}
	verifier, err := signature.LoadDefaultVerifier(public)
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	key := &bareKey{}
	if key.id, err = keyID(public); err != nil {
		return nil, err
	}
	verifiers := []signature.Verifier{verifier}
	if ec, ok := public.(*ecdsa.PublicKey); ok && ec.Curve != elliptic.P256() {
		// cosign hashed with SHA-256 whatever the curve, before version 3.
		old, err := signature.LoadECDSAVerifier(ec, crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("reading it: %w", err)
		}
		verifiers = append(verifiers, old)
	}
	for _, log := range logs {
		for _, v := range verifiers {
			r, err := newKeyRoot(log, v, d)
			if err != nil {
				return nil, err
			}
			key.roots = append(key.roots, r)
		}
	}
	return key, nil
}

func newKeyRoot(log root.TrustedMaterial, verifier signature.Verifier, d demands) (*sigstoreRoot, error) {
	timeless := root.NewExpiringKey(verifier, time.Time{}, time.Time{})
	material := keyMaterial{TrustedMaterial: log, key: timeless}
	checker, err := verify.NewVerifier(material, d.options()...)
	return &sigstoreRoot{material: material, verifier: checker, demands: d}, err
}

// keyMaterial is a trusted root whose only key is given. The hint of a bundle
// is what its maker calls the key, and chooses nothing.
type keyMaterial struct {
	root.TrustedMaterial
	key root.TimeConstrainedVerifier
}

func (m keyMaterial) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return m.key, nil
}

// strong refuses keys that are too weak to prove anything.
func strong(public any) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 8192 {
			return fmt.Errorf("RSA with %d bits: want 2048 to 8192", n)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return fmt.Errorf("curve %s: want P-256, P-384 or P-521", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("keys of type %T are not read: want ECDSA, RSA or Ed25519", public)
	}
	return nil
}

// check verifies s for subject by k. Under several roots the error is that of
// the last one.
func (k *bareKey) check(s *signed, subject oci.Digest) (evidence.Signature, error) {
	last := errOtherKey
	for _, r := range k.roots {
		sig, err := r.check(s, subject)
		if err == nil {
			sig.Identity = evidence.Identity{Key: k.id}
			return sig, nil
		}
		last = err
	}
	return evidence.Signature{}, last
}
