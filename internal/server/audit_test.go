package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// auditSource reads the audit log as somebody elsewhere does.
func (w *world) auditSource(as api.Enrolled) (*tlog.HTTPSource, trust.LogKey) {
	w.Helper()
	b, err := w.trust.instance.LogKeys()
	if err != nil {
		w.Fatal(err)
	}
	keys, err := trust.ParseLogKeys(b)
	if err != nil {
		w.Fatal(err)
	}
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(as.Name, as.Secret)
	return &tlog.HTTPSource{URL: w.transport.url + "/audit/log", Client: http.DefaultClient, Header: r.Header}, keys.Audit()[0]
}

// verified verifies the audit log from elsewhere.
func (w *world) verified(as api.Enrolled, known ...tlog.Known) *api.AuditCheck {
	w.Helper()
	src, about := w.auditSource(as)
	v, err := tlog.ParseVerifier(about.Key)
	if err != nil {
		w.Fatal(err)
	}
	c, err := audit.Verify(w.Context(), audit.VerifyOptions{Source: src, Origin: about.Origin, Verifier: v, Known: known, Clock: time.Now})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// TestAuditLog: an event gets into the log after its commit, for those who may
// read audit events, on either engine.
func TestAuditLog(t *testing.T) {
	eachWorld(t, (*world).logs)
}

func (w *world) logs() {
	eve, reader := w.enrol("eve", "auditor"), w.enrol("ops", "reader")
	w.events("principal.enrolled") // are in the log
	for _, path := range []string{"/audit/log/checkpoint", "/audit/log/tile/entries/000.p/1"} {
		for who, want := range map[*api.Enrolled]int{&eve: http.StatusOK, &reader: http.StatusForbidden, {}: http.StatusUnauthorized} {
			res, body := w.request(*who, http.MethodGet, path, nil)
			w.want(want, res, body)
		}
	}
	before := w.verified(eve)
	if !before.OK || before.Entries == 0 {
		w.Fatalf("%+v", before)
	}
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute) // a hang, not a slow machine
	defer cancel()
	w.enrol("late", "reader")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for w.verified(eve).Entries < before.Entries+3 { // invited, code made, enrolled
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.Fatal("an event that was committed does not get into the log")
		}
	}
	head, err := audit.ParseHead(before.Origin, audit.FormatHead(before.Entries, rootOf(w.T, before)))
	if err != nil {
		w.Fatal(err)
	}
	if c := w.verified(eve, tlog.Known{From: "eve", Checkpoint: head}); !c.OK {
		w.Errorf("%+v", c)
	}
	res, body := w.request(eve, http.MethodPost, "/api/v1/audit/verify", nil)
	w.want(http.StatusOK, res, body)
	if c := decode[api.AuditCheck](w, body); !c.OK || !strings.Contains(string(body), "every one of") {
		w.Errorf("%s", body)
	}
	w.clean()
}

func rootOf(t *testing.T, c *api.AuditCheck) tlog.Hash {
	t.Helper()
	v, err := tlog.ParseVerifier(c.Key)
	if err != nil {
		t.Fatal(err)
	}
	head, err := tlog.OpenCheckpoint([]byte(c.Checkpoint), c.Origin, v)
	if err != nil {
		t.Fatal(err)
	}
	return head.Root
}

// TestTwoServersLog: servers on one database append to one log, and both show it.
func TestTwoServersLog(t *testing.T) {
	url, keys, content := testparts.Postgres(t), filepath.Join(t.TempDir(), "trust"), t.TempDir()
	shared := func(o *Options) {
		o.Config.Database.Postgres = &config.Postgres{URL: url}
		o.Config.Trust.Dir, o.Config.Trust.HeadStore = config.Path(keys), config.Path(t.TempDir())
		o.Config.Content.Disk = &config.Disk{Path: config.Path(content)}
	}
	one := newWorld(t, shared)
	eve := one.enrol("eve", "auditor")
	two := newWorld(t, shared, func(o *Options) { o.URL = one.url })
	two.admin = one.admin
	for i := range 20 {
		w := []*world{one, two}[i%2]
		w.enrol(fmt.Sprint("reader-", i), "reader")
	}
	two.events("principal.enrolled")
	one.events("principal.enrolled")
	one.published()
	a := one.verified(eve)
	b := two.verified(eve, tlog.Known{From: "the other server", Checkpoint: tlog.Checkpoint{Origin: a.Origin, Size: a.Entries, Root: rootOf(t, a)}})
	if !a.OK || !b.OK || a.Entries < 40 || a.Key != b.Key {
		t.Errorf("%+v\n%+v", a, b)
	}
	one.clean()
	two.clean()
}

// published waits until what is in the audit log now is published.
func (w *world) published() {
	w.Helper()
	store := w.db.AuditLog()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for size := int64(0); ; <-tick.C {
		h, err := store.Head(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		size = cmp.Or(size, h.Size)
		if h.PublishedSize >= size {
			return
		}
	}
}

// TestPulls: manifests that are handed out are counted, by who pulled what.
func TestPulls(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ops := w.enrol("ops", "reader")
	image := w.pushImage(w.admin, "dev/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("dev/app", image.Digest, repo.Admitted)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodGet} {
		res, body := w.request(ops, method, "/v2/dev/app/manifests/1", nil)
		w.want(http.StatusOK, res, body)
	}
	w.stop() // writes what was counted
	w.start()
	events := w.events("manifest.pulled")
	var mine []api.Event
	for _, e := range events {
		if e.Principal == "ops" {
			mine = append(mine, e)
		}
	}
	if len(mine) != 1 || mine[0].Details["count"] != "2" || mine[0].Digest != image.Digest.String() || mine[0].Repository != "dev/app" || mine[0].Details["first"] == "" {
		t.Errorf("%+v", events)
	}
}

// TestHeadStoreAhead: a server whose database is older than its head store does
// not start, and says what that is; the verification on its data says the same.
func TestHeadStoreAhead(t *testing.T) {
	heads := t.TempDir()
	w := newWorld(t, func(o *Options) { o.Config.Trust.HeadStore = config.Path(heads) })
	w.enrol("eve", "auditor")
	w.events("principal.enrolled")
	w.stop()
	backup := filepath.Join(t.TempDir(), "bonded.db")
	copyFile(t, filepath.Join(w.dir, "bonded.db"), backup) // stopping it has folded the write-ahead log in
	w.start()
	w.enrol("late", "reader")
	w.events("principal.enrolled")
	w.stop()
	for _, name := range []string{"bonded.db-wal", "bonded.db-shm"} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	copyFile(t, backup, filepath.Join(w.dir, "bonded.db"))
	o := w.options()
	if _, err := New(t.Context(), o); !errors.Is(err, tlog.ErrBehind) {
		t.Fatalf("it starts: %v", err)
	}
	o = w.options()
	o.Inspect = true
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := auditor{s.db, s}.Verify(t.Context())
	if err != nil || c.State != api.AuditLogAhead || !strings.Contains(c.Problem, "the head store has seen") {
		t.Errorf("%+v, %v", c, err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
