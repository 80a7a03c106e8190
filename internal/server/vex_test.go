package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// believing is a gate that lets in what has no critical fault, and believes our
// key about those.
const believing = `
vex:
  - signedBy: {anchor: keys}
enter:
  - {rule: no-critical, says: no fault is critical, forbid: 'findings.filter(f, f.severity == "critical")'}
stay:
  - {rule: no-critical, says: no fault is critical, forbid: 'findings.filter(f, f.severity == "critical")'}
`

// keyed is a server whose anchor "keys" holds the public half of cosign.key in
// the folder that the function returned runs cosign in; other.key is another's.
// Of "attest" the arguments end with the predicate and the reference.
func keyed(t *testing.T, rules string) (*proving, func(args ...string)) {
	t.Helper()
	cosign, keys := testparts.Program(t, "cosign"), t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), cosign, args...)
		cmd.Dir = keys
		cmd.Env = []string{"HOME=" + keys, "COSIGN_PASSWORD=", "PATH=" + os.Getenv("PATH")}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("generate-key-pair")
	run("generate-key-pair", "--output-key-prefix", "other")
	s := newSigning(t, rules)
	s.stop()
	change := s.change
	s.change = func(o *Options) {
		change(o)
		o.Config.Feeds[0].Ecosystems = []string{"Debian", "PyPI"}
	}
	public, err := os.ReadFile(filepath.Join(keys, "cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("cosign.pub", public)
	s.start()
	attest := func(args ...string) {
		t.Helper()
		if args[0] != "attest" {
			run(args...)
			return
		}
		predicate := args[len(args)-2]
		if err := os.WriteFile(filepath.Join(keys, "predicate.json"), []byte(predicate), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{
			"attest", "--yes", "--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", "--registry-username", s.dev.Name, "--registry-password", s.dev.Secret,
			"--predicate", "predicate.json",
		}, append(args[1:len(args)-2], strings.TrimPrefix(s.transport.url, "http://")+"/"+args[len(args)-1])...)
		run(args...)
	}
	return s, attest
}

// openVEX is a document of one statement about x 1.0, or about what is given.
func openVEX(day int, status, rest string, products ...string) string {
	if len(products) == 0 {
		products = []string{"pkg:pypi/x@1.0"}
	}
	var list []string
	for _, p := range products {
		list = append(list, fmt.Sprintf(`{"@id":%q}`, p))
	}
	return fmt.Sprintf(`{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://acme.example/vex/1","author":"Acme","version":1,"timestamp":"2026-03-%02dT00:00:00Z",
		"statements":[{"vulnerability":{"name":"CVE-2026-7"},"products":[%s],"status":%q%s}]}`, day, strings.Join(list, ","), status, rest)
}

const unreached = `,"justification":"vulnerable_code_not_in_execute_path"`

// findingsOf returns what is wrong with an artifact.
func (w *world) findingsOf(who api.Enrolled, ref string) *api.Findings {
	w.Helper()
	res, body := w.request(who, http.MethodGet, "/api/v1/findings?ref="+ref, nil)
	w.want(http.StatusOK, res, body)
	return decode[api.Findings](w, body)
}

// outcome waits until nothing is under way and returns the decision about a
// reference.
func (s *proving) outcome(ref string) *api.Decision {
	s.Helper()
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	return s.why(ref).Decision
}

// wants fails the test unless the outcome about a reference is o.
func (s *proving) wants(o api.Outcome, ref, when string) *api.Decision {
	s.Helper()
	d := s.outcome(ref)
	if d == nil || d.Outcome != o {
		s.Fatalf("%s: %s is decided as %+v, want %s", when, ref, d, o)
	}
	return d
}

// TestCosignSaysThatItDoesNoHarm: a VEX statement attached with stock cosign, in
// either form, lets in what its fault kept out, for as long as nobody says
// otherwise and its signer is believed.
func TestCosignSaysThatItDoesNoHarm(t *testing.T) {
	s, run := keyed(t, believing)
	s.tell("CVE-2026-7", affected("PyPI", "x", "2.0"), affected("PyPI", "z", ""))
	s.load()
	for name, form := range map[string][]string{"bundle": nil, "tag": {"--new-bundle-format=false"}} {
		image := s.pushImage(s.dev, "signed/app", name, debianLayer(t, nil, []string{"x 1.0", name + " 1.0"}))
		ref := "signed/app:" + name
		at := "signed/app@" + image.Digest.String()
		say := func(key, document string) {
			t.Helper()
			run(append(append([]string{"attest", "--type", "openvex", "--key", key}, form...), document, at)...)
		}
		s.wants(api.Deny, ref, "before anybody said anything")

		say("other.key", openVEX(1, "not_affected", unreached))
		s.wants(api.Deny, ref, "said by another key")
		for what, product := range map[string]string{
			"another version": "pkg:pypi/x@1.1", "another package": "pkg:pypi/xx@1.0", "another type": "pkg:npm/x@1.0",
			"another image": "pkg:oci/app@sha256:" + strings.Repeat("1", 64),
		} {
			say("cosign.key", openVEX(1, "not_affected", unreached, product))
			s.wants(api.Deny, ref, "said of "+what)
		}
		if f := s.findingsOf(s.dev, ref); len(f.Findings) != 1 || len(f.Suppressed) != 0 || f.Findings[0].VEX != nil {
			t.Errorf("%s: findings are %+v", name, f)
		}

		say("cosign.key", openVEX(2, "not_affected", unreached))
		d := s.wants(api.Allow, ref, "said by our key")
		last := d.Reasons[len(d.Reasons)-1]
		if len(last.Assessed) != 1 || !strings.Contains(last.Says, "not_affected, vulnerable_code_not_in_execute_path") {
			t.Errorf("%s: allowed with %+v", name, last)
		}
		f := s.findingsOf(s.dev, ref)
		if len(f.Findings) != 0 || len(f.Suppressed) != 1 {
			t.Fatalf("%s: findings are %+v", name, f)
		}
		if v := f.Suppressed[0].VEX; v == nil || v.Status != "not_affected" || !strings.HasPrefix(v.By, "key ") || v.Document != last.Assessed[0].Document {
			t.Errorf("%s: it is put aside by %+v", name, v)
		}
		if status, body := s.pull(s.reader, "signed/app", name); status != http.StatusOK {
			t.Errorf("%s: pulling what does no harm: %d %s", name, status, body)
		}

		say("cosign.key", openVEX(3, "affected", `,"action_statement":"update"`))
		s.wants(api.Deny, ref, "a newer one says otherwise")
		if f := s.findingsOf(s.dev, ref); len(f.Findings) != 1 || f.Findings[0].VEX == nil || f.Findings[0].VEX.Status != "affected" {
			t.Errorf("%s: findings are %+v", name, f)
		}
		say("cosign.key", openVEX(2, "fixed", ""))
		s.wants(api.Deny, ref, "an older one comes late")
		say("cosign.key", openVEX(4, "not_affected", unreached))
		s.wants(api.Allow, ref, "a newer one yet")
	}
	s.wants(api.Allow, "signed/app:bundle", "both")
	s.withoutSigner("signed/app:bundle", "signed/app:tag")
	s.clean()
}

// withoutSigner ends and restores trust in our key.
func (s *proving) withoutSigner(refs ...string) {
	s.Helper()
	pemBytes, err := os.ReadFile(s.at("cosign.pub"))
	if err != nil {
		s.Fatal(err)
	}
	block, _ := pem.Decode(pemBytes)
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		s.Fatal(err)
	}
	revoked := s.revoke(s.admin, api.RevokeRequest{Kind: "key", Key: fmt.Sprintf("%x", sha256.Sum256(block.Bytes)), Reason: "it was lost"})
	for _, ref := range refs {
		s.idleOf(assess.JobEvidence, assess.JobJudge)
		if d := s.outcome(ref); d.Outcome == api.Allow {
			s.Errorf("%s is allowed by the word of a key that is revoked: %+v", ref, d)
		}
	}
	s.lift(s.admin, revoked.Revocation.ID)
	for _, ref := range refs {
		s.wants(api.Allow, ref, "its revocation was lifted")
	}
}

