package db_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// way is one artifact on its way in, step by step. Each step can be taken
// again after it failed.
type way struct {
	d     *db.DB
	clock *clock
	r     oci.Repository
	m     *repo.Manifest
	layer oci.Digest
	audit *audit.Integrator
}

func newWay(d *db.DB, c *clock, i int, in *audit.Integrator) *way {
	raw := []byte(fmt.Sprint("manifest ", i))
	w := &way{d: d, clock: c, audit: in, r: oci.MustRepository(fmt.Sprintf("dev/way-%d", i)), layer: digest(fmt.Sprint("layer ", i))}
	w.m = &repo.Manifest{
		Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeManifest, Kind: oci.KindImage, Raw: raw,
		References: []repo.Reference{{Digest: w.layer, Size: 4, Role: repo.RoleLayer}},
	}
	return w
}

func (w *way) steps() []func(context.Context) error {
	return []func(context.Context) error{w.upload, w.push, w.judge, w.log, w.load}
}

func (w *way) event(kind string) audit.Event {
	e := event(kind + w.r.Path())
	e.Kind = kind
	return e.On(w.r, w.m.Digest)
}

func (w *way) upload(ctx context.Context) error {
	id := blob.UploadID(w.r.Path())
	if _, err := w.d.Session(ctx, id); errors.Is(err, repo.ErrNotFound) {
		err = w.d.BeginSession(ctx, push.Session{ID: id, Repository: w.r, Principal: "alice", Started: noon, Touched: noon})
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	err := w.d.Update(ctx, func(tx *db.Tx) error {
		return firstOf(
			func() error { return tx.PutBlob(ctx, w.layer, 4) },
			func() error { return tx.Lease(ctx, w.r, w.layer, "alice", w.clock.now().Add(time.Hour)) },
			func() error { return tx.Append(ctx, w.event("blob.pushed")) },
		)
	})
	if err != nil {
		return err
	}
	return w.d.EndSession(ctx, id)
}

func firstOf(fns ...func() error) error {
	for _, fn := range fns {
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

func (w *way) push(ctx context.Context) error {
	return w.d.Update(ctx, func(tx *db.Tx) error {
		unknown, err := tx.Unknown(ctx, w.r, []oci.Digest{w.layer}, repo.Viewer{Principal: "alice"})
		if err != nil || len(unknown) > 0 {
			return errors.Join(err, fmt.Errorf("unknown: %v", unknown))
		}
		at := repo.Placement{Repository: w.r, Digest: w.m.Digest, Kind: w.m.Kind, State: repo.Held, BroughtBy: "alice", BroughtAt: noon}
		if placed, err := tx.Lookup(ctx, w.r, repo.Selector{Digest: w.m.Digest}, repo.Viewer{}); err == nil {
			at.Version = placed.Version
		} else if !errors.Is(err, repo.ErrNotFound) {
			return err
		}
		return firstOf(
			func() error { return tx.PutManifest(ctx, w.m) },
			func() error { return tx.Place(ctx, &at) },
			func() error { return tx.SetPending(ctx, w.r, "v1", w.m.Digest, "alice") },
			func() error { return tx.Append(ctx, w.event("manifest.pushed")) },
			func() error { return tx.Enqueue(ctx, "judge", w.r.String(), w.clock.now()) },
		)
	})
}

func (w *way) judge(ctx context.Context) error {
	jobs, err := w.d.Claim(ctx, []string{"judge"}, 1, time.Minute)
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		return w.judged(ctx)
	}
	err = w.d.Update(ctx, func(tx *db.Tx) error {
		placed, err := tx.Lookup(ctx, w.r, repo.Selector{Digest: w.m.Digest}, repo.Viewer{Quarantine: true})
		if err != nil {
			return err
		}
		at := placed.Placement
		at.State, at.AdmittedAt = repo.Admitted, noon
		at.Decision, err = tx.PutDecision(ctx, &api.Decision{Repository: w.r.String(), Digest: w.m.Digest.String(), Outcome: api.Allow, DecidedAt: noon}, 1)
		if err != nil {
			return err
		}
		return firstOf(
			func() error { return tx.Place(ctx, &at) },
			func() error { _, err := tx.SetTag(ctx, w.r, "v1", w.m.Digest); return err },
			func() error { return tx.Append(ctx, w.event("placement.admitted")) },
		)
	})
	if err != nil {
		return err
	}
	return w.d.Finish(ctx, jobs[0])
}

// judged is for a judge whose Finish was executed, and said that it was not.
func (w *way) judged(ctx context.Context) error {
	p, err := w.d.Lookup(ctx, w.r, repo.Selector{Tag: "v1"}, repo.Viewer{})
	if err == nil && p.State != repo.Admitted {
		err = errors.New("the job is gone and nothing was judged")
	}
	return err
}

func (w *way) log(ctx context.Context) error {
	_, err := w.audit.Sequence(ctx, 100)
	return err
}

func (w *way) load(ctx context.Context) error {
	load, err := w.d.Begin(ctx, w.r.String())
	if err != nil {
		return err
	}
	row := advisory(load, "f "+w.r.Path(), "a", "1")
	b := vuln.Batch{Feed: row.Feed, Insert: []vuln.Row{row}}
	// It may have been published before, and only the answer been lost.
	err = w.d.Heads(ctx, row.Feed, func(h vuln.Head) error {
		b.Close = append(b.Close, h.ID)
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.d.Stage(ctx, load, b); err != nil {
		return err
	}
	return w.d.Update(ctx, func(tx *db.Tx) error {
		return tx.Publish(ctx, load, evidence.Snapshot{Seq: load.Seq, Digest: w.m.Digest, At: noon}, nil)
	})
}

// sound checks that each step has happened as a whole or not at all. It runs
// without faults.
func (w *way) sound(t *testing.T, when string) {
	t.Helper()
	ctx := context.Background()
	for {
		n, err := w.audit.Sequence(ctx, 1000)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if n == 0 {
			break
		}
	}
	logged := map[string]bool{}
	entries, err := w.d.Latest(ctx, audit.Filter{Repository: w.r.String()}, 100)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, e := range entries {
		for _, kind := range []string{"blob.pushed", "manifest.pushed", "placement.admitted"} {
			logged[kind] = logged[kind] || strings.Contains(string(e.Bytes), kind)
		}
	}
	err = w.d.View(ctx, func(tx *db.Tx) error {
		alice := repo.Viewer{Principal: "alice"}
		_, blobErr := tx.BlobAccess(ctx, w.r, w.layer, alice)
		_, storedErr := tx.Stored(ctx, w.m.Digest)
		placed, placedErr := tx.Lookup(ctx, w.r, repo.Selector{Tag: "v1"}, alice)
		history, err := tx.DecisionHistory(ctx, w.r, w.m.Digest, 10)
		if err != nil {
			return err
		}
		all := func(what string, facts ...bool) {
			for _, f := range facts {
				if f != facts[0] {
					t.Errorf("%s: %s is there by halves: %v", when, what, facts)
				}
			}
		}
		all("the upload", blobErr == nil, logged["blob.pushed"])
		all("the push", storedErr == nil, placedErr == nil, logged["manifest.pushed"])
		all("the decision", placedErr == nil && placed.State == repo.Admitted, len(history) > 0, logged["placement.admitted"])
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
}

// TestEachStatementFails fails every statement of a way in once, before and
// after it was executed.
func TestEachStatementFails(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		var faults dbtest.Faults
		c := &clock{}
		c.set(noon)
		o.Clock, o.Wrap = c.now, faults.Wrap
		d := dbtest.Open(t, o)
		ctx := context.Background()
		l := logged(t, d, mem.New(mem.Options{}))
		in := audit.NewIntegrator(audit.IntegratorOptions{Store: d, Log: l})
		i, broken := 0, 0
		for step := range newWay(d, c, 0, in).steps() {
			for _, after := range []bool{false, true} {
				for n := 1; ; n++ {
					i++
					w := newWay(d, c, i, in)
					for s, fn := range w.steps() {
						if s == step {
							faults.Arm(n, after)
						}
						err := fn(ctx)
						_, fired := faults.Disarm()
						if s == step && fired == "" && n > 1 && err == nil {
							n = -1 // all statements of the step had their turn
						}
						if fired != "" {
							broken++
							w.sound(t, fired)
						}
						for try := 0; err != nil; try++ {
							if try == 3 {
								t.Fatalf("step %d after %q: %v", s, fired, err)
							}
							c.add(2 * time.Minute) // leases of jobs end
							err = fn(ctx)
						}
					}
					w.sound(t, "at the end")
					if err := w.judged(ctx); err != nil {
						t.Errorf("at the end: %v", err)
					}
					if n < 0 {
						break
					}
				}
			}
		}
		if check, err := verify(t, d, l); err != nil || !check.OK {
			t.Errorf("the audit log: %+v, %v", check, err)
		}
		if jobs, err := d.Claim(ctx, []string{"judge"}, 100, time.Minute); err != nil || len(jobs) > 0 {
			t.Errorf("jobs that are left: %+v, %v", jobs, err)
		}
		t.Logf("%d statements were broken", broken)
		if broken < 150 {
			t.Errorf("only %d statements were broken", broken)
		}
	})
}

// TestFaultsInGroups breaks statements of updates that share transactions.
// What was acknowledged must be there; what failed must not, unless it was the
// COMMIT whose answer was lost.
func TestFaultsInGroups(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		var faults dbtest.Faults
		o.Wrap = faults.Wrap
		d := dbtest.Open(t, o)
		ctx := context.Background()
		for n := 1; n <= 60; n++ {
			faults.Arm(n, n%2 == 0)
			var all sync.WaitGroup
			errs := make([]error, 8)
			for w := range errs {
				all.Go(func() {
					errs[w] = d.Update(ctx, func(tx *db.Tx) error {
						return firstOf(
							func() error { return tx.PutBlob(ctx, digest(fmt.Sprint("a", n, w)), 1) },
							func() error { return tx.Enqueue(ctx, "x", fmt.Sprint(n, " ", w), time.Unix(1, 0)) },
						)
					})
				})
			}
			all.Wait()
			_, fired := faults.Disarm()
			failed := 0
			jobs, err := d.Claim(ctx, []string{"x"}, 100, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			there := map[string]bool{}
			for _, j := range jobs {
				there[j.Key] = true
				if err := d.Finish(ctx, j); err != nil {
					t.Error(err)
				}
			}
			for w, err := range errs {
				key := fmt.Sprint(n, " ", w)
				lost := strings.HasPrefix(fired, "after") && strings.HasSuffix(fired, "COMMIT")
				if err != nil {
					failed++
				}
				if err == nil && !there[key] || err != nil && there[key] && !lost {
					t.Errorf("%s: update %s ended with %v, and is there: %v", fired, key, err, there[key])
				}
			}
			if failed > 1 && !strings.HasSuffix(fired, "COMMIT") {
				t.Errorf("%s: %d updates failed, one at most was to", fired, failed)
			}
		}
	})
}

// TestRollbackFails: a connection whose state is unknown is not used again.
func TestRollbackFails(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		var faults dbtest.Faults
		o.Wrap = faults.Wrap
		d := dbtest.Open(t, o)
		for _, after := range []bool{false, true} {
			for n := 1; n <= 3; n++ { // BEGIN, one statement, ROLLBACK
				faults.Arm(n, after)
				err := d.Update(t.Context(), func(tx *db.Tx) error {
					return errors.Join(tx.Enqueue(t.Context(), "x", "y", time.Unix(1, 0)), errors.New("no"))
				})
				faults.Disarm()
				if err == nil {
					t.Error("no error")
				}
				jobs, err := d.Claim(t.Context(), []string{"x"}, 1, time.Minute)
				if err != nil || len(jobs) > 0 {
					t.Errorf("jobs %+v, %v", jobs, err)
				}
			}
		}
		for n := range 3 {
			faults.Arm(n+1, true)
			err := d.View(t.Context(), func(tx *db.Tx) error {
				_, err := tx.TagsOf(t.Context(), oci.MustRepository("a/b"), digest("x"))
				return err
			})
			faults.Disarm()
			if err == nil && o.Folder != "" {
				t.Errorf("a view whose statement %d failed did not", n+1)
			}
			if _, err := d.Latest(t.Context(), audit.Filter{}, 1); err != nil {
				t.Error(err)
			}
		}
	})
}
