package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/custody"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// exported asks for the custody file of something.
func (w *world) exported(who api.Enrolled, ref string, status int) []byte {
	w.Helper()
	body, err := json.Marshal(api.CustodyRequest{Ref: ref})
	if err != nil {
		w.Fatal(err)
	}
	res, answer := w.request(who, http.MethodPost, "/api/v1/custody/export", body, "Content-Type", "application/json")
	w.want(status, res, answer)
	return answer
}

// unproven lists what of a file is not verified, by nothing but the root.
func unproven(t *testing.T, raw, root []byte, d oci.Digest, anchors ...verify.Anchor) (*api.CustodyCheck, []string) {
	t.Helper()
	c, err := custody.Verify(t.Context(), raw, custody.VerifyOptions{Root: root, Digest: d, Anchors: anchors, Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range c.Parts {
		for _, i := range p.Items {
			if i.State != api.CustodyVerified {
				all = append(all, string(i.State)+" "+p.Part+": "+i.What+": "+i.Text)
			}
		}
	}
	return c, all
}

// TestCustody: an image is signed, denied, let in, promoted and revoked, and the
// whole story verifies by the file and the trusted root alone.
func TestCustody(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { testCustody(t, newWorld(t)) })
	t.Run("postgres", func(t *testing.T) {
		url := testparts.Postgres(t)
		testCustody(t, newWorld(t, func(o *Options) { o.Config.Database.Postgres = &config.Postgres{URL: url} }))
	})
}

func testCustody(t *testing.T, w *world) {
	w.advise("GO-TEST-1", "example.com/other", "99.0.0", low)
	dev, auditor := w.enrol("ann", "developer=dev/**"), w.enrol("eve", "auditor")
	image := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("dev/app", image.Digest, repo.Admitted)
	ours := verifytest.New(t, "ci.example.com")
	statement := []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":"` + image.Digest.Hex() + `"}}],"predicateType":"https://slsa.dev/provenance/v1",
		"predicate":{"buildDefinition":{"buildType":"https://ci.example.com/build","externalParameters":{},"resolvedDependencies":[{"uri":"git+https://git.example.com/app","digest":{"gitCommit":"c5dc2ae7d48bc9b2f0fbd5d5a9c5f5b2e7a8b4f0"}}]},
		"runDetails":{"builder":{"id":"https://ci.example.com/builder"}}}}`)
	bundle := ours.JSON(ours.Bundle(verifytest.Spec{Payload: statement, Identity: "https://ci.example.com/builder"}))
	w.bundled(dev, "dev/app", image, bundle)
	w.say(w.admin, "approve", "dev/app:1", `,"to":"staging","reason":"it is tested"`, http.StatusOK)
	w.say(w.admin, "stop", "dev/app:1", `,"reason":"it is slow"`, http.StatusOK)
	w.say(w.admin, "stop", "dev/app:1", `,"resume":true`, http.StatusOK)
	w.promote(w.admin, "dev/app:1", "staging", http.StatusOK)

	raw := w.exported(auditor, image.Digest.String(), http.StatusOK)
	root, err := w.trust.instance.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	check, rest := unproven(t, raw, root, image.Digest)
	if check.State != api.CustodyNotProvable || len(rest) == 0 || slices.ContainsFunc(rest, func(s string) bool { return !strings.Contains(s, "not-provable evidence: referrer") }) {
		t.Errorf("%s: %s", check.State, strings.Join(rest, "\n"))
	}
	check, rest = unproven(t, raw, root, image.Digest, verify.Anchor{Name: "ci", Kind: verify.KindSigstore, Roots: [][]byte{ours.TrustedRoot(nil)}})
	if check.State != api.CustodyVerified {
		t.Errorf("%s: %s", check.State, strings.Join(rest, "\n"))
	}
	states := map[string]api.CustodyState{}
	for _, p := range check.Parts {
		states[p.Part] = p.State
	}
	for _, part := range []string{"subject", "acquire", "analysis", "evidence", "decisions", "approvals", "promotions", "events", "epochs", "audit", "batches"} {
		if states[part] != api.CustodyVerified {
			t.Errorf("%s is %q", part, states[part])
		}
	}

	var f api.Custody
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.Repositories, []string{"dev/app", "staging/app"}) || len(f.Decisions) < 2 || len(f.Epochs) != 2 || f.By != "eve" {
		t.Errorf("it covers %v, has %d decisions, %d epochs, by %s", f.Repositories, len(f.Decisions), len(f.Epochs), f.By)
	}
	res, body := w.request(auditor, http.MethodGet, "/api/v1/custody?ref=staging/app:1", nil)
	w.want(http.StatusOK, res, body)
	if line := decode[api.CustodyTimeline](w, body); len(line.Steps) < len(f.Events) || line.Digest != f.Digest {
		t.Errorf("the timeline: %+v", line)
	}
	w.events("custody.exported")

	w.exported(dev, image.Digest.String(), http.StatusForbidden)
	w.exported(w.enrol("tom", "developer=other/**"), image.Digest.String(), http.StatusNotFound)
	one := w.enrol("pat", "operator=dev/**")
	raw = w.exported(one, "dev/app:1", http.StatusOK)
	if strings.Contains(string(raw), "staging") {
		t.Error("who may export one repository is told of another")
	}
	if _, rest = unproven(t, raw, root, image.Digest); slices.ContainsFunc(rest, func(s string) bool { return strings.HasPrefix(s, "failed") }) {
		t.Errorf("of one repository: %v", rest)
	}

	w.revoke(w.admin, api.RevokeRequest{Kind: "digest", Digest: image.Digest.String(), Reason: "it leaks"})
	raw = w.exported(auditor, image.Digest.String(), http.StatusOK)
	check, rest = unproven(t, raw, root, image.Digest, verify.Anchor{Name: "ci", Kind: verify.KindSigstore, Roots: [][]byte{ours.TrustedRoot(nil)}})
	if check.State != api.CustodyVerified || !slices.ContainsFunc(check.Steps, func(s api.CustodyStep) bool { return strings.HasPrefix(s.What, "revoked:") }) {
		t.Errorf("after a revocation %s: %s\n%+v", check.State, strings.Join(rest, "\n"), check.Steps)
	}
}

// TestCustodyOfWhatWasMended: an image is denied for a fault, let in once the
// advisory is withdrawn; another digest without the
// fault takes its tag. Each decision is in the file, in order, with its
// proof, and each file tells the story of its own digest.
func TestCustodyOfWhatWasMended(t *testing.T) {
	w := newWorld(t)
	const fault, module = "GO-TEST-1", "stdlib"
	for n := range 30 { // of few, one that is withdrawn is held back
		w.advised(fmt.Sprintf("GO-TEST-%d", n+2), "example.com/other", "1.0.0", low)
	}
	w.advise(fault, module, "99.0.0", critical)
	dev, auditor := w.enrol("ann", "developer"), w.enrol("eve", "auditor")
	bad := w.pushImage(dev, "catalog/app", "1", layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	w.settled("catalog/app", bad.Digest, repo.Denied)
	record := filepath.Join(w.feed, fault+".json")
	raw, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	withdrawn := strings.Replace(string(raw), `"modified":"2026-11-01`, `"withdrawn":"2026-11-02T00:00:00Z","modified":"2026-11-02`, 1)
	if err := os.WriteFile(record, []byte(withdrawn), 0o600); err != nil {
		t.Fatal(err)
	}
	w.load()
	w.settled("catalog/app", bad.Digest, repo.Admitted)
	fixed := w.pushImage(dev, "catalog/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("nothing that runs")}))
	w.settled("catalog/app", fixed.Digest, repo.Admitted)

	root, err := w.trust.instance.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	for d, want := range map[oci.Digest][]api.Outcome{bad.Digest: {api.Deny, api.Allow}, fixed.Digest: {api.Allow}} {
		raw := w.exported(auditor, d.String(), http.StatusOK)
		c, rest := unproven(t, raw, root, d)
		if c.State != api.CustodyVerified {
			t.Errorf("%s: %s", c.State, strings.Join(rest, "\n"))
		}
		f, err := custody.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		var got []api.Outcome
		for _, one := range f.Decisions {
			var said api.Decision
			if err := json.Unmarshal(one.Payload, &said); err != nil {
				t.Fatal(err)
			}
			if said.Outcome != api.CannotTell { // before it was analysed
				got = append(got, said.Outcome)
			}
			proven := slices.ContainsFunc(c.Parts, func(p api.CustodyChecked) bool {
				return p.Part == "decisions" && slices.ContainsFunc(p.Items, func(i api.CustodyItem) bool {
					return i.What == fmt.Sprintf("decision %d", one.Decision) && i.State == api.CustodyVerified && strings.HasPrefix(i.Text, string(said.Outcome))
				})
			})
			if !proven || one.Batch == 0 {
				t.Errorf("decision %d, %s, has no proof", one.Decision, said.Outcome)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("of %s was decided %v, want %v", d, got, want)
		}
		var told []string
		for _, s := range c.Steps {
			if strings.HasPrefix(s.What, "decided: ") && s.What != "decided: "+string(api.CannotTell) {
				told = append(told, strings.TrimPrefix(s.What, "decided: "))
			}
		}
		if fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("of %s is told %v, want %v", d, told, want)
		}
	}
}

// bundled attaches a Sigstore bundle.
func (w *world) bundled(who api.Enrolled, repository string, about oci.Descriptor, bundle []byte) {
	w.Helper()
	const typ = "application/vnd.dev.sigstore.bundle.v0.3+json"
	layer, empty := w.pushBlob(who, repository, bundle), w.pushBlob(who, repository, []byte("{}"))
	layer.MediaType, empty.MediaType = typ, oci.MediaTypeEmpty
	w.pushManifest(who, repository, "", map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "artifactType": typ, "config": empty, "layers": []oci.Descriptor{layer}, "subject": about,
	})
}