// checkVEX asks what a document would change.
func (w *world) checkVEX(who api.Enrolled, ref, document string, status int) *api.VEXCheck {
	w.Helper()
	raw, err := json.Marshal(api.VEXCheckRequest{Reference: ref, Document: []byte(document)})
	if err != nil {
		w.Fatal(err)
	}
	res, body := w.request(who, http.MethodPost, "/api/v1/vex/check", raw, "Content-Type", "application/json")
	w.want(status, res, body)
	return decode[api.VEXCheck](w, body)
}

// TestVEXCheck: what a document would change is what it changes, and asking
// changes nothing.
func TestVEXCheck(t *testing.T) {
	s, run := keyed(t, believing)
	s.tell("CVE-2026-7", affected("PyPI", "x", "2.0"))
	s.tell("CVE-2026-8", affected("PyPI", "y", "2.0"))
	s.load()
	image := s.pushImage(s.dev, "signed/app", "1", debianLayer(t, nil, []string{"x 1.0"}))
	before := s.wants(api.Deny, "signed/app:1", "before anybody said anything")

	for what, c := range map[string]struct{ document, why string }{
		"another version": {openVEX(1, "not_affected", unreached, "pkg:pypi/x@1.1"), "none of its products is pkg:pypi/x@1.0"},
		"any version":     {openVEX(1, "fixed", "", "pkg:pypi/x"), "what is fixed is so in a version"},
		"another fault":   {strings.Replace(openVEX(1, "not_affected", unreached), "2026-7", "2026-8", 1), "nothing here has that fault"},
	} {
		v := s.checkVEX(s.dev, "signed/app:1", c.document, http.StatusOK)
		if len(v.Findings) != 0 || len(v.Idle) != 1 || !strings.Contains(v.Idle[0].Why, c.why) || v.After.Outcome != api.Deny || v.As != "attached" {
			t.Errorf("%s: %+v", what, v)
		}
	}
	s.checkVEX(s.dev, "signed/app:1", `{"bomFormat":"x"}`, http.StatusBadRequest)
	s.checkVEX(s.dev, "signed/none:1", openVEX(1, "fixed", ""), http.StatusNotFound)

	document := openVEX(2, "not_affected", unreached)
	v := s.checkVEX(s.dev, "signed/app:1", document, http.StatusOK)
	if len(v.Findings) != 1 || !v.Findings[0].Suppressed || v.Findings[0].Before != nil || len(v.Idle) != 0 || v.Before.Outcome != api.Deny || v.After.Outcome != api.Allow {
		t.Errorf("it would change %+v", v)
	}
	if now := s.wants(api.Deny, "signed/app:1", "asked only"); !now.DecidedAt.Equal(before.DecidedAt) {
		t.Error("it was judged again by a document that nobody attached")
	}
	run("attest", "--type", "openvex", "--key", "cosign.key", document, "signed/app@"+image.Digest.String())
	d := s.wants(api.Allow, "signed/app:1", "attached")
	var told, was []string
	for _, r := range v.After.Reasons {
		told = append(told, fmt.Sprint(r.Rule, r.Outcome, len(r.Assessed)))
	}
	for _, r := range d.Reasons {
		was = append(was, fmt.Sprint(r.Rule, r.Outcome, len(r.Assessed)))
	}
	if !slices.Equal(told, was) {
		t.Errorf("it would have said %v, and says %v", told, was)
	}
	if v := s.checkVEX(s.dev, "signed/app:1", openVEX(1, "affected", ""), http.StatusOK); len(v.Findings) != 0 || len(v.Idle) != 1 || !strings.Contains(v.Idle[0].Why, "on 2026-03-02 counts before it") {
		t.Errorf("an older one would change %+v", v)
	}
	s.clean()
}

