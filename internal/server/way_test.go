package server

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestWay is the way of an image from a push to a refusal, and of its fixed
// twin to production.
func TestWay(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
	dev, ops := w.enrol("ann", "developer=dev/**", "developer=staging/**"), w.enrol("ops", "reader")
	bad := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	good := w.pushImage(dev, "dev/app", "2", layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("dev/app", bad.Digest, repo.Admitted) // dev only looks that all can be read
	w.settled("dev/app", good.Digest, repo.Admitted)
	if status, body := w.pull(ops, "dev/app", "1"); status != http.StatusOK {
		t.Fatalf("pulling what dev allowed: %d %s", status, body)
	}
	promoted := w.promote(dev, "dev/app:1", "staging", http.StatusOK)
	if promoted.Decision.Outcome != api.Deny {
		t.Fatalf("staging took a critical fault with a fix: %+v", promoted.Decision)
	}
	if status, _ := w.pull(ops, "staging/app", "1"); status != http.StatusNotFound {
		t.Errorf("a refused promotion left something behind: %d", status)
	}
	promoted = w.promote(dev, "dev/app:2", "staging", http.StatusOK)
	if promoted.Decision.Outcome != api.Allow || promoted.Digest != good.Digest.String() {
		t.Fatalf("staging refused a clean image: %+v", promoted.Decision)
	}
	if status, body := w.pull(ops, "staging/app", "2"); status != http.StatusOK {
		t.Errorf("pulling what was promoted: %d %s", status, body)
	}
	w.promote(dev, "staging/app:2", "production", http.StatusForbidden)  // ann has no such right
	w.promote(w.admin, "dev/app:2", "production", http.StatusBadRequest) // there is no such way
	if promoted = w.promote(w.admin, "staging/app:2", "production", http.StatusOK); promoted.Decision.Outcome != api.Allow {
		t.Errorf("production refused a clean image: %+v", promoted.Decision)
	}
	w.clean()
}

func (w *world) promote(who api.Enrolled, ref, to string, status int) *api.Promoted {
	w.Helper()
	res, body := w.request(who, http.MethodPost, "/api/v1/promote", fmt.Appendf(nil, `{"reference":%q,"to":%q}`, ref, to), "Content-Type", "application/json")
	w.want(status, res, body)
	return decode[api.Promoted](w, body)
}

// TestDenied: what its zone denies is refused with the reason, by tag and by
// digest; who brought it still reads the manifest, and no blob.
func TestDenied(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "99.0.0", low)
	dev, ops := w.enrol("ann", "developer"), w.enrol("ops", "reader")
	layer := layerOf(t, map[string][]byte{"x": []byte("y")})
	desc := w.pushBlob(dev, "catalog/app", layer)
	config := w.pushBlob(dev, "catalog/app", []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["`+oci.FromBytes([]byte("lie")).String()+`"]}}`))
	config.MediaType = oci.MediaTypeConfig
	image := w.pushManifest(dev, "catalog/app", "1", map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "config": config, "layers": []oci.Descriptor{desc}})
	w.settled("catalog/app", image.Digest, repo.Denied)
	for _, name := range []string{"1", image.Digest.String()} {
		if status, body := w.pull(ops, "catalog/app", name); status != http.StatusForbidden || !strings.Contains(body, "layers-match-config") {
			t.Errorf("pulling %s: %d %s", name, status, body)
		}
	}
	res, body := w.request(dev, http.MethodGet, "/v2/catalog/app/manifests/1", nil)
	w.want(http.StatusOK, res, body)
	res, body = w.request(dev, http.MethodGet, "/api/v1/why?ref=catalog/app:1", nil)
	w.want(http.StatusOK, res, body)
	if why := decode[api.Why](w, body); why.Decision == nil || why.Decision.Outcome != api.Deny {
		t.Errorf("why it is denied, where nothing passes: %s", body)
	}
	w.expireLeases()
	res, body = w.request(dev, http.MethodGet, "/v2/catalog/app/blobs/"+desc.Digest.String(), nil)
	w.want(http.StatusForbidden, res, body)
	res, body = w.request(w.admin, http.MethodGet, "/v2/catalog/app/blobs/"+desc.Digest.String(), nil)
	w.want(http.StatusOK, res, body)
	w.clean()
}

// TestNoWindow: 500 pulls at once of a digest nobody has seen give no 200
// before the verdict, and none after a denial.
func TestNoWindow(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
	dev, ops := w.enrol("ann", "developer"), w.enrol("ops", "reader")
	layer := layerOf(t, map[string][]byte{"usr/bin/app": program(t)})
	image := w.pushImage(dev, "catalog/app", "1", layer)
	var wg sync.WaitGroup
	got := make([]int, 500)
	limit := make(chan struct{}, 50)
	for i := range got {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			name := "1"
			if i%2 == 0 {
				name = image.Digest.String()
			}
			got[i], _ = w.pull(ops, "catalog/app", name)
		})
	}
	w.settled("catalog/app", image.Digest, repo.Denied)
	wg.Wait()
	for _, status := range got {
		if status == http.StatusOK {
			t.Fatal("a digest was pulled that no decision allows")
		}
	}
}

// TestRejudgeTakesNothingAway: pulls of what is allowed never fail while it is
// judged again and again, under new advisories too.
func TestRejudgeTakesNothingAway(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	dev, ops := w.enrol("ann", "developer"), w.enrol("ops", "reader")
	image := w.pushImage(dev, "catalog/app", "1", layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	w.settled("catalog/app", image.Digest, repo.Admitted)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if status, body := w.pull(ops, "catalog/app", "1"); status != http.StatusOK {
				t.Errorf("pulling while it is judged again: %d %s", status, body)
				return
			}
		}
	})
	for range 20 {
		if err := w.assess.Judge(t.Context(), oci.MustRepository("catalog/app"), image.Digest); err != nil {
			t.Error(err)
		}
	}
	// A new critical fault with a fix starts a deadline, and is no outage.
	w.advise("GO-TEST-2", "stdlib", "99.0.0", critical)
	for p := (*repo.Placement)(nil); p == nil || p.StayUntil.IsZero(); {
		p = w.settled("catalog/app", image.Digest, repo.Admitted)
	}
	close(done)
	wg.Wait()
	w.clean()
}

// TestIndex: an index is let in with its images, stands on their decisions, and
// is promoted with them.
func TestIndex(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
	dev, ops := w.enrol("ann", "developer"), w.enrol("ops", "reader")
	one := w.pushImage(dev, "dev/app", "", layerOf(t, map[string][]byte{"a": []byte("one")}))
	two := w.pushImage(dev, "dev/app", "", layerOf(t, map[string][]byte{"a": program(t)}))
	one.Platform, two.Platform = &oci.Platform{OS: "linux", Architecture: "amd64"}, &oci.Platform{OS: "linux", Architecture: "arm64"}
	absent := oci.Descriptor{MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes([]byte("absent")), Size: 6, Platform: &oci.Platform{OS: "linux", Architecture: "s390x"}}
	index := func(tag string, children ...oci.Descriptor) oci.Descriptor {
		return w.pushManifest(dev, "dev/app", tag, map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeIndex, "manifests": children})
	}
	both, sparse := index("both", one, two), index("sparse", one, absent)
	w.settled("dev/app", both.Digest, repo.Admitted)
	w.settled("dev/app", sparse.Digest, repo.Admitted)
	if p := w.promote(w.admin, "dev/app:both", "staging", http.StatusOK); p.Decision.Outcome != api.Deny {
		t.Errorf("an index with a bad image was let in: %+v", p.Decision)
	}
	if p := w.promote(w.admin, "dev/app:sparse", "staging", http.StatusOK); p.Decision.Outcome != api.Allow || len(p.Closure) != 2 {
		t.Errorf("a sparse index: %+v, closure %v", p.Decision, p.Closure)
	}
	if status, body := w.pull(ops, "staging/app", one.Digest.String()); status != http.StatusOK {
		t.Errorf("pulling a child of what was promoted: %d %s", status, body)
	}
	if status, _ := w.pull(ops, "staging/app", two.Digest.String()); status != http.StatusNotFound {
		t.Errorf("the other child came along: %d", status)
	}
	w.clean()
}

// TestEvidence is attached to what is held, has it judged again, and goes
// along with a promotion.
func TestEvidence(t *testing.T) {
	w := newWorld(t)
	dev, ops := w.enrol("ann", "developer"), w.enrol("ops", "reader")
	image := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"a": []byte("one")}))
	w.settled("dev/app", image.Digest, repo.Held) // no advisories yet
	empty := w.pushBlob(dev, "dev/app", []byte("{}"))
	empty.MediaType = oci.MediaTypeEmpty
	note := w.pushBlob(dev, "dev/app", []byte("all is well"))
	note.MediaType = "text/plain"
	evidence := w.pushManifest(dev, "dev/app", "", map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "artifactType": "application/vnd.test.note", "config": empty, "layers": []oci.Descriptor{note}, "subject": image,
	})
	if status, _ := w.pull(ops, "dev/app", evidence.Digest.String()); status == http.StatusOK {
		t.Error("evidence about what is held can be seen by all")
	}
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	w.settled("dev/app", image.Digest, repo.Admitted)
	if status, body := w.pull(ops, "dev/app", evidence.Digest.String()); status != http.StatusOK {
		t.Errorf("evidence about what is admitted: %d %s", status, body)
	}
	p := w.promote(w.admin, "dev/app:1", "staging", http.StatusOK)
	if len(p.Closure) != 2 {
		t.Errorf("closure %v", p.Closure)
	}
	res, body := w.request(ops, http.MethodGet, "/v2/staging/app/referrers/"+image.Digest.String(), nil)
	w.want(http.StatusOK, res, body)
	if !strings.Contains(string(body), evidence.Digest.String()) {
		t.Errorf("referrers of what was promoted: %s", body)
	}
	// What can run is no evidence, whatever it says.
	layer := w.pushBlob(dev, "dev/app", layerOf(t, map[string][]byte{"sh": []byte("#!")}))
	config := w.pushBlob(dev, "dev/app", []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["`+layer.Digest.String()+`"]}}`))
	config.MediaType = "application/vnd.test.config"
	disguised := w.pushManifest(dev, "dev/app", "", map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "config": config, "layers": []oci.Descriptor{layer}, "subject": image,
	})
	if at := w.settled("dev/app", disguised.Digest, repo.Denied, repo.Admitted, repo.Held); at.State != repo.Denied {
		t.Errorf("an image in disguise is %s", at.State)
	}
	w.clean()
}

