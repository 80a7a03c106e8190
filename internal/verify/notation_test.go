package verify_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/tspclient-go"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// notary signs as Notation does. notation-go goes by the machine's clock, so
// these tests do.
type notary struct {
	t    testing.TB
	i    *verifytest.Instance
	leaf *verifytest.Certificate
	tsa  *verifytest.Certificate
	now  time.Time
}

func newNotary(t testing.TB, edit func(*x509.Certificate)) *notary {
	t.Helper()
	n := &notary{t: t, i: verifytest.New(t, "notary.example.com"), now: time.Now()}
	template := &x509.Certificate{
		Subject:     pkix.Name{Country: []string{"DE"}, Province: []string{"BE"}, Organization: []string{"Acme"}, CommonName: "signer"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		NotBefore:   n.now.Add(-time.Hour), NotAfter: n.now.Add(time.Hour),
	}
	if edit != nil {
		edit(template)
	}
	n.leaf = n.i.Issue(n.i.Root, template)
	n.tsa = n.i.NewTSA()
	return n
}

// Timestamp implements tspclient.Timestamper.
func (n *notary) Timestamp(ctx context.Context, req *tspclient.Request) (*tspclient.Response, error) {
	return stamper{n.tsa, n.now}.Timestamp(ctx, req)
}

func (n *notary) sign(desc oci.Descriptor, mediaType string, opts notation.SignerSignOptions) verify.Referrer {
	n.t.Helper()
	s, err := signer.NewGenericSigner(n.leaf.Key, []*x509.Certificate{n.leaf.Certificate, n.i.Root.Certificate})
	if err != nil {
		n.t.Fatal(err)
	}
	opts.SignatureMediaType = mediaType
	target := ocispec.Descriptor{MediaType: desc.MediaType, Digest: digest.Digest(desc.Digest.String()), Size: desc.Size}
	raw, _, err := s.Sign(n.t.Context(), target, opts)
	if err != nil {
		n.t.Fatal(err)
	}
	return notationReferrer(mediaType, raw)
}

// signPast signs half an hour ago, which notation-go itself cannot; with expiry
// the signature counted until a minute ago.
func (n *notary) signPast(desc oci.Descriptor, expiry bool) verify.Referrer {
	n.t.Helper()
	s, err := signature.NewLocalSigner([]*x509.Certificate{n.leaf.Certificate, n.i.Root.Certificate}, n.leaf.Key)
	if err != nil {
		n.t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{"targetArtifact": desc})
	if err != nil {
		n.t.Fatal(err)
	}
	req := &signature.SignRequest{
		Payload: signature.Payload{ContentType: "application/vnd.cncf.notary.payload.v1+json", Content: payload},
		Signer:  s, SigningTime: n.now.Add(-30 * time.Minute), SigningScheme: signature.SigningSchemeX509,
	}
	if expiry {
		req.Expiry = n.now.Add(-time.Minute)
	}
	envelope, err := signature.NewEnvelope(jws)
	if err != nil {
		n.t.Fatal(err)
	}
	raw, err := envelope.Sign(req)
	if err != nil {
		n.t.Fatal(err)
	}
	return notationReferrer(jws, raw)
}

func notationReferrer(mediaType string, raw []byte) verify.Referrer {
	layer := oci.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(raw), Size: int64(len(raw))}
	return referrer("application/vnd.cncf.notary.signature", layer, raw)
}

func certPEM(c *verifytest.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// crl is a CRL of the root that revokes serials.
func (n *notary) crl(next time.Time, serials ...*big.Int) []byte {
	n.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: n.now.Add(-time.Hour), NextUpdate: next}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: n.now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, n.i.Root.Certificate, n.i.Root.Key)
	if err != nil {
		n.t.Fatal(err)
	}
	return der
}

const jws, cose = "application/jose+json", "application/cose"

// signOptions are those of a signature without more.
var signOptions notation.SignerSignOptions

func TestNotation(t *testing.T) {
	for _, mediaType := range []string{jws, cose} {
		t.Run(mediaType, func(t *testing.T) {
			n := newNotary(t, nil)
			v := realVerifier(t, verify.Anchor{Name: "acme", Kind: verify.KindX509, CAs: certPEM(n.i.Root)})
			sig := verified(t, v.Check(t.Context(), image, n.sign(image, mediaType, notation.SignerSignOptions{})))
			want := evidence.Identity{Subject: "CN=signer,O=Acme,ST=BE,C=DE"}
			if sig.Form != evidence.FormNotation || sig.Identity.String() != want.String() || !sig.At.IsZero() || sig.Anchor != "acme" {
				t.Errorf("signature is %+v", sig)
			}
			pool := x509.NewCertPool()
			pool.AddCert(n.i.Root.Certificate)
			timed := n.sign(image, mediaType, notation.SignerSignOptions{Timestamper: n, TSARootCAs: pool})
			v = realVerifier(t, verify.Anchor{Name: "acme", Kind: verify.KindX509, CAs: certPEM(n.i.Root), TSAs: certPEM(n.i.Root), CRLs: [][]byte{n.crl(n.now.Add(time.Hour))}})
			if sig := verified(t, v.Check(t.Context(), image, timed)); sig.At.Sub(n.now).Abs() > 2*time.Second {
				t.Errorf("signed at %v, want %v", sig.At, n.now)
			}
		})
	}
}

