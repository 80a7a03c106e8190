package promote_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/authz/authztest"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/repo"
)

var sue, sid = authztest.Person("sue", "security"), authztest.Person("sid", "security")

func (w *world) approve(p authz.Principal, from, to oci.Repository, in promote.Word) (n int, err error) {
	w.Helper()
	in.Of.Repository, in.Viewer = from, w.viewer(p, from)
	out, err := w.Approve(w.Context(), w.act(p, authz.Approve, to), w.act(p, authz.Pull, from), in)
	if err != nil {
		return 0, err
	}
	return len(out.Approvals), nil
}

func (w *world) hold(p authz.Principal, r oci.Repository, in promote.Word) error {
	w.Helper()
	in.Of.Repository, in.Viewer = r, w.viewer(p, r)
	_, err := w.Stop(w.Context(), w.act(p, authz.Hold, r), w.act(p, authz.Pull, r), in)
	return err
}

func word(m *repo.Manifest) promote.Word { return promote.Word{Of: oci.Reference{Digest: m.Digest}} }

// TestApprove: each person once, of a digest and what it names, in one repository.
func TestApprove(t *testing.T) {
	w := newWorld(t)
	one := w.place(dev, image("one"), repo.Admitted, "ann")
	all := w.place(dev, index("all", one), repo.Admitted, "ann")
	steps := []struct {
		name string
		by   authz.Principal
		in   promote.Word
		n    int
		err  error
	}{
		{"once", sue, word(all), 1, nil},
		{"again", sue, word(all), 1, nil},
		{"by another", sid, word(all), 2, nil},
		{"taken back", sue, promote.Word{Of: oci.Reference{Digest: all.Digest}, Back: true}, 1, nil},
		{"taken back again", sue, promote.Word{Of: oci.Reference{Digest: all.Digest}, Back: true}, 0, repo.ErrNotFound},
		{"of what is not there", sue, word(image("two")), 0, repo.ErrNotFound},
		{"with a reason of two lines", sue, promote.Word{Of: oci.Reference{Digest: all.Digest}, Reason: "a\nb"}, 0, authz.ErrInvalid},
	}
	for _, tt := range steps {
		n, err := w.approve(tt.by, dev, staging, tt.in)
		w.wantErr(tt.name, err, tt.err)
		if err == nil && n != tt.n {
			t.Errorf("%s: %d approvals, want %d", tt.name, n, tt.n)
		}
	}
	_, err := w.approve(sue, dev, catalog, word(all))
	w.wantErr("where no way leads", err, promote.ErrNoWay)
	_, err = w.Approve(t.Context(), w.act(ann, authz.Promote, staging), w.act(ann, authz.Pull, dev), word(all))
	w.wantErr("without the right to", err, authz.ErrNotPermitted)
	if got := w.events(); got != "approval.given approval.given approval.withdrawn" {
		t.Errorf("events: %s", got)
	}
	counted := func(r oci.Repository, d oci.Digest) (n int) {
		w.update(func(ctx context.Context, tx *db.Tx) error {
			words, err := repo.Approvals(ctx, tx, r, d)
			n = len(words)
			return err
		})
		return n
	}
	if counted(staging, one.Digest) != 1 || counted(staging, all.Digest) != 1 || counted(dev, all.Digest) != 0 || counted(staging, image("two").Digest) != 0 {
		t.Error("an approval is of what an index names, in one repository")
	}
}

// TestApproveWhatWaits: what waits in its zone is judged again, with all that it
// names; what one may not see cannot be approved.
func TestApproveWhatWaits(t *testing.T) {
	w := newWorld(t)
	one := w.place(staging, image("one"), repo.Held, "ann")
	all := w.place(staging, index("all", one), repo.Held, "ann")
	_, err := w.Approve(t.Context(), w.act(sue, authz.Approve, staging), w.act(sue, authz.Pull, staging), promote.Word{Of: oci.Reference{Repository: staging, Digest: all.Digest}})
	w.wantErr("what one may not see", err, repo.ErrNotFound)
	if n, err := w.approve(sue, staging, staging, word(all)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	jobs, err := w.db.Claim(t.Context(), []string{"judge"}, 10, time.Minute)
	if err != nil || len(jobs) != 2 {
		t.Errorf("%v, %v", jobs, err)
	}
}

// TestStop: what is held goes nowhere, and neither does what names it.
func TestStop(t *testing.T) {
	w := newWorld(t)
	one := w.place(dev, image("one"), repo.Admitted, "ann")
	all := w.place(dev, index("all", one), repo.Admitted, "ann")
	other := w.place(dev, image("other"), repo.Admitted, "ann")
	w.wantErr("without a reason", w.hold(sue, dev, word(one)), authz.ErrInvalid)
	stop := word(one)
	stop.Reason = "it is slow"
	w.wantErr("holding", w.hold(sue, dev, stop), nil)
	for _, m := range []*repo.Manifest{one, all} {
		_, err := w.promote(ann, dev, staging, of(m.Digest))
		w.wantErr("promoting "+string(m.Raw), err, promote.ErrStopped)
		if err != nil && !strings.Contains(err.Error(), "by sue: it is slow") {
			t.Error(err)
		}
	}
	dry := of(one.Digest)
	dry.DryRun = true
	_, err := w.promote(ann, dev, staging, dry)
	w.wantErr("asking whether it could be promoted", err, promote.ErrStopped)
	if got := w.stands(staging, one, all, other); got != "" {
		t.Errorf("there: %s", got)
	}
	_, err = w.promote(ann, dev, staging, of(other.Digest))
	w.wantErr("promoting another", err, nil)
	w.tag(dev, "1", one.Digest)
	w.tag(dev, "1", other.Digest)
	_, err = w.rollback(ann, dev, promote.Rollback{Tag: "1"})
	w.wantErr("rolling back to it", err, promote.ErrStopped)
	resume := word(one)
	resume.Back = true
	w.wantErr("by another", w.hold(sid, dev, resume), nil)
	w.wantErr("again", w.hold(sid, dev, resume), repo.ErrNotFound)
	_, err = w.promote(ann, dev, staging, of(all.Digest))
	w.wantErr("promoting it after all", err, nil)
	if !strings.Contains(w.events(), "promotion.stopped") || !strings.Contains(w.events(), "promotion.resumed") {
		t.Errorf("events: %s", w.events())
	}
}

// TestApprovalsChange: approvals that come or go while it is decided have it
// decided again, where the gate looks at them.
func TestApprovalsChange(t *testing.T) {
	for _, looks := range []bool{true, false} {
		w := newWorld(t)
		one := w.place(dev, image("one"), repo.Admitted, "ann")
		w.gate = func(d oci.Digest) *promote.Verdict {
			v := w.says("allow", d)
			v.Approvable = looks
			if looks {
				w.update(func(ctx context.Context, tx *db.Tx) error {
					words, err := repo.Approvals(ctx, tx, staging, d)
					v.Decision.Inputs.Approvals = evidence.WordIDs(words)
					return err
				})
			}
			return v
		}
		w.then = func() {
			if w.asked == 1 {
				if _, err := w.approve(sue, dev, staging, word(one)); err != nil {
					t.Error(err)
				}
			}
		}
		_, err := w.promote(ann, dev, staging, of(one.Digest))
		w.wantErr("promoting", err, nil)
		if want := map[bool]int{true: 2, false: 1}[looks]; w.asked != want {
			t.Errorf("a gate that looks at approvals (%t) was asked %d times, want %d", looks, w.asked, want)
		}
	}
}
