package verify_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

const simpleSigningType = "application/vnd.dev.cosign.simplesigning.v1+json"

// simple is the payload of a .sig layer.
func simple(digest, typ string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"r"},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, digest, typ)
}

// legacy turns a bundle of the older log into cosign's annotations.
func legacy(t testing.TB, b *protobundle.Bundle, payload []byte) (oci.Descriptor, []byte) {
	t.Helper()
	mustJSON := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	annotations := map[string]string{}
	layer, mt := payload, simpleSigningType
	if m := b.GetMessageSignature(); m != nil {
		annotations["dev.cosignproject.cosign/signature"] = base64.StdEncoding.EncodeToString(m.Signature)
	} else {
		e := b.GetDsseEnvelope()
		mt = "application/vnd.dsse.envelope.v1+json"
		layer = []byte(mustJSON(map[string]any{"payloadType": e.PayloadType, "payload": e.Payload, "signatures": []map[string]any{{"keyid": "", "sig": e.Signatures[0].Sig}}}))
		annotations["dev.cosignproject.cosign/signature"] = ""
	}
	m := b.VerificationMaterial
	if chain := m.GetX509CertificateChain(); chain != nil {
		annotations["dev.sigstore.cosign/certificate"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain.Certificates[0].RawBytes}))
	}
	for _, e := range m.TlogEntries {
		annotations["dev.sigstore.cosign/bundle"] = mustJSON(map[string]any{
			"SignedEntryTimestamp": e.InclusionPromise.SignedEntryTimestamp,
			"Payload":              map[string]any{"body": e.CanonicalizedBody, "integratedTime": e.IntegratedTime, "logIndex": e.LogIndex, "logID": fmt.Sprintf("%x", e.LogId.KeyId)},
		})
	}
	if ts := m.TimestampVerificationData; ts != nil {
		annotations["dev.sigstore.cosign/rfc3161timestamp"] = mustJSON(map[string]any{"SignedRFC3161Timestamp": ts.Rfc3161Timestamps[0].SignedTimestamp})
	}
	return oci.Descriptor{MediaType: mt, Digest: oci.FromBytes(layer), Size: int64(len(layer)), Annotations: annotations}, layer
}

func TestLegacy(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	payload := simple(image.Digest.String(), "cosign container image signature")
	key := verify.Anchor{Name: "key", Kind: verify.KindKey, Keys: pemKey(t, i.CT)}
	logged := verify.Anchor{Name: "key", Kind: verify.KindKey, Keys: pemKey(t, i.CT), Roots: [][]byte{i.TrustedRoot(nil)}, Log: true, Timestamp: true}
	tests := []struct {
		name   string
		spec   verifytest.Spec
		anchor verify.Anchor
		timed  bool
	}{
		{"keyless", verifytest.Spec{Message: payload, Rekor1: true, NoTime: true}, sigstore(i), true},
		{"keyless with a timestamp", verifytest.Spec{Message: payload, Rekor1: true}, sigstore(i), true},
		{"attestation", verifytest.Spec{Payload: says, Rekor1: true, NoTime: true}, sigstore(i), true},
		{"key alone", verifytest.Spec{Message: payload, Key: i.CT, NoLog: true, NoTime: true}, key, false},
		{"key with log", verifytest.Spec{Message: payload, Key: i.CT, Rekor1: true}, logged, true},
		{"attestation by key", verifytest.Spec{Payload: says, Key: i.CT, NoLog: true, NoTime: true}, key, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			layer, raw := legacy(t, i.Bundle(test.spec), payload)
			sig := verified(t, newWorld(t, test.anchor).Check(t.Context(), image, referrer("", layer, raw)))
			if sig.Form != evidence.FormLegacy || sig.At.IsZero() == test.timed || (sig.Statement != nil) != (test.spec.Payload != nil) {
				t.Errorf("signature is %+v", sig)
			}
			if test.spec.Key != nil && (sig.Identity.Key == "" || sig.Identity.Subject != "") {
				t.Errorf("identity is %+v", sig.Identity)
			}
			if test.timed && (sig.Log == nil || sig.Log.Index != 4711) {
				t.Errorf("log is %+v", sig.Log)
			}
		})
	}
}

