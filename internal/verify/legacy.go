package verify

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// maxAnnotation bounds an annotation that is decoded.
const maxAnnotation = 1 << 20

// readLegacy reads a layer of cosign's older form: the payload is the layer, the
// rest is in the descriptor's annotations. It is turned into a bundle of version
// 0.1, which says the same.
func readLegacy(layer oci.Descriptor, raw []byte) (*signed, error) {
	for name, value := range layer.Annotations {
		if len(value) > maxAnnotation {
			return nil, fmt.Errorf("annotation %s: %w: %d bytes", oci.Quote(name), strictjson.ErrLimit, len(value))
		}
	}
	b := &protobundle.Bundle{
		MediaType:            typeBundlePrefix + "+json;version=0.1",
		VerificationMaterial: &protobundle.VerificationMaterial{},
	}
	if err := legacyContent(b, layer, raw); err != nil {
		return nil, err
	}
	if err := legacyMaterial(b.VerificationMaterial, layer.Annotations); err != nil {
		return nil, err
	}
	checked, err := bundle.NewBundle(b)
	if err != nil {
		return nil, bundleError(err)
	}
	s, err := newSigned(checked)
	if err != nil {
		return nil, err
	}
	if layer.MediaType == typeSimpleSigning {
		s.artifact = raw
	}
	return s, nil
}

func legacyContent(b *protobundle.Bundle, layer oci.Descriptor, raw []byte) error {
	if layer.MediaType == typeDSSE {
		envelope, err := readDSSE(raw)
		b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: envelope}
		return err
	}
	text := layer.Annotations[annotationSignature]
	if text == "" {
		return errors.New("its layer has no signature beside it (annotation " + annotationSignature + ")")
	}
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return errors.New("its signature is not base64")
	}
	sum, err := hex.DecodeString(oci.FromBytes(raw).Hex())
	if err != nil {
		return err
	}
	b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum},
		Signature:     sig,
	}}
	return nil
}

// readDSSE reads a DSSE envelope in JSON.
func readDSSE(raw []byte) (*protodsse.Envelope, error) {
	doc, err := strictjson.Parse(raw, strictjson.Limits{Bytes: MaxEnvelope})
	if err != nil {
		return nil, fmt.Errorf("reading the envelope: %w", err)
	}
	if err := doc.Exact("payload", "payloadType", "signatures"); err != nil {
		return nil, fmt.Errorf("reading the envelope: %w", err)
	}
	envelope := &protodsse.Envelope{PayloadType: doc.Get("payloadType").String()}
	if envelope.Payload, err = base64.StdEncoding.DecodeString(doc.Get("payload").String()); err != nil {
		return nil, errors.New("the payload of its envelope is not base64")
	}
	for e := range doc.Get("signatures").Elements() {
		sig, err := base64.StdEncoding.DecodeString(e.Get("sig").String())
		if err != nil {
			return nil, errors.New("the signature of its envelope is not base64")
		}
		envelope.Signatures = append(envelope.Signatures, &protodsse.Signature{Keyid: e.Get("keyid").String(), Sig: sig})
	}
	return envelope, nil
}

// legacyMaterial reads certificate, log entry and timestamp from annotations.
// The chain is not read: intermediates come from the trusted root.
func legacyMaterial(m *protobundle.VerificationMaterial, annotations map[string]string) error {
	m.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}
	if text := annotations[annotationCert]; text != "" {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return errors.New("its certificate is not PEM")
		}
		m.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
			Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}},
		}}
	}
	if text := annotations[annotationRekor]; text != "" {
		entry, err := rekorEntry(text)
		if err != nil {
			return err
		}
		m.TlogEntries = append(m.TlogEntries, entry)
	}
	if text := annotations[annotationTimestamp]; text != "" {
		token, err := legacyTimestamp(text)
		if err != nil {
			return err
		}
		m.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: token}},
		}
	}
	return nil
}

// rekorEntry reads Rekor 1's promise that an entry will be in the log.
func rekorEntry(text string) (*protorekor.TransparencyLogEntry, error) {
	doc, err := strictjson.Parse([]byte(text), strictjson.Limits{Bytes: maxAnnotation})
	if err != nil {
		return nil, fmt.Errorf("reading its log entry: %w", err)
	}
	payload := doc.Get("Payload")
	promise, err1 := base64.StdEncoding.DecodeString(doc.Get("SignedEntryTimestamp").String())
	body, err2 := base64.StdEncoding.DecodeString(payload.Get("body").String())
	logID, err3 := hex.DecodeString(payload.Get("logID").String())
	at, ok1 := payload.Get("integratedTime").Int()
	index, ok2 := payload.Get("logIndex").Int()
	if errors.Join(err1, err2, err3) != nil || !ok1 || !ok2 {
		return nil, errors.New("its log entry lacks one of SignedEntryTimestamp, body, logID, integratedTime and logIndex")
	}
	inner, err := strictjson.Parse(body, strictjson.Limits{Bytes: maxAnnotation})
	if err != nil {
		return nil, fmt.Errorf("reading the body of its log entry: %w", err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          index,
		LogId:             &protocommon.LogId{KeyId: logID},
		KindVersion:       &protorekor.KindVersion{Kind: inner.Get("kind").String(), Version: inner.Get("apiVersion").String()},
		IntegratedTime:    at,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: promise},
		CanonicalizedBody: body,
	}, nil
}

func legacyTimestamp(text string) ([]byte, error) {
	doc, err := strictjson.Parse([]byte(text), strictjson.Limits{Bytes: maxAnnotation})
	if err != nil {
		return nil, fmt.Errorf("reading its timestamp: %w", err)
	}
	token, err := base64.StdEncoding.DecodeString(doc.Get("SignedRFC3161Timestamp").String())
	if err != nil || len(token) == 0 {
		return nil, errors.New("its timestamp is not base64")
	}
	return token, nil
}

// simpleSigning checks what the signed payload of a .sig layer is about
// (containers/image, "atomic container signature").
func simpleSigning(payload []byte, subject oci.Digest) error {
	doc, err := strictjson.Parse(payload, strictjson.Limits{Bytes: 1 << 20, Depth: 16})
	if err != nil {
		return fmt.Errorf("reading the signed payload: %w", err)
	}
	critical := doc.Get("critical")
	if t := critical.Get("type").String(); t != "cosign container image signature" && t != "atomic container signature" {
		return fmt.Errorf("the signed payload is of type %s, not a signature of an image", oci.Quote(t))
	}
	if got := critical.Get("image", "docker-manifest-digest").String(); got != subject.String() {
		return fmt.Errorf("the signed payload is about %s, not about %s: a signature was copied from another image", oci.Quote(got), subject)
	}
	return nil
}
