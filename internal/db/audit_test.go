package db_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
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

// logged opens the audit log of a database, beginning it where there is none.
func logged(t *testing.T, d *db.DB, blobs blob.Store) *tlog.Log {
	t.Helper()
	o := tlogtest.Options(t, d.AuditLog(), blobs)
	if err := tlog.Create(t.Context(), o); err != nil && !errors.Is(err, tlog.ErrExists) {
		t.Fatal(err)
	}
	l, err := tlog.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// integrate moves up to limit events into the log.
func integrate(t *testing.T, d *db.DB, l *tlog.Log, limit int) int {
	t.Helper()
	n, err := audit.NewIntegrator(audit.IntegratorOptions{Store: d, Log: l}).Sequence(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sequence integrates the events of a database that has few.
func sequence(t *testing.T, d *db.DB, limit int) int {
	t.Helper()
	return integrate(t, d, logged(t, d, mem.New(mem.Options{})), limit)
}

// verified checks the whole log, and the rows.
func verified(t *testing.T, d *db.DB, l *tlog.Log, entries int64) {
	t.Helper()
	check, err := verify(t, d, l)
	if err != nil || !check.OK || check.Entries != entries {
		t.Errorf("verifying: %+v, %v; want %d entries in order", check, err, entries)
	}
}

func verify(t *testing.T, d *db.DB, l *tlog.Log) (*api.AuditCheck, error) {
	return audit.Verify(t.Context(), audit.VerifyOptions{
		Source: l, Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(t), Rows: d, Clock: time.Now,
		Appended: func(ctx context.Context) (int64, error) {
			h, err := d.AuditLog().Head(ctx)
			return h.Size, err
		},
	})
}

func TestIntegrate(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		l := logged(t, d, mem.New(mem.Options{}))
		verified(t, d, l, 0)
		check(t, "integrated of none", integrate(t, d, l, 10), 0)
		var events []audit.Event
		for i := range 150 {
			events = append(events, event(fmt.Sprintf("%032d", i)))
		}
		appendEvents(t, d, events...)
		verified(t, d, l, 0) // nothing has a number yet
		check(t, "integrated", []int{integrate(t, d, l, 100), integrate(t, d, l, 100), integrate(t, d, l, 100)}, []int{100, 50, 0})
		verified(t, d, l, 150)
		entries, err := d.Entries(t.Context(), 120, 2)
		wantErr(t, "reading", err, nil)
		if len(entries) != 2 || entries[0].Seq != 121 || string(entries[0].Bytes) != string(events[120].Bytes()) {
			t.Errorf("entries after 120: %+v", entries)
		}
		seq, err := d.Numbered(t.Context())
		wantErr(t, "the last number", err, nil)
		check(t, "the last number", seq, int64(150))
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

// TestIntegrateOfMany: two processes integrate the events of many writers, and
// the log has no gap and no fork.
func TestIntegrateOfMany(t *testing.T) {
	run := func(t *testing.T, ds ...*db.DB) {
		const writers, each = 6, 20
		blobs := mem.New(mem.Options{})
		var logs []*tlog.Log
		var sequencers []*audit.Sequencer
		for _, d := range ds {
			l := logged(t, d, blobs)
			s := audit.NewSequencer(audit.SequencerOptions{Log: audit.NewIntegrator(audit.IntegratorOptions{Store: d, Log: l}), Batch: 7, Gap: time.Millisecond})
			d.OnCommit(func(db.Commit) { s.Wake() })
			s.Start()
			logs, sequencers = append(logs, l), append(sequencers, s)
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
		for integrate(t, ds[0], logs[0], 100) > 0 {
		}
		for i, d := range ds {
			verified(t, d, logs[i], writers*each)
		}
	}
	t.Run("sqlite", func(t *testing.T) { run(t, dbtest.Open(t, db.Options{Folder: t.TempDir()})) })
	t.Run("postgres", func(t *testing.T) {
		url := testparts.Postgres(t)
		run(t, dbtest.Open(t, db.Options{URL: url}), dbtest.Open(t, db.Options{URL: url}))
	})
}

// TestIntegrateStatements fails each statement of an integration once, before and
// after it was executed: no event is lost, none is there twice.
func TestIntegrateStatements(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		var faults dbtest.Faults
		o.Wrap = faults.Wrap
		d := dbtest.Open(t, o)
		l := logged(t, d, mem.New(mem.Options{}))
		in := audit.NewIntegrator(audit.IntegratorOptions{Store: d, Log: l})
		broken, appended := 0, 0
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				for range 70 {
					appendEvents(t, d, event(fmt.Sprintf("%032d", appended)))
					appended++
				}
				faults.Arm(n, after)
				_, err := in.Sequence(t.Context(), 100)
				_, fired := faults.Disarm()
				if err != nil && !errors.Is(err, dbtest.ErrInjected) {
					t.Errorf("%s: %v", fired, err)
				}
				if fired == "" {
					break
				}
				broken++
			}
		}
		for integrate(t, d, l, 1000) > 0 {
		}
		verified(t, d, l, int64(appended))
		if broken < 12 {
			t.Errorf("only %d statements were broken", broken)
		}
	})
}

// TestChainBecomesLog: the events of a database from before there was a log are
// its first entries, with the numbers they had, and those that waited follow.
func TestChainBecomesLog(t *testing.T) {
	engines(t, func(t *testing.T, o db.Options, p *sql.DB, dialect goose.Dialect, known fs.FS) {
		old := fstest.MapFS{}
		for _, name := range files(t, known)[:13] {
			b, err := fs.ReadFile(known, name)
			wantErr(t, "reading", err, nil)
			old[name] = &fstest.MapFile{Data: b}
		}
		up(t, p, dialect, old)
		mark := func(n int) string { // of this dialect
			if dialect == goose.DialectPostgres {
				return fmt.Sprint("$", n)
			}
			return "?"
		}
		var chain [sha256.Size]byte
		for i := range 5 {
			b := event(fmt.Sprint("chained ", i)).Bytes()
			chain = audit.Link(chain, b)
			if i == 3 { // somebody was at it
				b = event("another").Bytes()
			}
			query := fmt.Sprintf(`INSERT INTO entry (seq, bytes, hash, kind, principal, repository, digest) VALUES (%s, %s, %s, '', '', '', '')`, mark(1), mark(2), mark(3))
			_, err := p.Exec(query, i+1, b, chain[:])
			wantErr(t, "chaining", err, nil)
		}
		waiting := event("waiting").Bytes()
		sum := sha256.Sum256(waiting)
		_, err := p.Exec(fmt.Sprintf(`INSERT INTO outbox (bytes, hash) VALUES (%s, %s)`, mark(1), mark(2)), waiting, sum[:])
		wantErr(t, "waiting", err, nil)
		d := dbtest.Open(t, o)
		l := logged(t, d, mem.New(mem.Options{}))
		var broken []int64
		in := audit.NewIntegrator(audit.IntegratorOptions{Store: d, Log: l, Broken: func(_ context.Context, seq int64) error {
			broken = append(broken, seq)
			return nil
		}})
		n, err := in.Sequence(t.Context(), 100)
		wantErr(t, "integrating", err, nil)
		check(t, "integrated", n, 6)
		check(t, "broken", broken, []int64{4})
		appendEvents(t, d, event("new"))
		integrate(t, d, l, 100)
		verified(t, d, l, 7)
		entries, err := d.Entries(t.Context(), 0, 10)
		wantErr(t, "reading", err, nil)
		for i, want := range []string{"chained 0", "chained 1", "chained 2", "another", "chained 4", "waiting", "new"} {
			if string(entries[i].Bytes) != string(event(want).Bytes()) {
				t.Errorf("entry %d is %s, want %s", i+1, entries[i].Bytes, want)
			}
		}
	})
}
