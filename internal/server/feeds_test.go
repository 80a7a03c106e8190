package server

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln/feed"
)

// feedsOf asks for the feeds as an administrator.
func (w *world) feedsOf() []api.Feed {
	w.Helper()
	res, body := w.request(w.admin, http.MethodGet, "/api/v1/feeds", nil)
	w.want(http.StatusOK, res, body)
	return *decode[[]api.Feed](w, body)
}

// untimed compares feeds without their times.
var untimed = cmpopts.IgnoreFields(api.Feed{}, "LoadedAt", "CheckedAt")

// events returns the audit events of a kind, the oldest first.
func (w *world) events(kind string) []api.Event {
	w.Helper()
	ctx := w.Context()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for { // the sequencer may have some to do
		waiting, err := w.db.Waiting(ctx, 1)
		if err != nil {
			w.Fatal(err)
		}
		if len(waiting) == 0 {
			break
		}
		w.sequencer.Wake()
		<-tick.C
	}
	res, body := w.request(w.admin, http.MethodGet, "/api/v1/audit?kind="+kind, nil)
	w.want(http.StatusOK, res, body)
	return decode[api.Page[api.Event]](w, body).Items
}

// TestFeedNoLongerConfigured: what is taken out of the configuration goes out
// of force at the next start, and what was decided by it is judged again.
func TestFeedNoLongerConfigured(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
	dev := w.enrol("ann", "developer")
	image := w.pushImage(dev, "catalog/app", "1", layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	w.settled("catalog/app", image.Digest, repo.Denied)

	w.stop()
	change, never := w.change, config.Duration(0)
	w.change = func(o *Options) {
		change(o)
		o.Config.Feeds = []config.Feed{{Name: "other", Dir: "/nowhere", Interval: &never}}
	}
	w.start()
	w.settled("catalog/app", image.Digest, repo.Held) // nothing is known of Go any more
	want := []api.Feed{{Name: "other", Format: "osv", Source: "/nowhere"}, {Name: "test", Format: "osv", Source: w.feed, Gone: true}}
	if diff := cmp.Diff(want, w.feedsOf(), untimed); diff != "" {
		t.Errorf("feeds (-want +got):\n%s", diff)
	}
	dropped := w.events("feed.dropped")
	if len(dropped) != 1 || dropped[0].Principal != "feeds" || dropped[0].Details["feed"] != "test" || dropped[0].Details["gone"] != "1" || dropped[0].Details["snapshot"] == "" {
		t.Errorf("events %+v", dropped)
	}

	w.stop()
	w.start() // nothing is left to drop
	if n := len(w.events("feed.dropped")); n != 1 {
		t.Errorf("%d feeds were dropped in all", n)
	}

	w.stop()
	w.change = change
	w.start()
	w.load()
	w.settled("catalog/app", image.Digest, repo.Denied)
	w.clean()
}

// sendFeed sends a folder as bonded feed load does.
func (w *world) sendFeed(who api.Enrolled, dir, query string) (*http.Response, []byte) {
	w.Helper()
	var b bytes.Buffer
	if err := feed.Send(w.Context(), &b, dir); err != nil {
		w.Fatal(err)
	}
	return w.request(who, http.MethodPost, "/api/v1/feeds/load"+query, b.Bytes(), "Content-Type", "application/x-tar")
}

// TestFeedLoad: a folder that an administrator sends is in force until it is
// dropped, whatever is configured.
func TestFeedLoad(t *testing.T) {
	w := newWorld(t)
	dev, dir := w.enrol("ann", "developer"), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "Go"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		record := fmt.Sprintf(`{"id":"GO-%d","modified":"2026-11-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"stdlib"},"severity":[{"type":"CVSS_V3","score":%q}],
			"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"99.0.0"}]}]}]}`, i, critical)
		if err := os.WriteFile(filepath.Join(dir, "Go", fmt.Sprintf("GO-%d.json", i)), []byte(record), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image := w.pushImage(dev, "catalog/app", "1", layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	w.settled("catalog/app", image.Digest, repo.Held)

	res, body := w.sendFeed(dev, dir, "")
	w.want(http.StatusForbidden, res, body)
	res, body = w.sendFeed(w.admin, dir, "")
	w.want(http.StatusOK, res, body)
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	last := decode[api.FeedProgress](w, []byte(lines[len(lines)-1]))
	if len(lines) < 2 || last.Done == nil || last.Done.Advisories != 20 {
		t.Fatalf("loading answers %s", body)
	}
	w.settled("catalog/app", image.Digest, repo.Denied)
	if by := w.events("feed.updated"); len(by) != 1 || by[0].Principal != firstAdmin || by[0].Details["feed"] != "loaded/Go" {
		t.Errorf("events %+v", by)
	}

	// It stays after a restart, and through an update of what is configured.
	w.stop()
	w.start()
	for i := range 10 {
		if err := os.Remove(filepath.Join(dir, "Go", fmt.Sprintf("GO-%d.json", i))); err != nil {
			t.Fatal(err)
		}
	}
	res, body = w.sendFeed(w.admin, dir, "")
	w.want(http.StatusOK, res, body)
	if got := w.feedsOf(); !got[0].Held || got[0].Name != "loaded/Go" || got[0].Records != 20 || got[0].Source != "bonded feed load" {
		t.Errorf("half of it is lost: %+v", got)
	}
	res, body = w.sendFeed(w.admin, dir, "?force=true")
	w.want(http.StatusOK, res, body)
	if got := w.feedsOf(); got[0].Held || got[0].Records != 10 {
		t.Errorf("half of it is lost, and that is right: %+v", got)
	}

	res, body = w.request(w.admin, http.MethodPost, "/api/v1/feeds/load", []byte("no tar"), "Content-Type", "application/x-tar")
	w.want(http.StatusBadRequest, res, body)
	drop := func(name string, status int) {
		t.Helper()
		res, body := w.request(w.admin, http.MethodPost, "/api/v1/feeds/drop", fmt.Appendf(nil, `{"feed":%q}`, name), "Content-Type", "application/json")
		w.want(status, res, body)
	}
	drop("test", http.StatusConflict)
	drop("nothing", http.StatusNotFound)
	drop("loaded", http.StatusOK)
	drop("loaded", http.StatusNotFound)
	w.settled("catalog/app", image.Digest, repo.Held)
	if got := w.feedsOf(); !got[0].Gone || got[0].Name != "loaded/Go" {
		t.Errorf("what was dropped: %+v", got)
	}
	w.clean()
}

// TestFeedUpdateNames: an update loads what it names.
func TestFeedUpdateNames(t *testing.T) {
	a, b, never := t.TempDir(), t.TempDir(), config.Duration(0)
	for dir, id := range map[string]string{a: "GO-A", b: "GO-B"} {
		record := fmt.Sprintf(`{"id":%q,"modified":"2026-11-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"x"}}]}`, id)
		if err := os.WriteFile(filepath.Join(dir, id+".json"), []byte(record), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, func(o *Options) {
		o.Config.Feeds = []config.Feed{{Name: "a", Dir: config.Path(a), Interval: &never}, {Name: "b", Dir: config.Path(b), Interval: &never}}
	})
	update := func(body string, status int) {
		t.Helper()
		res, answer := w.request(w.admin, http.MethodPost, "/api/v1/feeds/update", []byte(body), "Content-Type", "application/json")
		w.want(status, res, answer)
	}
	update(`{"feeds":["c"]}`, http.StatusNotFound)
	update(`{"feeds":["b"]}`, http.StatusOK)
	if got := w.feedsOf(); got[0].Records != 0 || !got[0].LoadedAt.IsZero() || got[1].Records != 1 {
		t.Errorf("after b was loaded: %+v", got)
	}
	update(`{}`, http.StatusOK)
	if got := w.feedsOf(); got[0].Records != 1 || got[1].Records != 1 {
		t.Errorf("after all were loaded: %+v", got)
	}
}
