package server

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// TestConfigurations: of two servers on one database the one that was brought a
// new configuration decides; the other reads for a while, and comes back only
// when it is gone.
func TestConfigurations(t *testing.T) {
	url := testparts.Postgres(t)
	var later atomic.Int64 // how far the clock of the first is ahead
	start := func(change func(*Options)) *world {
		return newWorld(t, func(o *Options) {
			o.Config.Database.Postgres = &config.Postgres{URL: url}
			change(o)
		})
	}
	a := start(func(o *Options) {
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	b := start(func(o *Options) {
		o.Config.Trust.Dir = config.Path(a.dir + "/trust")
		o.Config.Feeds[0].Name = "other"
	})
	look := func(w *world) string {
		t.Helper()
		if err := w.deciding.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.deciding.replaced()
	}
	if why := look(b); why != "" {
		t.Fatalf("the newer one: %s", why)
	}
	why := look(a)
	for _, want := range []string{"another server applied configuration sha256:", "(feeds)", "to go back to this one"} {
		if !strings.Contains(why, want) {
			t.Errorf("the older one says %q, without %q", why, want)
		}
	}
	if why := a.notReady(t.Context()); why != "" {
		t.Errorf("its successor has no time to become ready: %s", why)
	}
	health, err := a.Health(t.Context())
	if err != nil || health.Checks["configuration"] != why {
		t.Errorf("its health is %+v, %v", health, err)
	}
	for _, r := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/v2/", http.StatusOK},
		{http.MethodGet, "/api/v1/zones", http.StatusOK},
		{http.MethodPut, "/v2/dev/app/manifests/1", http.StatusServiceUnavailable},
		{http.MethodPost, "/v2/dev/app/blobs/uploads/", http.StatusAccepted},
		{http.MethodPost, "/api/v1/promotions", http.StatusServiceUnavailable},
	} {
		res, body := a.request(a.admin, r.method, r.path, nil)
		a.want(r.want, res, body)
	}
	if jobs, err := (governedQueue{a.db, a.deciding}).Claim(t.Context(), []string{jobSweep}, 1, time.Minute); err != nil || len(jobs) != 0 {
		t.Errorf("it takes the jobs %v, %v", jobs, err)
	}
	a.deciding.mu.Lock()
	a.deciding.since = a.deciding.since.Add(-handover)
	a.deciding.mu.Unlock()
	if why := a.notReady(t.Context()); !strings.Contains(why, "configuration: another server") {
		t.Errorf("after the handover it is ready: %q", why)
	}

	a.stop()
	a.start()
	if why := a.notReady(t.Context()); !strings.Contains(why, "configuration: another server") || look(b) != "" {
		t.Errorf("started again with the old file: %q; the newer one: %q", why, look(b))
	}
	b.stop()
	later.Store(int64(aliveFor + time.Second))
	if why := look(a); why != "" {
		t.Errorf("nobody is left with the newer one, and: %s", why)
	}
	if why := a.notReady(t.Context()); why != "" {
		t.Errorf("in force again: %s", why)
	}
	if all := a.events("configuration.applied"); len(all) != 2 || all[0].Details["differs"] != "feeds" {
		t.Errorf("%+v", all)
	}
}

// TestConfigurationOfOne: a server that has the database for itself decides by
// what it was started with, and goes back as it likes.
func TestConfigurationOfOne(t *testing.T) {
	name := "one"
	w := newWorld(t, func(o *Options) { o.Config.Feeds[0].Name = name })
	for _, name = range []string{"two", "one", "two"} {
		w.stop()
		w.start()
		if why := w.deciding.replaced(); why != "" {
			t.Errorf("%s: %s", name, why)
		}
	}
}
