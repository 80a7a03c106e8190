package revoke_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/revoke"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var (
	dev        = oci.MustRepository("dev/app")
	production = oci.MustRepository("production/app")
	sandbox    = oci.MustRepository("sandbox/app")
)

// world is a revocation flow on a database.
type world struct {
	testing.TB
	*revoke.Flow
	db  *db.DB
	now time.Time
}

// each runs fn on a world over each engine.
func each(t *testing.T, fn func(w *world)) {
	dbtest.Each(t, func(t *testing.T, o db.Options) { fn(newWorld(t, o)) })
}

func newWorld(t testing.TB, o db.Options) *world {
	w := &world{TB: t, now: noon}
	o.Clock = func() time.Time { return w.now }
	w.db = dbtest.Open(t, o)
	zones := repo.DefaultZones()
	zones["sandbox"] = repo.Zone{Name: "sandbox", Sandbox: true}
	run := func(by func(context.Context, func(*db.Tx) error) error) func(context.Context, func(revoke.Tx) error) error {
		return func(ctx context.Context, fn func(revoke.Tx) error) error {
			return by(ctx, func(tx *db.Tx) error { return fn(tx) })
		}
	}
	w.Flow = revoke.New(revoke.Options{
		Zones: zones, WorkJob: "revoke", JudgeJob: "judge", ZoneJob: "gate", Update: run(w.db.Update), View: run(w.db.View), Engine: "test", Clock: o.Clock, Rand: &counter{},
	})
	return w
}

// counter is a source of random bytes that are not.
type counter struct{ n int64 }

func (c *counter) Read(p []byte) (int, error) {
	c.n++
	for i := range p {
		p[i] = byte(c.n >> (8 * (i % 8)))
	}
	return len(p), nil
}

func (w *world) act(grant string) authz.Act {
	w.Helper()
	g, err := authz.ParseGrant(grant)
	if err != nil {
		w.Fatal(err)
	}
	act, err := authz.Check(authz.Principal{Issuer: "bonded", Subject: "sec", Method: "token", Grants: []authz.Grant{g}}, authz.Revoke, oci.Repository{}, nil)
	if err != nil {
		w.Fatal(err)
	}
	return act
}

func (w *world) update(fn func(ctx context.Context, tx *db.Tx) error) {
	w.Helper()
	if err := w.db.Update(w.Context(), func(tx *db.Tx) error { return fn(w.Context(), tx) }); err != nil {
		w.Fatal(err)
	}
}

func digest(name string) oci.Digest { return oci.FromBytes([]byte(name)) }

// image is a manifest with a layer of its own, and one that all have.
func image(name string) *repo.Manifest {
	return &repo.Manifest{Digest: digest(name), MediaType: oci.MediaTypeManifest, Kind: oci.KindImage, Raw: []byte(name), References: []repo.Reference{
		{Digest: digest("layer of " + name), Size: 4, Role: repo.RoleLayer}, {Digest: digest("base"), Size: 4, Role: repo.RoleLayer},
	}}
}

func index(name string, children ...*repo.Manifest) *repo.Manifest {
	m := &repo.Manifest{Digest: digest(name), MediaType: oci.MediaTypeIndex, Kind: oci.KindIndex, Raw: []byte(name)}
	for _, c := range children {
		m.References = append(m.References, repo.Reference{Digest: c.Digest, Size: 4, Role: repo.RoleChild})
	}
	return m
}

func statement(name string, subject oci.Digest) *repo.Manifest {
	return &repo.Manifest{Digest: digest(name), MediaType: oci.MediaTypeManifest, Kind: oci.KindEvidence, Subject: subject, Raw: []byte(name)}
}

// put lets m stand in r, by a decision that was told of some evidence.
func (w *world) put(r oci.Repository, m *repo.Manifest, s repo.State, told ...*repo.Manifest) {
	w.Helper()
	w.update(func(ctx context.Context, tx *db.Tx) error {
		for _, ref := range m.References {
			if ref.Role == repo.RoleLayer {
				if err := tx.PutBlob(ctx, ref.Digest, 4); err != nil {
					return err
				}
			}
		}
		if err := tx.PutManifest(ctx, m); err != nil {
			return err
		}
		d := api.Decision{Repository: r.String(), Digest: m.Digest.String(), Zone: r.Zone(), Clause: "enter", Outcome: api.Allow, DecidedAt: w.now, Reasons: []api.Reason{{Rule: "signed", Outcome: api.Allow}}}
		for _, e := range told {
			d.Reasons[0].Evidence = append(d.Reasons[0].Evidence, e.Digest.String())
		}
		id, err := tx.PutDecision(ctx, &d, 0)
		if err != nil {
			return err
		}
		at := repo.Placement{Repository: r, Digest: m.Digest, Kind: m.Kind, State: s, BroughtBy: "ann", BroughtAt: w.now, Decision: id}
		if s == repo.Admitted {
			at.AdmittedAt = w.now
		}
		return tx.Place(ctx, &at)
	})
}