// TestNotationNames: a certificate that names two, or hides what it names, is
// taken for neither.
func TestNotationNames(t *testing.T) {
	for want, subject := range map[string]pkix.Name{
		"2 attributes of type 2.5.4.3": {Organization: []string{"Acme"}, Country: []string{"DE"}, Province: []string{"BE"}, ExtraNames: []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: "mallory"}, {Type: []int{2, 5, 4, 3}, Value: "signer"}}},
		"a control character":          {Organization: []string{"Acme"}, Country: []string{"DE"}, Province: []string{"BE"}, CommonName: "signer\x1b[2J"},
	} {
		n := newNotary(t, func(c *x509.Certificate) { c.Subject = subject })
		w := newWorld(t, verify.Anchor{Name: "notary", Kind: verify.KindX509, CAs: certPEM(n.i.Root)})
		got := w.Check(t.Context(), image, n.sign(image, "application/jose+json", notation.SignerSignOptions{}))
		if len(got.Signatures) != 0 || len(got.Refusals) != 1 || !strings.Contains(got.Refusals[0].Reasons[0], want) {
			t.Errorf("want %q: %+v", want, got)
		}
	}
}

func TestNotationTamper(t *testing.T) {
	other := oci.Descriptor{MediaType: image.MediaType, Digest: oci.FromBytes([]byte("another")), Size: 7}
	longer := image
	longer.Size++
	pointed := func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://crl.example.com"} }
	x509Anchor := func(n *notary) verify.Anchor {
		return verify.Anchor{Name: "acme", Kind: verify.KindX509, CAs: certPEM(n.i.Root)}
	}
	tests := []struct {
		name   string
		cert   func(*x509.Certificate)
		of     oci.Descriptor
		past   bool // signed some time ago, until now
		anchor func(*notary, *verify.Anchor)
		raw    func([]byte) []byte
		want   string
		unsure bool
	}{
		{name: "another image", of: other, want: "attached to another artifact"},
		{name: "another size", of: longer, want: "it is about 9 bytes"},
		{name: "another CA", anchor: func(n *notary, a *verify.Anchor) { a.CAs = certPEM(verifytest.New(t, "x.example.com").Root) }, want: "its certificate leads to no CA"},
		{name: "expired", past: true, want: "it was signed to count until"},
		{name: "certificate expired", past: true, cert: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, want: "it was expired at"},
		{name: "no timestamp", anchor: func(n *notary, a *verify.Anchor) { a.TSAs = certPEM(n.i.Root) }, want: "it has no timestamp, and the anchor demands one"},
		{name: "revoked", anchor: func(n *notary, a *verify.Anchor) {
			a.CRLs = [][]byte{n.crl(n.now.Add(time.Hour), n.leaf.SerialNumber)}
		}, want: "its certificate was revoked"},
		{name: "revoked by an old CRL", anchor: func(n *notary, a *verify.Anchor) {
			a.CRLs = [][]byte{n.crl(n.now.Add(-time.Minute), n.leaf.SerialNumber)}
		}, want: "its certificate was revoked"},
		{name: "CRL out of date", anchor: func(n *notary, a *verify.Anchor) { a.CRLs = [][]byte{n.crl(n.now.Add(-time.Minute))} }, want: "no CRL in force", unsure: true},
		{name: "CRL not at hand", cert: pointed, want: "no CRL in force", unsure: true},
		{name: "payload edited", raw: func(raw []byte) []byte {
			return edited(t, raw, "payload", func(s string) string { return strings.Replace(s, `"size":8`, `"size":9`, 1) })
		}, want: "its signature does not fit its content"},
		{name: "duplicate keys in the payload", raw: func(raw []byte) []byte {
			return edited(t, raw, "payload", func(s string) string {
				return strings.Replace(s, `{"targetArtifact"`, `{"targetArtifact":{},"targetArtifact"`, 1)
			})
		}, want: "reading the payload of the envelope"},
		{name: "algorithm none", raw: func(raw []byte) []byte {
			return edited(t, raw, "protected", func(s string) string { return strings.Replace(s, "ES256", "none", 1) })
		}, want: `its algorithm "none" is not one`},
		{name: "keys in another case", raw: func(raw []byte) []byte { return bytes.Replace(raw, []byte(`"payload"`), []byte(`"Payload"`), 1) }, want: "in case only"},
		{name: "Sigstore's anchor", anchor: func(_ *notary, a *verify.Anchor) { *a = sigstore(verifytest.New(t, "x.example.com")) }, want: "by no CA of this trusted root"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := newNotary(t, test.cert)
			anchor := x509Anchor(n)
			if test.anchor != nil {
				test.anchor(n, &anchor)
			}
			of := image
			if !test.of.Digest.IsZero() {
				of = test.of
			}
			ref := n.signPast(of, test.cert == nil)
			if !test.past {
				ref = n.sign(of, jws, notation.SignerSignOptions{})
			}
			if test.raw != nil {
				ref = notationReferrer(jws, test.raw(ref.Layers[0]))
			}
			v := realVerifier(t, anchor)
			r := v.Check(t.Context(), image, ref)
			if len(r.Signatures) > 0 || !strings.Contains(strings.Join(r.Refusals[0].Reasons, "; "), test.want) || r.Refusals[0].Unsure != test.unsure {
				t.Errorf("got %+v, want %q", r, test.want)
			}
		})
	}
}

// edited changes one base64 part of a JWS envelope.
func edited(t *testing.T, raw []byte, part string, change func(string) string) []byte {
	t.Helper()
	mark := []byte(`"` + part + `":"`)
	start := bytes.Index(raw, mark) + len(mark)
	end := start + bytes.IndexByte(raw[start:], '"')
	inner, err := base64.RawURLEncoding.DecodeString(string(raw[start:end]))
	if err != nil {
		t.Fatal(err)
	}
	after := change(string(inner))
	if after == string(inner) {
		t.Fatalf("nothing changed in %s", inner)
	}
	return append(append(bytes.Clone(raw[:start]), base64.RawURLEncoding.EncodeToString([]byte(after))...), raw[end:]...)
}
