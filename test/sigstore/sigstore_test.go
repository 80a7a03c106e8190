package sigstore

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/test/drive"
)

// shapes are those that keep everything differently.
var shapes = []string{"sqlite+disk", "postgres+s3"}

// steps are taken in order on each shape. The image is held all the time: who
// signs it need not wait for a decision.
var steps = []drive.Step[*world]{
	{Name: "by a login", Do: (*world).byLogin},
	{Name: "by a client certificate", Do: (*world).byCertificate},
	{Name: "by keys", Do: (*world).byKeys},
	{Name: "by a device", Do: (*world).byDevice},
	{Name: "attestations", Do: (*world).attest},
	{Name: "referrers", Do: (*world).referrers},
	{Name: "cosign initialize", Do: (*world).initialize},
	{Name: "refused", Do: (*world).refuse},
	{Name: "audit", Do: (*world).audit},
	{Name: "stopped", Do: (*world).offline},
	{Name: "started again", Do: (*world).again},
}

func TestCosign(t *testing.T) {
	for _, shape := range drive.Shapes {
		if !slices.Contains(shapes, shape.Name) {
			continue
		}
		t.Run(shape.Name, func(t *testing.T) {
			clients := newClients(t)
			w := newWorld(t, shape.Config(t)+clients.config())
			w.write("build.crt", clients.cert)
			w.write("build.key", clients.key)
			drive.Walk(&w.T, w.server, w, steps)
		})
	}
}

func (w *world) ref() string { return w.host() + "/dev/app@" + w.image.Digest.String() }

// byLogin: whoever is logged in signs as the account, and the variables are all
// that cosign is told.
func (w *world) byLogin() {
	ref := w.push("dev/app")
	if w.signs.Identity != ann {
		w.Errorf("%s signs as %q", ann, w.signs.Identity)
	}
	w.cosign("sign", "--yes", ref)
	w.has(w.cosign(join([]string{"verify"}, w.as(ann), []string{ref})...), "Existence of the claims in the transparency log was verified offline")
	w.cosign(join([]string{"verify"}, w.as(ann), []string{w.host() + "/dev/app:1"})...)
	w.write("release.txt", "version 1")
	w.cosign("sign-blob", "--yes", "--bundle", "release.json", "release.txt")
	w.cosign(join([]string{"verify-blob", "--bundle", "release.json"}, w.as(ann), []string{"release.txt"})...)
}

// byCertificate: a build that is logged in nowhere has a certificate of the
// company's authority. What it signs, it pushes as ann.
func (w *world) byCertificate() {
	before := w.signs
	w.env = append(w.env, "BONDED_URL="+w.server.URL(), "BONDED_CA="+w.at("ca.crt"))
	w.signIn("--cert", "build.crt", "--key", "build.key")
	w.env = w.env[:len(w.env)-2]
	identity := w.signs.Issuer + "/clients/" + build
	if w.signs.Identity != identity {
		w.Errorf("the build signs as %q, want %q", w.signs.Identity, identity)
	}
	w.signs.Env["DOCKER_CONFIG"] = before.Env["DOCKER_CONFIG"]
	w.cosign("sign", "--yes", w.ref())
	w.cosign(join([]string{"verify"}, w.as(identity), []string{w.ref()})...)
	w.signs = before
	out, err := w.try(nil, w.server.Binary, "trust", "token", "--cert", "ca.crt", "--key", "build.key")
	if err == nil {
		w.Errorf("a certificate with the key of another: %s", out)
	}
}

// byKeys: a key of one's own, and one whose signatures are the same each time.
func (w *world) byKeys() {
	w.cosign("generate-key-pair")
	w.cosign("sign", "--yes", "--key", "cosign.key", w.ref())
	w.cosign("verify", "--key", "cosign.pub", w.ref())
	w.write("rsa.pem", newRSAKey(w.T))
	w.cosign("import-key-pair", "--key", "rsa.pem")
	for range 2 {
		w.cosign("sign", "--yes", "--key", "import-cosign.key", w.ref())
	}
	w.cosign("verify", "--key", "import-cosign.pub", w.ref())
	w.write("other.txt", "not signed")
	w.cosign("sign-blob", "--yes", "--key", "cosign.key", "--bundle", "keyed.json", "release.txt")
	w.cosign("verify-blob", "--key", "cosign.pub", "--bundle", "keyed.json", "release.txt")
	w.refused("invalid signature", "verify-blob", "--key", "cosign.pub", "--bundle", "keyed.json", "other.txt")
	w.refused("failed to verify log inclusion", "verify-blob", "--key", "import-cosign.pub", "--bundle", "keyed.json", "release.txt")
}

