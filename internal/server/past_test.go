package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// then asks for the decision that was in force at a time; zero for now.
func (w *world) then(ref string, at time.Time) *api.Why {
	w.Helper()
	q := url.Values{"ref": {ref}, "replay": {"true"}}
	if !at.IsZero() {
		q.Set("at", at.UTC().Format(time.RFC3339Nano))
	}
	res, body := w.request(w.admin, http.MethodGet, "/api/v1/why?"+q.Encode(), nil)
	w.want(http.StatusOK, res, body)
	return decode[api.Why](w, body)
}

// same fails the test unless the decision about ref at a time gives the same
// bytes when it is made again.
func (w *world) same(ref string, at time.Time) *api.Why {
	w.Helper()
	why := w.then(ref, at)
	if why.Then == nil || why.Then.Replay == nil || !why.Then.Replay.Same || why.Then.Replay.Engine != "" {
		w.Errorf("%s at %v: %+v\n%+v", ref, at, why.Then, why.Decision)
		if why.Then != nil && why.Then.Replay != nil {
			w.Errorf("%+v", why.Then.Replay)
		}
	}
	return why
}

// TestWhyAt: what was decided is told, and made again, long after other advisories
// and another gate are in force.
func TestWhyAt(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		dev := w.enrol("ann", "developer")
		before := time.Now()
		image := w.pushImage(dev, "catalog/app", "1", layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)}))
		w.settled("catalog/app", image.Digest, repo.Admitted)
		w.idle()
		first := w.same("catalog/app:1", time.Time{})
		if first.Decision.Outcome != api.Allow || first.Decision.Inputs.Snapshot == "" || !first.Then.Until.IsZero() {
			w.Errorf("%+v %+v", first.Decision, first.Then)
		}
		then := first.Decision.DecidedAt
		w.listed("GO-TEST-2", "stdlib")
		second := w.same("catalog/app:1", time.Time{})
		if second.Decision.Outcome != api.Deny || second.Then.ID == first.Then.ID {
			w.Errorf("%+v", second.Decision)
		}
		again := w.same("catalog/app:1", then)
		if again.Then.ID != first.Then.ID || again.Then.Until.IsZero() || again.Decision.Outcome != api.Allow || again.State != "admitted" {
			w.Errorf("%+v %+v", again.Then, again.Artifact)
		}
		if none := w.then("catalog/app:1", before); none.Decision != nil || none.Then.Until.IsZero() || none.Then.ID != 0 {
			w.Errorf("before it was decided: %+v", none.Then)
		}
		q := url.Values{"ref": {"catalog/app:1"}, "at": {time.Now().Add(time.Hour).Format(time.RFC3339)}}
		res, body := w.request(w.admin, http.MethodGet, "/api/v1/why?"+q.Encode(), nil)
		w.want(http.StatusConflict, res, body)
		res, body = w.request(api.Enrolled{}, http.MethodGet, "/api/v1/why?ref=catalog/app:1&replay=true", nil)
		w.want(http.StatusUnauthorized, res, body)
	})
}

// TestReplayIndex: an index is decided again by what its images said then.
func TestReplayIndex(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		dev := w.enrol("ann", "developer")
		good := w.pushImage(dev, "dev/app", "good", layerOf(w.T, map[string][]byte{"etc/motd": []byte("hello")}))
		other := w.pushImage(dev, "dev/app", "other", layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)}))
		index := w.pushManifest(dev, "dev/app", "1", map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []any{good, other}})
		w.settled("dev/app", index.Digest, repo.Admitted)
		w.idle()
		w.same("dev/app:1", time.Time{})
		w.promote(dev, "dev/app:1", "staging", http.StatusOK)
		w.idle()
		w.same("staging/app:1", time.Time{})
		w.listed("GO-TEST-2", "stdlib")
		denied := w.same("staging/app:1", time.Time{})
		if denied.Decision.Outcome != api.Deny || len(denied.Decision.Inputs.Said) != 1 {
			w.Errorf("%+v", denied.Decision)
		}
		w.same("dev/app:1", time.Time{})
	})
}

// TestReplayLacks: what cannot be had is told, and nothing decided in its place.
func TestReplayLacks(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		dev := w.enrol("ann", "developer")
		image := w.pushImage(dev, "catalog/app", "1", layerOf(w.T, map[string][]byte{"etc/motd": []byte("hello")}))
		w.settled("catalog/app", image.Digest, repo.Admitted)
		w.idle()
		d := *w.same("catalog/app:1", time.Time{}).Decision
		d.Inputs.Gate = "sha256:" + strings.Repeat("0", 64)
		d.Inputs.Inventory = d.Inputs.Gate
		d.Inputs.Evidence = []string{d.Inputs.Gate}
		got, err := w.assess.Replay(t.Context(), &d)
		if err != nil || got.Same || got.Decision != nil || len(got.Missing) != 3 {
			w.Errorf("%+v, %v", got, err)
		}
		d = *w.same("catalog/app:1", time.Time{}).Decision
		d.Reasons = slices.Clone(d.Reasons)
		d.Reasons[0].Says, d.Inputs.Engine = "something else", "another build"
		if got, err = w.assess.Replay(t.Context(), &d); err != nil || got.Same || got.Engine == "" || !slices.Equal(got.Differs, []string{"rule " + d.Reasons[0].Rule}) {
			w.Errorf("%+v, %v", got, err)
		}
	})
}

// replayed makes every decision again that this server has made.
func (w *world) replayed() {
	w.Helper()
	after := int64(0)
	for {
		var list []assess.Recorded
		err := w.db.View(w.Context(), func(tx *db.Tx) (err error) {
			list, err = tx.DecisionsFrom(w.Context(), time.Time{}, after, 100)
			return err
		})
		if err != nil {
			w.Fatal(err)
		}
		if len(list) == 0 {
			return
		}
		for i := range list {
			after = list[i].ID
			d := &list[i].Decision
			r, err := w.assess.Replay(w.Context(), d)
			switch {
			case err != nil:
				w.Errorf("decision %d about %s@%s: %v", after, d.Repository, d.Digest, err)
			case !r.Same && (len(r.Missing) == 0 || d.Clause != policy.RevokedClause):
				w.Errorf("decision %d about %s@%s: %+v\nwas %+v\nis  %+v", after, d.Repository, d.Digest, r, d, r.Decision)
			}
		}
	}
}
