package verify

import (
	"fmt"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Offline verifies one Sigstore bundle over subject by one trusted_root.json,
// with nothing else: no network, no clock, no memory. It is what a custody file
// is checked with. The statement is read by statements; nil leaves it unread.
// The signature's Anchor is name.
func Offline(name string, bundle, trustedRoot []byte, subject oci.Digest, statements Statements) (evidence.Signature, error) {
	roots, err := readRoots([][]byte{trustedRoot}, requireAll)
	if err != nil {
		return evidence.Signature{}, fmt.Errorf("reading the trusted root: %w", err)
	}
	if len(bundle) > MaxEnvelope {
		return evidence.Signature{}, fmt.Errorf("verifying a bundle of %d bytes: at most %d are read", len(bundle), MaxEnvelope)
	}
	s, err := readBundle(bundle)
	if err != nil {
		return evidence.Signature{}, fmt.Errorf("verifying a bundle: %w", err)
	}
	j := judge{name: name, kind: KindSigstore, roots: roots}
	sig, err := j.check(s, subject)
	if err != nil {
		return evidence.Signature{}, fmt.Errorf("verifying a bundle: %w", err)
	}
	sig.Anchor, sig.Form, sig.Envelope = name, evidence.FormBundle, oci.FromBytes(bundle)
	if statements == nil {
		return sig, nil
	}
	v := Verifier{statements: statements}
	if err := v.complete(&sig, s); err != nil {
		return evidence.Signature{}, fmt.Errorf("verifying a bundle: %w", err)
	}
	return sig, nil
}