// TestRestart: an upload goes on after the server was restarted.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	content := layerOf(t, map[string][]byte{"a": program(t)})
	res, body := w.request(w.admin, http.MethodPost, "/v2/dev/app/blobs/uploads/", nil)
	w.want(http.StatusAccepted, res, body)
	half := len(content) / 2
	path := res.Request.URL.ResolveReference(mustURL(t, res.Header.Get("Location"))).RequestURI()
	res, body = w.request(w.admin, http.MethodPatch, path, content[:half], "Content-Type", "application/octet-stream")
	w.want(http.StatusAccepted, res, body)
	path = res.Request.URL.ResolveReference(mustURL(t, res.Header.Get("Location"))).RequestURI()
	w.stop()
	w.start()
	res, body = w.request(w.admin, http.MethodGet, path, nil)
	w.want(http.StatusNoContent, res, body)
	if got, want := res.Header.Get("Range"), fmt.Sprintf("0-%d", half-1); got != want {
		t.Errorf("range %s, want %s", got, want)
	}
	d := oci.FromBytes(content)
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	res, body = w.request(w.admin, http.MethodPut, path+sep+"digest="+d.String(), content[half:], "Content-Type", "application/octet-stream")
	w.want(http.StatusCreated, res, body)
	image := w.pushImage(w.admin, "dev/app", "1", content)
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	w.settled("dev/app", image.Digest, repo.Admitted)
	w.clean()
}
