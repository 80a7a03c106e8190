package promote_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/authz/authztest"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestPromoteRefused: what cannot be promoted, before any gate is asked.
func TestPromoteRefused(t *testing.T) {
	w := newWorld(t)
	good := w.place(dev, image("good"), repo.Admitted, "ann")
	held := w.place(dev, image("held"), repo.Held, "ann")
	gone := w.place(dev, image("withdrawn"), repo.Withdrawn, "ann")
	theirs := w.place(quarantine, image("theirs"), repo.Admitted, "bob")
	around := w.place(quarantine, index("around", theirs), repo.Admitted, "ann")
	w.tag(quarantine, "theirs", theirs.Digest)
	for _, tt := range []struct {
		name     string
		from, to oci.Repository
		in       promote.Request
		want     error
	}{
		{"over a zone", dev, oci.MustRepository("production/app"), of(good.Digest), promote.ErrNoWay},
		{"back", staging, dev, of(good.Digest), promote.ErrNoWay},
		{"under another path", dev, oci.MustRepository("staging/other"), of(good.Digest), promote.ErrNoWay},
		{"to no zone", dev, oci.MustRepository("moon/app"), of(good.Digest), repo.ErrNotFound},
		{"what is not there", dev, staging, of(oci.FromBytes([]byte("absent"))), repo.ErrNotFound},
		{"what is held", dev, staging, of(held.Digest), promote.ErrNotAdmitted},
		{"what was withdrawn", dev, staging, of(gone.Digest), promote.ErrNotAdmitted},
		{"no tag", dev, staging, promote.Request{From: oci.Reference{Digest: good.Digest}, Tags: []string{"a b"}}, oci.ErrTagInvalid},
		{"what another brought to quarantine", quarantine, catalog, of(theirs.Digest), repo.ErrNotFound},
		{"by tag", quarantine, catalog, promote.Request{From: oci.Reference{Tag: "theirs"}}, repo.ErrNotFound},
		{"in an index of one's own", quarantine, catalog, of(around.Digest), repo.ErrNotFound},
	} {
		_, err := w.promote(ann, tt.from, tt.to, tt.in)
		w.wantErr(tt.name, err, tt.want)
	}
	_, err := w.Promote(t.Context(), w.act(ann, authz.Push, staging), w.act(ann, authz.Pull, dev), of(good.Digest))
	w.wantErr("without the right to promote", err, authz.ErrNotPermitted)
	_, err = w.Promote(t.Context(), w.act(ann, authz.Promote, staging), authz.Act{}, promote.Request{From: oci.Reference{Repository: dev, Digest: good.Digest}})
	w.wantErr("without the right to pull", err, authz.ErrNotPermitted)
	if w.asked != 0 || w.events() != "" {
		t.Errorf("a gate was asked %d times; events: %s", w.asked, w.events())
	}
	if _, err := w.promote(ops, quarantine, catalog, of(theirs.Digest)); err != nil {
		t.Errorf("by who sees quarantine: %v", err)
	}
}

// TestPromote: a promotion takes the closure or nothing.
func TestPromote(t *testing.T) {
	w := newWorld(t)
	one, two := w.place(dev, image("one"), repo.Admitted, "ann"), image("two, absent")
	all := w.place(dev, index("all", one, two), repo.Admitted, "ann")
	sbom := w.place(dev, note("sbom", one.Digest), repo.Attached, "bob")
	signature := w.place(dev, note("signature", sbom.Digest), repo.Attached, "bob")
	old := w.place(staging, image("old"), repo.Admitted, "ann")
	w.tag(dev, "1", all.Digest)
	w.tag(staging, "1", old.Digest)
	everything := []*repo.Manifest{all, one, two, sbom, signature}
	verdict := func(o, child api.Outcome) func(oci.Digest) *promote.Verdict {
		return func(d oci.Digest) *promote.Verdict {
			v := w.says(o, d, sorted(sbom.Digest, signature.Digest)...)
			v.Children = map[oci.Digest]promote.Verdict{one.Digest: *w.says(child, one.Digest)}
			return v
		}
	}
	by := promote.Request{From: oci.Reference{Tag: "1"}}

	for _, o := range []api.Outcome{api.Deny, api.CannotTell} {
		w.gate = verdict(o, o)
		out, err := w.promote(ann, dev, staging, by)
		if err != nil || out.Decision.Outcome != o || len(out.Closure) != 0 || w.stands(staging, everything...) != "" || w.tagOf(staging, "1") != old.Digest {
			t.Errorf("%s: %+v, %v; there: %s", o, out, err, w.stands(staging, everything...))
		}
	}
	w.gate = verdict(api.Allow, api.Deny)
	if _, err := w.promote(ann, dev, staging, by); err == nil || w.stands(staging, everything...) != "" {
		t.Errorf("an index was let in with a child that was not: %v", err)
	}
	w.gate = verdict(api.Allow, api.Allow)
	by.DryRun = true
	if out, err := w.promote(ann, dev, staging, by); err != nil || out.Decision.Outcome != api.Allow || w.stands(staging, everything...) != "" {
		t.Errorf("a dry run: %+v, %v", out, err)
	}
	if w.events() != "" {
		t.Errorf("events of what was not done: %s", w.events())
	}
	by.DryRun = false
	out, err := w.promote(ann, dev, staging, by)
	if err != nil || len(out.Closure) != 4 || w.tagOf(staging, "1") != all.Digest || w.events() != "placement.promoted" {
		t.Errorf("%+v, %v, events %s", out, err, w.events())
	}
	if got, want := w.stands(staging, everything...), "index all admitted, image one admitted, note sbom attached, note signature attached"; got != want {
		t.Errorf("there: %s", got)
	}
	p, err := w.db.PlacementOf(t.Context(), staging, one.Digest)
	if err != nil || p.Decision == 0 || p.BroughtBy != "ann" || !p.AdmittedAt.Equal(noon) {
		t.Errorf("%+v, %v", p, err)
	}
	by.Tags = []string{"2"}
	if _, err := w.promote(ann, dev, staging, by); err != nil || w.tagOf(staging, "2") != all.Digest {
		t.Errorf("again, under another tag: %v", err)
	}
}

