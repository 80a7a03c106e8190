package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// These tests put new advisories, or another gate, in force between a decision
// and its commit, when the job that follows them has already listed what is to be
// judged again.

// between is a judge that calls then after its first decision.
type between struct {
	judge
	then  func()
	asked *int
}

func (b between) Decide(ctx context.Context, from, to oci.Repository, d oci.Digest) (*promote.Verdict, error) {
	v, err := b.judge.Decide(ctx, from, to, d)
	if *b.asked++; *b.asked == 1 {
		b.then()
	}
	return v, err
}

// promotion promotes dev/app:1 to staging as the administrator, calling then
// between decision and commit. It returns how often the gate was asked.
func (w *world) promotion(then func()) (*api.Promoted, int, error) {
	w.Helper()
	asked := 0
	flow := promote.New(w.Server.promote.Options)
	flow.Judge = between{judge{w.assess}, then, &asked}
	ref, err := oci.ParseReference("dev/app:1")
	if err != nil {
		w.Fatal(err)
	}
	admin := authz.Internal("test")
	act, err := authz.Check(admin, authz.Promote, oci.MustRepository("staging/app"), nil)
	if err != nil {
		w.Fatal(err)
	}
	out, err := promoter{flow: flow}.Promote(w.Context(), act, repo.Viewer{Quarantine: true}, ref, api.PromoteRequest{})
	return out, asked, err
}

// listed loads an advisory, and has all that it concerns listed.
func (w *world) listed(id, module string) {
	w.Helper()
	before := w.advisories.Index().Snapshot().Seq
	w.advise(id, module, "99.0.0", critical)
	if err := w.assess.HandleAdvisories(w.Context(), job.Job{Key: fmt.Sprint(before)}); err != nil {
		w.Error(err)
	}
	w.idle()
}

// idle waits until nothing is left to be judged.
func (w *world) idle() {
	w.Helper()
	w.idleOf(assess.JobJudge, assess.JobAdvisories, assess.JobGate)
}

func (w *world) idleOf(kinds ...string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		next, err := w.db.Next(ctx, kinds)
		if err == nil && next.IsZero() {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.Fatalf("jobs do not end: next at %v, %v", next, err)
		}
	}
}

// gated is the assessor of another process on the same database, with gates of
// its own and the advisories that it has read.
func (w *world) gated(change func(*assess.Options)) *assess.Assessor {
	w.Helper()
	o := w.assess.Options
	o.Gates, o.Advisories = maps.Clone(o.Gates), vuln.NewLive(w.db)
	if _, err := o.Advisories.Refresh(w.Context()); err != nil {
		w.Fatal(err)
	}
	change(&o)
	a, err := assess.New(o)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// takesNothing is a gate that lets nothing in.
func (w *world) takesNothing(name string) *policy.Gate {
	w.Helper()
	gate, err := policy.Parse(name, []byte("apiVersion: bonded.dev/v1\nkind: Gate\nname: "+name+"\ndescribe: Nothing.\naccepts: [chart]\n"))
	if err != nil {
		w.Fatal(err)
	}
	return gate
}

func TestPromotionUnderOldAdvisories(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		dev := w.enrol("ann", "developer")
		image := w.pushImage(dev, "dev/app", "1", layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)}))
		w.settled("dev/app", image.Digest, repo.Admitted)
		out, asked, err := w.promotion(func() { w.listed("GO-TEST-2", "stdlib") })
		if err != nil || out.Decision.Outcome != api.Deny || asked != 2 {
			w.Errorf("decided %d times: %+v, %v", asked, out, err)
		}
		if _, err := w.db.PlacementOf(w.Context(), oci.MustRepository("staging/app"), image.Digest); !errors.Is(err, repo.ErrNotFound) {
			w.Errorf("it was let in by what no longer holds: %v", err)
		}
		w.clean()
	})
}

