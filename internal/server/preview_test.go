package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// randomGate is the text of a gate with any of some rules.
func randomGate(r *rand.Rand, name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: bonded.dev/v1\nkind: Gate\nname: %s\ndescribe: Number %d.\naccepts: [image%s]\n", name, r.IntN(1000), []string{"", ", index"}[r.IntN(2)])
	if r.IntN(2) == 0 {
		b.WriteString("unreadLayers: accept\n")
	}
	acts := []string{"", "\n    then: keep", "\n    then: withdraw", "\n    then: deadline\n    within: {any: 72h}"}
	for _, clause := range []string{"enter", "stay"} {
		rules := ""
		for i, text := range []string{
			"forbid: findings.filter(f, f.severity == \"critical\")", "forbid: findings", "require: size(packages) < 5", "require: size(layers) < 2", "unknown: coverage.state != \"full\"",
		} {
			if r.IntN(3) > 0 {
				continue
			}
			rules += fmt.Sprintf("  - rule: rule-%d\n    says: it is as rule %d has it\n    %s", i, i, text)
			if clause == "stay" && !strings.HasPrefix(text, "unknown") {
				rules += acts[r.IntN(len(acts))]
			}
			rules += "\n"
		}
		if rules != "" {
			b.WriteString(clause + ":\n" + rules)
		}
	}
	return b.String()
}

// timeless is what a decision says, without times.
func timeless(d *api.Decision) string {
	reasons := slices.Clone(d.Reasons)
	for i := range reasons {
		reasons[i].Until = time.Time{}
		reasons[i].Facts = slices.Clone(reasons[i].Facts)
		for n := range reasons[i].Facts {
			reasons[i].Facts[n].Deadline = ""
		}
	}
	raw, err := json.Marshal(reasons)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s %s %v %s", d.Clause, d.Outcome, d.StayUntil.IsZero(), raw)
}

// becomes says how a placement stands, and why.
func becomes(p *repo.Placement, d *api.Decision) string {
	return fmt.Sprintf("%s %v %s", p.State, p.StayUntil.IsZero(), timeless(d))
}

// stands is how all stand in a zone; what was withdrawn or is not judged is left out.
func (w *world) stands(placed map[string]bool) map[string]string {
	w.Helper()
	all := map[string]string{}
	for key := range placed {
		name, digest, _ := strings.Cut(key, "@")
		p, err := w.db.PlacementOf(w.Context(), oci.MustRepository(name), oci.MustDigest(digest))
		if err != nil {
			w.Fatal(err)
		}
		err = w.db.View(w.Context(), func(tx *db.Tx) error {
			rec, err := tx.Decision(w.Context(), p.Decision)
			if err == nil {
				all[key] = becomes(p, &rec.Decision)
			}
			return err
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	return all
}

// TestPreviewIsEnactment: whatever a gate is, what its preview tells is what its
// coming into force does, and nothing else.
func TestPreviewIsEnactment(t *testing.T) {
	eachWorld(t, func(w *world) {
		r := rand.New(rand.NewPCG(7, 11)) //nolint:gosec // a test repeats itself
		w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
		dev := w.enrol("ann", "developer")
		motd := func(s string) []byte { return layerOf(w.T, map[string][]byte{"etc/motd": []byte(s)}) }
		app := layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)})
		one := w.pushImage(dev, "catalog/app", "1", motd("one"))
		two := w.pushImage(dev, "catalog/app", "2", motd("two"), motd("more"))
		bad := w.pushImage(dev, "catalog/app", "3", app)
		w.pushImage(dev, "catalog/other", "4", []byte("no tar"))
		for tag, list := range map[string][]any{"5": {one, two}, "6": {one, bad}} {
			w.pushManifest(dev, "catalog/app", tag, map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list})
		}
		w.idle()
		flips := 0
		for n := range 12 {
			text := randomGate(r, "catalog")
			gate, err := policy.Parse("catalog", []byte(text))
			if err != nil {
				w.Fatal(err)
			}
			want, placed, before := map[string]string{}, map[string]bool{}, map[string]string{}
			err = w.assess.Preview(w.Context(), "catalog", gate, func(f *assess.Foreseen) error {
				key := f.After.Repository.String() + "@" + f.After.Digest.String()
				placed[key], want[key] = true, becomes(&f.After, &f.Decision)
				if f.Before.State != f.After.State {
					flips++
				}
				return nil
			})
			if err != nil {
				w.Fatal(err)
			}
			maps.Copy(before, w.stands(placed))
			w.assess.Gates["catalog"] = gate
			if err := w.assess.PutGates(w.Context()); err != nil {
				w.Fatal(err)
			}
			w.idle()
			if err := w.assess.RejudgeZone(w.Context(), "catalog"); err != nil { // what came in is to stay
				w.Fatal(err)
			}
			w.idle()
			if diff := cmp.Diff(want, w.stands(placed)); diff != "" {
				w.Fatalf("gate %d (-foreseen +came):\n%s\nbefore: %v\n%s", n, diff, before, text)
			}
		}
		if flips < 5 {
			w.Errorf("only %d flips: the gates are too much alike", flips)
		}
		w.clean()
	})
}