// predicates are of the types that gates will ask for.
var predicates = []struct{ kind, text string }{
	{"spdxjson", `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"app","packages":[]}`},
	{"cyclonedx", `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[]}`},
	{"slsaprovenance1", `{"buildDefinition":{"buildType":"https://example.com/build","externalParameters":{},"resolvedDependencies":[]},"runDetails":{"builder":{"id":"https://example.com/builder"}}}`},
	{"vuln", `{"invocation":{},"scanner":{"uri":"https://example.com/scanner","version":"1","db":{},"result":{}},"metadata":{"scanStartedOn":"2026-11-22T06:00:00Z","scanFinishedOn":"2026-11-22T06:01:00Z"}}`},
	{"openvex", `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://example.com/vex","author":"ann","timestamp":"2026-11-22T06:00:00Z","version":1,"statements":[]}`},
	{"https://slsa.dev/verification_summary/v1", `{"verifier":{"id":"https://example.com/verifier"},"timeVerified":"2026-11-22T06:00:00Z","resourceUri":"app","policy":{"uri":"https://example.com/policy"},"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_3"]}`},
}

func (w *world) attest() {
	w.signIn()
	for _, p := range predicates {
		w.write("predicate.json", p.text)
		w.cosign("attest", "--yes", "--type", p.kind, "--predicate", "predicate.json", w.ref())
		w.cosign(join([]string{"verify-attestation", "--type", p.kind}, w.as(ann), []string{w.ref()})...)
	}
	w.write("predicate.json", predicates[0].text)
	w.cosign("attest", "--yes", "--key", "cosign.key", "--type", "spdxjson", "--predicate", "predicate.json", w.ref())
	w.cosign("verify-attestation", "--key", "cosign.pub", "--type", "spdxjson", w.ref())
	w.refused("none of the attestations matched the predicate type", join([]string{"verify-attestation", "--type", "link"}, w.as(ann), []string{w.ref()})...)
}

