package promote_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/authz/authztest"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/repo"
)

// rollback lets a tag go back for somebody.
func (w *world) rollback(p authz.Principal, r oci.Repository, in promote.Rollback) (*api.RolledBack, error) {
	w.Helper()
	in.Viewer = w.viewer(p, r)
	return w.Rollback(w.Context(), w.act(p, authz.Promote, r), w.act(p, authz.Pull, r), in)
}

// change makes a placement what fn does of it.
func (w *world) change(r oci.Repository, d oci.Digest, fn func(*repo.Placement)) {
	w.Helper()
	w.update(func(ctx context.Context, tx *db.Tx) error {
		placed, err := tx.Lookup(ctx, r, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
		if err != nil {
			return err
		}
		fn(&placed.Placement)
		return tx.Place(ctx, &placed.Placement)
	})
}

// TestRollback: a tag goes back step by step, and not in circles.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	one, two, three := w.place(staging, image("one"), repo.Admitted, "ann"), w.place(staging, image("two"), repo.Admitted, "ann"), w.place(staging, image("three"), repo.Admitted, "ann")
	_, err := w.rollback(ann, staging, promote.Rollback{Tag: "stable"})
	w.wantErr("a tag that never was", err, repo.ErrNotFound)
	for _, m := range []*repo.Manifest{one, two, two, three} {
		w.tag(staging, "stable", m.Digest)
	}
	back := func(what string, in promote.Rollback, want *repo.Manifest, wantErr error) {
		t.Helper()
		in.Tag = "stable"
		out, err := w.rollback(ann, staging, in)
		w.wantErr(what, err, wantErr)
		if err == nil && (out.Digest != want.Digest.String() || out.Done == in.DryRun) || w.tagOf(staging, "stable") != want.Digest && !in.DryRun {
			t.Errorf("%s: %+v; it names %s, want %s", what, out, w.tagOf(staging, "stable"), want.Raw)
		}
	}
	back("dry", promote.Rollback{DryRun: true}, two, nil)
	back("once", promote.Rollback{Reason: "it loses orders"}, two, nil)
	back("twice", promote.Rollback{}, one, nil)
	back("a third time", promote.Rollback{}, one, promote.ErrNoEarlier)
	back("to where it is", promote.Rollback{To: one.Digest}, one, promote.ErrNoEarlier)
	back("to where it never was", promote.Rollback{To: oci.FromBytes([]byte("x"))}, one, promote.ErrNoEarlier)
	back("forward again", promote.Rollback{To: three.Digest}, three, nil)
	if got := w.events(); got != "tag.returned tag.returned tag.returned" {
		t.Errorf("events: %s", got)
	}
	named, err := w.History(t.Context(), w.act(ann, authz.Pull, staging), w.viewer(ann, staging), "stable", 0, 100)
	if err != nil || len(named) != 6 || named[0].Digest != three.Digest.String() || !named[0].To.IsZero() || named[1].To.IsZero() || named[1].Back == 0 {
		t.Errorf("%+v, %v", named, err)
	}
	w.update(func(ctx context.Context, tx *db.Tx) error {
		_, err := tx.SetTag(ctx, staging, "stable", oci.Digest{})
		return err
	})
	back("after it was removed", promote.Rollback{}, three, nil)
}

