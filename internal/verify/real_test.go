package verify_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/real/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func publicAnchor(t testing.TB) verify.Anchor {
	return verify.Anchor{Name: "public", Kind: verify.KindSigstore, Roots: [][]byte{sample(t, "public-good.json")}}
}

// realVerifier reads statements for real.
func realVerifier(t testing.TB, anchors ...verify.Anchor) *verify.Verifier {
	t.Helper()
	set, err := verify.NewAnchors(anchors...)
	if err != nil {
		t.Fatal(err)
	}
	return verify.New(verify.Options{Anchors: set, Statements: attest.NewReader(attest.Shipped(), 0), Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
}

// TestReal verifies what the public Sigstore instance signed.
func TestReal(t *testing.T) {
	const generators = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
	tests := []struct {
		file, digest, by string
		kind             evidence.StatementKind
		level            int
	}{
		{"generic-v0.3.sigstore.json", "", generators + "generator_generic_slsa3.yml@refs/tags/v2.1.0", evidence.KindProvenance, 3},
		{"container-based-v0.2.sigstore.json", "", generators + "builder_container-based_slsa3.yml@refs/tags/v2.1.0", evidence.KindProvenance, 3},
		{"npm-v0.2.sigstore.json", "", "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main", evidence.KindProvenance, 2},
		{"dsse-v0.1.sigstore.json", "", "brian@dehamer.com", evidence.KindProvenance, 0},
	}
	v := realVerifier(t, publicAnchor(t))
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			raw := sample(t, test.file)
			subject := oci.Descriptor{Digest: firstSubject(t, raw)}
			sig := verified(t, v.Check(t.Context(), subject, bundleReferrer(raw)))
			if sig.Identity.Subject != test.by || sig.Log == nil || sig.Log.Log != "rekor.sigstore.dev" || sig.At.IsZero() {
				t.Errorf("by %s at %v, log %+v", sig.Identity, sig.At, sig.Log)
			}
			if sig.Statement.Kind != test.kind || sig.Statement.Provenance.Level != test.level {
				t.Errorf("statement is %s of level %d", sig.Statement.Kind, sig.Statement.Provenance.Level)
			}
			wrong := oci.Descriptor{Digest: oci.FromBytes([]byte("another"))}
			if r := v.Check(t.Context(), wrong, bundleReferrer(raw)); len(r.Signatures) > 0 || r.Refusals[0].Unsure {
				t.Errorf("for another subject: %+v", r)
			}
			changed := bytes.Replace(raw, []byte(`"signedEntryTimestamp":"M`), []byte(`"signedEntryTimestamp":"N`), 1)
			if !bytes.Equal(raw, changed) {
				if r := v.Check(t.Context(), subject, bundleReferrer(changed)); len(r.Signatures) > 0 {
					t.Errorf("with another promise: %+v", r)
				}
			}
		})
	}
}

// firstSubject returns the digest that a bundle's statement names.
func firstSubject(t testing.TB, raw []byte) oci.Digest {
	t.Helper()
	var b struct{ DsseEnvelope struct{ Payload []byte } }
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	doc, err := attest.Parse(b.DsseEnvelope.Payload)
	if err != nil {
		t.Fatal(err)
	}
	for alg, hexed := range doc.Subjects[0].Digests {
		return oci.MustDigest(alg + ":" + hexed)
	}
	t.Fatal("no subject")
	return oci.Digest{}
}

// TestRealLegacy verifies an .att image that cosign 2 made.
func TestRealLegacy(t *testing.T) {
	m, err := oci.ParseManifest(sample(t, "att.manifest.json"), "", oci.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if !verify.IsEnvelope(m) {
		t.Fatal("it is not seen as an envelope")
	}
	ref := verify.Referrer{Manifest: m, Layers: [][]byte{sample(t, "att.layer.json")}}
	subject := oci.Descriptor{Digest: oci.MustDigest("sha256:234e2c830c2fb31ac5671789d22adfe44d30c3ee831d01beae5e237841a13122")}
	sig := verified(t, realVerifier(t, publicAnchor(t)).Check(t.Context(), subject, ref))
	if sig.Form != evidence.FormLegacy || !strings.Contains(sig.Identity.Subject, "generator_container_slsa3.yml@refs/tags/v2.1.0") || sig.Statement.Provenance.Level != 3 {
		t.Errorf("signature is %+v", sig)
	}
	other := realVerifier(t, sigstore(verifytest.New(t, "log.example.com"))).Check(t.Context(), subject, ref)
	if len(other.Signatures) > 0 || other.Refusals[0].Unsure {
		t.Errorf("for another instance: %+v", other)
	}
}
