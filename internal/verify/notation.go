package verify

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	coresignature "github.com/notaryproject/notation-core-go/signature"
	_ "github.com/notaryproject/notation-core-go/signature/cose" // the envelope formats register themselves
	_ "github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/tspclient-go"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// judgeNotation asks every anchor about a Notary Project envelope. The hour
// counts there: certificates, CRLs and signatures themselves expire, so a no is
// not remembered and a yes only until the first of them does.
func (v *Verifier) judgeNotation(ctx context.Context, f *findings, anchors *Anchors, subject oci.Descriptor, p parcel) {
	f.fleeting = true
	if err := strictEnvelope(p); err != nil {
		f.refusals = append(f.refusals, refusal{why: err.Error(), unsure: unsure(err)})
		return
	}
	for i := range anchors.judges {
		j := &anchors.judges[i]
		sig, until, err := j.checkNotation(ctx, subject, p, v.clock())
		if err != nil {
			f.refusals = append(f.refusals, refusal{anchor: j.name, why: err.Error(), unsure: unsure(err), unfit: errors.Is(err, errUnfit)})
			continue
		}
		sig.Anchor, sig.Envelope = j.name, p.layer.Digest
		f.signatures = append(f.signatures, sig)
		if f.until.IsZero() || until.Before(f.until) {
			f.until = until
		}
	}
	f.onlyFitting()
}

// checkNotation asks one anchor. until is when a yes must be asked again.
func (j *judge) checkNotation(ctx context.Context, subject oci.Descriptor, p parcel, now time.Time) (sig evidence.Signature, until time.Time, err error) {
	switch {
	case j.away != "":
		return sig, until, fmt.Errorf("%w: %s", errAway, j.away)
	case j.kind == KindX509:
		return j.x509.check(ctx, subject, p, now)
	case j.kind != KindSigstore:
		return sig, until, fmt.Errorf("%w: this is Notary Project's, and the anchor takes Sigstore's", errUnfit)
	}
	last := errStranger
	for _, r := range j.roots {
		sig, until, err = r.checkNotation(ctx, subject, p, now)
		if err == nil {
			return sig, until, nil
		}
		// Of several roots, one that knows the certificate says more.
		if errors.Is(last, errStranger) {
			last = err
		}
	}
	return evidence.Signature{}, time.Time{}, last
}

// strictEnvelope refuses a JWS envelope that two JSON readers understand
// differently. COSE says everything once.
func strictEnvelope(p parcel) error {
	if p.layer.MediaType != typeJWS {
		return nil
	}
	doc, err := strictjson.Parse(p.raw, strictjson.Limits{Bytes: MaxEnvelope})
	if err != nil {
		return fmt.Errorf("reading the envelope: %w", err)
	}
	if err := doc.Exact("payload", "protected", "header", "signature"); err != nil {
		return fmt.Errorf("reading the envelope: %w", err)
	}
	for _, part := range []string{"payload", "protected"} {
		inner, err := base64.RawURLEncoding.DecodeString(doc.Get(part).String())
		if err != nil {
			return fmt.Errorf("the %s of its envelope is not base64", part)
		}
		value, err := strictjson.Parse(inner, strictjson.Limits{Bytes: MaxEnvelope})
		if err == nil {
			err = value.Exact("targetArtifact", "alg", "crit", "cty")
		}
		if err != nil {
			return fmt.Errorf("reading the %s of the envelope: %w", part, err)
		}
		if alg := value.Get("alg").String(); part == "protected" && !slices.Contains(jwsAlgorithms, alg) {
			return fmt.Errorf("its algorithm %s is not one that Notation allows", oci.Quote(alg))
		}
	}
	return nil
}