func sorted(a, b oci.Digest) []oci.Digest {
	if a.String() > b.String() {
		a, b = b, a
	}
	return []oci.Digest{a, b}
}

// TestDecidedAgain: what changes between decision and commit has it decided
// again, a bounded number of times.
func TestDecidedAgain(t *testing.T) {
	gate := func(name string) oci.Digest { return oci.FromBytes([]byte(name)) }
	for _, tt := range []struct {
		name   string
		change func(w *world, one *repo.Manifest, n int) // after the n-th decision
		under  func(n int) int64
		asked  int
		want   error
	}{
		{"nothing", nil, nil, 1, nil},
		{"evidence comes once", func(w *world, one *repo.Manifest, n int) {
			if n == 1 {
				w.place(dev, note("late", one.Digest), repo.Attached, "bob")
			}
		}, nil, 2, nil},
		{"evidence comes each time", func(w *world, one *repo.Manifest, n int) {
			w.place(dev, note(fmt.Sprint(n), one.Digest), repo.Attached, "bob")
		}, nil, 5, repo.ErrConflict},
		{"the advisories are others", nil, func(n int) int64 { return int64(min(n, 3) % 3) }, 3, nil}, // 0 is in force
		{"another gate is in force once", func(w *world, _ *repo.Manifest, n int) {
			w.update(func(ctx context.Context, tx *db.Tx) error {
				_, err := tx.PutGate(ctx, "staging", gate("new"))
				return err
			})
		}, nil, 2, nil},
		{"it was withdrawn", func(w *world, one *repo.Manifest, n int) {
			w.update(func(ctx context.Context, tx *db.Tx) error {
				p, err := tx.Lookup(ctx, dev, repo.Selector{Digest: one.Digest}, repo.Viewer{})
				if err != nil {
					return err
				}
				p.State = repo.Withdrawn
				return tx.Place(ctx, &p.Placement)
			})
		}, nil, 1, promote.ErrNotAdmitted},
	} {
		w := newWorld(t)
		one := w.place(dev, image("one"), repo.Admitted, "ann")
		w.update(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.PutGate(ctx, "staging", gate("old"))
			return err
		})
		w.gate = func(d oci.Digest) *promote.Verdict {
			v := w.says(api.Allow, d)
			if tt.under != nil {
				v.Under = tt.under(w.asked)
			}
			err := w.db.View(t.Context(), func(tx *db.Tx) error {
				_, in, err := tx.InForce(t.Context(), "staging")
				if err != nil {
					return err
				}
				v.Gate = in
				v.Evidence, err = tx.ReferrersOf(t.Context(), d)
				return err
			})
			w.wantErr(tt.name, err, nil)
			return v
		}
		w.then = func() {
			if tt.change != nil {
				tt.change(w, one, w.asked)
			}
		}
		_, err := w.promote(ann, dev, staging, of(one.Digest))
		w.wantErr(tt.name, err, tt.want)
		if got := w.stands(staging, one); w.asked != tt.asked || (got != "") != (tt.want == nil) {
			t.Errorf("%s: decided %d times, want %d; there: %q", tt.name, w.asked, tt.asked, got)
		}
	}
}

