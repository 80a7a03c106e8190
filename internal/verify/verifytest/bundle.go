package verifytest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/digitorus/timestamp"
	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekorpb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore/pkg/signature"
	formatslog "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/encoding/protojson"
)

// TypeInToto is the payload type of statements.
const TypeInToto = "application/vnd.in-toto+json"

// Spec says what to sign and how. The zero value of a field does it right.
type Spec struct {
	Payload  []byte // statement, signed as DSSE; nil signs Message
	Message  []byte // what a message signature is over
	Type     string // payload type; default TypeInToto
	Identity string // mail address or URL; default alice@example.com
	Issuer   string // OIDC issuer; default https://idp.example.com
	At       time.Time
	Key      crypto.Signer // signs without a certificate

	Leaf func(*x509.Certificate) // changes the template of the certificate
	// LeafAfterSCT changes it once the CT log has promised another one.
	LeafAfterSCT func(*x509.Certificate)
	CA           *Certificate // issues it
	NoSCT        bool
	CT           *ecdsa.PrivateKey // signs the SCT
	TSA          *Certificate      // signs the timestamp
	TimeAt       time.Time         // that the timestamp says; default At
	NoTime       bool
	NoLog        bool
	Rekor1       bool // entry in the older log, as bundle v0.1
}

func (s Spec) withDefaults(i *Instance) Spec {
	def := func(p *string, text string) {
		if *p == "" {
			*p = text
		}
	}
	def(&s.Type, TypeInToto)
	def(&s.Identity, "alice@example.com")
	def(&s.Issuer, "https://idp.example.com")
	if s.At.IsZero() {
		s.At = Noon
	}
	if s.TimeAt.IsZero() {
		s.TimeAt = s.At
	}
	if s.CA == nil {
		s.CA = i.CA
	}
	if s.CT == nil {
		s.CT = i.CT
	}
	if s.TSA == nil {
		s.TSA = i.TSA
	}
	return s
}

// Bundle signs, logs and timestamps as s says.
func (i *Instance) Bundle(s Spec) *protobundle.Bundle {
	i.t.Helper()
	s = s.withDefaults(i)
	b := &protobundle.Bundle{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", VerificationMaterial: &protobundle.VerificationMaterial{}}
	var leaf *x509.Certificate
	key := s.Key
	if key == nil {
		made := i.Leaf(s)
		leaf, key = made.Certificate, made.Key
		b.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: leaf.Raw}}
	} else {
		hint := base64.StdEncoding.EncodeToString(i.spki(key.Public()))
		b.VerificationMaterial.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: hint}}
	}
	sig, digest := i.content(b, s, key)
	if !s.NoTime {
		b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: i.Timestamp(s.TSA, sig, s.TimeAt)}},
		}
	}
	switch {
	case s.NoLog:
	case s.Rekor1:
		b.MediaType = "application/vnd.dev.sigstore.bundle+json;version=0.1"
		if leaf != nil {
			b.VerificationMaterial.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
				Certificates: []*protocommon.X509Certificate{{RawBytes: leaf.Raw}},
			}}
		}
		b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, i.Promise(s, leaf, key.Public(), sig, digest))
	default:
		b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, i.Entry(leaf, key.Public(), sig, digest))
	}
	return b
}

// content signs, and returns the signature and the digest of what it is over.
func (i *Instance) content(b *protobundle.Bundle, s Spec, key crypto.Signer) (sig, digest []byte) {
	message := s.Message
	if s.Payload != nil {
		message = dsse.PAE(s.Type, s.Payload)
	}
	sum := sha256.Sum256(message)
	var err error
	switch key.(type) {
	case ed25519.PrivateKey:
		sig, err = key.Sign(rand.Reader, message, crypto.Hash(0))
	default:
		sig, err = key.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	i.must(err)
	if s.Payload != nil {
		b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			PayloadType: s.Type, Payload: s.Payload, Signatures: []*protodsse.Signature{{Sig: sig}},
		}}
		return sig, sum[:]
	}
	b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]}, Signature: sig,
	}}
	return sig, sum[:]
}

// JSON is a bundle as it is stored.
func (i *Instance) JSON(b *protobundle.Bundle) []byte {
	i.t.Helper()
	raw, err := protojson.Marshal(b)
	i.must(err)
	return raw
}

