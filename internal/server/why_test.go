package server

import (
	"net/http"
	"slices"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestElsewhere: where else a digest stands is told with its tags.
func TestElsewhere(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "99.0.0", low)
	dev := w.enrol("ann", "developer")
	image := w.pushImage(dev, "dev/app", "1.8", layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("dev/app", image.Digest, repo.Admitted)
	w.promote(dev, "dev/app:1.8", "staging", http.StatusOK)
	res, body := w.request(dev, http.MethodGet, "/api/v1/why?ref=dev/app:1.8", nil)
	w.want(http.StatusOK, res, body)
	why := decode[api.Why](w, body)
	if len(why.Elsewhere) != 1 || why.Elsewhere[0].Repository != "staging/app" || !slices.Equal(why.Elsewhere[0].Tags, []string{"1.8"}) {
		t.Errorf("elsewhere: %+v", why.Elsewhere)
	}
}

// TestWhyNotFoundSaysItOnce: an answer that there is nothing names it once.
func TestWhyNotFoundSaysItOnce(t *testing.T) {
	w := newWorld(t)
	res, body := w.request(w.admin, http.MethodGet, "/api/v1/why?ref=dev/nothing:1", nil)
	w.want(http.StatusNotFound, res, body)
	if got, want := decode[api.Error](w, body).Message, "manifest dev/nothing:1: not found"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
