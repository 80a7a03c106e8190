package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/revoke"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// crowd lets n images stand in repositories of a hundred: pushed by "ci", and
// signed by the identity "https://ci", which the decision about each was told of.
func (w *world) crowd(n int) {
	w.Helper()
	const atOnce = 500
	for from := 0; from < n; from += atOnce {
		w.update(func(ctx context.Context, tx *db.Tx) error {
			for i := from; i < min(n, from+atOnce); i++ {
				if err := w.one(ctx, tx, oci.MustRepository(fmt.Sprintf("dev/crowd/%d", i/100)), image(fmt.Sprint("crowd ", i))); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func (w *world) one(ctx context.Context, tx *db.Tx, r oci.Repository, m *repo.Manifest) error {
	for _, ref := range m.References {
		if err := tx.PutBlob(ctx, ref.Digest, 4); err != nil {
			return err
		}
	}
	if err := tx.PutManifest(ctx, m); err != nil {
		return err
	}
	note := digest("note on " + m.Digest.String())
	sig := evidence.Signature{Anchor: "bonded", Subject: m.Digest, Referrer: note, Identity: evidence.Identity{Subject: "https://ci", Issuer: "https://issuer"}, At: w.now}
	if _, err := tx.PutEvidence(ctx, &assess.EvidenceRow{Subject: m.Digest, Referrer: note, Verifier: "x", At: w.now, Checked: assess.Checked{Signatures: []evidence.Signature{sig}}}); err != nil {
		return err
	}
	d := api.Decision{Repository: r.String(), Digest: m.Digest.String(), Zone: r.Zone(), Clause: "enter", Outcome: api.Allow, DecidedAt: w.now,
		Reasons: []api.Reason{{Rule: "signed", Outcome: api.Allow, Evidence: []string{note.String()}}}}
	id, err := tx.PutDecision(ctx, &d, 0)
	if err != nil {
		return err
	}
	if err := tx.Place(ctx, &repo.Placement{Repository: r, Digest: m.Digest, Kind: m.Kind, State: repo.Admitted, BroughtBy: "ci", BroughtAt: w.now, AdmittedAt: w.now, Decision: id}); err != nil {
		return err
	}
	return tx.Append(ctx, audit.New(m.Digest.String(), w.now, authz.Principal{Issuer: "bonded", Subject: "ci", Method: "token"}, "manifest.pushed").On(r, m.Digest))
}

// BenchmarkRevoke measures what a revocation of much takes, and how long somebody
// else waits to write meanwhile.
func BenchmarkRevoke(b *testing.B) {
	for _, req := range []api.RevokeRequest{
		{Kind: "window", Principal: "ci", From: noon.Add(-time.Hour), Reason: "stolen"},
		{Kind: "identity", Subject: "https://ci", Reason: "stolen"},
	} {
		for _, n := range []int{1000, 10_000, 100_000} {
			for _, engine := range []string{"sqlite", "postgres"} {
				b.Run(fmt.Sprint(req.Kind, "/", engine, "/", n), func(b *testing.B) {
					o := db.Options{Folder: b.TempDir()}
					if engine == "postgres" {
						o = db.Options{URL: testparts.Postgres(b)}
					}
					w := newWorld(b, o)
					w.crowd(n)
					for b.Loop() {
						req.Preview = true
						start := time.Now()
						if _, err := w.Revoke(b.Context(), w.act("security"), req); err != nil {
							b.Fatal(err)
						}
						b.ReportMetric(float64(time.Since(start).Milliseconds()), "preview-ms")
						req.Preview = false
						stop := w.writing(b)
						start = time.Now()
						if _, err := w.Revoke(b.Context(), w.act("security"), req); err != nil {
							b.Fatal(err)
						}
						b.ReportMetric(float64(time.Since(start).Milliseconds()), "answer-ms")
						b.ReportMetric(float64(stop().Milliseconds()), "waited-ms")
						stop = w.writing(b)
						start = time.Now()
						w.work()
						b.ReportMetric(float64(time.Since(start).Milliseconds()), "work-ms")
						b.ReportMetric(float64(stop().Milliseconds()), "waited-for-work-ms")
					}
				})
			}
		}
	}
}

// work does the jobs of revocations until there are none.
func (w *world) work() {
	w.Helper()
	for {
		jobs, err := w.db.Claim(w.Context(), []string{"revoke"}, 1, time.Hour)
		if err != nil {
			w.Fatal(err)
		}
		if len(jobs) == 0 {
			return
		}
		if err := w.Handle(w.Context(), jobs[0]); err != nil {
			w.Fatal(err)
		}
		if err := w.db.Finish(w.Context(), jobs[0]); err != nil {
			w.Fatal(err)
		}
	}
}

// writing writes a little again and again, as pushes do. What it returns stops
// that, and tells the longest time that one took.
func (w *world) writing(b *testing.B) func() time.Duration {
	ctx, cancel := context.WithCancel(b.Context())
	longest := make(chan time.Duration)
	go func() {
		var most time.Duration
		for n := 0; ctx.Err() == nil; n++ {
			start := time.Now()
			if err := w.db.Update(context.WithoutCancel(ctx), func(tx *db.Tx) error { return tx.PutBlob(ctx, digest(fmt.Sprint("other ", n)), 4) }); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
			most = max(most, time.Since(start))
		}
		longest <- most
	}()
	return func() time.Duration { cancel(); return <-longest }
}

// TestMuch: what is too much for one transaction is in force as a whole or not at
// all, wherever the act breaks off; what it leaves to the job is done, and is seen
// to be; and lifting goes the same way.
func TestMuch(t *testing.T) {
	each(t, func(w *world) {
		const n = 23
		w.AtOnce = 4
		w.crowd(n)
		late := image("late")
		req := api.RevokeRequest{Kind: "window", Principal: "ci", From: noon.Add(-time.Hour), Reason: "stolen"}
		update, broke := w.Update, errors.New("the power is cut")
		steps := 0
		for ; ; steps++ {
			left := steps
			w.Update = func(ctx context.Context, fn func(revoke.Tx) error) error {
				if left--; left < 0 {
					return broke
				}
				return update(ctx, fn)
			}
			_, err := w.Revoke(w.Context(), w.act("security"), req)
			w.Update = update
			if err == nil {
				w.want("after the act", fmt.Sprint(w.revoked()), fmt.Sprintf("map[true:%d]", n))
				break
			}
			if !errors.Is(err, broke) {
				w.Fatal(err)
			}
			w.want(fmt.Sprintf("broken off after %d", steps), fmt.Sprint(w.revoked()), fmt.Sprintf("map[false:%d]", n))
			if list, err := w.List(w.Context(), 0, 10); err != nil || len(list) != 0 {
				w.Errorf("broken off after %d, there are %+v %v", steps, list, err)
			}
		}
		if steps < 2*n/w.AtOnce {
			w.Errorf("%d transactions have prepared it", steps)
		}
		w.now = w.now.Add(2 * time.Hour)
		list, err := w.List(w.Context(), 0, 10)
		if err != nil || len(list) != 1 || *list[0].Progress != (api.RevocationProgress{Withdrawn: n}) {
			w.Fatalf("the list: %+v %v", list, err)
		}
		w.work()
		if list, err = w.List(w.Context(), 0, 10); err != nil || *list[0].Progress != (api.RevocationProgress{Withdrawn: n, Recorded: n}) {
			w.Errorf("after the work: %+v %v", list[0].Progress, err)
		}
		if e := w.events(); e["revocation.made"] != 1 || e["placement.revoked"] != n {
			w.Errorf("events: %v", e)
		}
		w.put(dev, late, repo.Admitted)
		out, err := w.Lift(w.Context(), w.act("security"), list[0].ID, "found")
		if err != nil || len(out.Hits) != n || out.More != 0 {
			w.Fatalf("lifted: %+v %v", out, err)
		}
		w.want("before the job", fmt.Sprint(w.revoked()), fmt.Sprintf("map[false:1 true:%d]", n))
		w.work()
		if list, err = w.List(w.Context(), 0, 10); err != nil || *list[0].Progress != (api.RevocationProgress{Withdrawn: n, Recorded: n, GivenBack: n, Waiting: n}) {
			w.Errorf("given back: %+v %v", list[0].Progress, err)
		}
	})
}

// TestMuchMeanwhile: what comes to stand while much is looked at does not escape.
func TestMuchMeanwhile(t *testing.T) {
	each(t, func(w *world) {
		w.AtOnce = 2
		all := []*repo.Manifest{image("a"), image("b"), image("c")}
		for _, m := range all {
			w.put(dev, m, repo.Admitted)
			w.pushed("ci", m.Digest, w.now)
		}
		w.put(dev, index("names a", all[0]), repo.Admitted)
		view, moved := w.View, false
		w.View = func(ctx context.Context, fn func(revoke.Tx) error) error {
			err := view(ctx, fn)
			if !moved {
				moved = true
				for _, m := range all {
					w.put(production, m, repo.Admitted)
				}
				w.put(dev, index("names b", all[1]), repo.Admitted)
			}
			return err
		}
		done, err := w.Revoke(w.Context(), w.act("security"), api.RevokeRequest{Kind: "window", Principal: "ci", From: noon.Add(-time.Hour), Reason: "stolen"})
		if err != nil || len(done.Hits) != 8 {
			w.Errorf("hits: %+v %v", done, err)
		}
		for _, m := range all {
			w.want("what was promoted meanwhile", w.states(m), "dev revoked, production revoked")
		}
		w.want("an index from meanwhile", w.states(index("names b", all[1])), "dev revoked")
		w.work()
		if e := w.events(); e["placement.revoked"] != 8 {
			w.Errorf("events: %v", e)
		}
	})
}

// revoked counts what stands, by whether it is revoked.
func (w *world) revoked() map[bool]int {
	w.Helper()
	found := map[bool]int{}
	err := w.db.EachPlacement(w.Context(), func(p *repo.Placement) error { found[p.State == repo.Revoked]++; return nil })
	if err != nil {
		w.Fatal(err)
	}
	return found
}
