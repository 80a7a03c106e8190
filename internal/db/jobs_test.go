package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/job"
)

var kinds = []string{"judge", "sweep"}

// enqueue queues "kind key" at offsets from noon.
func enqueue(t *testing.T, d *db.DB, kind, key string, at time.Duration) {
	t.Helper()
	update(t, d, func(ctx context.Context, tx *db.Tx) error { return tx.Enqueue(ctx, kind, key, noon.Add(at)) })
}

func claim(t *testing.T, d *db.DB, limit int) []job.Job {
	t.Helper()
	jobs, err := d.Claim(t.Context(), kinds, limit, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func keys(jobs []job.Job) string {
	var all []string
	for _, j := range jobs {
		all = append(all, j.Key)
	}
	return strings.Join(all, " ")
}

func TestJobsOnce(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, c *clock) {
		enqueue(t, d, "judge", "b", 0)
		enqueue(t, d, "judge", "a", -time.Second)
		enqueue(t, d, "judge", "b", -2*time.Second) // the earlier counts
		enqueue(t, d, "judge", "a", time.Hour)
		enqueue(t, d, "sweep", "a", 0)
		enqueue(t, d, "judge", "later", time.Minute)
		enqueue(t, d, "other", "x", -time.Hour)
		check(t, "claimed of two", keys(claim(t, d, 2)), "b a")
		jobs := claim(t, d, 10)
		check(t, "claimed of the rest", keys(jobs), "a")
		check(t, "the job", jobs[0], job.Job{ID: jobs[0].ID, Kind: "sweep", Key: "a", RunAt: noon, Attempt: 1, Claim: 1})
		next, err := d.Next(t.Context(), kinds)
		check(t, "next", next, noon.Add(time.Minute))
		wantErr(t, "next", err, nil)
		c.add(59 * time.Second)
		check(t, "claimed too early", keys(claim(t, d, 10)), "")
		c.add(time.Second)
		check(t, "claimed at last, with those whose lease ended", keys(claim(t, d, 10)), "b a a later")
		next, err = d.Next(t.Context(), []string{"none"})
		check(t, "next of a kind without jobs", next, time.Time{})
		wantErr(t, "next", err, nil)
		none, err := d.Claim(t.Context(), nil, 5, time.Minute)
		check(t, "claimed of no kinds", none, []job.Job(nil))
		wantErr(t, "claiming", err, nil)
	})
}

func TestJobsFinish(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, c *clock) {
		enqueue(t, d, "judge", "a", 0)
		first := claim(t, d, 1)[0]
		enqueue(t, d, "judge", "a", 0)
		enqueue(t, d, "judge", "a", 5*time.Second)
		check(t, "claimed while it runs", keys(claim(t, d, 1)), "")
		wantErr(t, "finishing", d.Finish(t.Context(), first), nil)
		again := claim(t, d, 1)
		check(t, "asked for while it ran", keys(again), "a")
		if again[0].Attempt != 1 {
			t.Errorf("attempt %d of what was asked for again, want 1", again[0].Attempt)
		}
		wantErr(t, "finishing twice", d.Finish(t.Context(), first), job.ErrLost)
		wantErr(t, "finishing", d.Finish(t.Context(), again[0]), nil)
		c.add(time.Hour)
		check(t, "claimed when done", keys(claim(t, d, 1)), "")
		wantErr(t, "finishing what is gone", d.Finish(t.Context(), again[0]), job.ErrLost)
	})
}

// TestJobsFence: who has lost a job can do nothing to it any more.
func TestJobsFence(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, c *clock) {
		ctx := t.Context()
		enqueue(t, d, "judge", "a", 0)
		slow := claim(t, d, 1)[0]
		c.add(40 * time.Second)
		wantErr(t, "renewing", d.Renew(ctx, slow, time.Minute), nil)
		c.add(40 * time.Second)
		check(t, "claimed while the lease is kept", keys(claim(t, d, 1)), "")
		enqueue(t, d, "judge", "a", 10*time.Minute) // a wish for later survives the lease
		c.add(20 * time.Second)
		other := claim(t, d, 1)[0]
		if other.Attempt != 2 {
			t.Errorf("attempt %d after a lease ended, want 2", other.Attempt)
		}
		for name, fn := range map[string]func() error{
			"renew":  func() error { return d.Renew(ctx, slow, time.Minute) },
			"finish": func() error { return d.Finish(ctx, slow) },
			"retry":  func() error { return d.Retry(ctx, slow, noon, "x") },
			"bury":   func() error { return d.Bury(ctx, slow, "x") },
		} {
			wantErr(t, name, fn(), job.ErrLost)
		}
		wantErr(t, "finishing", d.Finish(ctx, other), nil)
		next, err := d.Next(ctx, kinds)
		check(t, "next", next, noon.Add(10*time.Minute))
		wantErr(t, "next", err, nil)
	})
}

