package verify_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/tspclient-go"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// stamper is a timestamp authority at some hour. It implements
// tspclient.Timestamper.
type stamper struct {
	tsa *verifytest.Certificate
	at  time.Time
}

func (s stamper) Timestamp(_ context.Context, req *tspclient.Request) (*tspclient.Response, error) {
	raw, err := req.MarshalBinary()
	if err != nil {
		return nil, err
	}
	asked, err := timestamp.ParseRequest(raw)
	if err != nil {
		return nil, err
	}
	ts := timestamp.Timestamp{
		HashAlgorithm: asked.HashAlgorithm, HashedMessage: asked.HashedMessage, Nonce: asked.Nonce, Time: s.at,
		Policy: asn1.ObjectIdentifier{1, 2, 3}, SerialNumber: big.NewInt(1), AddTSACertificate: true,
	}
	out, err := ts.CreateResponseWithOpts(s.tsa.Certificate, s.tsa.Key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var resp tspclient.Response
	return &resp, resp.UnmarshalBinary(out)
}

// notaryName has a certificate issued for Notation, to who it says it is for.
func notaryName(c *x509.Certificate) {
	c.Subject = evidence.Identity{Issuer: "https://idp.example.com", Subject: "alice@example.com"}.NotationName()
}

// notarized is what somebody signs with Notation at Noon by a certificate of an
// instance. A zero Spec.Leaf is notaryName.
type notarized struct {
	verifytest.Spec
	of        oci.Descriptor // default image
	mediaType string         // default jws
	expiry    time.Time
	scheme    signature.SigningScheme // default that of X.509
}

func (n notarized) sign(t testing.TB, i *verifytest.Instance) verify.Referrer {
	t.Helper()
	if n.Leaf == nil {
		n.Leaf = notaryName
	}
	if n.of.Digest.IsZero() {
		n.of = image
	}
	if n.mediaType == "" {
		n.mediaType = jws
	}
	issuer := i.CA
	if n.CA != nil {
		issuer = n.CA
	}
	leaf := i.Leaf(n.Spec)
	local, err := signature.NewLocalSigner([]*x509.Certificate{leaf.Certificate, issuer.Certificate, i.Root.Certificate}, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{"targetArtifact": n.of})
	if err != nil {
		t.Fatal(err)
	}
	req := &signature.SignRequest{
		Payload: signature.Payload{ContentType: "application/vnd.cncf.notary.payload.v1+json", Content: payload},
		Signer:  local, SigningTime: verifytest.Noon, SigningScheme: signature.SigningSchemeX509, Expiry: n.expiry,
	}
	if n.scheme != "" {
		req.SigningScheme = n.scheme
	}
	if !n.NoTime {
		by := stamper{i.TSA, verifytest.Noon}
		if n.TSA != nil {
			by.tsa = n.TSA
		}
		if !n.TimeAt.IsZero() {
			by.at = n.TimeAt
		}
		req.Timestamper, req.TSARootCAs = by, x509.NewCertPool()
		req.TSARootCAs.AddCert(i.Root.Certificate)
	}
	envelope, err := signature.NewEnvelope(n.mediaType)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := envelope.Sign(req)
	if err != nil {
		t.Fatal(err)
	}
	return notationReferrer(n.mediaType, raw)
}

// TestNotationByOurCA: whoever signs with Notation by a certificate of a trusted
// root is known as who signs with cosign is, long after the certificate has
// ended, and after the CA has.
func TestNotationByOurCA(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	rotated := verify.Anchor{Name: "rotated", Kind: verify.KindSigstore, Roots: [][]byte{i.TrustedRoot(func(r *prototrust.TrustedRoot) {
		r.CertificateAuthorities[0].ValidFor = ended(verifytest.Noon.Add(time.Hour))
		r.TimestampAuthorities[0].ValidFor = ended(verifytest.Noon.Add(time.Hour))
		r.Ctlogs[0].PublicKey.ValidFor = ended(verifytest.Noon.Add(time.Hour))
	})}}
	for _, anchor := range []verify.Anchor{sigstore(i), rotated} {
		v := realVerifier(t, anchor)
		cosign := verified(t, v.Check(t.Context(), image, bundleReferrer(i.JSON(i.Bundle(verifytest.Spec{Payload: statement(image.Digest, "https://sigstore.dev/cosign/sign/v1")})))))
		for _, mediaType := range []string{jws, cose} {
			sig := verified(t, v.Check(t.Context(), image, notarized{mediaType: mediaType}.sign(t, i)))
			if sig.Form != evidence.FormNotation || sig.Anchor != anchor.Name || sig.Subject != image.Digest || !sig.At.Equal(verifytest.Noon) || sig.Log != nil {
				t.Errorf("%s: signature is %+v", anchor.Name, sig)
			}
			if sig.Identity.String() != cosign.Identity.String() || sig.Identity.String() != "alice@example.com (https://idp.example.com)" {
				t.Errorf("%s: it is by %s, and cosign's by %s", anchor.Name, sig.Identity, cosign.Identity)
			}
		}
	}
}

func TestNotationByOurCATamper(t *testing.T) {
	i, stranger := verifytest.New(t, "log.example.com"), verifytest.New(t, "log.example.com")
	// Another department of the company whose root is above ours.
	department := i.Issue(i.Root, &x509.Certificate{
		Subject: pkix.Name{CommonName: "another department"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	named := func(issuer, subject string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.Subject = evidence.Identity{Issuer: issuer, Subject: subject}.NotationName()
		}
	}
	root := func(edit func(*prototrust.TrustedRoot)) [][]byte { return [][]byte{i.TrustedRoot(edit)} }
	signs := verifytest.Spec{}
	tests := []struct {
		name  string
		n     notarized
		by    *verifytest.Instance
		roots [][]byte
		raw   func([]byte) []byte
		want  string
	}{
		{name: "another instance", by: stranger, want: "by no CA of this trusted root"},
		{name: "another instance, in a way that is not read here", by: stranger, n: notarized{scheme: signature.SigningSchemeX509SigningAuthority, Spec: verifytest.Spec{NoTime: true}}, want: "by no CA of this trusted root"},
		{name: "another CA below the same root", n: notarized{Spec: verifytest.Spec{CA: department}}, want: "by no CA of this trusted root"},
		{name: "no timestamp", n: notarized{Spec: verifytest.Spec{NoTime: true}}, want: "it has no timestamp"},
		{name: "a timestamp of later", n: notarized{Spec: verifytest.Spec{TimeAt: verifytest.Noon.Add(time.Hour)}}, want: "timestamp can be after certificate"},
		{name: "a timestamp of before", n: notarized{Spec: verifytest.Spec{TimeAt: verifytest.Noon.Add(-time.Hour)}}, want: "timestamp can be before certificate"},
		{name: "another authority's timestamp, below the same root", n: notarized{Spec: verifytest.Spec{TSA: i.NewTSA()}}, want: "by no timestamp authority of this trusted root"},
		{name: "issued out of sight", n: notarized{Spec: verifytest.Spec{NoSCT: true}}, want: "issued out of sight"},
		{name: "promised by another log", n: notarized{Spec: verifytest.Spec{CT: stranger.CT}}, want: "issued out of sight"},
		{name: "another name than was logged", n: notarized{Spec: verifytest.Spec{Identity: "eve@example.com", Leaf: named("https://idp.example.com", "eve@example.com"), LeafAfterSCT: func(c *x509.Certificate) { c.EmailAddresses = []string{"alice@example.com"}; notaryName(c) }}}, want: "issued out of sight"},
		{name: "a certificate for Sigstore", n: notarized{Spec: verifytest.Spec{Leaf: func(*x509.Certificate) {}}}, want: "was not issued for Notation"},
		{name: "a subject of somebody else", n: notarized{Spec: verifytest.Spec{Leaf: named("https://idp.example.com", "bob@example.com")}}, want: "was not issued for Notation"},
		{name: "a subject of another issuer", n: notarized{Spec: verifytest.Spec{Leaf: named("https://idp.example.net", "alice@example.com")}}, want: "was not issued for Notation"},
		{name: "two identities", n: notarized{Spec: verifytest.Spec{Leaf: func(c *x509.Certificate) {
			notaryName(c)
			c.DNSNames = []string{"bob.example.com"}
		}}}, want: "names 2 identities"},
		{name: "a certificate that signs no code", n: notarized{Spec: verifytest.Spec{Leaf: func(c *x509.Certificate) {
			notaryName(c)
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
		}}}, want: "no CA of this trusted root vouches"},
		{name: "after the CA was replaced", roots: root(func(r *prototrust.TrustedRoot) {
			r.CertificateAuthorities[0].ValidFor = ended(verifytest.Noon.Add(-time.Hour))
		}), want: "no CA of this trusted root vouches"},
		{name: "after the timestamp authority was replaced", roots: root(func(r *prototrust.TrustedRoot) {
			r.TimestampAuthorities[0].ValidFor = ended(verifytest.Noon.Add(-time.Hour))
		}), want: "by no timestamp authority"},
		{name: "after the CT log's key was replaced", roots: root(func(r *prototrust.TrustedRoot) {
			r.Ctlogs[0].PublicKey.ValidFor = ended(verifytest.Noon.Add(-time.Hour))
		}), want: "issued out of sight"},
		{name: "a trusted root without timestamp authorities", roots: root(func(r *prototrust.TrustedRoot) { r.TimestampAuthorities = nil }), want: "has no CA, CT log and timestamp authority"},
		{name: "it was to count for a minute", n: notarized{expiry: verifytest.Noon.Add(time.Minute)}, want: "it was signed to count until"},
		{name: "another image", n: notarized{of: oci.Descriptor{MediaType: image.MediaType, Digest: oci.FromBytes([]byte("another")), Size: 7}}, want: "attached to another artifact"},
		{name: "an edited payload", raw: func(raw []byte) []byte {
			return edited(t, raw, "payload", func(s string) string { return strings.Replace(s, `"size":8`, `"size":9`, 1) })
		}, want: "does not fit its content"},
		{name: "a byte of a COSE envelope", n: notarized{mediaType: cose}, raw: func(raw []byte) []byte {
			return bytes.Replace(raw, []byte(`"size":8`), []byte(`"size":9`), 1)
		}, want: "does not fit its content"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			by, roots := i, root(nil)
			if test.by != nil {
				by = test.by
			}
			if test.roots != nil {
				roots = test.roots
			}
			ref := test.n.sign(t, by)
			if test.raw != nil {
				ref = notationReferrer(ref.Manifest.Layers[0].MediaType, test.raw(ref.Layers[0]))
			}
			r := realVerifier(t, verify.Anchor{Name: "ours", Kind: verify.KindSigstore, Roots: roots}).Check(t.Context(), image, ref)
			if len(r.Signatures) > 0 || !strings.Contains(strings.Join(r.Refusals[0].Reasons, "; "), test.want) || r.Refusals[0].Unsure {
				t.Errorf("got %+v, want %q", r, test.want)
			}
		})
	}
	// The other way: what was issued for Notation counts in no bundle.
	signs.Payload, signs.Leaf = statement(image.Digest, "https://sigstore.dev/cosign/sign/v1"), notaryName
	r := realVerifier(t, sigstore(i)).Check(t.Context(), image, bundleReferrer(i.JSON(i.Bundle(signs))))
	if len(r.Signatures) > 0 || !strings.Contains(r.Refusals[0].Reasons[0], "was issued for Notation, and counts there alone") {
		t.Errorf("a bundle by a certificate for Notation: %+v", r)
	}
	github := verify.Anchor{Name: "github", Kind: verify.KindGitHub, Roots: root(nil)}
	if r := realVerifier(t, github).Check(t.Context(), image, notarized{}.sign(t, i)); len(r.Signatures) > 0 || !strings.Contains(r.Refusals[0].Reasons[0], "takes Sigstore's") {
		t.Errorf("GitHub's anchor: %+v", r)
	}
}

// FuzzNotationByOurCA: envelopes that are nearly good, and those of strangers.
func FuzzNotationByOurCA(f *testing.F) {
	i, stranger := verifytest.New(f, "log.example.com"), verifytest.New(f, "log.example.com")
	for _, mediaType := range []string{jws, cose} {
		f.Add(mediaType == jws, notarized{mediaType: mediaType}.sign(f, stranger).Layers[0])
		f.Add(mediaType == jws, notarized{mediaType: mediaType, Spec: verifytest.Spec{NoSCT: true}}.sign(f, i).Layers[0])
		f.Add(mediaType == jws, notarized{mediaType: mediaType, Spec: verifytest.Spec{TSA: i.NewTSA()}}.sign(f, i).Layers[0])
	}
	v := realVerifier(f, sigstore(i))
	f.Fuzz(func(t *testing.T, isJWS bool, raw []byte) {
		mediaType := cose
		if isJWS {
			mediaType = jws
		}
		sane(t, v.Check(t.Context(), image, notationReferrer(mediaType, raw)))
	})
}