// TestRemove: which verb takes away what, and what is then there.
func TestRemove(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state repo.State
		kind  func(name string) *repo.Manifest
		by    string
		verbs []authz.Verb
		want  error
	}{
		{"one's own, held, with delete", repo.Held, image, "ann", []authz.Verb{authz.Delete}, nil},
		{"that of others, held", repo.Held, image, "bob", []authz.Verb{authz.Delete}, repo.ErrNotFound},
		{"what is admitted, with delete", repo.Admitted, image, "ann", []authz.Verb{authz.Delete}, authz.ErrNotPermitted},
		{"what is admitted, with withdraw", repo.Admitted, image, "ann", []authz.Verb{authz.Delete, authz.Withdraw}, nil},
		{"without either", repo.Held, image, "ann", []authz.Verb{authz.Push}, authz.ErrNotPermitted},
	} {
		w := newWorld(t)
		m := w.place(dev, tt.kind("one"), tt.state, tt.by)
		parent := w.place(dev, index("parent", m), repo.Admitted, "carol")
		w.tag(dev, "1", m.Digest)
		var acts []authz.Act
		for _, v := range tt.verbs {
			acts = append(acts, w.act(authztest.Person("ann", "admin"), v, dev))
		}
		err := w.DeleteManifest(t.Context(), acts, repo.Viewer{Principal: "ann"}, dev, m.Digest)
		w.wantErr(tt.name, err, tt.want)
		removed := tt.want == nil
		if (w.stands(dev, m) == "") != removed || w.tagOf(dev, "1").IsZero() != removed {
			t.Errorf("%s: there: %q, tag %s", tt.name, w.stands(dev, m), w.tagOf(dev, "1"))
		}
		jobs, err := w.db.Claim(t.Context(), []string{"judge"}, 10, 1)
		if err != nil || len(jobs) > 0 != removed || removed && jobs[0].Key != dev.String()+"@"+parent.Digest.String() {
			t.Errorf("%s: jobs %v, %v", tt.name, jobs, err)
		}
		if want := map[bool]string{true: "placement.removed", false: ""}[removed]; w.events() != want {
			t.Errorf("%s: events %s", tt.name, w.events())
		}
	}
}

func TestRemoveTag(t *testing.T) {
	w := newWorld(t)
	in, waiting := w.place(dev, image("in"), repo.Admitted, "bob"), w.place(dev, image("waiting"), repo.Held, "ann")
	w.tag(dev, "1", in.Digest)
	w.update(func(ctx context.Context, tx *db.Tx) error { return tx.SetPending(ctx, dev, "2", waiting.Digest, "ann") })
	admin := authztest.Person("ann", "admin")
	remove, withdraw := []authz.Act{w.act(admin, authz.Delete, dev)}, []authz.Act{w.act(admin, authz.Withdraw, dev)}
	v := repo.Viewer{Principal: "ann"}
	w.wantErr("one in force, with delete", w.DeleteTag(t.Context(), remove, v, dev, "1"), authz.ErrNotPermitted)
	w.wantErr("one in force", w.DeleteTag(t.Context(), withdraw, v, dev, "1"), nil)
	w.wantErr("again", w.DeleteTag(t.Context(), withdraw, v, dev, "1"), repo.ErrNotFound)
	w.wantErr("one that waits", w.DeleteTag(t.Context(), remove, v, dev, "2"), nil)
	w.wantErr("again", w.DeleteTag(t.Context(), remove, v, dev, "2"), repo.ErrNotFound)
	if got := w.stands(dev, in, waiting); got != "image in admitted, image waiting held" {
		t.Error(got)
	}
}

func TestRemoveBlob(t *testing.T) {
	w := newWorld(t)
	free, used := oci.FromBytes([]byte("free")), oci.FromBytes([]byte("used"))
	m := image("one")
	m.References = []repo.Reference{{Digest: used, Size: 4, Role: repo.RoleLayer}}
	w.update(func(ctx context.Context, tx *db.Tx) error {
		for _, d := range []oci.Digest{free, used} {
			if err := tx.PutBlob(ctx, d, 4); err != nil {
				return err
			}
			if err := tx.Lease(ctx, dev, d, "ann", noon.AddDate(0, 0, 1)); err != nil {
				return err
			}
		}
		return nil
	})
	w.place(dev, m, repo.Admitted, "ann")
	acts, v := []authz.Act{w.act(ann, authz.Delete, dev)}, repo.Viewer{Principal: "ann"}
	w.wantErr("by another", w.DeleteBlob(t.Context(), acts, repo.Viewer{Principal: "bob"}, dev, free), repo.ErrNotFound)
	w.wantErr("what a manifest names", w.DeleteBlob(t.Context(), acts, v, dev, used), promote.ErrInUse)
	w.wantErr("what nothing names", w.DeleteBlob(t.Context(), acts, v, dev, free), nil)
	w.wantErr("again", w.DeleteBlob(t.Context(), acts, v, dev, free), repo.ErrNotFound)
	if a, err := w.db.BlobAccess(t.Context(), dev, used, repo.Viewer{}); err != nil || !a.Readable {
		t.Errorf("%+v, %v", a, err)
	}
}