func TestJobsRetryAndBury(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, c *clock) {
		ctx := t.Context()
		enqueue(t, d, "judge", "a", 0)
		j := claim(t, d, 1)[0]
		wantErr(t, "retrying", d.Retry(ctx, j, noon.Add(time.Minute), "the disk was full"), nil)
		check(t, "claimed before its time", keys(claim(t, d, 1)), "")
		c.add(time.Minute)
		j = claim(t, d, 1)[0]
		check(t, "the second attempt", j, job.Job{ID: j.ID, Kind: "judge", Key: "a", RunAt: noon.Add(time.Minute), Attempt: 2, Claim: 2, Error: "the disk was full"})
		wantErr(t, "burying", d.Bury(ctx, j, "hopeless"), nil)
		c.add(time.Hour)
		check(t, "claimed what is buried", keys(claim(t, d, 1)), "")
		buried, err := d.Buried(ctx, 10)
		wantErr(t, "listing", err, nil)
		check(t, "buried", buried, []job.Job{{ID: j.ID, Kind: "judge", Key: "a", RunAt: noon.Add(time.Minute), Attempt: 2, Claim: 2, Error: "hopeless"}})

		enqueue(t, d, "judge", "a", time.Hour) // asked for anew
		buried, err = d.Buried(ctx, 10)
		wantErr(t, "listing", err, nil)
		check(t, "buried", buried, []job.Job(nil))
		j = claim(t, d, 1)[0]
		if j.Attempt != 1 || j.Error != "" {
			t.Errorf("asked for anew it is %+v", j)
		}
		enqueue(t, d, "judge", "a", time.Hour)
		wantErr(t, "burying what was asked for meanwhile", d.Bury(ctx, j, "hopeless"), nil)
		j = claim(t, d, 1)[0]
		enqueue(t, d, "judge", "a", time.Hour)
		wantErr(t, "retrying what was asked for meanwhile", d.Retry(ctx, j, noon.Add(24*time.Hour), "x"), nil)
		check(t, "claimed at the earlier time", keys(claim(t, d, 1)), "a")
		for i := range 3 {
			enqueue(t, d, "sweep", fmt.Sprint(i), 0)
			c.add(time.Second)
			wantErr(t, "burying", d.Bury(ctx, claim(t, d, 1)[0], "x"), nil)
		}
		buried, err = d.Buried(ctx, 2)
		wantErr(t, "listing", err, nil)
		check(t, "buried, the newest first", keys(buried), "2 1")
	})
}

// TestJobsTakeTurns: whoever asks for thousands of jobs, another one waits for
// one job of each, and for the longest of those that run.
func TestJobsTakeTurns(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, c *clock) {
		ctx := t.Context()
		ask := func(who, key string) {
			update(t, d, func(ctx context.Context, tx *db.Tx) error { return tx.EnqueueFor(ctx, who, "judge", key, c.now()) })
		}
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			for i := range 3000 {
				if err := tx.EnqueueFor(ctx, "mallory", "judge", fmt.Sprint("mallory ", i), noon); err != nil {
					return err
				}
			}
			for i := range 1000 {
				if err := tx.Enqueue(ctx, "judge", fmt.Sprint("all ", i), noon); err != nil {
					return err
				}
			}
			return nil
		})
		c.add(time.Second)
		for round := range 4 {
			key := fmt.Sprint("ann ", round)
			ask("ann", key)
			before := 0
			for got := ""; got != key; before++ {
				jobs := claim(t, d, 1)
				got = keys(jobs)
				wantErr(t, "finishing", d.Finish(ctx, jobs[0]), nil)
			}
			if before > 3 {
				t.Errorf("%s was claimed as number %d", key, before)
			}
		}
		got := keys(claim(t, d, 4))
		if !strings.Contains(got, "all") || strings.Count(got, "mallory") != 2 {
			t.Errorf("claimed at once: %s", got)
		}
	})
}

