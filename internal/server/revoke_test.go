package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// revoke ends trust in something, as somebody who may.
func (w *world) revoke(who api.Enrolled, req api.RevokeRequest) *api.Revoked {
	w.Helper()
	req.Reason = "stolen on Friday"
	raw, err := json.Marshal(req)
	if err != nil {
		w.Fatal(err)
	}
	res, body := w.request(who, http.MethodPost, "/api/v1/revocations", raw, "Content-Type", "application/json")
	w.want(http.StatusOK, res, body)
	return decode[api.Revoked](w, body)
}

func (w *world) lift(who api.Enrolled, id int64) {
	w.Helper()
	res, body := w.request(who, http.MethodPost, fmt.Sprintf("/api/v1/revocations/%d/lift", id), []byte(`{"reason":"found again"}`), "Content-Type", "application/json")
	w.want(http.StatusOK, res, body)
}

// TestRevokedOnEveryPath: from the answer to a revocation on nobody gets what was
// revoked, by whatever name, method, header, right or token; and everyone who may
// know is told why.
func TestRevokedOnEveryPath(t *testing.T) {
	eachWorld(t, func(w *world) {
		const r, next = "dev/app", "staging/app"
		w.advise("GO-TEST-1", "stdlib", "99.0.0", low)
		ann, bob := w.enrol("ann", "developer"), w.enrol("bob", "reader")
		sec, ops := w.enrol("sec", "security"), w.enrol("ops", "operator")
		layer := layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)})
		image := w.pushImage(ann, r, "1", layer)
		image.Platform = &oci.Platform{OS: "linux", Architecture: "amd64"}
		w.settled(r, image.Digest, repo.Admitted)
		index := w.pushManifest(ann, r, "all", indexOf(image))
		w.settled(r, index.Digest, repo.Admitted)
		w.about(ann, r, image, "scanned")
		w.promote(ann, r+":1", "staging", http.StatusOK)
		w.tagged(next, "1", image.Digest)
		_, raw := w.request(bob, http.MethodGet, "/v2/"+r+"/manifests/1", nil)
		res, body := w.request(bob, http.MethodGet, "/token?service=bonded&scope=repository:"+r+":pull", nil)
		w.want(http.StatusOK, res, body)
		bearer := decode[struct{ Token string }](w, body).Token
		for _, name := range []string{"1", "all", image.Digest.String()} {
			if status, text := w.pull(bob, r, name); status != http.StatusOK {
				w.Fatalf("before: %s: %d %s", name, status, text)
			}
		}

		req := api.RevokeRequest{Kind: "digest", Digest: image.Digest.String()}
		preview := req
		preview.Preview = true
		if got := w.revoke(sec, preview); len(got.Hits) != 3 || !got.Preview {
			w.Errorf("the preview: %+v", got)
		}
		if status, _ := w.pull(bob, r, "1"); status != http.StatusOK {
			w.Errorf("a preview took it away: %d", status)
		}
		done := w.revoke(sec, req)
		if len(done.Hits) != 3 {
			w.Errorf("hits: %+v", done.Hits)
		}

		blob := "/blobs/" + oci.FromBytes(layer).String()
		for _, who := range []api.Enrolled{ann, bob, sec, ops, w.admin} {
			for _, in := range []string{r, next} {
				for _, path := range []string{"/manifests/1", "/manifests/all", "/manifests/" + image.Digest.String(), "/manifests/" + index.Digest.String(), blob} {
					if in == next && (path == "/manifests/all" || strings.Contains(path, index.Digest.String())) {
						continue
					}
					etag := `"` + image.Digest.String() + `"`
					for _, header := range [][]string{nil, {"If-None-Match", "*"}, {"If-None-Match", etag}, {"Range", "bytes=0-9"}} {
						for _, method := range []string{http.MethodGet, http.MethodHead} {
							res, body := w.request(who, method, "/v2/"+in+path, nil, header...)
							if res.StatusCode != http.StatusForbidden {
								w.Errorf("%s %s %s%s %v: %s", who.Name, method, in, path, header, res.Status)
							}
							if method == http.MethodGet && !strings.Contains(string(body), "stolen on Friday") {
								w.Errorf("%s %s%s does not say why: %s", who.Name, in, path, body)
							}
						}
					}
				}
			}
			for path, status := range map[string]int{
				"/api/v1/findings?ref=" + r + ":1": http.StatusNotFound, "/api/v1/inventory?ref=" + r + ":1": http.StatusNotFound,
				"/api/v1/sbom?ref=" + r + "@" + image.Digest.String(): http.StatusNotFound,
			} {
				res, body := w.request(who, http.MethodGet, path, nil)
				if res.StatusCode != status || !strings.Contains(string(body), "stolen on Friday") {
					w.Errorf("%s %s: %s %s", who.Name, path, res.Status, body)
				}
			}
			_, body := w.request(who, http.MethodGet, "/api/v1/why?ref="+r+":1", nil)
			if why := decode[api.Why](w, body); why.State != "revoked" || why.Decision == nil || why.Decision.Outcome != api.Deny || why.Decision.Reasons[0].Rule != "revoked" {
				w.Errorf("%s is told: %s", who.Name, body)
			}
			res, body := w.request(who, http.MethodGet, "/v2/"+r+"/tags/list", nil)
			if strings.Contains(string(body), `"1"`) {
				w.Errorf("%s sees tags: %s %s", who.Name, res.Status, body)
			}
			res, body = w.request(who, http.MethodGet, "/v2/"+r+"/referrers/"+image.Digest.String(), nil)
			if strings.Contains(string(body), "vnd.test.note") {
				w.Errorf("%s sees referrers: %s %s", who.Name, res.Status, body)
			}
		}

		res, body = w.request(api.Enrolled{}, http.MethodGet, "/v2/"+r+"/manifests/1", nil, "Authorization", "Bearer "+bearer)
		w.want(http.StatusForbidden, res, body)
		res, body = w.request(ann, http.MethodPost, "/v2/dev/other/blobs/uploads/?mount="+oci.FromBytes(layer).String()+"&from="+r, nil)
		w.want(http.StatusAccepted, res, body) // that is: upload it yourself
		w.promote(ann, r+":1", "staging", http.StatusConflict)
		w.promote(ops, next+":1", "production", http.StatusConflict)
		w.pushBlob(ann, r, layer)
		res, body = w.request(ann, http.MethodPut, "/v2/"+r+"/manifests/2", raw, "Content-Type", image.MediaType)
		w.want(http.StatusForbidden, res, body)
		if !strings.Contains(string(body), "stolen on Friday") {
			w.Errorf("the push is not told why: %s", body)
		}
		_, res, body = w.putManifest(ann, r, "around", indexOf(image, index))
		w.want(http.StatusForbidden, res, body)

		w.idle() // no job that was on its way brings it back
		w.settled(r, image.Digest, repo.Revoked)
		w.settled(next, image.Digest, repo.Revoked)
		w.clean()
		res, body = w.request(bob, http.MethodPost, fmt.Sprintf("/api/v1/revocations/%d/lift", done.Revocation.ID), []byte(`{"reason":"please"}`), "Content-Type", "application/json")
		w.want(http.StatusForbidden, res, body)
		w.lift(sec, done.Revocation.ID)
		w.settled(r, image.Digest, repo.Admitted)
		w.settled(next, image.Digest, repo.Admitted)
		w.settled(r, index.Digest, repo.Admitted)
		for _, name := range []string{"1", "all", image.Digest.String()} {
			if status, text := w.pull(bob, r, name); status != http.StatusOK {
				w.Errorf("after: %s: %d %s", name, status, text)
			}
		}
		w.clean()
		if made, lifted := w.events("revocation.made"), w.events("revocation.lifted"); len(made) != 1 || len(lifted) != 1 || len(w.events("placement.revoked")) != 3 {
			w.Errorf("events: %+v %+v", made, lifted)
		}
	})
}

