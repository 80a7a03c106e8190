package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// eachWorld runs fn on a server over each engine.
func eachWorld(t *testing.T, fn func(w *world)) {
	t.Run("sqlite", func(t *testing.T) { fn(newWorld(t)) })
	t.Run("postgres", func(t *testing.T) {
		url := testparts.Postgres(t)
		fn(newWorld(t, func(o *Options) { o.Config.Database.Postgres = &config.Postgres{URL: url} }))
	})
}

// about is evidence about a subject, of one note.
func (w *world) about(who api.Enrolled, repository string, subject oci.Descriptor, note string) oci.Descriptor {
	w.Helper()
	return w.pushManifest(who, repository, "", map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "artifactType": "application/vnd.test.note", "subject": subject,
		"config": w.pushAs(who, repository, oci.MediaTypeEmpty, []byte("{}")), "layers": []oci.Descriptor{w.pushAs(who, repository, "text/plain", []byte(note))},
	})
}

// TestQuarantine: what stands in a quarantine, admitted by a gate that takes
// whatever can be stored, is for who brought it and for who may pull from
// quarantine. To anyone else with pull rights there nothing tells it from what
// does not exist.
func TestQuarantine(t *testing.T) {
	eachWorld(t, func(w *world) {
		const from, to = "quarantine/docker.io/app", "catalog/docker.io/app"
		w.advise("GO-TEST-1", "stdlib", "99.0.0", low)
		ann, ops := w.enrol("ann", "publisher=quarantine/**", "publisher=catalog/**"), w.enrol("ops", "operator")
		bob, mallory := w.enrol("bob", "reader"), w.enrol("mallory", "publisher", "developer")
		layer := layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)})
		image := w.pushImage(ann, from, "1", layer)
		image.Platform = &oci.Platform{OS: "linux", Architecture: "amd64"}
		w.settled(from, image.Digest, repo.Admitted)
		note := w.about(ann, from, image, "scanned")
		index := w.pushManifest(ann, from, "all", indexOf(image))
		w.settled(from, index.Digest, repo.Admitted)

		get := func(who api.Enrolled, method, path string) string {
			res, body := w.request(who, method, path, nil)
			return fmt.Sprint(res.StatusCode, " ", string(body))
		}
		for _, who := range []api.Enrolled{bob, mallory} {
			for _, tt := range []struct{ path, absent string }{
				{"/v2/" + from + "/manifests/1", "/v2/" + from + "/manifests/9"},
				{"/v2/" + from + "/manifests/" + image.Digest.String(), "/v2/" + from + "/manifests/" + oci.FromBytes([]byte("absent")).String()},
				{"/v2/" + from + "/manifests/" + note.Digest.String(), "/v2/" + from + "/manifests/" + oci.FromBytes([]byte("absent")).String()},
				{"/v2/" + from + "/blobs/" + oci.FromBytes(layer).String(), "/v2/" + from + "/blobs/" + oci.FromBytes([]byte("absent")).String()},
				{"/v2/" + from + "/tags/list", "/v2/quarantine/docker.io/absent/tags/list"},
				{"/v2/" + from + "/referrers/" + image.Digest.String(), "/v2/" + from + "/referrers/" + oci.FromBytes([]byte("absent")).String()},
				{"/api/v1/why?ref=" + from + ":1", "/api/v1/why?ref=" + from + ":9"},
				{"/api/v1/why?as_if=catalog&ref=" + from + ":1", "/api/v1/why?as_if=catalog&ref=" + from + ":9"},
				{"/api/v1/why?ref=" + to + ":1", "/api/v1/why?ref=" + to + ":9"},
				{"/api/v1/why?ref=" + image.Digest.String(), "/api/v1/why?ref=" + oci.FromBytes([]byte("absent")).String()},
				{"/api/v1/why?ref=" + note.Digest.String(), "/api/v1/why?ref=" + oci.FromBytes([]byte("absent")).String()},
				{"/api/v1/findings?ref=" + from + ":1", "/api/v1/findings?ref=" + from + ":9"},
				{"/api/v1/inventory?ref=" + from + ":all", "/api/v1/inventory?ref=" + from + ":9"},
			} {
				same := strings.NewReplacer(oci.FromBytes([]byte("absent")).String(), "X", image.Digest.String(), "X", note.Digest.String(), "X",
					oci.FromBytes(layer).String(), "X", ":9", ":1", "tag 9", "tag 1", "docker.io/absent", "docker.io/app", ":all", ":1")
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					there, not := same.Replace(get(who, method, tt.path)), same.Replace(get(who, method, tt.absent))
					if there != not {
						w.Errorf("%s %s %s: %s\nand of what is not there: %s", who.Name, method, tt.path, there, not)
					}
				}
			}
			for _, path := range []string{"/v2/_catalog", "/api/v1/affected?id=GO-TEST-1"} {
				if got := get(who, http.MethodGet, path); !strings.HasPrefix(got, "200") || strings.Contains(got, "quarantine") {
					w.Errorf("%s %s: %s", who.Name, path, got)
				}
			}
		}

		// By ways around.
		res, body := w.request(mallory, http.MethodPost, "/v2/dev/app/blobs/uploads/?mount="+oci.FromBytes(layer).String()+"&from="+from, nil)
		w.want(http.StatusAccepted, res, body)
		_, res, body = w.putManifest(mallory, from, "", imageOf(w.pushAs(mallory, from, oci.MediaTypeConfig, []byte("{}")), oci.Descriptor{MediaType: image.MediaType, Digest: oci.FromBytes(layer), Size: int64(len(layer))}))
		w.want(http.StatusNotFound, res, body)
		w.promote(mallory, from+":1", "catalog", http.StatusNotFound)
		w.promote(mallory, from+"@"+image.Digest.String(), "catalog", http.StatusNotFound)
		stolen := image
		stolen.Platform = &oci.Platform{OS: "linux", Architecture: "arm64"}
		around := w.pushManifest(mallory, from, "mine", indexOf(stolen))
		w.settled(from, around.Digest, repo.Admitted)
		w.promote(mallory, from+":mine", "catalog", http.StatusNotFound)
		if status, _ := w.pull(mallory, from, "mine"); status != http.StatusNotFound {
			w.Errorf("a child of others through an index of one's own: %d", status)
		}

		// For who brought it, and for who may pull from quarantine.
		for _, who := range []api.Enrolled{ann, ops} {
			for _, name := range []string{"1", "all", image.Digest.String(), note.Digest.String()} {
				if status, text := w.pull(who, from, name); status != http.StatusOK {
					w.Errorf("%s pulls %s: %d %s", who.Name, name, status, text)
				}
			}
			for path, want := range map[string]string{
				"/v2/" + from + "/tags/list":                                 `"all"`,
				"/v2/" + from + "/referrers/" + image.Digest.String():        note.Digest.String(),
				"/api/v1/why?ref=" + from + ":1":                             `"outcome":"allow"`,
				"/api/v1/affected?id=GO-TEST-1":                              from,
				"/api/v1/findings?ref=" + from + "@" + image.Digest.String(): "GO-TEST-1",
			} {
				if got := get(who, http.MethodGet, path); !strings.Contains(got, want) {
					w.Errorf("%s %s: %s", who.Name, path, got)
				}
			}
		}

		// Who brings the same bytes has shown that it holds them.
		w.pushImage(mallory, from, "1", layer)
		if status, text := w.pull(mallory, from, image.Digest.String()); status != http.StatusOK {
			w.Errorf("who brought the same: %d %s", status, text)
		}

		// Promotion makes it everybody's.
		if p := w.promote(mallory, from+"@"+image.Digest.String(), "catalog", http.StatusOK); p.Decision.Outcome != api.Allow {
			w.Errorf("promotion: %+v", p.Decision)
		}
		if status, text := w.pull(bob, to, image.Digest.String()); status != http.StatusOK {
			w.Errorf("what was promoted: %d %s", status, text)
		}
		w.clean()
	})
}