func TestPromotionByOldGate(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		dev := w.enrol("ann", "developer")
		image := w.pushImage(dev, "dev/app", "1", layerOf(w.T, map[string][]byte{"etc/motd": []byte("hello")}))
		w.settled("dev/app", image.Digest, repo.Admitted)
		other := w.gated(func(o *assess.Options) { o.Gates["staging"] = w.takesNothing("staging") })
		_, asked, err := w.promotion(func() {
			if err := other.PutGates(w.Context()); err != nil {
				w.Error(err)
			}
			w.idle()
		})
		if !errors.Is(err, repo.ErrConflict) || !errors.Is(err, assess.ErrOtherGate) || asked != 2 {
			w.Errorf("decided %d times: %v", asked, err)
		}
		if _, err := w.db.PlacementOf(w.Context(), oci.MustRepository("staging/app"), image.Digest); !errors.Is(err, repo.ErrNotFound) {
			w.Errorf("it was let in by what no longer holds: %v", err)
		}
		// The last to start counts.
		if err := w.assess.PutGates(w.Context()); err != nil {
			t.Error(err)
		}
		if out, _, err := w.promotion(func() {}); err != nil || out.Decision.Outcome != api.Allow {
			w.Errorf("%+v, %v", out, err)
		}
		w.clean()
	})
}

// commits is a transaction that notes the snapshots of what it records.
type commits struct {
	assess.Tx
	under *[]int64
}

func (c commits) PutDecision(ctx context.Context, d *api.Decision, snapshot int64) (int64, error) {
	*c.under = append(*c.under, snapshot)
	return c.Tx.PutDecision(ctx, d, snapshot)
}

func (c commits) ConfirmDecision(ctx context.Context, id int64, at time.Time, snapshot int64) error {
	*c.under = append(*c.under, snapshot)
	return c.Tx.ConfirmDecision(ctx, id, at, snapshot)
}

// TestJudgedUnderOldAdvisories: what a push, or anything else, has judged is
// recorded under the advisories in force, also by a process that has not read
// them yet, and also if they come while it decides.
func TestJudgedUnderOldAdvisories(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		dev := w.enrol("ann", "developer")
		image := w.pushImage(dev, "catalog/app", "1", layerOf(w.T, map[string][]byte{"usr/bin/app": program(w.T)}))
		w.settled("catalog/app", image.Digest, repo.Admitted)
		w.idle()
		var under []int64
		loaded := false
		late := w.gated(func(o *assess.Options) {
			update := o.DB.Update
			o.DB.Update = func(ctx context.Context, fn func(assess.Tx) error) error {
				if !loaded { // the first is the commit: the image was examined before
					loaded = true
					w.listed("GO-TEST-3", "example.com/third")
				}
				return update(ctx, func(tx assess.Tx) error {
					under = nil
					return fn(commits{tx, &under})
				})
			}
		})
		w.listed("GO-TEST-2", "example.com/second")
		if err := late.Judge(w.Context(), oci.MustRepository("catalog/app"), image.Digest); err != nil {
			w.Error(err)
		}
		if want := []int64{w.advisories.Index().Snapshot().Seq}; want[0] != 3 || !slices.Equal(under, want) {
			w.Errorf("recorded under %v, want %v", under, want)
		}
		w.clean()
	})
}

// TestNewGate: a server that starts with another gate has the zone judged again,
// and says so.
func TestNewGate(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		dev := w.enrol("ann", "developer")
		held := w.pushImage(dev, "catalog/app", "1", []byte("no tar"))
		w.settled("catalog/app", held.Digest, repo.Held, repo.Denied)
		w.idle()
		open, err := policy.Parse("catalog", []byte("apiVersion: bonded.dev/v1\nkind: Gate\nname: catalog\ndescribe: All.\naccepts: [image]\nunreadLayers: accept\n"))
		if err != nil {
			t.Fatal(err)
		}
		w.stop()
		w.opened = func(s *Server) { s.assess.Gates["catalog"] = open }
		w.start()
		w.settled("catalog/app", held.Digest, repo.Admitted)
		if ev := w.event("gate.changed", "gate", open.Digest().String()); ev.Details["zone"] != "catalog" || ev.Details["before"] == "" {
			t.Errorf("%+v", ev)
		}
		w.clean()
	})
}
