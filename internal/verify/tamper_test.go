package verify_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// tamper is one way to break a good bundle, and what is said of it.
type tamper struct {
	name   string
	spec   verifytest.Spec
	make   func(*verifytest.Instance, *verifytest.Spec) // completes spec
	edit   func(*verifytest.Instance, *protobundle.Bundle)
	raw    func([]byte) []byte
	root   func(*verifytest.Instance, *prototrust.TrustedRoot)
	anchor func(*verifytest.Instance) []verify.Anchor
	ref    func(*verify.Referrer)
	want   string
	unsure bool
}

// says is a good statement about image.
var says = statement(image.Digest, "https://example.com/says/v1")

func entryOf(b *protobundle.Bundle) *protorekor.TransparencyLogEntry {
	return b.VerificationMaterial.TlogEntries[0]
}

// replace edits the checkpoint of the only entry.
func checkpoint(b *protobundle.Bundle, change func(string) string) {
	c := entryOf(b).InclusionProof.Checkpoint
	c.Envelope = change(c.Envelope)
}

func ended(at time.Time) *protocommon.TimeRange {
	return &protocommon.TimeRange{Start: timestamppb.New(at.AddDate(-6, 0, 0)), End: timestamppb.New(at)}
}

func pemKey(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var before = verifytest.Noon.AddDate(-1, 0, 0)

func contentTampers(t *testing.T) []tamper {
	return []tamper{
		{name: "payload changed", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			p := b.GetDsseEnvelope()
			p.Payload = bytes.Replace(p.Payload, []byte(`"a":1`), []byte(`"a":2`), 1)
		}, want: "its signature does not fit its content and the key of its certificate"},
		{name: "other subject", spec: verifytest.Spec{Payload: statement(oci.FromBytes([]byte("another")), "x")}, want: "attached to another artifact than it was made for"},
		{name: "message of another artifact", spec: verifytest.Spec{Message: []byte("another image")}, want: "it signs the digest"},
		{name: "no subject", spec: verifytest.Spec{Payload: []byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[]}`)}, want: "names no subject"},
		{name: "two signatures", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			e := b.GetDsseEnvelope()
			e.Signatures = append(e.Signatures, &protodsse.Signature{Sig: e.Signatures[0].Sig})
		}, want: "its envelope has 2 signatures"},
		{name: "payload that is no statement", spec: verifytest.Spec{Payload: says, Type: "text/plain"}, want: "not an in-toto statement", unsure: true},
		{name: "algorithm confusion", spec: verifytest.Spec{Message: []byte("an image")}, edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			b.GetMessageSignature().MessageDigest.Algorithm = protocommon.HashAlgorithm_SHA2_512
		}, want: "it signs a digest of algorithm SHA2_512"},
		{name: "duplicate keys in the bundle", raw: func(raw []byte) []byte {
			return bytes.Replace(raw, []byte(`{"mediaType"`), []byte(`{"mediaType":"x","mediaType"`), 1)
		}, want: `reading the bundle: not JSON with one meaning: duplicate key "mediaType"`},
		{name: "data behind the bundle", raw: func(raw []byte) []byte { return append(raw, "{}"...) }, want: "data after the document"},
		{name: "unknown field", raw: func(raw []byte) []byte { return append([]byte(`{"x":1,`), raw[1:]...) }, want: `unknown field "x"`},
		{name: "bundle of tomorrow", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			b.MediaType = "application/vnd.dev.sigstore.bundle.v0.9+json"
		}, want: "bundle version v0.9 is not yet supported", unsure: true},
		{name: "duplicate keys in the statement", spec: verifytest.Spec{Payload: bytes.Replace(says, []byte(`"a":1`), []byte(`"a":1,"a":2`), 1)}, want: `its signature is good and its statement is not taken: not a valid in-toto statement: not JSON with one meaning: duplicate key "a"`},
		{name: "keys in another case", spec: verifytest.Spec{Payload: bytes.Replace(says, []byte(`"predicate"`), []byte(`"Predicate":{},"predicate"`), 1)}, want: `key "Predicate" differs from "predicate" in case only`},
		{name: "second subject list", spec: verifytest.Spec{Payload: bytes.Replace(says, []byte(`"subject"`), []byte(`"subject":[{"digest":{"sha256":"ab"}}],"Subject"`), 1)}, want: `key "Subject" differs from "subject" in case only`},
		{name: "statement of another version", spec: verifytest.Spec{Payload: bytes.Replace(says, []byte("Statement/v1"), []byte("Statement/v7"), 1)}, want: "_type is"},
		{name: "oversized predicate", spec: verifytest.Spec{Payload: bytes.Replace(says, []byte(`"a":1`), []byte(`"a":"`+strings.Repeat("x", 16<<20)+`"`), 1)}, want: "at most 16777216 are read", unsure: true},
		{name: "deep predicate", spec: verifytest.Spec{Payload: bytes.Replace(says, []byte(`"a":1`), []byte(`"a":`+strings.Repeat("[", 90)+strings.Repeat("]", 90)), 1)}, want: "nested deeper than 64", unsure: true},
		{name: "facts that are none", spec: verifytest.Spec{Payload: statement(image.Digest, "https://slsa.dev/provenance/v1")}, want: "builder.id is missing"},
		{name: "changed in storage", ref: func(r *verify.Referrer) { r.Layers[0] = append(bytes.Clone(r.Layers[0]), ' ') }, want: "changed in storage or on its way"},
		{name: "not fetched", ref: func(r *verify.Referrer) { r.Layers = nil }, want: "its content was not fetched", unsure: true},
		{name: "too large", ref: func(r *verify.Referrer) { r.Manifest.Layers[0].Size = 1 << 30 }, want: "at most 25165824 are read", unsure: true},
		{name: "too many layers", ref: func(r *verify.Referrer) {
			for range 64 {
				r.Manifest.Layers = append(r.Manifest.Layers, r.Manifest.Layers[0])
			}
		}, want: "it has 65 layers", unsure: true},
	}
}

func certificateTampers(t *testing.T) []tamper {
	issuer := func(text string) pkix.Extension {
		value, err := asn1.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: value}
	}
	return []tamper{
		{name: "another instance", make: func(i *verifytest.Instance, s *verifytest.Spec) {
			s.CA = verifytest.New(t, i.Origin).CA
		}, want: "its certificate is by no CA of this trusted root"},
		{name: "the CA signs itself", make: func(i *verifytest.Instance, s *verifytest.Spec) {
			s.Leaf = func(c *x509.Certificate) {
				c.IsCA, c.BasicConstraintsValid = true, true
			}
		}, want: "the certificate of a CA"},
		{name: "not for code", spec: verifytest.Spec{Leaf: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }}, want: "its certificate is not for signing code"},
		{name: "CA out of trust", root: func(_ *verifytest.Instance, r *prototrust.TrustedRoot) {
			r.CertificateAuthorities[0].ValidFor = ended(before)
		}, want: "and its CA was trusted from"},
		{name: "two identities", spec: verifytest.Spec{Leaf: func(c *x509.Certificate) { c.EmailAddresses = append(c.EmailAddresses, "root@example.com") }}, want: "its certificate names 2 identities"},
		{name: "nobody", spec: verifytest.Spec{Leaf: func(c *x509.Certificate) { c.EmailAddresses = nil }}, want: "its certificate names nobody"},
		{name: "two issuers", spec: verifytest.Spec{Leaf: func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte("https://other.example.com") }}, want: "its certificate names two OIDC issuers"},
		{name: "control character", spec: verifytest.Spec{Leaf: func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{issuer("https://idp.example.com\x00.evil.net")}
		}}, want: "a control character in"},
		{name: "no SCT", spec: verifytest.Spec{NoSCT: true}, want: "its certificate has no SCT"},
		{name: "SCT of another log", make: func(i *verifytest.Instance, s *verifytest.Spec) { s.CT = newKey(t) }, want: "the SCT of its certificate is by CT log"},
		{name: "CT log out of trust", root: func(_ *verifytest.Instance, r *prototrust.TrustedRoot) {
			r.Ctlogs[0].PublicKey.ValidFor = ended(before)
		}, want: "when its CT log was not trusted"},
		{name: "SCT of another certificate", spec: verifytest.Spec{LeafAfterSCT: func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Minute) }}, want: "it was made for another certificate, or changed"},
		{name: "chain in a bundle that has none", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			leaf := b.VerificationMaterial.GetCertificate()
			b.VerificationMaterial.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{leaf}}}
		}, want: "verification material cannot be X.509 certificate chain"},
		{name: "certificate cut", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			c := b.VerificationMaterial.GetCertificate()
			c.RawBytes = c.RawBytes[:100]
		}, want: "reading its certificate or key"},
		{name: "URL that is no identity", spec: verifytest.Spec{Leaf: func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "https", Host: "a"}, {Scheme: "https", Host: "b"}}
		}}, want: "its certificate names 3 identities"},
	}
}

func timeTampers(t *testing.T) []tamper {
	stamps := func(b *protobundle.Bundle) []*protocommon.RFC3161SignedTimestamp {
		return b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps
	}
	return []tamper{
		{name: "expired without a timestamp", spec: verifytest.Spec{NoTime: true}, want: "and its certificate expired at 2026-03-14 12:09:00 UTC"},
		{name: "another TSA", make: func(i *verifytest.Instance, s *verifytest.Spec) {
			s.TSA = verifytest.New(t, "tsa.example.com").TSA
		}, want: "by an authority that is not in this trusted root"},
		{name: "TSA out of trust", root: func(_ *verifytest.Instance, r *prototrust.TrustedRoot) {
			r.TimestampAuthorities[0].ValidFor = ended(before)
		}, want: "when its authority was not trusted"},
		{name: "timestamp of another signature", edit: func(i *verifytest.Instance, b *protobundle.Bundle) {
			stamps(b)[0].SignedTimestamp = i.Timestamp(i.TSA, []byte("other"), verifytest.Noon)
		}, want: "is over another signature"},
		{name: "timestamp before the certificate", spec: verifytest.Spec{TimeAt: verifytest.Noon.Add(-time.Hour)}, want: "it was signed at 2026-03-14 11:00:00 UTC"},
		{name: "timestamp after the certificate", spec: verifytest.Spec{TimeAt: verifytest.Noon.Add(time.Hour)}, want: "it was signed at 2026-03-14 13:00:00 UTC"},
		{name: "timestamp cut", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			s := stamps(b)[0]
			s.SignedTimestamp = s.SignedTimestamp[:len(s.SignedTimestamp)/2]
		}, want: "its timestamp cannot be read"},
		{name: "timestamp edited", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			s := stamps(b)[0].SignedTimestamp
			s[len(s)-1] ^= 1
		}, want: "the signature of its timestamp does not verify"},
		{name: "key without a timestamp", make: func(i *verifytest.Instance, s *verifytest.Spec) { s.Key, s.NoTime = i.CT, true }, anchor: func(i *verifytest.Instance) []verify.Anchor {
			return []verify.Anchor{{Name: "ours", Kind: verify.KindKey, Keys: pemKey(t, i.CT), Roots: [][]byte{i.TrustedRoot(nil)}, Timestamp: true}}
		}, want: "nothing proves when it was signed: it has no timestamp"},
	}
}

func logTampers(t *testing.T) []tamper {
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return []tamper{
		{name: "no entry", spec: verifytest.Spec{NoLog: true}, want: "it has no entry in a transparency log"},
		{name: "log key taken out of the root", root: func(_ *verifytest.Instance, r *prototrust.TrustedRoot) { r.Tlogs = r.Tlogs[1:] }, want: "one that is trusted no more"},
		{name: "log key past its time", root: func(_ *verifytest.Instance, r *prototrust.TrustedRoot) {
			r.Tlogs[0].PublicKey.ValidFor = ended(before)
		}, want: "was taken out of use at"},
		{name: "entry twice", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			m := b.VerificationMaterial
			m.TlogEntries = append(m.TlogEntries, m.TlogEntries[0])
		}, want: "it lists one log entry twice"},
		{name: "no inclusion proof", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) { entryOf(b).InclusionProof = nil }, want: "its log entry has no inclusion proof"},
		{name: "checkpoint of another log", edit: func(i *verifytest.Instance, b *protobundle.Bundle) {
			checkpoint(b, func(string) string { return i.Checkpoint("other.example.com", i.Rekor, 5) })
		}, want: "its checkpoint is of the log"},
		{name: "checkpoint by another key", edit: func(i *verifytest.Instance, b *protobundle.Bundle) {
			checkpoint(b, func(string) string { return i.Checkpoint(i.Origin, stranger, 5) })
		}, want: "its checkpoint is not signed by the key of log"},
		{name: "checkpoint edited", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			checkpoint(b, func(s string) string { return strings.Replace(s, "\n5\n", "\n6\n", 1) })
		}, want: "was changed: its signature does not verify"},
		{name: "checkpoint cut", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			checkpoint(b, func(s string) string { return s[:len(s)/2] })
		}, want: "its checkpoint is no signed note"},
		{name: "stale checkpoint", edit: func(i *verifytest.Instance, b *protobundle.Bundle) {
			checkpoint(b, func(string) string { return i.Checkpoint(i.Origin, i.Rekor, 3) })
		}, want: "the checkpoint is older than the entry"},
		{name: "proof cut", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			p := entryOf(b).InclusionProof
			p.Hashes = p.Hashes[1:]
		}, want: "its inclusion proof has 2 hashes"},
		{name: "path changed", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) { entryOf(b).InclusionProof.Hashes[1][0] ^= 1 }, want: "does not lead from entry 3 to the head"},
		{name: "index changed", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) { entryOf(b).LogIndex = 2 }, want: "does not lead from entry 2 to the head"},
		{name: "entry of another signature", edit: func(i *verifytest.Instance, b *protobundle.Bundle) {
			other := i.Bundle(verifytest.Spec{Payload: says})
			b.VerificationMaterial.TlogEntries = other.VerificationMaterial.TlogEntries
		}, want: "is in the log and about another signature than this one"},
		{name: "dsse 0.0.2", edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			e := entryOf(b)
			e.CanonicalizedBody = []byte(`{"apiVersion":"0.0.2","kind":"dsse","spec":{}}`)
			e.KindVersion.Kind = "dsse"
		}, want: "sign with cosign 3.1 or newer", unsure: true},
		{name: "log without a host", root: func(_ *verifytest.Instance, r *prototrust.TrustedRoot) { r.Tlogs[0].BaseUrl = "" }, want: "the trusted root gives its log no URL"},
		{name: "promise edited", spec: verifytest.Spec{Payload: says, Rekor1: true}, edit: func(_ *verifytest.Instance, b *protobundle.Bundle) {
			entryOf(b).IntegratedTime++
		}, want: "the entry or its time was changed"},
		{name: "promise out of trust", spec: verifytest.Spec{Payload: says, Rekor1: true}, root: func(_ *verifytest.Instance, r *prototrust.TrustedRoot) {
			r.Tlogs[1].PublicKey.ValidFor = ended(before)
		}, want: "its log entry is of 2026-03-14 12:00:00 UTC, when log"},
		{name: "promise about another signature", spec: verifytest.Spec{Payload: says, Rekor1: true}, edit: func(i *verifytest.Instance, b *protobundle.Bundle) {
			other := i.Bundle(verifytest.Spec{Payload: says, Rekor1: true})
			b.VerificationMaterial.TlogEntries = other.VerificationMaterial.TlogEntries
		}, want: "its log entry is about another signature"},
		{name: "promise about another statement", spec: verifytest.Spec{Payload: says, Rekor1: true}, edit: func(i *verifytest.Instance, b *protobundle.Bundle) {
			e := entryOf(b)
			sum := fmt.Sprintf("%x", sha256.Sum256(says))
			e.CanonicalizedBody = bytes.Replace(e.CanonicalizedBody, []byte(sum), []byte(strings.Repeat("0", 64)), 1)
			i.Repromise(e)
		}, want: "its log entry is about another statement"},
		{name: "promise after the certificate", spec: verifytest.Spec{Payload: says, Rekor1: true}, edit: func(i *verifytest.Instance, b *protobundle.Bundle) {
			e := entryOf(b)
			e.IntegratedTime = verifytest.Noon.Add(2 * time.Hour).Unix()
			i.Repromise(e)
		}, want: "it was signed at 2026-03-14 14:00:00 UTC"},
	}
}

func anchorTampers(t *testing.T) []tamper {
	return []tamper{
		{name: "no anchor", anchor: func(*verifytest.Instance) []verify.Anchor { return nil }, want: "no anchor is configured", unsure: true},
		{name: "anchor away", anchor: func(*verifytest.Instance) []verify.Anchor {
			return []verify.Anchor{{Name: "ours", Kind: verify.KindSigstore, Unavailable: "the file is gone"}}
		}, want: "it is not there: the file is gone", unsure: true},
		{name: "certificate for a key anchor", anchor: func(i *verifytest.Instance) []verify.Anchor {
			return []verify.Anchor{{Name: "ours", Kind: verify.KindKey, Keys: pemKey(t, i.CT)}}
		}, want: "the anchor holds bare keys"},
		{name: "key for a certificate anchor", make: func(i *verifytest.Instance, s *verifytest.Spec) { s.Key = newKey(t) }, want: "the anchor takes certificates"},
		{name: "bundle for Notation's anchor", anchor: func(i *verifytest.Instance) []verify.Anchor {
			return []verify.Anchor{{Name: "ours", Kind: verify.KindX509, CAs: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Root.Raw})}}
		}, want: "the anchor takes Notary Project's"},
		{name: "another key", make: func(i *verifytest.Instance, s *verifytest.Spec) { s.Key = newKey(t) }, anchor: func(i *verifytest.Instance) []verify.Anchor {
			return []verify.Anchor{{Name: "ours", Kind: verify.KindKey, Keys: append(pemKey(t, i.CT), pemKey(t, i.Rekor)...)}}
		}, want: "fits neither its content nor a trusted key"},
		{name: "key that must be logged", make: func(i *verifytest.Instance, s *verifytest.Spec) { s.Key, s.NoLog = i.CT, true }, anchor: func(i *verifytest.Instance) []verify.Anchor {
			return []verify.Anchor{{Name: "ours and logged", Kind: verify.KindKey, Keys: pemKey(t, i.CT), Roots: [][]byte{i.TrustedRoot(nil)}, Log: true}}
		}, want: "anchor ours and logged: it has no entry in a transparency log"},
	}
}

// TestTamper breaks a good signature in each way and holds the refusal against
// the table: which it is, that no other case says the same, and that it is never
// remembered as something else.
func TestTamper(t *testing.T) {
	var all []tamper
	for _, part := range [][]tamper{contentTampers(t), certificateTampers(t), timeTampers(t), logTampers(t), anchorTampers(t)} {
		all = append(all, part...)
	}
	said := map[string]string{}
	for _, test := range all {
		t.Run(test.name, func(t *testing.T) {
			got := test.run(t)
			if other, ok := said[test.want]; ok {
				t.Errorf("says the same as %q", other)
			}
			said[test.want] = test.name
			if len(got.Signatures) > 0 || len(got.Refusals) == 0 {
				t.Fatalf("verified: %+v", got)
			}
			r := got.Refusals[0]
			if !strings.Contains(strings.Join(r.Reasons, "; "), test.want) {
				t.Errorf("said %q\nwant %q", r.Reasons, test.want)
			}
			if r.Unsure != test.unsure {
				t.Errorf("unsure is %v, want %v: %q", r.Unsure, test.unsure, r.Reasons)
			}
		})
	}
	t.Logf("%d cases", len(all))
}

func (test tamper) run(t *testing.T) verify.Result {
	i := verifytest.New(t, "log.example.com")
	spec := test.spec
	if spec.Payload == nil && spec.Message == nil {
		spec.Payload = says
	}
	root := i.TrustedRoot(func(r *prototrust.TrustedRoot) {
		if test.root != nil {
			test.root(i, r)
		}
	})
	anchors := []verify.Anchor{{Name: "ours", Kind: verify.KindSigstore, Roots: [][]byte{root}}}
	if test.anchor != nil {
		anchors = test.anchor(i)
	}
	if test.make != nil {
		test.make(i, &spec)
	}
	b := i.Bundle(spec)
	if test.edit != nil {
		test.edit(i, b)
	}
	raw := i.JSON(b)
	if test.raw != nil {
		raw = test.raw(raw)
	}
	ref := bundleReferrer(raw)
	if test.ref != nil {
		test.ref(&ref)
	}
	set, err := verify.NewAnchors(anchors...)
	if err != nil {
		t.Fatal(err)
	}
	v := verify.New(verify.Options{Anchors: set, Statements: attest.NewReader(nil, 0), Clock: func() time.Time { return verifytest.Noon }, Log: slog.New(slog.DiscardHandler)})
	first := v.Check(t.Context(), image, ref)
	if again := v.Check(t.Context(), image, ref); fmt.Sprint(first) != fmt.Sprint(again) {
		t.Errorf("asked again it says %+v", again)
	}
	return first
}
