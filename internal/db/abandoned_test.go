package db_test

import (
	"context"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
)

// TestAbandoned: what a process ran when it died is ready for the next one,
// where there can be only one.
func TestAbandoned(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		d := dbtest.Open(t, o)
		ctx := context.Background()
		if err := d.Update(ctx, func(tx *db.Tx) error { return tx.Enqueue(ctx, "x", "y", time.Unix(1, 0)) }); err != nil {
			t.Fatal(err)
		}
		if jobs, err := d.Claim(ctx, []string{"x"}, 1, time.Hour); err != nil || len(jobs) != 1 {
			t.Fatalf("claiming: %v, %v", jobs, err)
		}
		alone := o.Folder != ""
		n, err := d.Abandoned(ctx)
		if err != nil || (n == 1) != alone {
			t.Errorf("%d were taken over, %v", n, err)
		}
		if jobs, err := d.Claim(ctx, []string{"x"}, 1, time.Hour); err != nil || (len(jobs) == 1) != alone {
			t.Errorf("claiming again: %v, %v", jobs, err)
		}
	})
}
