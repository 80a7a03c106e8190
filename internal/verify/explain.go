package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/bonded-dev/bonded/internal/oci"
)

// errStranger and errOtherKey mark reasons that say no more than "not one of
// mine": where an anchor has several roots or keys, another reason says more.
var (
	errStranger = errors.New("its certificate is by no CA of this trusted root")
	errOtherKey = errors.New("its signature fits neither its content nor a trusted key")
)

// explain finds the words for what sigstore-go refused with err. It makes each
// check by itself, in the order in which one cause hides another; it decides
// nothing, and where it finds no cause the library's words are kept.
func (r *sigstoreRoot) explain(s *signed, subject oci.Digest, err error) error {
	checks := []func() error{
		func() error { return r.explainSignature(s, subject) },
		func() error { return explainSubject(s, subject) },
		func() error { return r.explainCertificate(s) },
		func() error { return r.explainTime(s) },
		func() error { return r.explainSCT(s) },
		func() error { return r.explainLog(s) },
	}
	for _, check := range checks {
		if why := check(); why != nil {
			return why
		}
	}
	return errors.New(plain(err))
}

func (r *sigstoreRoot) explainSignature(s *signed, subject oci.Digest) error {
	var err error
	switch {
	case s.payload != nil:
		err = verify.VerifySignature(s.signature, s.content, r.material)
	case s.artifact != nil:
		err = verify.VerifySignatureWithArtifacts(s.signature, s.content, r.material, []io.Reader{bytes.NewReader(s.artifact)})
	default:
		// Against what the message says it is; explainSubject compares that.
		digest := verify.ArtifactDigest{Algorithm: string(subject.Algorithm()), Digest: s.signature.MessageSignatureContent().Digest()}
		err = verify.VerifySignatureWithArtifactDigests(s.signature, s.content, r.material, []verify.ArtifactDigest{digest})
	}
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "can only be verified with artifacts"):
		return fmt.Errorf("%w: Ed25519 signs a message, not its digest; attest or sign with a statement instead", errUnknownForm)
	case s.leaf == nil:
		return errOtherKey
	}
	return errors.New("its signature does not fit its content and the key of its certificate: one of them was changed")
}

func explainSubject(s *signed, subject oci.Digest) error {
	if s.artifact != nil {
		return nil
	}
	if m := s.signature.MessageSignatureContent(); m != nil {
		if got := hex.EncodeToString(m.Digest()); got != subject.Hex() {
			return fmt.Errorf("it signs the digest %.71s, not %s: it was attached to another artifact than it was made for", got, subject)
		}
		return nil
	}
	named := s.subjects()
	switch {
	case len(named) == 0:
		return errors.New("its statement names no subject")
	case slices.Contains(named, subject.String()):
		return nil
	}
	return fmt.Errorf("its statement is about %.80s, not about %s: it was attached to another artifact than it was made for", named[0], subject)
}

// explainCertificate looks at the chain as of the certificate's own first
// second; explainTime looks at when it was used.
func (r *sigstoreRoot) explainCertificate(s *signed) error {
	if s.leaf == nil {
		return nil
	}
	if _, err := identityOf(s.leaf); err != nil {
		return err
	}
	if !slices.Contains(s.leaf.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) {
		return errors.New("its certificate is not for signing code")
	}
	var retired error
	for _, ca := range r.material.FulcioCertificateAuthorities() {
		if _, err := ca.Verify(s.leaf, s.leaf.NotBefore); err == nil {
			return nil
		}
		f, ok := ca.(*root.FulcioCertificateAuthority)
		if !ok {
			continue
		}
		open := *f
		open.ValidityPeriodStart, open.ValidityPeriodEnd = time.Time{}, time.Time{}
		if _, err := open.Verify(s.leaf, s.leaf.NotBefore); err == nil {
			retired = fmt.Errorf("its certificate is of %s, and its CA was trusted from %s to %s", stamp(s.leaf.NotBefore), stamp(f.ValidityPeriodStart), stamp(f.ValidityPeriodEnd))
		}
	}
	if retired != nil {
		return retired
	}
	return fmt.Errorf("%w: issuer %s", errStranger, oci.Quote(s.leaf.Issuer.String()))
}

func (r *sigstoreRoot) explainTime(s *signed) error {
	if !r.timestamp {
		return nil
	}
	tokens, err := s.Timestamps()
	if err != nil {
		return err
	}
	promised := r.log && s.HasInclusionPromise()
	if len(tokens) == 0 && !promised {
		if s.leaf == nil {
			return errors.New("nothing proves when it was signed: it has no timestamp")
		}
		return fmt.Errorf("nothing proves when it was signed: it has no timestamp, and its certificate expired at %s", stamp(s.leaf.NotAfter))
	}
	for _, token := range tokens {
		if err := r.explainToken(s, token); err != nil && !promised {
			return err
		}
	}
	return nil
}

// explainToken looks at one RFC 3161 token.
func (r *sigstoreRoot) explainToken(s *signed, token []byte) error {
	ts, err := timestamp.ParseResponse(token)
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "verif"):
		return errors.New("the signature of its timestamp does not verify: the token was changed")
	default:
		return errors.New("its timestamp cannot be read: it is cut or was changed")
	}
	if ts.HashAlgorithm.Available() {
		h := ts.HashAlgorithm.New()
		h.Write(s.signature.Signature())
		if !bytes.Equal(h.Sum(nil), ts.HashedMessage) {
			return fmt.Errorf("its timestamp of %s is over another signature", stamp(ts.Time))
		}
	}
	var found error
	for _, tsa := range r.material.TimestampingAuthorities() {
		_, err := tsa.Verify(token, s.signature.Signature())
		if err == nil {
			return explainLife(s, ts.Time)
		}
		switch text := err.Error(); {
		case strings.Contains(text, "validity period"):
			found = fmt.Errorf("its timestamp is of %s, when its authority was not trusted", stamp(ts.Time))
		case strings.Contains(text, "error while verifying signature"):
			found = errors.New("the signature of its timestamp does not verify: the token was changed")
		case strings.Contains(text, "hash"):
			found = errors.New("its timestamp uses a hash that is too weak")
		}
	}
	if found == nil {
		found = errors.New("its timestamp is by an authority that is not in this trusted root")
	}
	return found
}

// explainLife compares a proven time with the certificate's.
func explainLife(s *signed, at time.Time) error {
	if s.leaf == nil || !at.Before(s.leaf.NotBefore) && !at.After(s.leaf.NotAfter) {
		return nil
	}
	return fmt.Errorf("it was signed at %s, and its certificate is valid from %s to %s", stamp(at), stamp(s.leaf.NotBefore), stamp(s.leaf.NotAfter))
}
