package verify

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	coresignature "github.com/notaryproject/notation-core-go/signature"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// prepareNotation makes r take Notation's signatures, where its certificates are
// in a log and signatures have a time. Notation asks for more than our checks
// below, and for less: all that is trusted is asked again there, because a
// company's root above ours would let in all of the company's authorities.
func (r *sigstoreRoot) prepareNotation() error {
	if !r.sct || !r.timestamp {
		return nil
	}
	s := &trustStore{}
	for _, one := range r.material.FulcioCertificateAuthorities() {
		if ca, ok := one.(*root.FulcioCertificateAuthority); ok {
			s.cas = append(s.cas, append(ca.Intermediates[:len(ca.Intermediates):len(ca.Intermediates)], ca.Root)[0])
		}
	}
	for _, one := range r.material.TimestampingAuthorities() {
		if tsa, ok := one.(*root.SigstoreTimestampingAuthority); ok {
			s.tsas = append(s.tsas, tsa.Root)
		}
	}
	if len(s.cas) == 0 || len(s.tsas) == 0 {
		return nil
	}
	r.notary = s
	return s.prepare()
}

// checkNotation verifies an envelope of Notation's by what Sigstore's are
// verified by. The certificate must be one that was issued for Notation: else
// whoever has the key of a certificate for Sigstore, which counts with an entry
// in the log, could sign without one. until is when a yes must be asked again.
func (r *sigstoreRoot) checkNotation(ctx context.Context, subject oci.Descriptor, p parcel, now time.Time) (sig evidence.Signature, until time.Time, err error) {
	if r.notary == nil {
		return sig, until, fmt.Errorf("%w: this is Notary Project's, and the trusted root has no CA, CT log and timestamp authority for it", errUnfit)
	}
	if r.notary.stranger(p) {
		return sig, until, errStranger // whatever else it asks for: that is no doubt of ours
	}
	info, err := r.notary.open(ctx, subject, p, now)
	switch {
	case errors.Is(err, errStrangeChain):
		return sig, until, errStranger
	case errors.Is(err, errNoToken):
		return sig, until, errors.New("it has no timestamp, and its certificate was good for minutes: sign with a timestamp of the same server (notation sign --timestamp-url)")
	case err != nil:
		return sig, until, err
	}
	sig = evidence.Signature{Form: evidence.FormNotation, Subject: subject.Digest}
	if sig.At, err = r.countersigned(info); err != nil {
		return evidence.Signature{}, until, err
	}
	if sig.Identity, err = r.issuedFor(info.CertificateChain[0], sig.At); err != nil {
		return evidence.Signature{}, until, err
	}
	return sig, r.notary.expiry(info, now), nil
}

// stranger reports whether an envelope, which is not verified, has a chain in
// which is none of the authorities.
func (s *trustStore) stranger(p parcel) bool {
	envelope, err := coresignature.ParseEnvelope(p.layer.MediaType, p.raw)
	if err != nil {
		return false // to be told why
	}
	content, err := envelope.Content()
	return err == nil && !slices.ContainsFunc(content.SignerInfo.CertificateChain, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(s.cas, c.Equal)
	})
}

// countersigned returns the time that a timestamp authority of the trusted root
// proves, and that lies within its own.
func (r *sigstoreRoot) countersigned(info *coresignature.SignerInfo) (time.Time, error) {
	token, err := answerWith(info.UnsignedAttributes.TimestampSignature)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading its timestamp: %s", plain(err))
	}
	var why error
	for _, tsa := range r.material.TimestampingAuthorities() {
		at, err := tsa.Verify(token, info.Signature)
		if err == nil {
			return at.Time.UTC(), nil
		}
		why = err
	}
	return time.Time{}, fmt.Errorf("its timestamp is by no timestamp authority of this trusted root: %s", plain(why))
}

// answerWith returns the answer of a timestamp authority that has a token in it
// (TimeStampResp, RFC 3161, 2.4.2): envelopes keep the token alone.
func answerWith(token []byte) ([]byte, error) {
	return asn1.Marshal(struct {
		Status struct{ Status int } // 0: granted
		Token  asn1.RawValue
	}{Token: asn1.RawValue{FullBytes: token}})
}

// issuedFor returns who a certificate for Notation was issued for, by a CA that
// was in force at a time, in sight of a CT log.
func (r *sigstoreRoot) issuedFor(leaf *x509.Certificate, at time.Time) (evidence.Identity, error) {
	chains, err := verify.VerifyLeafCertificate(at, leaf, r.material)
	if err != nil {
		return evidence.Identity{}, fmt.Errorf("no CA of this trusted root vouches for its certificate at %s, when it was signed: %s", stamp(at), plain(err))
	}
	if err := verify.VerifySignedCertificateTimestamp(chains, 1, r.material); err != nil {
		return evidence.Identity{}, errors.New("no CT log of this trusted root promises its certificate: it was issued out of sight, or altered")
	}
	who, err := identityOf(leaf)
	if err != nil {
		return evidence.Identity{}, err
	}
	if !forNotation(leaf, who) {
		return evidence.Identity{}, errors.New("its certificate was not issued for Notation: its subject is not that of the identity in it")
	}
	return who, nil
}

// forNotation reports whether a certificate was issued for Notation: it then has
// for its subject who it is of, and is of use for nothing else.
func forNotation(leaf *x509.Certificate, who evidence.Identity) bool {
	name, err := asn1.Marshal(who.NotationName().ToRDNSequence())
	return err == nil && bytes.Equal(name, leaf.RawSubject)
}

// NotationRoot is a trusted root as programs of Notation's are told of it.
type NotationRoot struct{ r *sigstoreRoot }

// ReadNotationRoot reads one trusted_root.json. It must have what signatures of
// Notation's take: a CA, a CT log and a timestamp authority.
func ReadNotationRoot(doc []byte) (*NotationRoot, error) {
	roots, err := readRoots([][]byte{doc}, requireAll)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading a trusted root: %w", err)
	case len(roots) != 1 || roots[0].notary == nil:
		return nil, errors.New("reading a trusted root: it has no CA, CT log and timestamp authority for Notation")
	}
	return &NotationRoot{roots[0]}, nil
}

// Authorities returns the certificates that sign those of signers, of all times,
// and not what is above them: that may be a company's.
func (n *NotationRoot) Authorities() []*x509.Certificate { return slices.Clone(n.r.notary.cas) }

// Timestampers returns the roots of the timestamp authorities, of all times, that
// of the newest last.
func (n *NotationRoot) Timestampers() []*x509.Certificate { return slices.Clone(n.r.notary.tsas) }

// Identity returns who a certificate for Notation is of, where it is good for
// signing at a time.
func (n *NotationRoot) Identity(leaf *x509.Certificate, at time.Time) (evidence.Identity, error) {
	return n.r.issuedFor(leaf, at)
}