// TestRollbackRefused: what a tag may not go back to, it does not.
func TestRollbackRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		make    func(w *world, old, now *repo.Manifest)
		in      promote.Rollback
		as      authz.Principal
		outcome api.Outcome // of a decision that says no
		want    error
	}{
		{name: "withdrawn", make: func(w *world, old, _ *repo.Manifest) {
			w.change(staging, old.Digest, func(p *repo.Placement) { p.State = repo.Withdrawn })
		}, want: promote.ErrNotAdmitted},
		{name: "revoked", make: func(w *world, old, _ *repo.Manifest) {
			w.change(staging, old.Digest, func(p *repo.Placement) { p.State = repo.Revoked })
		}, want: promote.ErrNotAdmitted},
		{name: "removed", make: func(w *world, old, _ *repo.Manifest) {
			w.change(staging, old.Digest, func(p *repo.Placement) { p.State = repo.Removed })
		}, want: repo.ErrNotFound},
		{name: "with a deadline", make: func(w *world, old, _ *repo.Manifest) {
			w.change(staging, old.Digest, func(p *repo.Placement) { p.StayUntil, p.Sentence = noon.Add(time.Hour), "it has a fault" })
		}, want: promote.ErrNotAdmitted},
		{name: "denied by the gate", make: func(w *world, old, _ *repo.Manifest) {
			w.gate = func(d oci.Digest) *promote.Verdict { return w.says(api.Deny, d) }
		}, outcome: api.Deny},
		{name: "unclear to the gate", make: func(w *world, old, _ *repo.Manifest) {
			w.gate = func(d oci.Digest) *promote.Verdict { return w.says(api.CannotTell, d) }
		}, outcome: api.CannotTell},
		{name: "evidence keeps coming", make: func(w *world, old, _ *repo.Manifest) {
			w.then = func() { w.place(staging, note(strings.Repeat("x", w.asked), old.Digest), repo.Attached, "bob") }
		}, want: repo.ErrConflict},
		{name: "the tag moves meanwhile", make: func(w *world, old, now *repo.Manifest) {
			w.then = func() { w.tag(staging, "stable", []oci.Digest{now.Digest, old.Digest}[w.asked%2]) }
		}, in: promote.Rollback{}, want: repo.ErrConflict},
		{name: "a reason of two lines", in: promote.Rollback{Reason: "a\nb"}, want: authz.ErrInvalid},
		{name: "a long reason", in: promote.Rollback{Reason: strings.Repeat("x", promote.MaxReason+1)}, want: authz.ErrInvalid},
	} {
		w := newWorld(t)
		old, now := w.place(staging, image("old"), repo.Admitted, "ann"), w.place(staging, image("now"), repo.Admitted, "ann")
		w.tag(staging, "stable", old.Digest)
		w.tag(staging, "stable", now.Digest)
		if tt.make != nil {
			tt.make(w, old, now)
		}
		tt.in.Tag = "stable"
		out, err := w.rollback(ann, staging, tt.in)
		if tt.name == "the tag moves meanwhile" {
			if err == nil || !errors.Is(err, tt.want) && !errors.Is(err, promote.ErrNoEarlier) {
				t.Errorf("%s: %+v, %v", tt.name, out, err)
			}
			continue
		}
		w.wantErr(tt.name, err, tt.want)
		if err == nil && (out.Done || out.Decision.Outcome != tt.outcome) || w.tagOf(staging, "stable") != now.Digest || w.events() != "" {
			t.Errorf("%s: %+v; events %s", tt.name, out, w.events())
		}
	}
	w := newWorld(t)
	_, err := w.Rollback(t.Context(), w.act(ann, authz.Promote, staging), authz.Act{}, promote.Rollback{Tag: "stable"})
	w.wantErr("without the right to pull", err, authz.ErrNotPermitted)
	_, err = w.Rollback(t.Context(), w.act(ann, authz.Pull, staging), w.act(ann, authz.Pull, staging), promote.Rollback{Tag: "stable"})
	w.wantErr("without the right to promote", err, authz.ErrNotPermitted)
}

// TestRollbackInQuarantine: who sees their own alone is not told of others'.
func TestRollbackInQuarantine(t *testing.T) {
	w := newWorld(t)
	theirs, mine := w.place(quarantine, image("theirs"), repo.Admitted, "bob"), w.place(quarantine, image("mine"), repo.Admitted, "ann")
	w.tag(quarantine, "1", theirs.Digest)
	w.tag(quarantine, "1", mine.Digest)
	_, err := w.rollback(ann, quarantine, promote.Rollback{Tag: "1"})
	w.wantErr("to what another brought", err, repo.ErrNotFound)
	if w.asked != 0 {
		t.Error("the gate was asked, whose reasons tell what is inside")
	}
	named, err := w.History(t.Context(), w.act(ann, authz.Pull, quarantine), w.viewer(ann, quarantine), "1", 0, 10)
	if err != nil || len(named) != 1 || named[0].Digest != mine.Digest.String() {
		t.Errorf("%+v, %v", named, err)
	}
	op := authztest.Person("ops", "operator")
	if out, err := w.rollback(op, quarantine, promote.Rollback{Tag: "1"}); err != nil || !out.Done {
		t.Errorf("by who sees all: %+v, %v", out, err)
	}
}
