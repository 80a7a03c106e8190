package db_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// TestTakeOver: what a process runs when it dies is ready for another within
// seconds, whatever its lease says; what a living one runs is not.
func TestTakeOver(t *testing.T) {
	url := testparts.Postgres(t)
	open := func() *db.DB { return dbtest.Open(t, db.Options{URL: url}) }
	dying, living, next := open(), open(), open()
	took := make(chan struct{}, 1)
	next.OnCommit(func(c db.Commit) {
		if c.Unknown || slices.Contains(c.Kinds, kinds[0]) {
			select {
			case took <- struct{}{}:
			default:
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	claimed := func(d *db.DB, lease time.Duration) string {
		t.Helper()
		jobs, err := d.Claim(ctx, kinds, 10, lease)
		if err != nil {
			t.Fatal(err)
		}
		return keys(jobs)
	}
	for d, key := range map[*db.DB]string{dying: "of the dying", living: "of the living"} {
		update(t, d, func(ctx context.Context, tx *db.Tx) error { return tx.Enqueue(ctx, kinds[0], key, time.Unix(1, 0)) })
		if got := claimed(d, time.Hour); got != key {
			t.Fatalf("claimed %q, want %q", got, key)
		}
	}
	if err := dying.Close(); err != nil { // its session ends as that of a process that is killed
		t.Fatal(err)
	}
	for got := ""; got == ""; got = claimed(next, time.Hour) {
		select {
		case <-took: // also of what was queued
		case <-ctx.Done():
			t.Fatal("nobody took over")
		}
	}
	check(t, "claimed after it was taken over", claimed(next, time.Hour), "")
}