// jwsAlgorithms are those of the signature specification; "none" and the
// symmetric ones are not, and a public key must never be taken for a secret.
var jwsAlgorithms = []string{"PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}

// check verifies an envelope by certificates that were given. until is when the
// answer must be asked again.
func (s *trustStore) check(ctx context.Context, subject oci.Descriptor, p parcel, now time.Time) (sig evidence.Signature, until time.Time, err error) {
	info, err := s.open(ctx, subject, p, now)
	if err != nil {
		return evidence.Signature{}, time.Time{}, err
	}
	sig = evidence.Signature{Form: evidence.FormNotation, Subject: subject.Digest}
	if sig.Identity, err = distinguished(info.CertificateChain[0]); err != nil {
		return evidence.Signature{}, time.Time{}, err
	}
	if len(s.tsas) > 0 {
		if sig.At, err = tokenTime(info); err != nil {
			return evidence.Signature{}, time.Time{}, err
		}
	}
	return sig, s.expiry(info, now), nil
}

// open verifies an envelope at Notation's level "strict".
func (s *trustStore) open(ctx context.Context, subject oci.Descriptor, p parcel, now time.Time) (*coresignature.SignerInfo, error) {
	want := ocispec.Descriptor{MediaType: subject.MediaType, Digest: digest.Digest(subject.Digest.String()), Size: subject.Size}
	outcome, err := s.verifier.Verify(context.WithValue(ctx, hour{}, now), want, p.raw, notation.VerifierVerifyOptions{
		ArtifactReference:  "bonded.invalid/subject@" + subject.Digest.String(),
		SignatureMediaType: p.layer.MediaType,
	})
	if err != nil {
		return nil, explainNotation(outcome, subject, err)
	}
	if err := aboutExactly(outcome, subject); err != nil {
		return nil, err
	}
	return &outcome.EnvelopeContent.SignerInfo, nil
}

// aboutExactly compares the target of a verified payload once more, by exact
// keys: encoding/json would have taken others for them.
func aboutExactly(outcome *notation.VerificationOutcome, subject oci.Descriptor) error {
	doc, err := strictjson.Parse(outcome.EnvelopeContent.Payload.Content, strictjson.Limits{Bytes: MaxEnvelope})
	if err != nil {
		return fmt.Errorf("reading the signed payload: %w", err)
	}
	if got := doc.Get("targetArtifact", "digest").String(); got != subject.Digest.String() {
		return fmt.Errorf("its payload is about %s, not about %s", oci.Quote(got), subject.Digest)
	}
	return nil
}

// tokenTime is the time of a token that was verified.
func tokenTime(info *coresignature.SignerInfo) (time.Time, error) {
	token, err := tspclient.ParseSignedToken(info.UnsignedAttributes.TimestampSignature)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading its timestamp: %s", plain(err))
	}
	tst, err := token.Info()
	if err != nil {
		return time.Time{}, fmt.Errorf("reading its timestamp: %s", plain(err))
	}
	at, err := tst.Validate(info.Signature)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading its timestamp: %s", plain(err))
	}
	return at.Value.UTC(), nil
}

// rememberNotation bounds how long a yes is remembered whatever it says.
const rememberNotation = time.Hour

// expiry is the first moment at which something the answer stands on may have
// ended.
func (s *trustStore) expiry(info *coresignature.SignerInfo, now time.Time) time.Time {
	until := now.Add(rememberNotation)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(until) {
			until = t
		}
	}
	sooner(info.SignedAttributes.Expiry)
	if len(s.tsas) == 0 {
		for _, cert := range info.CertificateChain {
			sooner(cert.NotAfter)
		}
	}
	for _, crl := range s.crls {
		sooner(crl.NextUpdate)
	}
	return until
}

// Reasons that have other words where the anchor is a trusted root.
var (
	errStrangeChain = errors.New("its certificate leads to no CA of this anchor")
	errNoToken      = errors.New("it has no timestamp, and the anchor demands one by naming timestamp authorities")
)

// explainNotation finds the words for what notation-go refused.
func explainNotation(outcome *notation.VerificationOutcome, subject oci.Descriptor, err error) error {
	text := plain(err)
	var integrity *coresignature.SignatureIntegrityError
	var stranger *coresignature.SignatureAuthenticityError
	var malformed *coresignature.InvalidSignatureError
	var inconclusive notation.VerificationInconclusiveError
	switch {
	case errors.As(err, &integrity):
		return errors.New("its signature does not fit its content and the key of its certificate: one of them was changed")
	case errors.As(err, &stranger):
		return errStrangeChain
	case errors.As(err, &malformed):
		return fmt.Errorf("its envelope breaks the specification: %s", text)
	case strings.Contains(text, "content descriptor mismatch"):
		return mismatch(outcome, subject)
	case strings.Contains(text, "digital signature has expired"):
		return fmt.Errorf("it was signed to count until %s only", stamp(outcome.EnvelopeContent.SignerInfo.SignedAttributes.Expiry))
	case strings.Contains(text, "no timestamp countersignature"):
		return errNoToken
	case strings.Contains(text, "is revoked"):
		return fmt.Errorf("its certificate was revoked: %s", text)
	case strings.Contains(text, "revocation status is unknown"):
		return fmt.Errorf("%w: no CRL in force tells whether its certificate was revoked; give the anchor a current one", errUnknownForm)
	case errors.As(err, &inconclusive), strings.Contains(text, "plugin"):
		return fmt.Errorf("%w: %s", errUnknownForm, text)
	}
	return errors.New(text)
}

// mismatch says in which part of the descriptor the target differs.
func mismatch(outcome *notation.VerificationOutcome, subject oci.Descriptor) error {
	doc, err := strictjson.Parse(outcome.EnvelopeContent.Payload.Content, strictjson.Limits{Bytes: MaxEnvelope})
	if err != nil {
		return fmt.Errorf("reading the signed payload: %w", err)
	}
	target := doc.Get("targetArtifact")
	if got := target.Get("digest").String(); got != subject.Digest.String() {
		return fmt.Errorf("it is about %s, not about %s: it was attached to another artifact than it was made for", oci.Quote(got), subject.Digest)
	}
	return fmt.Errorf("it is about %s bytes of type %s, and the subject is %d bytes of type %s",
		target.Get("size").Text(), oci.Quote(target.Get("mediaType").String()), subject.Size, oci.Quote(subject.MediaType))
}
