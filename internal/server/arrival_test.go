package server

import (
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// person is enrol for somebody who is no machine.
func (w *world) person(name string, grants ...string) api.Enrolled {
	w.Helper()
	act, err := authz.Check(authz.Internal("test"), authz.Administer, noRepository, nil)
	if err != nil {
		w.Fatal(err)
	}
	invite, err := w.accounts.Invite(w.Context(), act, api.InviteRequest{Name: name, Grants: grants, Human: true})
	if err != nil {
		w.Fatal(err)
	}
	e, err := w.accounts.Enrol(w.Context(), api.EnrolRequest{Code: invite.Code, Label: "test"}, netip.IPv6Loopback())
	if err != nil {
		w.Fatal(err)
	}
	return *e
}

// gates has zones judged by gates of the test.
func (w *world) gates(texts map[string]string) func(*Options) {
	dir := w.TempDir()
	return func(o *Options) {
		o.Config.Gates = map[string]config.Path{}
		for name, text := range texts {
			file := filepath.Join(dir, name+".yaml")
			if err := os.WriteFile(file, []byte("apiVersion: bonded.dev/v1\nkind: Gate\nname: "+name+"\naccepts: [image, index]\n"+text), 0o600); err != nil {
				w.Fatal(err)
			}
			o.Config.Gates[name] = config.Path(file)
		}
	}
}

const byMachines = "enter:\n  - rule: by-machines\n    pushedBy: {kind: machine}\n"

// TestPushedBy: what a person pushed into a zone that lets people push does not
// come into one that takes from machines alone, whoever promotes it, whoever
// pushes it again and however often it is removed; what a machine pushed does, by
// a person's promotion.
func TestPushedBy(t *testing.T) {
	w := newWorld(t, (&world{T: t}).gates(map[string]string{"staging": "", "production": byMachines}))
	w.advise("GO-TEST-1", "stdlib", "0.0.1", low)
	ann, ci := w.person("ann", "developer=**"), w.enrol("ci", "developer=**")
	image := func(name string) []byte { return layerOf(t, map[string][]byte{"etc/motd": []byte(name)}) }
	byAnn, byCI := w.pushImage(ann, "dev/app", "ann", image("ann")), w.pushImage(ci, "dev/app", "ci", image("ci"))
	for _, d := range []oci.Descriptor{byAnn, byCI} {
		w.settled("dev/app", d.Digest, repo.Admitted)
	}
	w.pushImage(ci, "dev/app", "again", image("ann"))
	w.pushImage(ann, "dev/app", "again-ci", image("ci"))
	for _, tag := range []string{"ann", "ci"} {
		if p := w.promote(ann, "dev/app:"+tag, "staging", http.StatusOK); p.Decision.Outcome != api.Allow {
			t.Fatalf("%s: %+v", tag, p.Decision)
		}
	}
	if p := w.promote(ann, "staging/app:ci", "production", http.StatusOK); p.Decision.Outcome != api.Allow {
		t.Errorf("a machine pushed it: %+v", p.Decision)
	}
	refused := func(why string) {
		t.Helper()
		p := w.promote(ci, "staging/app:ann", "production", http.StatusOK)
		in := p.Decision.Inputs
		if p.Decision.Outcome != api.Deny || len(in.Arrivals) == 0 || in.Arrivals[0].By != "ann" || in.Arrivals[0].Kind != "human" || in.FirstSeen.IsZero() {
			t.Errorf("%s: %+v", why, p.Decision)
		}
	}
	refused("a person pushed it")

	res, body := w.request(w.admin, http.MethodDelete, "/v2/dev/app/manifests/"+byAnn.Digest.String(), nil)
	w.want(http.StatusAccepted, res, body)
	w.pushImage(ci, "dev/app", "ann", image("ann"))
	w.settled("dev/app", byAnn.Digest, repo.Admitted)
	if p := w.promote(ci, "dev/app:ann", "staging", http.StatusOK); p.Decision.Outcome != api.Allow {
		t.Fatalf("%+v", p.Decision)
	}
	refused("removed, and pushed again by a machine")

	// What a machine pushes elsewhere is its own: a person has no part in it.
	w.pushImage(ci, "dev/other", "1", image("ann"))
	w.settled("dev/other", byAnn.Digest, repo.Admitted)
	w.promote(ci, "dev/other:1", "staging", http.StatusOK)
	if p := w.promote(ci, "staging/other:1", "production", http.StatusOK); p.Decision.Outcome != api.Allow {
		t.Errorf("%+v", p.Decision)
	}
	w.clean()
}

// TestPushedByMeanwhile: who pushes between decision and commit has its part in it.
func TestPushedByMeanwhile(t *testing.T) {
	w := newWorld(t, (&world{T: t}).gates(map[string]string{"staging": byMachines}))
	w.advise("GO-TEST-1", "stdlib", "0.0.1", low)
	ann, ci := w.person("ann", "developer=**"), w.enrol("ci", "developer=**")
	layer := layerOf(t, map[string][]byte{"etc/motd": []byte("hello")})
	d := w.pushImage(ci, "dev/app", "1", layer)
	w.settled("dev/app", d.Digest, repo.Admitted)
	p, asked, err := w.promotion(func() { w.pushImage(ann, "staging/app", "1", layer) })
	if err != nil {
		t.Fatal(err)
	}
	by := func(a api.Arrival) bool { return a.By == "ann" && a.Repository == "staging/app" }
	if asked != 2 || p.Decision.Outcome != api.Deny || !slices.ContainsFunc(p.Decision.Inputs.Arrivals, by) {
		t.Errorf("asked %d times: %+v", asked, p.Decision)
	}
	w.settled("staging/app", d.Digest, repo.Denied)
}
