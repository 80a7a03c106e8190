package push_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/authz/authztest"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var (
	app        = oci.MustRepository("dev/app")
	other      = oci.MustRepository("dev/other")
	sandbox    = oci.MustRepository("sandbox/app")
	quarantine = oci.MustRepository("quarantine/app")
)

// world is a push flow on stores of its own. Blobs are in memory, and rows in a
// database in a folder: its contract is the one that counts.
type world struct {
	*testing.T
	*push.Flow
	db      *db.DB
	blobs   *mem.Store
	uploads blob.Uploads
	entry   *entry
	seen    *analysis
	now     time.Time
}

func newWorld(t *testing.T, limits push.Limits) *world {
	w := &world{T: t, entry: &entry{outcome: api.Allow}, seen: &analysis{}, now: noon}
	clock := func() time.Time { return w.now }
	w.db = dbtest.Open(t, db.Options{Folder: t.TempDir(), Clock: clock})
	w.blobs = mem.New(mem.Options{Now: clock, Limit: 32 << 20})
	w.uploads = w.blobs.Uploads()
	w.start(limits)
	return w
}

// start makes the flow anew, as after a restart.
func (w *world) start(limits push.Limits) {
	zones := repo.DefaultZones()
	zones["sandbox"] = repo.Zone{Name: "sandbox", Sandbox: true}
	w.Flow = push.New(push.Options{
		Zones: zones, Blobs: w.blobs, Uploads: w.uploads, Sessions: w.db, Analysis: w.seen, Entry: w.entry, Limits: limits,
		Clock: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler),
		Update: func(ctx context.Context, fn func(push.Tx) error) error {
			return w.db.Update(ctx, func(tx *db.Tx) error { return fn(tx) })
		},
	})
}

// entry answers as it is told, and counts.
type entry struct {
	outcome api.Outcome
	err     error
	hang    chan struct{} // where set, answers are given when it is closed
	began   func()        // where set, told of each question
	mu      sync.Mutex
	asked   int
}

func (e *entry) Enter(ctx context.Context, _ oci.Repository, _ oci.Digest) (api.Outcome, string, error) {
	e.mu.Lock()
	e.asked++
	e.mu.Unlock()
	if e.began != nil {
		e.began()
	}
	if e.hang != nil {
		select {
		case <-e.hang:
		case <-ctx.Done():
			return "", "", ctx.Err()
		}
	}
	return e.outcome, "a rule", e.err
}

// analysis notes what it was told of uploads, and reads them.
type analysis struct {
	mu       sync.Mutex
	finished []oci.Digest
	aborted  int
	reads    []func(ctx context.Context, p []byte, off int64) (int, error)
}

func (a *analysis) Follow(_ context.Context, read func(ctx context.Context, p []byte, off int64) (int, error), _ func()) push.Following {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reads = append(a.reads, read)
	return a
}

func (a *analysis) Grow(int64) {}

func (a *analysis) Finish(_ int64, d oci.Digest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finished = append(a.finished, d)
}

func (a *analysis) Abort() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.aborted++
}

// open lets anyone do anything in the sandbox.
func open(r oci.Repository, _ authz.Verb) bool { return r.Zone() == "sandbox" }

var (
	ann = authztest.Person("ann", "developer")
	bob = authztest.Person("bob", "developer")
	eve = authztest.Person("eve", "security") // attaches and does not push
)

func (w *world) act(p authz.Principal, v authz.Verb, r oci.Repository) authz.Act {
	w.Helper()
	return authztest.Act(w.T, p, v, r, open)
}

