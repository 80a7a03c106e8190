package server

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestSecrets: a token that an upper layer removes keeps an image out of a gate
// that asks, and is told of by its place. What it is, is in the layer and nowhere
// else. Other gates do not mind.
func TestSecrets(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "catalog.yaml")
	text := "apiVersion: bonded.dev/v1\nkind: Gate\nname: catalog\naccepts: [image]\nenter:\n  - rule: no-secrets\n    noSecrets: {}\n    waive: {by: [sam]}\n"
	if err := os.WriteFile(gate, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.Config.Gates = map[string]config.Path{"catalog": config.Path(gate)} })
	dev := w.enrol("ann", "developer")
	token := "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA5bC7"
	lower := layerOf(t, map[string][]byte{"app/.env": []byte("# settings\nTOKEN=" + token + "\n")})
	upper := layerOf(t, map[string][]byte{"app/.wh..env": nil})

	clean := w.pushImage(dev, "catalog/app", "1", layerOf(t, map[string][]byte{"app/run.sh": []byte("#!/bin/sh\n")}))
	w.settled("catalog/app", clean.Digest, repo.Admitted)
	leaking := w.pushImage(dev, "catalog/app", "2", lower, upper)
	w.settled("catalog/app", leaking.Digest, repo.Denied)

	res, body := w.request(dev, http.MethodGet, "/api/v1/why?ref=catalog/app@"+leaking.Digest.String(), nil)
	w.want(http.StatusOK, res, body)
	for _, want := range []string{"github-token", "layer 1 of 2, app/.env, line 2", "removed later, still in layer 1"} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s is not told: %s", want, body)
		}
	}
	res, body = w.request(dev, http.MethodGet, "/api/v1/inventory?ref=catalog/app@"+leaking.Digest.String(), nil)
	w.want(http.StatusOK, res, body)
	inv := decode[api.Inventory](w, body)
	if len(inv.Secrets) != 1 || !inv.Secrets[0].Removed || inv.Searched != "full" || !strings.HasPrefix(inv.Secrets[0].PURL, "pkg:generic/app/.env@") {
		t.Errorf("%+v, %s", inv.Secrets, inv.Searched)
	}
	sam := w.enrol("sam", "security")
	ws := &waivers{w, new(atomic.Int64)}
	id := ws.post(dev, "", api.WaiverRequest{
		Repositories: "catalog/app", Rule: "no-secrets", Package: inv.Secrets[0].PURL, Owner: "ann", Reason: "it ended last year", Until: time.Now().Add(time.Hour),
	}, http.StatusCreated).Waiver.ID
	ws.post(sam, "/"+id+"/grant", api.WaiverAct{}, http.StatusOK)
	w.settled("catalog/app", leaking.Digest, repo.Admitted)
	w.clean()
	w.stop()
	w.onlyIn(token, lower)
}

// onlyIn fails the test where a text stands anywhere on disk but in files with
// that content.
func (w *world) onlyIn(text string, content []byte) {
	w.Helper()
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(text)) && !bytes.Equal(b, content) {
			w.Errorf("%s holds it", path)
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
}