var (
	oidIssuer   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	oidIssuerV2 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
	oidSCTs     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
)

// Leaf issues a certificate of ten minutes with its SCT.
func (i *Instance) Leaf(s Spec) *Certificate {
	i.t.Helper()
	s = s.withDefaults(i)
	issuer, err := asn1.Marshal(s.Issuer)
	i.must(err)
	template := &x509.Certificate{
		NotBefore: s.At.Add(-time.Minute), NotAfter: s.At.Add(9 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: oidIssuer, Value: []byte(s.Issuer)}, {Id: oidIssuerV2, Value: issuer}},
	}
	if strings.Contains(s.Identity, "://") {
		u, err := url.Parse(s.Identity)
		i.must(err)
		template.URIs = []*url.URL{u}
	} else {
		template.EmailAddresses = []string{s.Identity}
	}
	if s.Leaf != nil {
		s.Leaf(template)
	}
	key := i.key()
	cert := i.sign(s.CA, template, key.Public(), nil)
	if !s.NoSCT {
		// The certificate without its SCT is what the CT log signs.
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidSCTs, Value: i.sct(s, cert)})
		if s.LeafAfterSCT != nil {
			s.LeafAfterSCT(template)
		}
		cert = i.sign(s.CA, template, key.Public(), nil)
	}
	return &Certificate{Certificate: cert, Key: key}
}

// sct returns the extension that promises cert to the CT log.
func (i *Instance) sct(s Spec, cert *x509.Certificate) []byte {
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, Timestamp: uint64(s.At.UnixMilli())}
	copy(sct.LogID.KeyID[:], i.spki(s.CT.Public()))
	input, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType,
		TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: sct.Timestamp, EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{IssuerKeyHash: sha256.Sum256(s.CA.RawSubjectPublicKeyInfo), TBSCertificate: cert.RawTBSCertificate},
		},
	}})
	i.must(err)
	sum := sha256.Sum256(input)
	sig, err := s.CT.Sign(rand.Reader, sum[:], crypto.SHA256)
	i.must(err)
	sct.Signature = ct.DigitallySigned{Algorithm: tls.SignatureAndHashAlgorithm{Hash: tls.SHA256, Signature: tls.ECDSA}, Signature: sig}
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	i.must(err)
	raw, err := tls.Marshal(*list)
	i.must(err)
	value, err := asn1.Marshal(raw)
	i.must(err)
	return value
}

// Timestamp returns an RFC 3161 response over sig.
func (i *Instance) Timestamp(tsa *Certificate, sig []byte, at time.Time) []byte {
	i.t.Helper()
	sum := sha256.Sum256(sig)
	ts := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: at, Policy: asn1.ObjectIdentifier{1, 2, 3, 4},
		SerialNumber: big.NewInt(at.UnixNano()), AddTSACertificate: true, Accuracy: time.Second,
	}
	raw, err := ts.CreateResponseWithOpts(tsa.Certificate, tsa.Key, crypto.SHA256)
	i.must(err)
	return raw
}

// Entry puts a hashedrekord 0.0.2 into the newer log.
func (i *Instance) Entry(leaf *x509.Certificate, public crypto.PublicKey, sig, digest []byte) *protorekor.TransparencyLogEntry {
	i.t.Helper()
	verifier := &rekorpb.Verifier{KeyDetails: protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256}
	if leaf != nil {
		verifier.Verifier = &rekorpb.Verifier_X509Certificate{X509Certificate: &protocommon.X509Certificate{RawBytes: leaf.Raw}}
	} else {
		der, err := x509.MarshalPKIXPublicKey(public)
		i.must(err)
		verifier.Verifier = &rekorpb.Verifier_PublicKey{PublicKey: &rekorpb.PublicKey{RawBytes: der}}
	}
	raw, err := protojson.Marshal(&rekorpb.Entry{
		Kind: "hashedrekord", ApiVersion: "0.0.2",
		Spec: &rekorpb.Spec{Spec: &rekorpb.Spec_HashedRekordV002{HashedRekordV002: &rekorpb.HashedRekordLogEntryV002{
			Data:      &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: digest},
			Signature: &rekorpb.Signature{Content: sig, Verifier: verifier},
		}}},
	})
	i.must(err)
	body, err := jsoncanonicalizer.Transform(raw)
	i.must(err)
	index := i.append(body)
	i.append([]byte(fmt.Sprintf("what came after %d", index)))
	return &protorekor.TransparencyLogEntry{
		LogIndex: index, LogId: &protocommon.LogId{KeyId: i.RekorID()},
		KindVersion:       &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		CanonicalizedBody: body, InclusionProof: i.Proof(index),
	}
}

