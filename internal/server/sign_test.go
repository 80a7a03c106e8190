package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// statements lists the predicate types of what is listed about a digest, sorted,
// and the manifests.
func (w *world) statements(who api.Enrolled, repository string, d oci.Digest) (types []string, manifests []string) {
	w.Helper()
	res, body := w.request(who, http.MethodGet, "/v2/"+repository+"/referrers/"+d.String()+"?artifactType="+url.QueryEscape(seal.MediaType), nil)
	w.want(http.StatusOK, res, body)
	for _, m := range decode[struct{ Manifests []oci.Descriptor }](w, body).Manifests {
		types, manifests = append(types, m.Annotations["dev.sigstore.bundle.predicateType"]), append(manifests, m.Digest.String())
	}
	slices.Sort(types)
	return types, manifests
}

// proof asks for the proof of the decision about something.
func (w *world) proof(who api.Enrolled, ref, query string) *api.Proof {
	w.Helper()
	res, body := w.request(who, http.MethodGet, "/api/v1/why?ref="+ref+query, nil)
	w.want(http.StatusOK, res, body)
	return decode[api.Why](w, body).Proof
}

// TestSigned: what is admitted has its statements as soon as somebody looks, which
// stock cosign verifies by the server's identity and its trusted root alone; they
// change no decision, and follow it.
func TestSigned(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "99.0.0", low)
	dev, ops := w.enrol("ann", "developer=dev/**"), w.enrol("ops", "reader")
	image := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("dev/app", image.Digest, repo.Admitted)
	if p := w.proof(dev, "dev/app:1", "&proof=whole"); !p.Proven || len(p.Payload) == 0 || len(p.Batch.Bundle) == 0 {
		t.Errorf("the whole proof: %+v", p)
	}
	if p := w.proof(dev, "dev/app:1", ""); !p.Proven || p.Batch.Number == 0 || p.Payload != nil || p.Batch.Bundle != nil {
		t.Errorf("whether it is proven: %+v", p)
	}
	want := []string{seal.TypeScan, seal.TypeSummary, seal.TypeSBOM}
	slices.Sort(want)
	types, manifests := w.statements(ops, "dev/app", image.Digest)
	if !slices.Equal(types, want) {
		t.Fatalf("listed are %q", types)
	}
	before := w.settled("dev/app", image.Digest, repo.Admitted).Decision
	w.cosign("dev/app@" + image.Digest.String())
	if _, again := w.statements(ops, "dev/app", image.Digest); !slices.Equal(again, manifests) {
		t.Errorf("listed were %q and are %q", manifests, again)
	}
	w.idle()
	if after := w.settled("dev/app", image.Digest, repo.Admitted).Decision; after != before {
		t.Errorf("what the server said made it decide again: %d, then %d", before, after)
	}

	promoted := w.promote(w.admin, "dev/app:1", "staging", http.StatusOK)
	if promoted.Decision.Outcome != api.Allow || promoted.Proof == nil || slices.ContainsFunc(promoted.Closure, func(d string) bool { return slices.Contains(manifests, d) }) {
		t.Errorf("promoted: %+v", promoted)
	}
	if types, staged := w.statements(ops, "staging/app", image.Digest); !slices.Equal(types, want) || slices.Equal(staged, manifests) {
		t.Errorf("listed after the promotion are %q", types)
	}
	w.cosign("staging/app@" + image.Digest.String())
	w.clean()
}

// cosign verifies, with the stock program, what the server says about a digest.
func (w *world) cosign(ref string) {
	w.Helper()
	program := testparts.Program(w.T, "cosign")
	root, err := w.trust.instance.TrustedRoot()
	if err != nil {
		w.Fatal(err)
	}
	file, home := filepath.Join(w.TempDir(), "trusted_root.json"), w.TempDir()
	if err := os.WriteFile(file, root, 0o600); err != nil {
		w.Fatal(err)
	}
	u, err := url.Parse(w.url)
	if err != nil {
		w.Fatal(err)
	}
	run := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(w.Context(), program, args...)
		cmd.Env = append(os.Environ(), "HOME="+home, "DOCKER_CONFIG="+home)
		return cmd.CombinedOutput()
	}
	if out, err := run("login", u.Host, "-u", w.admin.Name, "-p", w.admin.Secret); err != nil {
		w.Fatalf("cosign login: %v\n%s", err, out)
	}
	for _, typ := range []string{seal.TypeSummary, "spdxjson", "vuln"} {
		args := []string{
			"verify-attestation", "--trusted-root", file, "--type", typ, "--certificate-identity", w.url + "/server", "--certificate-oidc-issuer", w.url + "/oidc",
			"--allow-http-registry", u.Host + "/" + ref,
		}
		if out, err := run(args...); err != nil {
			w.Errorf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		args[6] = w.url + "/another"
		if out, err := run(args...); err == nil {
			w.Errorf("cosign takes the %s for one of %s: %s", typ, args[6], out)
		}
	}
}

// TestProofsWait: /health says since when decisions wait for their proofs.
func TestProofsWait(t *testing.T) {
	w := newWorld(t)
	h, err := w.Health(t.Context())
	if err != nil || h.Checks["trust"] != "ok" {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := json.Marshal(h); err != nil {
		t.Error(err)
	}
}
