package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

const onCatalog = `enter:
  - rule: approved-base
    baseFrom: {repositories: "catalog/**", current: true}
stay:
  - rule: approved-base
    baseFrom: {repositories: "catalog/**", current: true}
    then: withdraw
`

// TestBases: an image comes in when all layers of one that stands in the catalog
// are its lowest, and goes when that goes, or is named there no more; what only
// says that it has those layers does not come in.
func TestBases(t *testing.T) {
	w := newWorld(t, (&world{T: t}).gates(map[string]string{"catalog": "", "staging": onCatalog}))
	w.advise("GO-TEST-1", "stdlib", "0.0.1", low)
	layer := func(name string) []byte { return layerOf(t, map[string][]byte{"etc/" + name: []byte(name)}) }
	base := w.pushImage(w.admin, "catalog/base", "1", layer("os"), layer("libs"))
	w.settled("catalog/base", base.Digest, repo.Admitted)
	on := w.pushImage(w.admin, "dev/app", "on", layer("os"), layer("libs"), layer("app"))
	other := w.pushImage(w.admin, "dev/app", "other", layer("os"), layer("app"))
	turned := w.pushImage(w.admin, "dev/app", "turned", layer("libs"), layer("os"), layer("app"))
	for _, d := range []oci.Descriptor{on, other, turned} {
		w.settled("dev/app", d.Digest, repo.Admitted)
	}
	for _, tag := range []string{"other", "turned"} {
		if p := w.promote(w.admin, "dev/app:"+tag, "staging", http.StatusOK); p.Decision.Outcome != api.Deny {
			t.Errorf("%s: %+v", tag, p.Decision)
		}
	}
	p := w.promote(w.admin, "dev/app:on", "staging", http.StatusOK)
	if in := p.Decision.Inputs; p.Decision.Outcome != api.Allow || len(in.Bases) != 1 || in.Bases[0].Digest != base.Digest.String() || in.Bases[0].Layers != 2 || in.BaseChange == 0 {
		t.Fatalf("%+v", p.Decision)
	}

	res, body := w.request(w.admin, http.MethodGet, "/api/v1/why?ref=staging/app:on&replay=true", nil)
	w.want(http.StatusOK, res, body)
	if !strings.Contains(string(body), `"same":true`) {
		t.Errorf("made again, it is another: %s", body)
	}
	res, body = w.request(w.admin, http.MethodGet, "/api/v1/bases?ref=staging/app:on", nil)
	w.want(http.StatusOK, res, body)
	if b := decode[api.Bases](w, body); len(b.Bases) != 2 || b.Bases[0].Repository != "dev/app" || b.Bases[1].Tag != "1" || b.Layers != 3 || b.Compared != 3 {
		t.Errorf("%s", body)
	}
	res, body = w.request(w.admin, http.MethodGet, "/api/v1/descendants?ref=catalog/base:1&limit=1", nil)
	w.want(http.StatusOK, res, body)
	first := decode[api.Descendants](w, body)
	res, body = w.request(w.admin, http.MethodGet, "/api/v1/descendants?ref=catalog/base:1&after="+first.Next, nil)
	w.want(http.StatusOK, res, body)
	second := decode[api.Descendants](w, body)
	if len(first.Images) != 1 || len(second.Images) != 1 || first.Images[0].Digest != on.Digest.String() || second.Images[0].Repository != "staging/app" {
		t.Errorf("%+v, then %+v", first, second)
	}
	res, body = w.request(w.admin, http.MethodGet, "/api/v1/descendants?ref=catalog/base:1&after=x", nil)
	w.want(http.StatusBadRequest, res, body)
	stranger := w.person("eve", "reader=staging/**")
	res, body = w.request(stranger, http.MethodGet, "/api/v1/bases?ref=staging/app:on", nil)
	w.want(http.StatusOK, res, body)
	if b := decode[api.Bases](w, body); len(b.Bases) != 0 {
		t.Errorf("somebody is told of what it cannot pull: %s", body)
	}

	// The tag moves on: what is built on what it named is out of date.
	newer := w.pushImage(w.admin, "catalog/base", "1", layer("os"), layer("libs-2"))
	w.settled("catalog/base", newer.Digest, repo.Admitted)
	w.idleOf(assess.JobBases, assess.JobJudge)
	if got := w.settled("staging/app", on.Digest, repo.Withdrawn); got.Sentence == "" {
		t.Errorf("%+v", got)
	}
	if b := w.promote(w.admin, "dev/app:on", "staging", http.StatusOK).Decision; b.Outcome != api.Deny || !slices.ContainsFunc(b.Inputs.Bases, func(x api.Base) bool { return x.Past && x.Newer == newer.Digest.String() }) {
		t.Errorf("%+v", b)
	}
	w.clean()
}

// TestBaseGoes: what descends from a base is judged again when that is revoked, and
// when it comes back.
func TestBaseGoes(t *testing.T) {
	w := newWorld(t, (&world{T: t}).gates(map[string]string{"catalog": "", "staging": onCatalog}))
	w.advise("GO-TEST-1", "stdlib", "0.0.1", low)
	layer := func(name string) []byte { return layerOf(t, map[string][]byte{"etc/" + name: []byte(name)}) }
	base := w.pushImage(w.admin, "catalog/base", "1", layer("os"))
	w.settled("catalog/base", base.Digest, repo.Admitted)
	on := w.pushImage(w.admin, "dev/app", "on", layer("os"), layer("app"))
	w.settled("dev/app", on.Digest, repo.Admitted)
	if p := w.promote(w.admin, "dev/app:on", "staging", http.StatusOK); p.Decision.Outcome != api.Allow {
		t.Fatalf("%+v", p.Decision)
	}
	res, body := w.request(w.admin, http.MethodPost, "/api/v1/revocations", []byte(`{"kind":"digest","digest":"`+base.Digest.String()+`","reason":"it is bad"}`), "Content-Type", "application/json")
	if res.StatusCode/100 != 2 {
		t.Fatalf("%s", body)
	}
	w.settled("staging/app", on.Digest, repo.Withdrawn)
	if p := w.promote(w.admin, "dev/app:on", "staging", http.StatusOK); p.Decision.Outcome != api.Deny {
		t.Errorf("%+v", p.Decision)
	}
}
