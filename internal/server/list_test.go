package server

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// listed asks for a list as somebody, page by page.
func listed[T any](w *world, who api.Enrolled, query string, limit int) []T {
	w.Helper()
	var all []T
	for after := ""; ; {
		res, body := w.request(who, http.MethodGet, fmt.Sprintf("/api/v1/%s&limit=%d&after=%s", query, limit, after), nil)
		w.want(http.StatusOK, res, body)
		page := decode[api.Page[T]](w, body)
		if len(page.Items) > limit {
			w.Errorf("%s: a page of %d, at most %d", query, len(page.Items), limit)
		}
		all = append(all, page.Items...)
		if after = page.Next; after == "" {
			return all
		}
	}
}

// TestList: repositories and artifacts are listed to who may see them, the newest
// first, whatever the size of the pages.
func TestList(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
		ann, bob := w.enrol("ann", "developer=dev/**", "developer=production/**"), w.enrol("bob", "reader=dev/**", "reader=production/**")
		mallory := w.enrol("mallory", "developer=staging/**")
		text := layerOf(w.T, map[string][]byte{"etc/motd": []byte("hello")})
		go1 := layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)})
		plain := w.pushImage(ann, "dev/app", "1", text)
		w.settled("dev/app", plain.Digest, repo.Admitted)
		bad := w.pushImage(ann, "dev/app", "2", go1)
		w.settled("dev/app", bad.Digest, repo.Admitted)
		w.about(ann, "dev/app", bad, "a note")
		bad.Platform = &oci.Platform{OS: "linux", Architecture: "amd64"}
		denied := w.pushImage(ann, "production/app", "2", go1)
		w.settled("production/app", denied.Digest, repo.Denied)
		child := w.pushImage(ann, "dev/multi", "", go1)
		w.settled("dev/multi", child.Digest, repo.Admitted)
		child.Platform = bad.Platform
		index := w.pushManifest(ann, "dev/multi", "all", indexOf(child))
		w.settled("dev/multi", index.Digest, repo.Admitted)

		for _, limit := range []int{1, 2, 100} {
			repositories := func(who api.Enrolled, zone string) []string {
				names := []string{}
				for _, r := range listed[api.Repository](w, who, "repositories?zone="+zone, limit) {
					names = append(names, fmt.Sprint(r.Name, " ", r.Newest.Tags, " ", r.Newest.State))
				}
				return names
			}
			for _, tt := range []struct {
				who  api.Enrolled
				zone string
				want []string
			}{
				{ann, "", []string{"dev/app [2] admitted", "dev/multi [all] admitted", "production/app [2] denied"}},
				{w.admin, "production", []string{"production/app [2] denied"}},
				{bob, "", []string{"dev/app [2] admitted", "dev/multi [all] admitted"}},
				{mallory, "", []string{}},
				{ann, "nowhere", []string{}},
			} {
				if got := repositories(tt.who, tt.zone); !slices.Equal(got, tt.want) {
					w.Errorf("repositories of %q for %s: %q, want %q", tt.zone, tt.who.Name, got, tt.want)
				}
			}
			artifacts := func(who api.Enrolled, query string) []string {
				rows := []string{}
				for _, x := range listed[api.ListedArtifact](w, who, "artifacts?"+query, limit) {
					worst := "none"
					if x.Worst != nil {
						worst = x.Worst.Severity
					}
					rows = append(rows, fmt.Sprint(x.Repository, " ", x.Tags, " ", x.Kind, " ", x.State, " ", x.Size > 100, " ", x.Checked, " ", x.Findings, " ", worst))
				}
				return rows
			}
			for _, tt := range []struct {
				who   api.Enrolled
				query string
				want  []string
			}{
				{bob, "repository=dev/app", []string{"dev/app [2] image admitted true true 1 critical", "dev/app [1] image admitted true true 0 none"}},
				{bob, "repository=dev/multi", []string{"dev/multi [all] index admitted true true 1 critical"}},
				{ann, "verdict=denied", []string{"production/app [2] image denied true true 1 critical"}},
				{bob, "verdict=denied", []string{}},
				{ann, "zone=dev&verdict=allowed", []string{"dev/app [2] image admitted true true 1 critical", "dev/app [1] image admitted true true 0 none", "dev/multi [all] index admitted true true 1 critical"}},
				{mallory, "zone=dev", []string{}},
			} {
				if got := artifacts(tt.who, tt.query); !slices.Equal(got, tt.want) {
					w.Errorf("artifacts of %q for %s in pages of %d:\n%q, want\n%q", tt.query, tt.who.Name, limit, got, tt.want)
				}
			}
		}
		for _, who := range []api.Enrolled{bob, mallory} {
			res, body := w.request(who, http.MethodGet, "/api/v1/artifacts?repository=production/app", nil)
			w.want(http.StatusNotFound, res, body)
		}
		res, body := w.request(ann, http.MethodGet, "/api/v1/artifacts?after=dev/app@x", nil)
		w.want(http.StatusBadRequest, res, body)
	})
}