// TestVEXGoesWithItsAnchor: what an anchor proved counts no more once the anchor
// holds another key, and again once it holds the first.
func TestVEXGoesWithItsAnchor(t *testing.T) {
	s, run := keyed(t, believing)
	s.tell("CVE-2026-7", affected("PyPI", "x", "2.0"))
	s.load()
	image := s.pushImage(s.dev, "signed/app", "1", debianLayer(t, nil, []string{"x 1.0"}))
	run("attest", "--type", "openvex", "--key", "cosign.key", openVEX(1, "not_affected", unreached), "signed/app@"+image.Digest.String())
	s.wants(api.Allow, "signed/app:1", "said by our key")
	ours, err := os.ReadFile(s.at("cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	follow := func(key []byte) {
		t.Helper()
		s.write("cosign.pub", key)
		if err := s.anchors.follow(context.WithoutCancel(t.Context()), s.assess.Retrust); err != nil {
			t.Fatal(err)
		}
		s.idleOf(assess.JobGate, assess.JobEvidence, assess.JobJudge)
	}
	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	follow(publicPEM(t, another))
	s.wants(api.Deny, "signed/app:1", "the anchor holds another key")
	follow(ours)
	s.wants(api.Allow, "signed/app:1", "the anchor holds ours again")
	s.clean()
}

// TestVEXOfAnIndex: what is said of an index is said of none of its images.
func TestVEXOfAnIndex(t *testing.T) {
	s, run := keyed(t, believing)
	s.tell("CVE-2026-7", affected("PyPI", "x", "2.0"))
	s.load()
	image := s.pushImage(s.dev, "signed/app", "one", debianLayer(t, nil, []string{"x 1.0"}))
	index := s.index("all", oci.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: image.Size, Platform: &oci.Platform{OS: "linux", Architecture: "amd64"}})
	s.wants(api.Deny, "signed/app:all", "before anybody said anything")
	run("attest", "--type", "openvex", "--key", "cosign.key", openVEX(1, "not_affected", unreached), "signed/app@"+index.Digest.String())
	s.wants(api.Deny, "signed/app:one", "said of the index")
	s.wants(api.Deny, "signed/app:all", "said of the index")
	run("attest", "--type", "openvex", "--key", "cosign.key", openVEX(1, "not_affected", unreached), "signed/app@"+image.Digest.String())
	s.wants(api.Allow, "signed/app:one", "said of the image")
	s.wants(api.Allow, "signed/app:all", "said of the image")
	s.clean()
}