// TestPromotionUnderOldRevocation: what was decided before trust in something
// ended is not acted on after.
func TestPromotionUnderOldRevocation(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "stdlib", "99.0.0", low)
		sec, ann := w.enrol("sec", "security"), w.enrol("ann", "developer")
		image := w.pushImage(ann, "dev/app", "1", layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)}))
		w.settled("dev/app", image.Digest, repo.Admitted)
		_, asked, err := w.promotion(func() { w.revoke(sec, api.RevokeRequest{Kind: "feed", Feed: "nobody"}) })
		if err != nil || asked != 2 {
			w.Errorf("decided %d times, want again after the revocation: %v", asked, err)
		}
	})
}

// TestRevokedFeed: what a revoked feed said does not make clean, nor guilty.
func TestRevokedFeed(t *testing.T) {
	eachWorld(t, func(w *world) {
		const r = "catalog/app"
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		ann, sec := w.enrol("ann", "developer"), w.enrol("sec", "security")
		id := w.revoke(sec, api.RevokeRequest{Kind: "feed", Feed: "test"}).Revocation.ID
		image := w.pushImage(ann, r, "1", layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)}))
		held := w.settled(r, image.Digest, repo.Held)
		if !strings.Contains(held.Sentence, "holds") {
			w.Errorf("it says %s", held.Sentence)
		}
		w.lift(sec, id)
		w.settled(r, image.Digest, repo.Admitted)
	})
}