// TestJobsOfSeveral: work that several have asked for is done once, in the turn of
// the first, and by nobody else meanwhile.
func TestJobsOfSeveral(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, c *clock) {
		ctx := t.Context()
		ask := func(who, key string, at time.Duration) {
			update(t, d, func(ctx context.Context, tx *db.Tx) error {
				return tx.EnqueueFor(ctx, who, "judge", key, noon.Add(at))
			})
		}
		for i := range 20 {
			ask("mallory", fmt.Sprint("m", i), 0)
		}
		ask("mallory", "image", 0) // behind the others
		ask("ann", "image", 0)
		ask("bob", "image", time.Hour)
		first := claim(t, d, 1)
		check(t, "ann's turn", keys(first), "image")
		ask("mallory", "image", 0)
		for range 3 {
			for _, j := range claim(t, d, 10) {
				if j.Key == "image" {
					t.Error("claimed while it runs")
				}
				wantErr(t, "finishing", d.Finish(ctx, j), nil)
			}
		}
		check(t, "claimed while it runs", keys(claim(t, d, 10)), "")
		wantErr(t, "finishing", d.Finish(ctx, first[0]), nil)
		again := claim(t, d, 10)
		check(t, "asked for while it ran", keys(again), "image")
		wantErr(t, "burying", d.Bury(ctx, again[0], "hopeless"), nil)
		c.add(time.Hour)
		last := claim(t, d, 10)
		check(t, "what was asked for later", keys(last), "image")
		buried, err := d.Buried(ctx, 10)
		wantErr(t, "listing", err, nil)
		check(t, "what was given up and is done again", buried, []job.Job(nil))
		wantErr(t, "finishing", d.Finish(ctx, last[0]), nil)
		check(t, "claimed when done", keys(claim(t, d, 10)), "")
	})
}

// TestJobsOfMany: no job is claimed twice, none is lost, whoever asks at once.
func TestJobsOfMany(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		const n = 120
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			for i := range n {
				if err := tx.Enqueue(ctx, "judge", fmt.Sprintf("%03d", i), noon); err != nil {
					return err
				}
			}
			return nil
		})
		var mu sync.Mutex
		var done []string
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				for {
					jobs, err := d.Claim(t.Context(), kinds, 7, time.Minute)
					if err != nil || len(jobs) == 0 {
						if err != nil {
							t.Error(err)
						}
						return
					}
					for _, j := range jobs {
						if err := d.Finish(t.Context(), j); err != nil {
							t.Error(err)
						}
						mu.Lock()
						done = append(done, j.Key)
						mu.Unlock()
					}
				}
			})
		}
		all.Wait()
		slices.Sort(done)
		if len(done) != n || len(slices.Compact(done)) != n {
			t.Errorf("%d jobs done, %d of them different, want %d", len(done), len(slices.Compact(done)), n)
		}
	})
}

// TestPool runs a real pool on a real queue.
func TestPool(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, c *clock) {
		done := make(chan string, 10)
		p := job.NewPool(job.Options{Queue: d, Clock: c.now, Poll: 10 * time.Second, Handlers: map[string]job.Handler{
			"judge": func(_ context.Context, j job.Job) error {
				done <- j.Key
				return nil
			},
		}})
		d.OnCommit(func(c db.Commit) { p.Wake(c.Kinds...) })
		p.Start()
		for _, key := range []string{"a", "b", "c"} {
			enqueue(t, d, "judge", key, 0)
			select {
			case got := <-done:
				check(t, "done", got, key)
			case <-time.After(5 * time.Second): // less than it polls
				t.Fatal("nobody was woken")
			}
		}
		wantErr(t, "stopping", p.Stop(t.Context()), nil)
		err := d.Update(t.Context(), func(tx *db.Tx) error {
			return errors.Join(tx.Enqueue(t.Context(), "judge", "never", noon), errors.New("no"))
		})
		if err == nil {
			t.Error("no error")
		}
		check(t, "what a failed update queued", keys(claim(t, d, 1)), "")
	})
}

// TestJobsKnowTheirCause: a job carries the trace of who asked for its next run
// first.
func TestJobsKnowTheirCause(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ask := func(n byte) string {
			t.Helper()
			ctx := t.Context()
			if n > 0 {
				ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
					TraceID: trace.TraceID{n}, SpanID: trace.SpanID{n}, TraceFlags: trace.FlagsSampled,
				}))
			}
			if err := d.Update(ctx, func(tx *db.Tx) error { return tx.Enqueue(ctx, "judge", "a", noon) }); err != nil {
				t.Fatal(err)
			}
			return job.Cause(ctx)
		}
		run := func() job.Job {
			t.Helper()
			jobs := claim(t, d, 1)
			if len(jobs) != 1 {
				t.Fatalf("claimed %v", jobs)
			}
			return jobs[0]
		}
		check(t, "the cause of nothing", ask(0), "")
		first := ask(1)
		ask(2)
		j := run()
		check(t, "asked for three times", j.Trace, first)
		third := ask(3)
		ask(4)
		if err := d.Finish(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		j = run()
		check(t, "asked for while it ran", j.Trace, third)
		if err := d.Retry(t.Context(), j, noon, "once more"); err != nil {
			t.Fatal(err)
		}
		check(t, "tried again", run().Trace, third)
	})
}
