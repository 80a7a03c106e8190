package verify

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// signed is one signature in Sigstore's terms, whichever form it came in. Its
// parts are parsed once and shared by all anchors.
type signed struct {
	*bundle.Bundle
	content   verify.VerificationContent
	signature verify.SignatureContent
	entries   []*tlog.Entry

	leaf     *x509.Certificate // nil when a bare key signed
	payload  []byte            // of the DSSE envelope; nil for a message signature
	artifact []byte            // what a message signature is over, where that is not the subject itself
}

var _ verify.SignedEntity = (*signed)(nil)

// VerificationContent returns what was parsed by newSigned.
func (s *signed) VerificationContent() (verify.VerificationContent, error) { return s.content, nil }

// SignatureContent returns what was parsed by newSigned.
func (s *signed) SignatureContent() (verify.SignatureContent, error) { return s.signature, nil }

// TlogEntries returns what was parsed by newSigned.
func (s *signed) TlogEntries() ([]*tlog.Entry, error) { return s.entries, nil }

// readBundle reads a Sigstore bundle of any version. An error that matches
// errUnknownForm is about us, any other about the bundle.
func readBundle(raw []byte) (*signed, error) {
	b := new(bundle.Bundle)
	if err := b.UnmarshalJSON(raw); err != nil {
		if _, strict := strictjson.Parse(raw, strictjson.Limits{Bytes: MaxEnvelope}); strict != nil {
			return nil, fmt.Errorf("reading the bundle: %w", strict)
		}
		return nil, bundleError(err)
	}
	return newSigned(b)
}

// errUnknownForm marks what may be good and cannot be read here.
var errUnknownForm = errors.New("it is of a form that is not read here")

func bundleError(err error) error {
	text := plain(err)
	switch {
	case errors.Is(err, bundle.ErrUnsupportedMediaType):
		return fmt.Errorf("%w: %s", errUnknownForm, text)
	case strings.Contains(text, "not a recognizable Rekor"):
		return fmt.Errorf("%w: its log entry is of a type other than hashedrekord 0.0.2 and those of Rekor 1; sign with cosign 3.1 or newer", errUnknownForm)
	case strings.Contains(text, "inclusion proof missing"):
		return errors.New("its log entry has no inclusion proof")
	}
	return fmt.Errorf("reading the bundle: %s", text)
}

// newSigned parses the parts of a bundle once.
func newSigned(b *bundle.Bundle) (*signed, error) {
	s := &signed{Bundle: b}
	var err error
	if s.content, err = b.VerificationContent(); err != nil {
		return nil, fmt.Errorf("reading its certificate or key: %s", plain(err))
	}
	if s.signature, err = b.SignatureContent(); err != nil {
		return nil, fmt.Errorf("reading its signature: %s", plain(err))
	}
	if s.entries, err = b.TlogEntries(); err != nil {
		return nil, fmt.Errorf("reading its log entry: %s", plain(err))
	}
	s.leaf = s.content.Certificate()
	return s, s.readContent()
}

// readContent looks at what is signed.
func (s *signed) readContent() error {
	switch c := s.Content.(type) {
	case *protobundle.Bundle_DsseEnvelope:
		switch {
		case c.DsseEnvelope.GetPayloadType() != typeInToto:
			return fmt.Errorf("%w: its payload is %s, not an in-toto statement", errUnknownForm, oci.Quote(c.DsseEnvelope.GetPayloadType()))
		case len(c.DsseEnvelope.GetSignatures()) != 1:
			return fmt.Errorf("its envelope has %d signatures, and a bundle has exactly one", len(c.DsseEnvelope.GetSignatures()))
		}
		s.payload = c.DsseEnvelope.GetPayload()
		if s.payload == nil {
			s.payload = []byte{}
		}
	case *protobundle.Bundle_MessageSignature:
	default:
		return fmt.Errorf("%w: it is neither an envelope nor a signature of a message", errUnknownForm)
	}
	return nil
}

// subjects returns the SHA digests that the statement names, without trust in
// it: they serve to say why something was refused.
func (s *signed) subjects() []string {
	doc, err := strictjson.Parse(s.payload, strictjson.Limits{Bytes: MaxEnvelope})
	if err != nil {
		return nil
	}
	var out []string
	for subject := range doc.Get("subject").Elements() {
		for alg, hexed := range subject.Get("digest").Fields() {
			out = append(out, alg+":"+hexed.String())
		}
	}
	return out
}

// plain is the text of a library's error without its habits.
func plain(err error) string {
	text := strings.ReplaceAll(err.Error(), "failed to ", "")
	text = strings.ReplaceAll(text, "\n", "; ")
	// protobuf puts a no-break space into its messages at random, so that nobody
	// compares them.
	text = strings.ReplaceAll(text, "\u00a0", " ")
	if len(text) > 400 {
		text = strings.ToValidUTF8(text[:400], "") + "…"
	}
	return text
}
