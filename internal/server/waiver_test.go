package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// waivable is a gate that lets nothing critical in, or stay for more than an
// hour, but for what two of sam, sue and sid waive.
const waivable = `apiVersion: bonded.dev/v1
kind: Gate
name: %s
describe: Nothing critical.
accepts: [image, index]
waive: {people: 2, by: [sam, sue, sid], atMost: 72h}
enter:
  - rule: no-critical
    says: nothing is critical
    forbid: findings.filter(f, f.severity == "critical")
  - rule: not-tiny
    says: it has a layer
    require: size(layers) > 0
    waive: {never: true}
stay:
  - rule: no-critical
    says: nothing is critical
    forbid: findings.filter(f, f.severity == "critical")
    then: deadline
    within: {any: 1h}
`

// waivers is a world with such gates, whose clock can be moved.
type waivers struct {
	*world
	ahead *atomic.Int64
}

func newWaivers(t *testing.T) *waivers {
	dir, ahead := t.TempDir(), new(atomic.Int64)
	w := newWorld(t, func(o *Options) {
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		o.Config.Gates = map[string]config.Path{}
		for _, name := range []string{"dev", "staging"} {
			path := filepath.Join(dir, name+".yaml")
			if err := os.WriteFile(path, fmt.Appendf(nil, waivable, name), 0o600); err != nil {
				t.Fatal(err)
			}
			o.Config.Gates[name] = config.Path(path)
		}
	})
	w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
	return &waivers{w, ahead}
}

func (w *waivers) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// to moves the clock.
func (w *waivers) to(at time.Time) { w.ahead.Store(int64(time.Until(at))) }

func (w *waivers) post(who api.Enrolled, path string, body any, status int) *api.WaiverDone {
	w.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		w.Fatal(err)
	}
	res, answer := w.request(who, http.MethodPost, "/api/v1/waivers"+path, raw, "Content-Type", "application/json")
	w.want(status, res, answer)
	if status >= http.StatusBadRequest {
		return nil
	}
	return decode[api.WaiverDone](w.world, answer)
}

// granted asks for a waiver as ann and has it granted by sam and sue.
func (w *waivers) granted(ann, sam, sue api.Enrolled, req api.WaiverRequest) string {
	w.Helper()
	id := w.post(ann, "", req, http.StatusCreated).Waiver.ID
	w.post(sam, "/"+id+"/grant", api.WaiverAct{}, http.StatusOK)
	if got := w.post(sue, "/"+id+"/grant", api.WaiverAct{}, http.StatusOK).Waiver; got.State != "granted" {
		w.Fatalf("granted by two: %+v", got)
	}
	return id
}

// image pushes one with a critical fault.
func (w *waivers) image(who api.Enrolled, tag string) oci.Descriptor {
	w.Helper()
	return w.pushImage(who, "dev/app", tag, layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T), "tag": []byte(tag)}))
}