// TestPreviewAPI: what would flip is told, and nothing done; only who administers
// is told; a text that is no gate is refused with its place.
func TestPreviewAPI(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	dev := w.enrol("ann", "developer")
	image := w.pushImage(dev, "catalog/app", "1", layerOf(w.T, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("catalog/app", image.Digest, repo.Admitted)
	w.idle()
	ask := func(who api.Enrolled, zone, text string) (*http.Response, []byte) {
		body, err := json.Marshal(api.PreviewRequest{Zone: zone, Text: text})
		if err != nil {
			w.Fatal(err)
		}
		return w.request(who, http.MethodPost, "/api/v1/gates/preview", body, "Content-Type", "application/json")
	}
	text := "apiVersion: bonded.dev/v1\nkind: Gate\nname: catalog\ndescribe: None.\naccepts: [image]\nstay:\n  - rule: never\n    says: it is never so\n    require: \"false\"\n    then: withdraw\n"
	res, body := ask(w.admin, "catalog", text)
	w.want(http.StatusOK, res, body)
	var flips []api.Flip
	var done *api.Preview
	for line := range bytes.Lines(body) {
		p := decode[api.PreviewProgress](w, line)
		if p.Flip != nil {
			flips = append(flips, *p.Flip)
		}
		done = p.Done
	}
	if len(flips) != 1 || flips[0].Before != "admitted" || flips[0].After != "withdrawn" || !flips[0].Worse || done == nil || done.Worse != 1 || done.Judged != 1 || done.Rules["never"] != 1 {
		w.Errorf("%+v %+v", flips, done)
	}
	w.settled("catalog/app", image.Digest, repo.Admitted)
	res, body = ask(dev, "catalog", text)
	w.want(http.StatusForbidden, res, body)
	res, body = ask(w.admin, "nowhere", text)
	w.want(http.StatusNotFound, res, body)
	res, body = ask(w.admin, "catalog", strings.Replace(text, `"false"`, `nonsense`, 1))
	w.want(http.StatusBadRequest, res, body)
	if !strings.Contains(string(body), "gate:9:") {
		w.Errorf("%s", body)
	}
	res, body = ask(w.admin, "catalog", strings.Replace(text, `require: "false"`, `require: size(signatures.filter(s, s.anchor == "none")) > 0`, 1))
	if res.StatusCode/100 == 5 {
		w.Errorf("%s", body)
	}
}

// TestPromotionWithData: a gate that looks things up in data lets in what it
// allows: its data is part of what is in force.
func TestPromotionWithData(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kinds.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: bonded.dev/v1\nkind: Data\nname: kinds\nlist: [image]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	withData := func(o *Options) { o.Config.GateData = []config.Path{config.Path(file)} }
	w := newWorld(t, withData, (&world{T: t}).gates(map[string]string{"staging": "enter:\n  - rule: listed\n    says: its kind is listed\n    require: artifact.kind in data.kinds\n"}))
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	dev := w.enrol("ann", "developer")
	image := w.pushImage(dev, "dev/app", "1", layerOf(w.T, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("dev/app", image.Digest, repo.Admitted)
	w.promote(dev, "dev/app:1", "staging", http.StatusOK)
	if p := w.settled("staging/app", image.Digest, repo.Admitted); p.Decision == 0 {
		t.Errorf("%+v", p)
	}
	w.clean()
}
