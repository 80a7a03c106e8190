package server

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto/x509"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// summarized is the bundle with the verification summary of an image.
type summarized struct {
	Envelope json.RawMessage `json:"dsseEnvelope"`
	Material struct {
		Certificate struct {
			Raw []byte `json:"rawBytes"`
		} `json:"certificate"`
	} `json:"verificationMaterial"`
}

// statement is what it signs.
func (s *summarized) statement(t *testing.T) *attest.Document {
	t.Helper()
	var envelope struct{ Payload []byte }
	err := json.Unmarshal(s.Envelope, &envelope)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := attest.Parse(envelope.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// summary asks for the verification summary of a digest, as clients do.
func (w *world) summary(who api.Enrolled, repository string, d oci.Digest) *summarized {
	w.Helper()
	types, manifests := w.statements(who, repository, d)
	if !slices.Contains(types, seal.TypeSummary) {
		w.Fatalf("listed are %v", types)
	}
	for _, m := range manifests {
		res, body := w.request(who, http.MethodGet, "/v2/"+repository+"/manifests/"+m, nil)
		w.want(http.StatusOK, res, body)
		carrier := decode[struct {
			Layers      []oci.Descriptor
			Annotations map[string]string
		}](w, body)
		if carrier.Annotations["dev.sigstore.bundle.predicateType"] != seal.TypeSummary {
			continue
		}
		res, body = w.request(who, http.MethodGet, "/v2/"+repository+"/blobs/"+carrier.Layers[0].Digest.String(), nil)
		w.want(http.StatusOK, res, body)
		s := decode[summarized](w, body)
		return s
	}
	w.Fatal("no manifest carries a summary")
	return nil
}

// TestSummaryLevels: a summary has the build level of the provenance that the gate
// asked for, and slsa-verifier, which knows keys and no certificates, takes it by
// the key of the certificate.
func TestSummaryLevels(t *testing.T) {
	s := newSigning(t, fromSource)
	image := s.image("1")
	for typ, predicate := range map[string]string{
		"https://slsa.dev/provenance/v1":                  `{"buildDefinition":{"buildType":"https://x","externalParameters":{"source":{"uri":"git+https://git.example.com/acme/app"}},"resolvedDependencies":[]},"runDetails":{"builder":{"id":"https://builder.example.com/7"}}}`,
		"https://in-toto.io/attestation/test-result/v0.1": `{"result":"PASSED","configuration":[]}`,
	} {
		s.bundle(image, verifytest.Spec{Payload: says(image, typ, predicate), Identity: "https://ci.example.com/acme/build"})
	}
	s.settled("signed/app", image.Digest, repo.Admitted)
	made := s.summary(s.dev, "signed/app", image.Digest)
	st, err := made.statement(t).Statement(0)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"SLSA_BUILD_LEVEL_2", "BONDED_ADMITTED_SIGNED"}; !slices.Equal(st.Summary.Levels, want) {
		t.Errorf("its levels are %v, want %v", st.Summary.Levels, want)
	}
	verifier := testparts.Program(t, "slsa-verifier")
	cert, err := x509.ParseCertificate(made.Material.Certificate.Raw)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"vsa.json": made.Envelope, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ level, digest, says string }{
		{"SLSA_BUILD_LEVEL_2", image.Digest.String(), "PASSED"},
		{"BONDED_ADMITTED_SIGNED", image.Digest.String(), "PASSED"},
		{"SLSA_BUILD_LEVEL_3", image.Digest.String(), "to be at least 3, got 2"},
		{"SLSA_BUILD_LEVEL_2", oci.FromBytes(nil).String(), "expected digest not found"},
	} {
		cmd := exec.Command(verifier, "verify-vsa", "--subject-digest", test.digest, "--attestation-path", filepath.Join(dir, "vsa.json"), "--verifier-id", st.Summary.Verifier,
			"--resource-uri", st.Summary.Resource, "--verified-level", test.level, "--public-key-path", filepath.Join(dir, "key.pem"))
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), test.says) || (err == nil) != (test.says == "PASSED") {
			t.Errorf("%s: %v\n%s", test.level, err, out)
		}
	}
}
