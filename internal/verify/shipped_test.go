package verify_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
)

func shipped(t testing.TB, name, as string) verify.Anchor {
	t.Helper()
	r, ok := verify.FindShipped(name)
	if !ok {
		t.Fatalf("there is no root %s", name)
	}
	return verify.Anchor{Name: as, Kind: r.Kind, Roots: [][]byte{r.Document}}
}

// TestShippedIsPublished: the public root is what the holders of the root keys of
// the public instance signed, by the TUF root that sigstore-go comes with.
func TestShippedIsPublished(t *testing.T) {
	root, err := metadata.Root().FromBytes(tuf.DefaultRoot())
	if err != nil {
		t.Fatal(err)
	}
	raw := sample(t, "public-good.targets.json")
	targets, err := metadata.Targets().FromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.VerifyDelegate(metadata.TARGETS, targets); err != nil {
		t.Fatalf("the targets are not signed by the root: %v", err)
	}
	r, _ := verify.FindShipped("public-good")
	sum := sha256.Sum256(r.Document)
	file := targets.Signed.Targets["trusted_root.json"]
	if file == nil || file.Length != int64(len(r.Document)) || hex.EncodeToString(sum[:]) != file.Hashes["sha256"].String() {
		t.Errorf("the root has the SHA-256 %x, and the targets name %v", sum, file)
	}
	forged, err := metadata.Targets().FromBytes(bytes.Replace(raw, []byte(hex.EncodeToString(sum[:])), []byte(strings.Repeat("0", 64)), 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := root.VerifyDelegate(metadata.TARGETS, forged); err == nil {
		t.Error("targets that somebody changed are signed by the root")
	}
}

// TestShipped verifies by the roots of the program what the public instance and
// GitHub's have signed.
func TestShipped(t *testing.T) {
	v := realVerifier(t, shipped(t, "public-good", "public"), shipped(t, "github", "github"))
	release := "sha256:e15b593c6ab8d7725a3cc82226ef816cac6bf9c70eed383bd459295cc65f5ec3"
	for _, test := range []struct {
		file, digest, anchor, issuer, by, log string
	}{
		{"npm-v0.2.sigstore.json", "", "public", "https://token.actions.githubusercontent.com", "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main", "rekor.sigstore.dev"},
		{"dsse-v0.1.sigstore.json", "", "public", "https://github.com/login/oauth", "brian@dehamer.com", "rekor.sigstore.dev"},
		{"github-release-v0.3.sigstore.json", release, "github", "", "https://dotcom.releases.github.com", ""},
	} {
		t.Run(test.file, func(t *testing.T) {
			raw := sample(t, test.file)
			subject := oci.Descriptor{}
			if test.digest != "" {
				subject.Digest = oci.MustDigest(test.digest)
			} else {
				subject.Digest = firstSubject(t, raw)
			}
			sig := verified(t, v.Check(t.Context(), subject, bundleReferrer(raw)))
			if sig.Anchor != test.anchor || sig.Identity.Subject != test.by || sig.Identity.Issuer != test.issuer || sig.At.IsZero() {
				t.Errorf("by %v for anchor %s at %v", sig.Identity, sig.Anchor, sig.At)
			}
			if test.log == "" && sig.Log != nil || test.log != "" && (sig.Log == nil || sig.Log.Log != test.log) {
				t.Errorf("in the log %+v", sig.Log)
			}
			refuses(t, v, oci.FromBytes([]byte("another")), raw, "another digest")
			refuses(t, realVerifier(t, other(t, test.anchor)), subject.Digest, raw, "the other instance")
			named(t, sig, test.anchor, test.issuer, test.by)
		})
	}
}

// other is the anchor of the other instance.
func other(t testing.TB, anchor string) verify.Anchor {
	if anchor == "public" {
		return shipped(t, "github", "other")
	}
	return shipped(t, "public-good", "other")
}

func refuses(t *testing.T, v *verify.Verifier, d oci.Digest, raw []byte, what string) {
	t.Helper()
	r := v.Check(t.Context(), oci.Descriptor{Digest: d}, bundleReferrer(raw))
	if len(r.Signatures) > 0 || len(r.Refusals) == 0 {
		t.Errorf("for %s: %+v", what, r)
	}
	for _, no := range r.Refusals {
		if no.Unsure || len(no.Reasons) == 0 {
			t.Errorf("for %s: refused with %+v", what, no)
		}
	}
}

// named: a gate that names another identity or issuer does not take it.
func named(t *testing.T, sig evidence.Signature, anchor, issuer, by string) {
	t.Helper()
	pattern := func(text string) evidence.Pattern {
		p, err := evidence.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	meant := evidence.Signer{Anchor: anchor, Subject: pattern(by)}
	if issuer != "" {
		meant.Issuer = pattern(issuer)
	}
	if why := meant.Mismatch(&sig); why != "" {
		t.Errorf("who is meant is not taken: %s", why)
	}
	for what, change := range map[string]func(*evidence.Signer){
		"another identity": func(s *evidence.Signer) { s.Subject = pattern(by + "x") },
		"another issuer":   func(s *evidence.Signer) { s.Issuer = pattern("https://issuer.example") },
		"another anchor":   func(s *evidence.Signer) { s.Anchor = "bonded" },
	} {
		s := meant
		if change(&s); s.Mismatch(&sig) == "" {
			t.Errorf("%s is taken", what)
		}
	}
}

// TestShippedTampered: a bundle that GitHub signed and somebody changed.
func TestShippedTampered(t *testing.T) {
	v := realVerifier(t, shipped(t, "github", "github"))
	subject := oci.MustDigest("sha256:e15b593c6ab8d7725a3cc82226ef816cac6bf9c70eed383bd459295cc65f5ec3")
	for what, change := range map[string]func(m map[string]any){
		"without its timestamp": func(m map[string]any) {
			delete(m["verificationMaterial"].(map[string]any), "timestampVerificationData")
		},
		"with another statement": func(m map[string]any) {
			m["dsseEnvelope"].(map[string]any)["payload"] = "e30="
		},
		"with the signature of another": func(m map[string]any) {
			sig := m["dsseEnvelope"].(map[string]any)["signatures"].([]any)[0].(map[string]any)
			sig["sig"] = "MEUCIE1pkb2XXI9UHOT0FHQs2PPXJSQLZmVyaASt5rNM5kLVAiEAhJrMNXYqIo+IXx5nOF+S9TZY93kqaGNsORgRDgs97bM="
		},
	} {
		var m map[string]any
		if err := json.Unmarshal(sample(t, "github-release-v0.3.sigstore.json"), &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if r := v.Check(t.Context(), oci.Descriptor{Digest: subject}, bundleReferrer(raw)); len(r.Signatures) > 0 || len(r.Refusals) == 0 {
			t.Errorf("%s: %+v", what, r)
		}
	}
}