func (w *world) wantErr(what string, err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// upload sends content in one piece.
func (w *world) upload(p authz.Principal, r oci.Repository, mediaType, content string) oci.Descriptor {
	w.Helper()
	act := w.act(p, authz.Attach, r)
	id, err := w.Begin(w.Context(), act)
	if err != nil {
		w.Fatal(err)
	}
	d := oci.FromBytes([]byte(content))
	if err := w.Finish(w.Context(), act, id, d, 0, bytes.NewReader([]byte(content))); err != nil {
		w.Fatal(err)
	}
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

// put sends a document as a manifest.
func (w *world) put(p authz.Principal, v authz.Verb, r oci.Repository, doc map[string]any, tags ...string) (*push.Pushed, error) {
	w.Helper()
	if doc["schemaVersion"] == nil {
		doc["schemaVersion"] = 2
	}
	if doc["mediaType"] == nil {
		doc["mediaType"] = oci.MediaTypeManifest
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		w.Fatal(err)
	}
	return w.Manifest(w.Context(), w.act(p, v, r), w.viewer(p, r), push.Put{Raw: raw, Tags: tags})
}

func (w *world) viewer(p authz.Principal, r oci.Repository) repo.Viewer {
	v, _ := w.Zones.Sight(p, open)(r)
	return v
}

// image is one of a configuration and a layer that p has uploaded to r.
func (w *world) image(p authz.Principal, r oci.Repository, name string) map[string]any {
	w.Helper()
	return map[string]any{
		"config": w.upload(p, r, oci.MediaTypeConfig, `{"architecture":"amd64","os":"linux","comment":"`+name+`"}`),
		"layers": []oci.Descriptor{w.upload(p, r, "application/vnd.oci.image.layer.v1.tar", "layer of "+name)},
	}
}

// note is evidence about a subject that p has uploaded to r.
func (w *world) note(p authz.Principal, r oci.Repository, subject oci.Descriptor, text string) map[string]any {
	w.Helper()
	return map[string]any{
		"artifactType": "application/vnd.test.note", "subject": subject,
		"config": w.upload(p, r, oci.MediaTypeEmpty, "{}"), "layers": []oci.Descriptor{w.upload(p, r, "text/plain", text)},
	}
}

// old is evidence of cosign's older form, with a layer for each signature.
func (w *world) old(p authz.Principal, r oci.Repository, signatures ...string) map[string]any {
	w.Helper()
	var layers []oci.Descriptor
	for _, s := range signatures {
		layers = append(layers, w.upload(p, r, "application/vnd.dev.cosign.simplesigning.v1+json", s))
	}
	config := `{"architecture":"","config":{},"created":"0001-01-01T00:00:00Z","os":"","rootfs":{"type":"layers","diff_ids":[]}}`
	return map[string]any{"config": w.upload(p, r, oci.MediaTypeConfig, config), "layers": layers}
}

// view reads what is stored.
func (w *world) view(fn func(*db.Tx) error) {
	w.Helper()
	if err := w.db.View(w.Context(), func(tx *db.Tx) error { return fn(tx) }); err != nil {
		w.Fatal(err)
	}
}

// pushed is put of what has to be taken.
func (w *world) pushed(p authz.Principal, r oci.Repository, doc map[string]any, tags ...string) oci.Descriptor {
	w.Helper()
	out, err := w.put(p, authz.Push, r, doc, tags...)
	if err != nil {
		w.Fatal(err)
	}
	return oci.Descriptor{MediaType: doc["mediaType"].(string), Digest: out.Digest, Size: 1}
}

// move sets a placement's state.
func (w *world) move(r oci.Repository, d oci.Digest, s repo.State) {
	w.Helper()
	err := w.db.Update(w.Context(), func(tx *db.Tx) error {
		p, err := tx.Lookup(w.Context(), r, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
		if err != nil {
			return err
		}
		p.State = s
		return tx.Place(w.Context(), &p.Placement)
	})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) at(r oci.Repository, d oci.Digest) *repo.Placement {
	w.Helper()
	p, err := w.db.PlacementOf(w.Context(), r, d)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// jobs claims all that is queued, and returns the keys, sorted.
func (w *world) jobs() []string {
	w.Helper()
	jobs, err := w.db.Claim(w.Context(), []string{push.JobJudge, push.JobEvidence}, 100, time.Minute)
	if err != nil {
		w.Fatal(err)
	}
	keys := []string{}
	for _, j := range jobs {
		keys = append(keys, j.Key)
		if err := w.db.Finish(w.Context(), j); err != nil {
			w.Fatal(err)
		}
	}
	slices.Sort(keys)
	return keys
}

// all reads an upload as its follower does.
func all(ctx context.Context, read func(ctx context.Context, p []byte, off int64) (int, error)) (string, error) {
	b := make([]byte, 1<<10)
	n, err := read(ctx, b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return string(b[:n]), err
}
