package promote_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/authz/authztest"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/repo"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var (
	dev        = oci.MustRepository("dev/app")
	staging    = oci.MustRepository("staging/app")
	catalog    = oci.MustRepository("catalog/app")
	quarantine = oci.MustRepository("quarantine/app")
)

// world is a promotion flow on a database in a folder, and the gate's part.
type world struct {
	*testing.T
	*promote.Flow
	db   *db.DB
	gate func(d oci.Digest) *promote.Verdict
	// asked is how often the gate was asked; then is done after each answer.
	asked int
	then  func()
}

func newWorld(t *testing.T) *world {
	w := &world{T: t}
	clock := func() time.Time { return noon }
	w.db = dbtest.Open(t, db.Options{Folder: t.TempDir(), Clock: clock})
	run := func(by func(context.Context, func(*db.Tx) error) error) func(context.Context, func(promote.Tx) error) error {
		return func(ctx context.Context, fn func(promote.Tx) error) error {
			return by(ctx, func(tx *db.Tx) error { return fn(tx) })
		}
	}
	w.gate = func(d oci.Digest) *promote.Verdict { return w.says(api.Allow, d) }
	w.Flow = promote.New(promote.Options{
		Zones: repo.DefaultZones(), Judge: w, JudgeJob: "judge", Update: run(w.db.Update), View: run(w.db.View), Clock: clock, Rand: &counter{},
	})
	return w
}

// counter is a source of random bytes that are not.
type counter struct{ n byte }

func (c *counter) Read(p []byte) (int, error) {
	c.n++
	for i := range p {
		p[i] = c.n
	}
	return len(p), nil
}

// Decide makes a world a promote.Judge.
func (w *world) Decide(_ context.Context, from, to oci.Repository, d oci.Digest) (*promote.Verdict, error) {
	if from.Path() != to.Path() {
		w.Errorf("asked about %s in %s", from, to)
	}
	w.asked++
	v := w.gate(d)
	if w.then != nil {
		w.then()
	}
	return v, nil
}

// says is a verdict about d in the target that its gate depends on nothing for.
func (w *world) says(o api.Outcome, d oci.Digest, evidence ...oci.Digest) *promote.Verdict {
	return &promote.Verdict{Under: -1, Evidence: evidence, Decision: api.Decision{Repository: "staging/app", Digest: d.String(), Clause: "enter", Outcome: o, DecidedAt: noon}}
}

var (
	ann = authztest.Person("ann", "developer")
	ops = authztest.Person("ops", "operator")
)

func (w *world) act(p authz.Principal, v authz.Verb, r oci.Repository) authz.Act {
	w.Helper()
	return authztest.Act(w.T, p, v, r, nil)
}

func (w *world) viewer(p authz.Principal, r oci.Repository) repo.Viewer {
	v, _ := w.Zones.Sight(p, nil)(r)
	return v
}

// promote takes d from one repository to another for somebody.
func (w *world) promote(p authz.Principal, from, to oci.Repository, in promote.Request) (*api.Promoted, error) {
	w.Helper()
	in.From.Repository, in.Viewer = from, w.viewer(p, from)
	return w.Promote(w.Context(), w.act(p, authz.Promote, to), w.act(p, authz.Pull, from), in)
}

func of(d oci.Digest) promote.Request { return promote.Request{From: oci.Reference{Digest: d}} }

func image(name string) *repo.Manifest {
	raw := []byte("image " + name)
	return &repo.Manifest{Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeManifest, Kind: oci.KindImage, Raw: raw}
}

func index(name string, children ...*repo.Manifest) *repo.Manifest {
	raw := []byte("index " + name)
	m := &repo.Manifest{Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeIndex, Kind: oci.KindIndex, Raw: raw}
	for _, c := range children {
		m.References = append(m.References, repo.Reference{Digest: c.Digest, MediaType: c.MediaType, Size: int64(len(c.Raw)), Role: repo.RoleChild})
	}
	return m
}

func note(name string, subject oci.Digest) *repo.Manifest {
	raw := []byte("note " + name)
	return &repo.Manifest{Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeManifest, Kind: oci.KindEvidence, Subject: subject, Raw: raw}
}

// place puts a manifest where it has not been before.
func (w *world) place(r oci.Repository, m *repo.Manifest, s repo.State, by string) *repo.Manifest {
	w.Helper()
	w.update(func(ctx context.Context, tx *db.Tx) error {
		return errors.Join(tx.PutManifest(ctx, m), tx.Place(ctx, &repo.Placement{Repository: r, Digest: m.Digest, Kind: m.Kind, State: s, BroughtBy: by, BroughtAt: noon}))
	})
	return m
}

func (w *world) tag(r oci.Repository, tag string, d oci.Digest) {
	w.Helper()
	w.update(func(ctx context.Context, tx *db.Tx) error {
		_, err := tx.SetTag(ctx, r, tag, d)
		return err
	})
}

func (w *world) update(fn func(ctx context.Context, tx *db.Tx) error) {
	w.Helper()
	if err := w.db.Update(w.Context(), func(tx *db.Tx) error { return fn(w.Context(), tx) }); err != nil {
		w.Fatal(err)
	}
}

// stands lists what stands in a repository, by the names that were given.
func (w *world) stands(r oci.Repository, ms ...*repo.Manifest) string {
	w.Helper()
	var all []string
	for _, m := range ms {
		p, err := w.db.PlacementOf(w.Context(), r, m.Digest)
		if err == nil && p.State != repo.Removed {
			all = append(all, fmt.Sprintf("%s %s", m.Raw, p.State))
		} else if err != nil && !errors.Is(err, repo.ErrNotFound) {
			w.Fatal(err)
		}
	}
	return strings.Join(all, ", ")
}

func (w *world) tagOf(r oci.Repository, tag string) oci.Digest {
	w.Helper()
	p, err := w.db.Lookup(w.Context(), r, repo.Selector{Tag: tag}, repo.Viewer{})
	if errors.Is(err, repo.ErrNotFound) {
		return oci.Digest{}
	}
	if err != nil {
		w.Fatal(err)
	}
	return p.Manifest.Digest
}

// events are the kinds of those that were appended, in order.
func (w *world) events() string {
	w.Helper()
	waiting, err := w.db.Waiting(w.Context(), 100)
	if err != nil {
		w.Fatal(err)
	}
	var kinds []string
	for _, e := range waiting {
		_, kind, _ := strings.Cut(string(e.Bytes), `"kind":"`)
		kind, _, _ = strings.Cut(kind, `"`)
		kinds = append(kinds, kind)
	}
	return strings.Join(kinds, " ")
}

func (w *world) wantErr(what string, err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Errorf("%s: got error %v, want %v", what, err, want)
	}
}