// TestLifted: what was revoked and is not any more is held until its gate lets it
// in, and so it is said, listed and refused.
func TestLifted(t *testing.T) {
	eachWorld(t, func(w *world) {
		const r = "catalog/app"
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		ann, bob, sec, ops := w.enrol("ann", "developer"), w.enrol("bob", "reader"), w.enrol("sec", "security"), w.enrol("ops", "operator")
		image := w.pushImage(ann, r, "1", layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)}))
		w.settled(r, image.Digest, repo.Admitted)
		id := w.revoke(sec, api.RevokeRequest{Kind: "digest", Digest: image.Digest.String()}).Revocation.ID
		listed := func(who api.Enrolled, verdict string) string {
			_, body := w.request(who, http.MethodGet, "/api/v1/artifacts?repository="+r+verdict, nil)
			if page := decode[api.Page[api.ListedArtifact]](w, body); len(page.Items) == 1 {
				return page.Items[0].State
			}
			return string(body)
		}
		for _, who := range []api.Enrolled{ann, bob, ops} {
			if got := listed(who, "&verdict=revoked"); got != "revoked" {
				w.Errorf("%s is shown %s", who.Name, got)
			}
		}

		feed := w.revoke(sec, api.RevokeRequest{Kind: "feed", Feed: "test"}).Revocation.ID // and now its gate cannot tell
		w.lift(sec, id)
		w.idle()
		for _, who := range []api.Enrolled{ann, bob, ops} {
			if got := listed(who, ""); got != "held" {
				w.Errorf("%s is shown %s once it is lifted", who.Name, got)
			}
			_, body := w.request(who, http.MethodGet, "/api/v1/why?ref="+r+":1", nil)
			if why := decode[api.Why](w, body); why.State != "held" || !why.Held || !why.Again || why.Decision == nil || why.Decision.Outcome != api.CannotTell {
				w.Errorf("%s is told %s", who.Name, body)
			}
			if status, text := w.pull(who, r, "1"); status != http.StatusForbidden || !strings.Contains(text, "holds") {
				w.Errorf("%s pulls: %d %s", who.Name, status, text)
			}
		}
		w.lift(sec, feed)
		w.settled(r, image.Digest, repo.Admitted)
	})
}
