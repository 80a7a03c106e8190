package repotest

import (
	"context"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	known "github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// testArrivals: who came first stays, whoever comes later, and goes along.
func testArrivals(f *fixture) {
	m := image("a", "base")
	arrive := func(ctx context.Context, tx Tx, r oci.Repository, by string, kind known.Bringer, at time.Time) error {
		return tx.Arrive(ctx, m.Digest, known.Arrival{Repository: r, By: by, Kind: kind, At: at})
	}
	err := f.store.Update(f.Context(), func(tx Tx) error { return arrive(f.Context(), tx, dev, "alice", known.Human, f.now) })
	f.wantErr("of what is not stored", err, repo.ErrNotFound)
	seen := func(want time.Time) {
		f.Helper()
		f.view(func(ctx context.Context, tx Tx) error {
			at, err := tx.FirstSeen(ctx, m.Digest)
			if !at.Equal(want) {
				f.Errorf("first seen %s, want %s", at, want)
			}
			return err
		})
	}
	of := func(want []known.Arrival, in ...oci.Repository) {
		f.Helper()
		f.view(func(ctx context.Context, tx Tx) error {
			got, err := tx.ArrivalsOf(ctx, m.Digest, in...)
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b oci.Repository) bool { return a == b })); d != "" {
				f.Errorf("in %v (-want +got):\n%s", in, d)
			}
			return err
		})
	}
	f.put(dev, m, repo.Held, "alice")
	seen(time.Time{})
	of(nil, dev)
	f.update(func(ctx context.Context, tx Tx) error { return arrive(ctx, tx, dev, "alice", known.Human, f.now) })
	f.move(dev, m.Digest, repo.Removed)
	f.update(func(ctx context.Context, tx Tx) error {
		return arrive(ctx, tx, dev, "ci", known.Machine, f.now.Add(-time.Hour)) // by a clock that was set back
	})
	first := known.Arrival{Repository: dev, By: "alice", Kind: known.Human, At: f.now}
	seen(f.now)
	of([]known.Arrival{first}, dev)
	of(nil, staging)
	of([]known.Arrival{first}, dev, staging)

	f.update(func(ctx context.Context, tx Tx) error { return tx.CarryArrivals(ctx, m.Digest, dev, staging) })
	f.update(func(ctx context.Context, tx Tx) error { return tx.CarryArrivals(ctx, m.Digest, dev, staging) })
	f.update(func(ctx context.Context, tx Tx) error {
		return arrive(ctx, tx, staging, "ci", known.Machine, f.now.Add(time.Hour))
	})
	second := known.Arrival{Repository: staging, By: "ci", Kind: known.Machine, At: f.now.Add(time.Hour)}
	seen(f.now)
	of([]known.Arrival{first, second}, staging)
	of([]known.Arrival{first, second}, dev, staging)
	of([]known.Arrival{first}, dev)
}
