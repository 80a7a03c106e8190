package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/revoke"
)

// revocations are the bars about the end of trust in much, in this process over a
// database of their own.
var revocations = []bar{
	{
		name:    "revoke",
		what:    "CPU of a revocation of all that somebody pushed, so many images, until its answer: exponent",
		limit:   linearLimit,
		measure: linear(revokeSizes, revokeCost(func(r *revoked) float64 { return r.answer })),
	},
	{
		name:    "revoke-work",
		what:    "CPU of the jobs that it leaves, but for the judgements: exponent",
		limit:   linearLimit,
		measure: linear(revokeSizes, revokeCost(func(r *revoked) float64 { return r.work })),
	},
	{
		name:    "revoke-waits",
		what:    "longest time that another who writes waits meanwhile, for the answer or for the jobs, to the time until the answer",
		limit:   0.15,
		measure: revokeWaits,
	},
}

func revokeSizes(b *bench) []int {
	largest := 100_000
	if len(b.sizes) > 0 && b.sizes[len(b.sizes)-1] < 1000 { // a quick run
		largest = 10_000
	}
	return []int{largest / 100, largest / 10, largest}
}

// revoked is what one revocation took.
type revoked struct {
	answer, work float64 // CPU seconds
	took, waited time.Duration
}

func revokeCost(of func(*revoked) float64) cost {
	return func(ctx context.Context, b *bench, size int) (float64, error) {
		r, err := b.revocation(ctx, size)
		if err != nil {
			return 0, err
		}
		return of(r), nil
	}
}

func revokeWaits(ctx context.Context, b *bench) (reading, error) {
	sizes := revokeSizes(b)
	size := sizes[len(sizes)-1]
	r, err := b.revocation(ctx, size)
	if err != nil {
		return reading{}, err
	}
	return reading{value: r.waited.Seconds() / r.took.Seconds(), detail: fmt.Sprintf("%s images: %s of %s; %s", count(size), duration(r.waited.Seconds()), duration(r.took.Seconds()), load())}, nil
}

// revocation measures one, once in a run.
func (b *bench) revocation(ctx context.Context, size int) (_ *revoked, err error) {
	if r := b.revoked[size]; r != nil {
		return r, nil
	}
	dir := filepath.Join(b.dir, fmt.Sprint("revoke-", size))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d, err := db.Open(ctx, db.Options{Folder: dir, Clock: time.Now})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close(), os.RemoveAll(dir)) }()
	if err := crowd(ctx, d, size); err != nil {
		return nil, err
	}
	r, err := revokeCrowd(ctx, d, size)
	if err != nil {
		return nil, err
	}
	if b.revoked == nil {
		b.revoked = map[int]*revoked{}
	}
	b.revoked[size] = r
	return r, nil
}

// crowd lets so many images stand, in repositories of a hundred, that "ci" has
// pushed.
func crowd(ctx context.Context, d *db.DB, size int) error {
	const atOnce = 500
	ci := authz.Principal{Issuer: "bonded", Subject: "ci", Method: "token"}
	for from := 0; from < size; from += atOnce {
		err := d.Update(ctx, func(tx *db.Tx) error {
			for i := from; i < min(from+atOnce, size); i++ {
				r := oci.MustRepository(fmt.Sprintf("dev/crowd/%d", i/100))
				name := fmt.Append(nil, "crowd ", i)
				m := &repo.Manifest{Digest: oci.FromBytes(name), MediaType: manifestType, Kind: oci.KindImage, Raw: name,
					References: []repo.Reference{{Digest: oci.FromBytes(fmt.Append(nil, "layer ", i)), Size: 4, Role: repo.RoleLayer}}}
				d := api.Decision{Repository: r.String(), Digest: m.Digest.String(), Zone: "dev", Clause: "enter", Outcome: api.Allow, DecidedAt: time.Now(),
					Reasons: []api.Reason{{Rule: "analysed", Outcome: api.Allow, Says: "every layer was analysed"}}}
				err := tx.PutBlob(ctx, m.References[0].Digest, 4)
				if err == nil {
					err = tx.PutManifest(ctx, m)
				}
				at := repo.Placement{Repository: r, Digest: m.Digest, Kind: m.Kind, State: repo.Admitted, BroughtBy: "ci", BroughtAt: time.Now(), AdmittedAt: time.Now()}
				if err == nil {
					at.Decision, err = tx.PutDecision(ctx, &d, 0)
				}
				if err == nil {
					err = tx.Place(ctx, &at)
				}
				if err == nil {
					err = tx.Append(ctx, audit.New(m.Digest.Hex()[:32], time.Now(), ci, "manifest.pushed").On(r, m.Digest))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func revokeCrowd(ctx context.Context, d *db.DB, size int) (*revoked, error) {
	run := func(by func(context.Context, func(*db.Tx) error) error) func(context.Context, func(revoke.Tx) error) error {
		return func(ctx context.Context, fn func(revoke.Tx) error) error {
			return by(ctx, func(tx *db.Tx) error { return fn(tx) })
		}
	}
	flow := revoke.New(revoke.Options{
		Zones: repo.DefaultZones(), WorkJob: "revoke", JudgeJob: "judge", ZoneJob: "gate", Update: run(d.Update), View: run(d.View), Engine: "bench", Clock: time.Now, Rand: rand.Reader,
	})
	act, err := authz.Check(authz.Internal("bench"), authz.Revoke, oci.Repository{}, nil)
	if err != nil {
		return nil, err
	}
	req := api.RevokeRequest{Kind: "window", Principal: "ci", From: time.Unix(0, 0), Reason: "stolen"}
	var r revoked
	writing, start := writeBeside(ctx, d), time.Now()
	r.answer, err = spent(func() error {
		done, err := flow.Revoke(ctx, act, req)
		if err == nil && done.Barred != size {
			err = fmt.Errorf("%d of %d images were revoked", done.Barred, size)
		}
		return err
	})
	r.took = time.Since(start)
	if err == nil {
		r.work, err = spent(func() error { return workOff(ctx, d, flow) })
	}
	var failed error
	r.waited, failed = writing()
	return &r, errors.Join(err, failed)
}

// workOff does the jobs of revocations until there are none.
func workOff(ctx context.Context, d *db.DB, flow *revoke.Flow) error {
	for {
		jobs, err := d.Claim(ctx, []string{"revoke"}, 1, time.Hour)
		if err != nil {
			return err
		}
		if len(jobs) == 0 {
			return nil
		}
		done := func(j job.Job) error { return errors.Join(flow.Handle(ctx, j), d.Finish(ctx, j)) }
		if err := done(jobs[0]); err != nil {
			return err
		}
	}
}

// writeBeside writes a little, fifty times a second. What it returns stops that,
// and tells the longest time that one write took.
func writeBeside(ctx context.Context, d *db.DB) func() (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	var most time.Duration
	ended := make(chan error)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-tick.C:
			}
			start := time.Now()
			err := d.Update(context.WithoutCancel(ctx), func(tx *db.Tx) error { return tx.PutBlob(ctx, oci.FromBytes(fmt.Append(nil, "beside ", n)), 4) })
			if most = max(most, time.Since(start)); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() (time.Duration, error) {
		cancel()
		err := <-ended
		return most, err
	}
}