func TestLegacyTamper(t *testing.T) {
	const typ = "cosign container image signature"
	good := simple(image.Digest.String(), typ)
	annotation := func(name, old, new string) func(map[string]string) {
		return func(m map[string]string) { m[name] = strings.Replace(m[name], old, new, 1) }
	}
	remove := func(name string) func(map[string]string) { return func(m map[string]string) { delete(m, name) } }
	const rekor, sig, cert, stamp = "dev.sigstore.cosign/bundle", "dev.cosignproject.cosign/signature", "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/rfc3161timestamp"
	tests := []struct {
		name    string
		payload []byte
		edit    func(map[string]string)
		want    string
		unsure  bool
	}{
		{"no signature", good, remove(sig), "no signature beside it", false},
		{"signature of no base64", good, annotation(sig, "M", "!"), "its signature is not base64", false},
		{"no certificate", good, remove(cert), "the anchor takes certificates", false},
		{"certificate of no PEM", good, annotation(cert, "BEGIN", "BEGINNING"), "its certificate is not PEM", false},
		{"no log entry", good, remove(rekor), "it has no entry in a transparency log", false},
		{"duplicate keys in the log entry", good, annotation(rekor, `{"Payload"`, `{"Payload":1,"Payload"`), `reading its log entry: not JSON with one meaning: duplicate key "Payload"`, false},
		{"log entry without its time", good, annotation(rekor, "integratedTime", "x"), "lacks one of SignedEntryTimestamp", false},
		{"log entry moved", good, annotation(rekor, "4711", "4712"), "the entry or its time was changed", false},
		{"body of no JSON", good, annotation(rekor, `"body":"eyJ`, `"body":"AAJ`), "reading the body of its log entry", false},
		{"timestamp of no base64", good, annotation(stamp, `Timestamp":"M`, `Timestamp":"!`), "its timestamp is not base64", false},
		{"copied from another image", simple(oci.FromBytes([]byte("x")).String(), typ), nil, "copied from another image", false},
		{"of another type", simple(image.Digest.String(), "git commit"), nil, "not a signature of an image", false},
		{"of two meanings", []byte(strings.Replace(string(good), `"critical"`, `"critical":{},"critical"`, 1)), nil, "reading the signed payload", false},
		{"huge annotation", good, func(m map[string]string) { m["x"] = strings.Repeat("x", 2<<20) }, "2097152 bytes", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := verifytest.New(t, "log.example.com")
			layer, raw := legacy(t, i.Bundle(verifytest.Spec{Message: test.payload, Rekor1: true}), test.payload)
			if test.edit != nil {
				test.edit(layer.Annotations)
			}
			r := newWorld(t, sigstore(i)).Check(t.Context(), image, referrer("", layer, raw))
			if len(r.Signatures) > 0 || !strings.Contains(strings.Join(r.Refusals[0].Reasons, "; "), test.want) || r.Refusals[0].Unsure != test.unsure {
				t.Errorf("got %+v, want %q", r, test.want)
			}
		})
	}
}

// TestSeveralSignatures: a .sig image carries one for each who signed.
func TestSeveralSignatures(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	payload := simple(image.Digest.String(), "cosign container image signature")
	first, raw := legacy(t, i.Bundle(verifytest.Spec{Message: payload, Rekor1: true}), payload)
	second, _ := legacy(t, i.Bundle(verifytest.Spec{Message: payload, Rekor1: true, Identity: "bob@example.com"}), payload)
	broken, _ := legacy(t, i.Bundle(verifytest.Spec{Message: []byte("x"), Rekor1: true}), payload)
	ref := referrer("", first, raw)
	ref.Manifest.Layers = append(ref.Manifest.Layers, second, broken, oci.Descriptor{MediaType: "text/plain"})
	ref.Layers = append(ref.Layers, raw, raw, nil)
	r := newWorld(t, sigstore(i)).Check(t.Context(), image, ref)
	if len(r.Signatures) != 2 || r.Signatures[1].Identity.Subject != "bob@example.com" || len(r.Refusals) != 1 {
		t.Errorf("got %+v", r)
	}
}
