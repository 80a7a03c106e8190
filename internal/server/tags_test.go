package server

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

// silent is an Entry that does not answer while it is told not to.
type silent struct {
	push.Entry
	on *atomic.Bool
}

func (s silent) Enter(ctx context.Context, r oci.Repository, d oci.Digest) (api.Outcome, string, error) {
	if s.on.Load() {
		<-ctx.Done()
		return "", "", ctx.Err()
	}
	return s.Entry.Enter(ctx, r, d)
}

// event is the newest of a kind that has a detail, once there is one: the
// sequencer may be at it.
func (w *world) event(kind, key, value string) api.Event {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, ev := range w.events(kind) {
			if ev.Details[key] == value {
				return ev
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.Fatalf("no event of the kind %s with %s %s", kind, key, value)
		}
	}
}

// tagOf is where a tag in force points, for somebody with no notes of its own.
func (w *world) tagOf(repository, tag string) string {
	w.Helper()
	p, err := w.db.Lookup(w.Context(), oci.MustRepository(repository), repo.Selector{Tag: tag}, repo.Viewer{})
	if err != nil {
		return ""
	}
	return p.Manifest.Digest.String()
}

// retag pushes what is there under another tag.
func (w *world) retag(who api.Enrolled, repository string, d oci.Descriptor, tag string) {
	w.Helper()
	res, raw := w.request(who, http.MethodGet, "/v2/"+repository+"/manifests/"+d.Digest.String(), nil)
	w.want(http.StatusOK, res, raw)
	res, body := w.request(who, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, raw, "Content-Type", d.MediaType)
	w.want(http.StatusCreated, res, body)
}

// TestTagOfWhatWouldNotEnter: a tag for something admitted that the gate would
// not let in any more is refused; where nobody could tell in time it waits, and
// everything that is asked about it says so, until the gate agrees.
func TestTagOfWhatWouldNotEnter(t *testing.T) {
	eachWorld(t, func(w *world) {
		var mute atomic.Bool
		w.stop()
		w.opened = func(s *Server) { s.push.Entry = silent{s.push.Entry, &mute} }
		w.start()
		const r = "catalog/app"
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		ann, ops := w.enrol("ann", "developer"), w.enrol("ops", "reader")
		layer := layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)})
		image := w.pushImage(ann, r, "1", layer)
		w.settled(r, image.Digest, repo.Admitted)
		_, raw := w.request(ops, http.MethodGet, "/v2/"+r+"/manifests/1", nil)
		put := func(tag string) (*http.Response, string) {
			res, body := w.request(ann, http.MethodPut, "/v2/"+r+"/manifests/"+tag, raw, "Content-Type", image.MediaType)
			return res, string(body)
		}
		why := func(ref string) *api.Why {
			res, body := w.request(ops, http.MethodGet, "/api/v1/why?ref="+ref, nil)
			w.want(http.StatusOK, res, body)
			return decode[api.Why](w, body)
		}

		res, body := put("2") // it is still fine
		w.want(http.StatusCreated, res, []byte(body))
		w.idle()
		if got := w.tagOf(r, "2"); got != image.Digest.String() || len(res.Header.Values("Warning")) != 0 {
			w.Errorf("tag 2 points at %q; %v", got, res.Header)
		}

		w.listed("GO-TEST-2", "stdlib")
		res, body = put("3")
		w.want(http.StatusForbidden, res, []byte(body))
		if !strings.Contains(body, "no-severe-with-fix") || !strings.Contains(body, "tag 3 of "+r) {
			w.Errorf("refused without the reason: %s", body)
		}
		w.idle()
		if w.tagOf(r, "3") != "" || len(why(r+"@"+image.Digest.String()).Waiting) != 0 {
			w.Error("a push that was refused left a tag")
		}
		res, body = put("2") // where it is already
		w.want(http.StatusCreated, res, []byte(body))

		mute.Store(true)
		res, body = put("3")
		w.want(http.StatusCreated, res, []byte(body))
		if text := strings.Join(res.Header.Values("Warning"), " "); !strings.Contains(text, "tag 3 of "+r+" stays as it is for now") {
			w.Errorf("what waits is not said: %q", text)
		}
		w.idle()
		if got := w.tagOf(r, "3"); got != "" {
			w.Errorf("tag 3 points at %s", got)
		}
		for _, ref := range []string{r + ":2", r + "@" + image.Digest.String()} {
			got := why(ref)
			if len(got.Waiting) != 1 || got.Waiting[0].Tag != "3" || got.Waiting[0].By != "ann" || got.Waiting[0].Decision == nil || got.Waiting[0].Decision.Outcome != api.Deny || strings.Join(got.Tags, ",") != "1,2" {
				w.Errorf("why %s: tags %v, waiting %+v", ref, got.Tags, got.Waiting)
			}
		}
		if got := w.event("tag.waits", "tags", "3"); !strings.Contains(got.Details["rules"], "no-severe-with-fix") {
			w.Errorf("tag.waits: %+v", got)
		}
		if got := w.events("manifest.pushed"); got[0].Details["tags_waiting"] != "3" {
			w.Errorf("manifest.pushed: %+v", got)
		}

		// It is no longer held against it: the tag moves.
		w.listed("GO-TEST-2", "example.com/third")
		w.idle()
		if got := w.tagOf(r, "3"); got != image.Digest.String() || len(why(r+":3").Waiting) != 0 {
			w.Errorf("tag 3 points at %q", got)
		}
		w.clean()
	})
}
