package verify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// image is the artifact that tests sign.
var image = oci.Descriptor{MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes([]byte("an image")), Size: 8}

// statement is an in-toto statement about a digest.
func statement(d oci.Digest, predicateType string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{%q:%q}}],"predicateType":%q,"predicate":{"a":1}}`, d.Algorithm(), d.Hex(), predicateType)
}

// reader is a Statements that keeps the type alone and polices its contract:
// what it is given verified, and names the digest.
type reader struct {
	t     testing.TB
	calls int
	err   error
}

func (r *reader) Read(payload []byte, sig *evidence.Signature) (*evidence.Statement, error) {
	r.calls++
	if sig.Anchor == "" || sig.Subject.IsZero() || sig.Identity.String() == "key " {
		r.t.Errorf("asked to read for %+v, which is no verified signature", sig)
	}
	if r.err != nil {
		return nil, r.err
	}
	var doc struct{ PredicateType string }
	if err := json.Unmarshal(payload, &doc); err != nil {
		return nil, err
	}
	if !strings.Contains(string(payload), sig.Subject.Hex()) {
		return nil, errors.New("it is about something else")
	}
	return &evidence.Statement{Type: doc.PredicateType, Kind: evidence.KindUnknown}, nil
}

// world is a verifier with what it was made of.
type world struct {
	*verify.Verifier
	reader *reader
	now    time.Time
}

func newWorld(t testing.TB, anchors ...verify.Anchor) *world {
	t.Helper()
	set, err := verify.NewAnchors(anchors...)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{reader: &reader{t: t}, now: verifytest.Noon}
	w.Verifier = verify.New(verify.Options{Anchors: set, Statements: w.reader, Clock: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler)})
	return w
}

func sigstore(i *verifytest.Instance) verify.Anchor {
	return verify.Anchor{Name: "ours", Kind: verify.KindSigstore, Roots: [][]byte{i.TrustedRoot(nil)}}
}

// bundleReferrer is a bundle as cosign stores it.
func bundleReferrer(raw []byte) verify.Referrer {
	layer := oci.Descriptor{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", Digest: oci.FromBytes(raw), Size: int64(len(raw))}
	return referrer("application/vnd.dev.sigstore.bundle.v0.3+json", layer, raw)
}

func referrer(artifactType string, layer oci.Descriptor, raw []byte) verify.Referrer {
	m := &oci.Manifest{Digest: oci.FromBytes([]byte("manifest over " + layer.Digest.String())), ArtifactType: artifactType, Layers: []oci.Descriptor{layer}}
	return verify.Referrer{Manifest: m, Layers: [][]byte{raw}}
}

// verified fails the test unless exactly one signature came out.
func verified(t testing.TB, r verify.Result) evidence.Signature {
	t.Helper()
	if len(r.Signatures) != 1 || len(r.Refusals) != 0 {
		t.Fatalf("want one signature, got %d and refusals %+v", len(r.Signatures), r.Refusals)
	}
	return r.Signatures[0]
}

func TestGood(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	w := newWorld(t, sigstore(i))
	says := statement(image.Digest, "https://example.com/says/v1")
	tests := []struct {
		name string
		spec verifytest.Spec
	}{
		{"statement", verifytest.Spec{Payload: says}},
		{"statement in the older log", verifytest.Spec{Payload: says, Rekor1: true}},
		{"statement in the older log without a timestamp", verifytest.Spec{Payload: says, Rekor1: true, NoTime: true}},
		{"message", verifytest.Spec{Message: []byte("an image")}},
		{"message in the older log", verifytest.Spec{Message: []byte("an image"), Rekor1: true}},
		{"workload", verifytest.Spec{Payload: says, Identity: "https://ci.example.com/build"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sig := verified(t, w.Check(t.Context(), image, bundleReferrer(i.JSON(i.Bundle(test.spec)))))
			if sig.Anchor != "ours" || sig.Form != evidence.FormBundle || sig.Subject != image.Digest || sig.Referrer.IsZero() || sig.Envelope.IsZero() {
				t.Errorf("signature is %+v", sig)
			}
			if !sig.At.Equal(verifytest.Noon) || sig.Log == nil || sig.Log.Log != "log.example.com" || sig.Log.Index < 3 {
				t.Errorf("signed at %v, log %+v", sig.At, sig.Log)
			}
			if sig.Identity.Issuer != "https://idp.example.com" || sig.Identity.Subject == "" {
				t.Errorf("identity is %+v", sig.Identity)
			}
			if (sig.Statement != nil) != (test.spec.Payload != nil) {
				t.Errorf("statement is %+v", sig.Statement)
			}
		})
	}
}

// TestRepeated: one envelope that is listed many times, whatever is written beside
// it, is verified once and counts once; two signatures over one payload are two.
func TestRepeated(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	w := newWorld(t, sigstore(i))
	ref := bundleReferrer(i.JSON(i.Bundle(verifytest.Spec{Payload: statement(image.Digest, "https://example.com/says/v1")})))
	for n := range 40 {
		again := ref.Manifest.Layers[0]
		again.MediaType += fmt.Sprint(";n=", n)
		again.Annotations = map[string]string{"n": fmt.Sprint(n)}
		ref.Manifest.Layers, ref.Layers = append(ref.Manifest.Layers, again), append(ref.Layers, ref.Layers[0])
	}
	verified(t, w.Check(t.Context(), image, ref))
	if w.reader.calls != 1 {
		t.Errorf("the statement was read %d times", w.reader.calls)
	}
	junk := []byte(`{}`)
	ref = referrer("", oci.Descriptor{MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Digest: oci.FromBytes(junk), Size: 2}, junk)
	other := ref.Manifest.Layers[0]
	other.Annotations = map[string]string{"dev.cosignproject.cosign/signature": "AAAA"}
	ref.Manifest.Layers, ref.Layers = append(ref.Manifest.Layers, other), append(ref.Layers, junk)
	if got := w.Check(t.Context(), image, ref); len(got.Refusals) != 2 {
		t.Errorf("of two signatures over one payload: %+v", got)
	}
}
