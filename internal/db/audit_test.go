package db_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/testparts"
)

func appendEvents(t *testing.T, d *db.DB, events ...audit.Event) {
	t.Helper()
	update(t, d, func(ctx context.Context, tx *db.Tx) error {
		for _, e := range events {
			if err := tx.Append(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func sequence(t *testing.T, d *db.DB, limit int) int {
	t.Helper()
	n, err := d.Sequence(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// verified checks the whole chain.
func verified(t *testing.T, d *db.DB, entries int64) {
	t.Helper()
	r, err := audit.Verify(t.Context(), d)
	if err != nil || r.Bad != nil || r.Entries != entries {
		t.Errorf("verifying: %+v, bad %+v, %v; want %d entries in order", r, r.Bad, err, entries)
	}
}

func TestChain(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		verified(t, d, 0)
		check(t, "numbered of none", sequence(t, d, 10), 0)
		var events []audit.Event
		for i := range 150 {
			events = append(events, event(fmt.Sprintf("%032d", i)))
		}
		appendEvents(t, d, events...)
		verified(t, d, 0) // nothing has a number yet
		check(t, "numbered", []int{sequence(t, d, 100), sequence(t, d, 100), sequence(t, d, 100)}, []int{100, 50, 0})
		verified(t, d, 150)
		entries, err := d.Entries(t.Context(), 120, 2)
		wantErr(t, "reading", err, nil)
		if len(entries) != 2 || entries[0].Seq != 121 || string(entries[0].Bytes) != string(events[120].Bytes()) {
			t.Errorf("entries after 120: %+v", entries)
		}
		seq, head, err := d.Head(t.Context())
		wantErr(t, "the head", err, nil)
		last, err := d.Entries(t.Context(), 149, 10)
		wantErr(t, "reading", err, nil)
		if seq != 150 || len(last) != 1 || last[0].Hash != head {
			t.Errorf("head %d %x, the last entry %+v", seq, head, last)
		}
	})
}

func TestLatest(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		var events []audit.Event
		for i := range 24 {
			events = append(events, audit.Event{
				ID: fmt.Sprintf("%02d", i), At: noon, Kind: fmt.Sprint("kind", i%2), Principal: fmt.Sprint("p", i%3), Method: "token",
				Repository: fmt.Sprint("dev/", i%4), Digest: digest(fmt.Sprint(i % 6)).String(),
			})
		}
		appendEvents(t, d, events...)
		sequence(t, d, 100)
		appendEvents(t, d, event("not numbered"))
		for _, tt := range []struct {
			f     audit.Filter
			limit int
			want  []int64
		}{
			{audit.Filter{}, 3, []int64{24, 23, 22}},
			{audit.Filter{Kind: "kind1"}, 2, []int64{24, 22}},
			{audit.Filter{Principal: "p0"}, 2, []int64{22, 19}},
			{audit.Filter{Repository: "dev/3"}, 2, []int64{24, 20}},
			{audit.Filter{Digest: digest("5").String()}, 100, []int64{24, 18, 12, 6}},
			{audit.Filter{Digest: digest("5").String(), Repository: "dev/3", Principal: "p2", Kind: "kind1"}, 100, []int64{24, 12}},
			{audit.Filter{Kind: "kind0", Repository: "dev/3"}, 100, nil},
			{audit.Filter{Principal: "' OR 1 = 1 --"}, 100, nil},
		} {
			entries, err := d.Latest(t.Context(), tt.f, tt.limit)
			wantErr(t, "listing", err, nil)
			var got []int64
			for _, e := range entries {
				got = append(got, e.Seq)
			}
			check(t, fmt.Sprintf("%+v", tt.f), got, tt.want)
		}
	})
}

// TestSequenceOfMany: two processes number the events of many writers, and the
// chain has no gap and no fork.
func TestSequenceOfMany(t *testing.T) {
	run := func(t *testing.T, ds ...*db.DB) {
		const writers, each = 6, 20
		var sequencers []*audit.Sequencer
		for _, d := range ds {
			s := audit.NewSequencer(audit.SequencerOptions{Log: d, Batch: 7, Gap: time.Millisecond})
			d.OnCommit(func(db.Commit) { s.Wake() })
			s.Start()
			sequencers = append(sequencers, s)
		}
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range each {
					d := ds[(w+i)%len(ds)]
					if err := d.Update(t.Context(), func(tx *db.Tx) error { return tx.Append(t.Context(), event(fmt.Sprint(w, i))) }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		for _, s := range sequencers {
			wantErr(t, "stopping", s.Stop(t.Context()), nil)
		}
		for sequence(t, ds[0], 100) > 0 {
		}
		verified(t, ds[0], writers*each)
	}
	t.Run("sqlite", func(t *testing.T) { run(t, dbtest.Open(t, db.Options{Folder: t.TempDir()})) })
	t.Run("postgres", func(t *testing.T) {
		url := testparts.Postgres(t)
		run(t, dbtest.Open(t, db.Options{URL: url}), dbtest.Open(t, db.Options{URL: url}))
	})
}