// TestWaived: what two people waive is let in, on the way on too, and is out of
// reach to the second when that ends, whether anything has run or not.
func TestWaived(t *testing.T) {
	w := newWaivers(t)
	ann, bob := w.enrol("ann", "developer"), w.enrol("bob", "reader=dev/**", "reader=staging/**")
	sam, sue, low := w.enrol("sam", "security"), w.enrol("sue", "security=dev/**", "security=staging/**"), w.enrol("low", "security=dev/other/**")
	image := w.image(ann, "1")
	w.settled("dev/app", image.Digest, repo.Denied)
	until := w.now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	req := api.WaiverRequest{Repositories: "dev/**", Rule: "no-critical", Advisory: "GO-TEST-1", Reason: "not reached", Until: until}

	preview := req
	preview.Preview = true
	seen := w.post(ann, "", preview, http.StatusOK)
	if len(seen.Flips) != 1 || seen.Flips[0].Before != api.Deny || seen.Flips[0].After != api.Allow || seen.Waiver.ID != "" {
		t.Fatalf("the preview: %+v", seen)
	}
	id := w.post(ann, "", req, http.StatusCreated).Waiver.ID
	w.post(ann, "/"+id+"/grant", api.WaiverAct{}, http.StatusForbidden)
	w.post(low, "/"+id+"/grant", api.WaiverAct{}, http.StatusNotFound)
	if got := w.post(sam, "/"+id+"/grant", api.WaiverAct{}, http.StatusOK); got.Waiver.State != "asked" {
		t.Errorf("granted by one of two: %+v", got.Waiver)
	}
	w.post(sam, "/"+id+"/grant", api.WaiverAct{}, http.StatusConflict)
	if len(w.post(sue, "/"+id+"/grant", api.WaiverAct{Preview: true}, http.StatusOK).Flips) != 1 {
		t.Error("the yes that is missing changes nothing, as the preview tells")
	}
	w.idleOf(jobWaiver, "judge")
	w.settled("dev/app", image.Digest, repo.Denied)
	w.post(sue, "/"+id+"/grant", api.WaiverAct{}, http.StatusOK)
	w.idleOf(jobWaiver, "judge")
	at := w.settled("dev/app", image.Digest, repo.Admitted)
	if !at.StayUntil.Equal(until) {
		t.Errorf("it stays until %s, want %s", at.StayUntil, until)
	}
	_, body := w.request(ann, http.MethodGet, "/api/v1/why?ref=dev/app:1", nil)
	if why := decode[api.Why](w.world, body); why.Decision.Clause != "stay" || !strings.Contains(string(body), "by sam and sue") {
		t.Errorf("why: %s", body)
	}

	promoted := req
	promoted.Repositories = "staging/app"
	other := w.granted(ann, sam, sue, promoted)
	w.promote(ann, "dev/app:1", "staging", http.StatusOK)
	w.idleOf(jobWaiver, "judge")
	if at := w.settled("staging/app", image.Digest, repo.Admitted); !at.StayUntil.Equal(until) {
		t.Errorf("what was promoted stays until %s, want %s", at.StayUntil, until)
	}
	w.to(until.Add(-time.Minute))
	res, body := w.request(bob, http.MethodGet, "/token?service=bonded&scope=repository:dev/app:pull", nil)
	w.want(http.StatusOK, res, body)
	bearer := decode[struct{ Token string }](w.world, body).Token
	if status, text := w.pull(bob, "dev/app", "1"); status != http.StatusOK {
		t.Fatalf("a minute before its end: %d %.200s", status, text)
	}
	w.to(until)
	w.gone(bob, ann, bearer, image)
	w.to(until.Add(-2 * time.Minute)) // set back, before anybody has recorded the end
	w.gone(bob, ann, bearer, image)
	w.to(until.Add(time.Second))
	if err := w.recheck(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.idleOf("judge")
	w.settled("dev/app", image.Digest, repo.Withdrawn)
	w.to(until.Add(-time.Hour))
	again := w.image(ann, "2")
	w.settled("dev/app", again.Digest, repo.Denied)
	for _, n := range []string{id, other} {
		res, body = w.request(ann, http.MethodGet, "/api/v1/waivers/"+n, nil)
		w.want(http.StatusOK, res, body)
		if got := decode[api.Waiver](w.world, body); got.State != "expired" || got.Ended == nil {
			t.Errorf("after its end: %s", body)
		}
	}
	w.to(until.Add(2 * time.Second))
	w.logs()
	for kind, n := range map[string]int{"waiver.asked": 2, "waiver.granted": 4, "waiver.expired": 2} {
		if got := w.events(kind); len(got) != n {
			t.Errorf("%d events %s, want %d", len(got), kind, n)
		}
	}
	w.clean()
}

// gone fails the test where something can still be read that is over.
func (w *waivers) gone(bob, ann api.Enrolled, bearer string, image oci.Descriptor) {
	w.Helper()
	for _, in := range []string{"dev/app", "staging/app"} {
		for _, name := range []string{"1", image.Digest.String()} {
			if status, text := w.pull(bob, in, name); status != http.StatusForbidden {
				w.Errorf("after its end: %s %s: %d %.200s", in, name, status, text)
			}
		}
		if _, body := w.request(bob, http.MethodGet, "/v2/"+in+"/tags/list", nil); strings.Contains(string(body), `"1"`) {
			w.Errorf("after its end %s lists %s", in, body)
		}
	}
	res, body := w.request(api.Enrolled{}, http.MethodGet, "/v2/dev/app/manifests/1", nil, "Authorization", "Bearer "+bearer)
	if res.StatusCode != http.StatusForbidden {
		w.Errorf("by a token from before: %s %s", res.Status, body)
	}
	_, raw := w.request(w.admin, http.MethodGet, "/v2/dev/app/manifests/"+image.Digest.String(), nil)
	m, err := oci.ParseManifest(raw, image.MediaType, oci.SHA256)
	if err != nil {
		w.Fatal(err)
	}
	for _, d := range m.References() {
		if res, body := w.request(bob, http.MethodGet, "/v2/dev/app/blobs/"+d.Digest.String(), nil); res.StatusCode != http.StatusForbidden {
			w.Errorf("its blob: %s %.200s", res.Status, body)
		}
	}
	_, body = w.request(ann, http.MethodGet, "/api/v1/why?ref=dev/app@"+image.Digest.String(), nil)
	if strings.Contains(string(body), `"outcome":"allow","reasons"`) {
		w.Errorf("why says: %s", body)
	}
	res, body = w.request(ann, http.MethodPost, "/api/v1/promote", []byte(`{"reference":"dev/app:1","to":"staging"}`), "Content-Type", "application/json")
	if res.StatusCode == http.StatusOK && decode[api.Promoted](w.world, body).Decision.Outcome == api.Allow {
		w.Errorf("it is promoted after its end: %s", body)
	}
}

// TestWaiverFollows: a waiver about a digest holds for later ones as far as what
// was looked at is unchanged, says where it does not, and is told as OpenVEX.
func TestWaiverFollows(t *testing.T) {
	w := newWaivers(t)
	ann, sam, sue := w.enrol("ann", "developer"), w.enrol("sam", "security"), w.enrol("sue", "security")
	first, second := w.image(ann, "1"), w.image(ann, "2")
	w.settled("dev/app", first.Digest, repo.Denied)
	w.settled("dev/app", second.Digest, repo.Denied)
	_, body := w.request(ann, http.MethodGet, "/api/v1/findings?ref=dev/app:1", nil)
	purl := decode[api.Findings](w.world, body).Findings[0].PURL
	until := w.now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	req := api.WaiverRequest{
		Repositories: "dev/**", Digest: first.Digest.String(), Rule: "no-critical", Advisory: "GO-TEST-1", Package: purl, Reason: "not reached", Until: until,
		Justification: "vulnerable_code_not_in_execute_path", Follow: true,
	}
	id := w.granted(ann, sam, sue, req)
	w.idleOf(jobWaiver, "judge")
	w.settled("dev/app", first.Digest, repo.Admitted)
	w.settled("dev/app", second.Digest, repo.Denied)
	_, body = w.request(ann, http.MethodGet, "/api/v1/waivers/"+id, nil)
	if got := decode[api.Waiver](w.world, body).Follows; len(got) != 1 || got[0].Digest != second.Digest.String() || !strings.Contains(got[0].Why, "there is a fix: 99.0.0") {
		t.Errorf("it follows to %+v", got)
	}

	_, doc := w.request(sue, http.MethodGet, "/api/v1/waivers/export?repositories=dev/**", nil)
	_, same := w.request(sam, http.MethodGet, "/api/v1/waivers/export", nil)
	if string(doc) != string(same) {
		t.Errorf("the same state is told in two ways:\n%s\n%s", doc, same)
	}
	for _, want := range []string{`"@context": "https://openvex.dev/ns/v0.2.0"`, `"status": "not_affected"`, `"justification": "vulnerable_code_not_in_execute_path"`, `"name": "GO-TEST-1"`, first.Digest.Hex(), `"@id": "` + purl + `"`} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("the document has no %s:\n%s", want, doc)
		}
	}
	if strings.Contains(string(doc), second.Digest.Hex()) {
		t.Errorf("the document tells of what is not waived:\n%s", doc)
	}
	if _, doc := w.request(sam, http.MethodGet, "/api/v1/waivers/export?repositories=staging/**", nil); strings.Contains(string(doc), "GO-TEST-1") {
		t.Errorf("of staging: %s", doc)
	}

	w.post(ann, "/"+id+"/end", api.WaiverAct{Reason: "there is a fix"}, http.StatusOK)
	w.idleOf(jobWaiver, "judge")
	if at := w.settled("dev/app", first.Digest, repo.Admitted); at.StayUntil.IsZero() || at.StayUntil.Equal(until) {
		t.Errorf("after the end it stays until %s", at.StayUntil)
	}
	w.clean()
}
