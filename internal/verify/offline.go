package verify

import (
	"fmt"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Offline verifies one Sigstore bundle over subject by one anchor, with nothing
// else: no network, no clock, no memory. It is what a custody file is checked
// with; there the anchor is of kind sigstore and Roots is the trusted_root.json
// that came another way. The statement is read by statements; nil leaves it
// unread.
func Offline(anchor Anchor, bundle []byte, subject oci.Digest, statements Statements) (evidence.Signature, error) {
	j, err := newJudge(anchor)
	if err != nil {
		return evidence.Signature{}, anchorError(anchor.Name, err)
	}
	if len(bundle) > MaxEnvelope {
		return evidence.Signature{}, fmt.Errorf("verifying a bundle of %d bytes: at most %d are read", len(bundle), MaxEnvelope)
	}
	s, err := readBundle(bundle)
	if err != nil {
		return evidence.Signature{}, fmt.Errorf("verifying a bundle: %w", err)
	}
	sig, err := j.check(s, subject)
	if err != nil {
		return evidence.Signature{}, fmt.Errorf("verifying a bundle: %w", err)
	}
	sig.Anchor, sig.Form, sig.Envelope = j.name, evidence.FormBundle, oci.FromBytes(bundle)
	if statements == nil {
		return sig, nil
	}
	v := Verifier{statements: statements}
	if err := v.complete(&sig, s); err != nil {
		return evidence.Signature{}, fmt.Errorf("verifying a bundle: %w", err)
	}
	return sig, nil
}