// signed notes that a signature about subject, in a referrer, has verified.
func (w *world) signed(subject, referrer oci.Digest, sig evidence.Signature) {
	w.Helper()
	sig.Anchor, sig.Subject, sig.Referrer = "bonded", subject, referrer
	w.update(func(ctx context.Context, tx *db.Tx) error {
		_, err := tx.PutEvidence(ctx, &assess.EvidenceRow{Subject: subject, Referrer: referrer, Verifier: "x", At: w.now, Checked: assess.Checked{Signatures: []evidence.Signature{sig}}})
		return err
	})
}

// pushed notes that somebody pushed d.
func (w *world) pushed(who string, d oci.Digest, at time.Time) {
	w.Helper()
	w.update(func(ctx context.Context, tx *db.Tx) error {
		p := authz.Principal{Issuer: "bonded", Subject: who, Method: "token"}
		return tx.Append(ctx, audit.New(fmt.Sprint(who, d, at), at, p, "manifest.pushed").On(dev, d))
	})
}

// states are those of all placements of m, as "repository state".
func (w *world) states(m *repo.Manifest) string {
	w.Helper()
	var all []string
	w.update(func(ctx context.Context, tx *db.Tx) error {
		all = nil
		ps, err := tx.Placements(ctx, m.Digest)
		for _, p := range ps {
			all = append(all, p.Repository.Zone()+" "+string(p.State))
		}
		return err
	})
	return strings.Join(all, ", ")
}

func (w *world) want(what, got, want string) {
	w.Helper()
	if got != want {
		w.Errorf("%s: %s, want %s", what, got, want)
	}
}

// jobs are the keys of what is queued, by the zone of the repository, and takes
// them.
func (w *world) jobs(kind string) string {
	w.Helper()
	jobs, err := w.db.Claim(w.Context(), []string{kind}, 1000, time.Hour)
	if err != nil {
		w.Fatal(err)
	}
	var keys []string
	for _, j := range jobs {
		name, _, _ := strings.Cut(j.Key, "/")
		keys = append(keys, name)
		if err := w.db.Finish(w.Context(), j); err != nil {
			w.Fatal(err)
		}
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

// events are the kinds of what the outbox holds, with how many there are.
func (w *world) events() map[string]int {
	w.Helper()
	all, err := w.db.Waiting(w.Context(), 10_000)
	if err != nil {
		w.Fatal(err)
	}
	kinds := map[string]int{}
	for _, e := range all {
		var ev audit.Event
		if err := json.Unmarshal(e.Bytes, &ev); err != nil {
			w.Fatal(err)
		}
		kinds[ev.Kind]++
	}
	return kinds
}

// revoke previews, acts, and fails unless both say the same.
func (w *world) revoke(req api.RevokeRequest) *api.Revoked {
	w.Helper()
	if req.Reason == "" {
		req.Reason = "a test"
	}
	before := w.events()
	req.Preview = true
	preview, err := w.Revoke(w.Context(), w.act("security"), req)
	if err != nil {
		w.Fatal(err)
	}
	if now := w.events(); fmt.Sprint(now) != fmt.Sprint(before) {
		w.Errorf("a preview has left %v, before there were %v", now, before)
	}
	req.Preview = false
	done, err := w.Revoke(w.Context(), w.act("security"), req)
	if err != nil {
		w.Fatal(err)
	}
	if p, d := fmt.Sprint(preview.Hits, preview.Barred, preview.Rejudged), fmt.Sprint(done.Hits, done.Barred, done.Rejudged); p != d || !preview.Preview {
		w.Errorf("the preview said %s, and was hit %s", p, d)
	}
	return done
}

func (w *world) lift(id int64) {
	w.Helper()
	if _, err := w.Lift(w.Context(), w.act("security"), id, "it was a mistake"); err != nil {
		w.Fatal(err)
	}
}