// Proof proves an entry under the head of the log.
func (i *Instance) Proof(index int64) *protorekor.InclusionProof {
	i.t.Helper()
	path, err := tlog.ProveRecord(i.size, index, i.hashes)
	i.must(err)
	root, err := tlog.TreeHash(i.size, i.hashes)
	i.must(err)
	out := &protorekor.InclusionProof{
		LogIndex: index, TreeSize: i.size, RootHash: root[:],
		Checkpoint: &protorekor.Checkpoint{Envelope: i.Checkpoint(i.Origin, i.Rekor, i.size)},
	}
	for _, h := range path {
		out.Hashes = append(out.Hashes, bytes.Clone(h[:]))
	}
	return out
}

// Checkpoint signs the head that the log had at size, under any name and key.
func (i *Instance) Checkpoint(origin string, key ed25519.PrivateKey, size int64) string {
	i.t.Helper()
	root, err := tlog.TreeHash(size, i.hashes)
	i.must(err)
	signer, err := signature.LoadED25519SignerVerifier(key)
	i.must(err)
	noteSigner, err := rekornote.NewNoteSigner(i.t.Context(), origin, signer)
	i.must(err)
	text := formatslog.Checkpoint{Origin: origin, Size: uint64(size), Hash: root[:]}.Marshal()
	signed, err := note.Sign(&note.Note{Text: string(text)}, noteSigner)
	i.must(err)
	return string(signed)
}

// Promise makes an entry of Rekor 1: not proven to be in a tree, but promised
// with its time.
func (i *Instance) Promise(s Spec, leaf *x509.Certificate, public crypto.PublicKey, sig, digest []byte) *protorekor.TransparencyLogEntry {
	i.t.Helper()
	s = s.withDefaults(i)
	block := &pem.Block{Type: "CERTIFICATE"}
	if leaf != nil {
		block.Bytes = leaf.Raw
	} else {
		der, err := x509.MarshalPKIXPublicKey(public)
		i.must(err)
		block = &pem.Block{Type: "PUBLIC KEY", Bytes: der}
	}
	kind, spec := "hashedrekord", map[string]any{
		"data":      map[string]any{"hash": map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(digest)}},
		"signature": map[string]any{"content": sig, "publicKey": map[string]any{"content": pem.EncodeToMemory(block)}},
	}
	if s.Payload != nil {
		payload := sha256.Sum256(s.Payload)
		kind, spec = "dsse", map[string]any{
			"envelopeHash": map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(digest)},
			"payloadHash":  map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(payload[:])},
			"signatures":   []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(sig), "verifier": pem.EncodeToMemory(block)}},
		}
	}
	body := i.canonical(map[string]any{"apiVersion": "0.0.1", "kind": kind, "spec": spec})
	entry := &protorekor.TransparencyLogEntry{
		LogIndex: 4711, LogId: &protocommon.LogId{KeyId: i.spki(i.Rekor1.Public())}, IntegratedTime: s.At.Unix(),
		KindVersion: &protorekor.KindVersion{Kind: kind, Version: "0.0.1"}, CanonicalizedBody: body,
	}
	i.Repromise(entry)
	return entry
}

// Repromise signs what the entry says now.
func (i *Instance) Repromise(entry *protorekor.TransparencyLogEntry) {
	sum := sha256.Sum256(i.canonical(map[string]any{
		"body": entry.CanonicalizedBody, "integratedTime": entry.IntegratedTime,
		"logIndex": entry.LogIndex, "logID": hex.EncodeToString(entry.LogId.KeyId),
	}))
	set, err := i.Rekor1.Sign(rand.Reader, sum[:], crypto.SHA256)
	i.must(err)
	entry.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: set}
}

func (i *Instance) canonical(v any) []byte {
	raw, err := json.Marshal(v)
	i.must(err)
	out, err := jsoncanonicalizer.Transform(raw)
	i.must(err)
	return out
}