// referrers: what lands in the registry is listed as what it is, and no tags
// are made.
func (w *world) referrers() {
	var index struct {
		Manifests []struct {
			MediaType    string            `json:"mediaType"`
			ArtifactType string            `json:"artifactType"`
			Annotations  map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(w.get("/v2/dev/app/referrers/"+w.image.Digest.String()), &index); err != nil {
		w.Fatal(err)
	}
	kinds := map[string]int{}
	for _, m := range index.Manifests {
		if m.MediaType != "application/vnd.oci.image.manifest.v1+json" || m.ArtifactType != "application/vnd.dev.sigstore.bundle.v0.3+json" {
			w.Errorf("a referrer is listed as %s of type %s", m.MediaType, m.ArtifactType)
		}
		if m.Annotations["dev.sigstore.bundle.content"] != "dsse-envelope" {
			w.Errorf("annotations of a referrer: %v", m.Annotations)
		}
		kinds[m.Annotations["dev.sigstore.bundle.predicateType"]]++
	}
	if len(kinds) != len(predicates)+1 || kinds["https://sigstore.dev/cosign/sign/v1"] < 5 {
		w.Errorf("referrers by type: %v", kinds)
	}
	if tags := string(w.get("/v2/dev/app/tags/list")); strings.Contains(tags, "sha256-") {
		w.Errorf("tags were made: %s", tags)
	}
}

// initialize: the command that is printed works on a machine without bonded,
// and its checksum is looked at.
func (w *world) initialize() {
	before := w.signs
	defer func() { w.signs = before }()
	w.signs = environment{Issuer: before.Issuer, Env: map[string]string{
		"TUF_ROOT": w.at("other-tuf"), "SSL_CERT_FILE": w.at("ca.crt"), "DOCKER_CONFIG": before.Env["DOCKER_CONFIG"],
	}}
	command := strings.Fields(before.Cosign)
	w.cosign(command[1:]...)
	w.cosign(join([]string{"verify"}, w.as(ann), []string{w.ref()})...)
	wrong := append(command[1:len(command)-1:len(command)-1], strings.Repeat("00", 32))
	w.refused("incorrect checksum", wrong...)
}

// refuse: what cosign and the server must not take.
func (w *world) refuse() {
	w.refused("no matching CertificateIdentity", join([]string{"verify"}, w.as("eve@example.com"), []string{w.ref()})...)
	w.refused("no matching CertificateIdentity", "verify", "--certificate-identity", ann, "--certificate-oidc-issuer", "https://issuer.example", w.ref())
	other := drive.NewImage(drive.MustGzip(drive.MustLayer(map[string][]byte{"a": []byte("other")})))
	if err := w.ann.Push(w.Context(), "dev/app", "other", other); err != nil {
		w.Fatal(err)
	}
	w.refused("no signatures found", join([]string{"verify"}, w.as(ann), []string{w.host() + "/dev/app@" + other.Digest.String()})...)
	before := w.signs.Env["SIGSTORE_ID_TOKEN"]
	for name, c := range map[string]struct{ token, says string }{
		"expired":       {forge(w.T, w.issuerKey(), before, map[string]any{"exp": 1_700_000_300, "iat": 1_700_000_000}), "the token ended at"},
		"for another":   {forge(w.T, w.issuerKey(), before, map[string]any{"aud": "another"}), "does not verify"},
		"of another":    {forge(w.T, newKey(w.T), before, nil), "does not verify"},
		"not issued":    {forge(w.T, newKey(w.T), before, map[string]any{"iss": "https://issuer.example"}), "are not taken here"},
		"of elsewhere":  {forge(w.T, w.issuerKey(), before, map[string]any{"sub": "https://elsewhere.example/x", "email": ""}), "is not on the issuer's host"},
		"not confirmed": {forge(w.T, w.issuerKey(), before, map[string]any{"email_verified": false}), "not verified by identity provider"},
	} {
		w.signs.Env["SIGSTORE_ID_TOKEN"] = c.token
		w.Run(name, func(t *testing.T) {
			at := *w
			at.T = t
			at.refused(c.says, "sign", "--yes", at.ref())
		})
	}
	w.signs.Env["SIGSTORE_ID_TOKEN"] = before
}

// audit: what was issued is in the audit log, which holds.
func (w *world) audit() {
	for kind, least := range map[string]int{"trust.made": 1, "identity.issued": 3, "certificate.issued": 5} {
		page := &api.Page[api.Event]{}
		if err := w.server.Admin.API(w.Context(), http.MethodGet, "/audit?kind="+url.QueryEscape(kind), nil, page); err != nil {
			w.Fatal(err)
		}
		if len(page.Items) < least {
			w.Errorf("%d events %s, want at least %d", len(page.Items), kind, least)
		}
		if kind == "certificate.issued" && page.Items[0].Details["name"] == "" {
			w.Errorf("a certificate was issued to %v", page.Items[0])
		}
	}
	status := &api.Trust{}
	if err := w.server.Admin.API(w.Context(), http.MethodGet, "/trust", nil, status); err != nil {
		w.Fatal(err)
	}
	for _, l := range status.Logs {
		if l.Size < 5 || l.Published != l.Size {
			w.Errorf("log %s has %d entries, %d published", l.Name, l.Size, l.Published)
		}
	}
}

// offline: a trusted root, a saved image and nothing else.
func (w *world) offline() {
	w.write("trusted_root.json", w.run(w.server.Binary, "trust", "root"))
	w.cosign("save", "--dir", "saved", w.ref())
	w.server.Stop()
	before := w.signs
	w.signs = environment{Issuer: before.Issuer, Env: map[string]string{"TUF_ROOT": w.at("nothing"), "HTTPS_PROXY": "http://127.0.0.1:1"}}
	root := []string{"--trusted-root", "trusted_root.json"}
	w.cosign(join([]string{"verify-blob", "--bundle", "release.json"}, root, w.as(ann), []string{"release.txt"})...)
	w.cosign(join([]string{"verify", "--local-image", "saved"}, root, w.as(ann))...)
	w.cosign(join([]string{"verify", "--local-image", "saved", "--key", "cosign.pub"}, root)...)
	w.refused("no matching CertificateIdentity", join([]string{"verify-blob", "--bundle", "release.json"}, root, w.as("eve@example.com"), []string{"release.txt"})...)
	w.signs = before
}

// again: after a restart the same instance goes on with the same logs, although
// its address is another one.
func (w *world) again() {
	w.server.Again()
	w.login()
	w.write("second.txt", "version 2")
	w.cosign("sign-blob", "--yes", "--bundle", "second.json", "second.txt")
	w.cosign(join([]string{"verify-blob", "--bundle", "second.json"}, w.as(ann), []string{"second.txt"})...)
	// Who has the root of before needs no other.
	w.cosign(join([]string{"verify-blob", "--bundle", "second.json", "--trusted-root", "trusted_root.json"}, w.as(ann), []string{"second.txt"})...)
}

// TestAnotherInstance: what one server signed is nothing to another one.
func TestAnotherInstance(t *testing.T) {
	one, other := newWorld(t, ""), newWorld(t, "")
	one.write("release.txt", "version 1")
	one.cosign("sign-blob", "--yes", "--bundle", "release.json", "release.txt")
	one.write("other_root.json", other.run(other.server.Binary, "trust", "root"))
	one.refused("not enough verified log entries", join([]string{"verify-blob", "--bundle", "release.json", "--trusted-root", "other_root.json"}, one.as(ann), []string{"release.txt"})...)
	one.signs.Env["TUF_ROOT"] = other.signs.Env["TUF_ROOT"]
	one.signs.Env["SSL_CERT_FILE"] = other.signs.Env["SSL_CERT_FILE"]
	one.refused("not enough verified log entries", join([]string{"verify-blob", "--bundle", "release.json"}, one.as(ann), []string{"release.txt"})...)
}

// issuerKey is the file with the key that the server's tokens are signed by.
func (w *world) issuerKey() string {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(w.server.Data(), "trust", "issuer-*.key"))
	if err != nil || len(files) != 1 {
		w.Fatalf("keys of the issuer: %v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		w.Fatal(err)
	}
	return string(b)
}
