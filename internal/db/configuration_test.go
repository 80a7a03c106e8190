package db_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
)

// TestApply: a new configuration replaces the one in force at once and once; one
// that was replaced comes back when nobody lives with the newer one.
func TestApply(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		now := time.Unix(1_700_000_000, 0)
		o.Clock = func() time.Time { return now }
		d := dbtest.Open(t, o)
		const grace = 30 * time.Second
		for i, step := range []struct {
			after   time.Duration
			digest  string
			force   string
			changed bool
			before  string
		}{
			{0, "a", "a", true, ""},
			{time.Hour, "a", "a", false, ""},
			{0, "b", "b", true, "a"}, // brought to a new one
			{0, "a", "b", false, ""}, // started again with the old
			{29 * time.Second, "a", "b", false, ""},
			{0, "b", "b", false, ""}, // lives
			{29 * time.Second, "a", "b", false, ""},
			{2 * time.Second, "a", "a", true, "b"}, // nobody has the newer one any more
			{0, "b", "a", false, ""},
			{0, "c", "c", true, "a"},
		} {
			now = now.Add(step.after)
			a, err := applied(t.Context(), d, step.digest, grace)
			if err != nil || a.Now.Digest != step.force || a.Changed != step.changed || a.Before.Digest != step.before || a.Now.Parts["gates"] != step.force {
				t.Errorf("step %d: %+v, %v", i, a, err)
			}
		}
	})
}

// TestApplyOfMany: of servers that start at once with their own each, one ends in
// force, and each was for some time.
func TestApplyOfMany(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		d := dbtest.Open(t, o)
		names := []string{"a", "b", "c", "d", "e"}
		changed := make(chan string, len(names))
		var all sync.WaitGroup
		for _, name := range names {
			all.Go(func() {
				a, err := applied(t.Context(), d, name, time.Minute)
				if err != nil {
					t.Error(err)
				}
				if a.Changed {
					changed <- name
				}
			})
		}
		all.Wait()
		if len(changed) != len(names) {
			t.Errorf("%d of %d came into force", len(changed), len(names))
		}
		a, err := applied(t.Context(), d, "a", time.Minute)
		b, err2 := applied(t.Context(), d, "b", time.Minute)
		if err != nil || err2 != nil || a.Changed || b.Changed || a.Now.Digest != b.Now.Digest {
			t.Errorf("%+v, %v; %+v, %v", a, err, b, err2)
		}
	})
}

func applied(ctx context.Context, d *db.DB, digest string, grace time.Duration) (a db.Application, err error) {
	err = d.Update(ctx, func(tx *db.Tx) error {
		a, err = tx.Apply(ctx, db.Configuration{Digest: digest, Parts: map[string]string{"gates": digest}}, grace)
		return err
	})
	return a, err
}
