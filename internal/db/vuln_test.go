package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/vulntest"
)

func TestVulnStores(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		vulntest.Run(t, func(t *testing.T) vulntest.Stores {
			if o.Folder != "" {
				o.Folder = t.TempDir()
			} else {
				o.URL = testparts.Postgres(t)
			}
			d := dbtest.Open(t, o)
			return vulntest.Stores{Reader: d, Stager: d, Update: func(ctx context.Context, fn func(vuln.Publisher) error) error {
				return d.Update(ctx, func(tx *db.Tx) error { return fn(tx) })
			}}
		})
	})
}

func advisory(load vuln.LoadID, feed, id, content string) vuln.Row {
	return vuln.Row{
		Feed: feed, ID: id, From: load.Seq, Modified: noon.Add(time.Hour), Known: noon, Digest: digest(content), Format: 1, Packed: []byte(content),
	}
}

func begin(t *testing.T, d *db.DB, token string) vuln.LoadID {
	t.Helper()
	load, err := d.Begin(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return load
}

func publish(t *testing.T, d *db.DB, load vuln.LoadID, feeds ...vuln.FeedState) {
	t.Helper()
	update(t, d, func(ctx context.Context, tx *db.Tx) error {
		return tx.Publish(ctx, load, evidence.Snapshot{Seq: load.Seq, Digest: digest(fmt.Sprint(load.Seq)), At: noon, Advisories: 3, Ecosystems: []string{"Debian", "Go"}}, feeds)
	})
}

// words are rows as "feed id content from-to".
func word(r vuln.Row) string {
	return fmt.Sprintf("%s %s %s %d-%d", r.Feed, r.ID, r.Packed, r.From, r.To)
}

func rows(t *testing.T, d *db.DB, seq int64) []string {
	t.Helper()
	var got []string
	err := d.Rows(t.Context(), seq, func(r vuln.Row) error { got = append(got, word(r)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func stage(t *testing.T, d *db.DB, load vuln.LoadID, b vuln.Batch) {
	t.Helper()
	if err := d.Stage(t.Context(), load, b); err != nil {
		t.Fatal(err)
	}
}

func TestAdvisories(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ctx := t.Context()
		s, err := d.Current(ctx)
		wantErr(t, "current", err, nil)
		check(t, "current of none", s, evidence.Snapshot{})
		_, err = d.Snapshot(ctx, 1)
		wantErr(t, "no snapshot", err, vuln.ErrNoSnapshot)
		wantErr(t, "rows of no snapshot", d.Rows(ctx, 1, nil), vuln.ErrNoSnapshot)

		one := begin(t, d, "one")
		check(t, "number of the first load", one.Seq, int64(1))
		stage(t, d, one, vuln.Batch{Feed: "osv/Go", Insert: []vuln.Row{advisory(one, "osv/Go", "b", "b1"), advisory(one, "osv/Go", "a", "a1")}})
		full := advisory(one, "osv/Debian", "a", "da1")
		full.Withdrawn, full.Packed = noon.Add(time.Minute), []byte{0, 1, 0xff}
		stage(t, d, one, vuln.Batch{Feed: "osv/Debian", Insert: []vuln.Row{full}})
		history, err := d.History(ctx, "a")
		wantErr(t, "history", err, nil)
		check(t, "history before it is published", history, []vuln.Row(nil))
		state := vuln.FeedState{
			Name: "osv/Go", Source: "https://osv.example", Ecosystems: []string{"Go"}, Records: 2, Skipped: 1, Reasons: []string{"x: bad"}, Digest: digest("go"), Seq: 1,
			ETag: `"e"`, LastModified: "yesterday", LoadedAt: noon, CheckedAt: noon.Add(time.Second), Problem: "no", Held: true,
		}
		publish(t, d, one, state, vuln.FeedState{Name: "osv/Debian"})
		check(t, "rows of 1", rows(t, d, 1), []string{"osv/Debian a \x00\x01\xff 1-0", "osv/Go a a1 1-0", "osv/Go b b1 1-0"})
		feeds, err := d.Feeds(ctx)
		wantErr(t, "feeds", err, nil)
		check(t, "feeds", feeds, []vuln.FeedState{{Name: "osv/Debian"}, state})
		history, err = d.History(ctx, "a")
		wantErr(t, "history", err, nil)
		slices.SortFunc(history, func(a, b vuln.Row) int { return strings.Compare(a.Feed, b.Feed) })
		check(t, "history", history, []vuln.Row{full, advisory(one, "osv/Go", "a", "a1")})

		two := begin(t, d, "two")
		stage(t, d, two, vuln.Batch{Feed: "osv/Go", Close: []string{"a", "b"}, Insert: []vuln.Row{advisory(two, "osv/Go", "a", "a2"), advisory(two, "osv/Go", "c", "c2")}})
		check(t, "rows of 1 while 2 is loaded", rows(t, d, 1), []string{"osv/Debian a \x00\x01\xff 1-0", "osv/Go a a1 1-0", "osv/Go b b1 1-0"})
		var heads []string
		head := func(h vuln.Head) error {
			heads = append(heads, fmt.Sprint(h.ID, " ", h.InForce, " ", h.Withdrawn, " ", h.Digest == digest(h.ID+"1")))
			return nil
		}
		wantErr(t, "heads", d.Heads(ctx, "osv/Go", head), nil)
		check(t, "heads while 2 is loaded", heads, []string{"a true false true", "b true false true"})
		publish(t, d, two)
		check(t, "rows of 2", rows(t, d, 2), []string{"osv/Debian a \x00\x01\xff 1-0", "osv/Go a a2 2-0", "osv/Go c c2 2-0"})
		check(t, "rows of 1 as of now", rows(t, d, 1), []string{"osv/Debian a \x00\x01\xff 1-0", "osv/Go a a1 1-2", "osv/Go b b1 1-2"})
		heads = nil
		wantErr(t, "heads", d.Heads(ctx, "osv/Go", head), nil)
		check(t, "heads of 2", heads, []string{"a true false false", "b false false true", "c true false false"})
		heads = nil
		wantErr(t, "heads", d.Heads(ctx, "osv/Debian", head), nil)
		check(t, "heads of another feed", heads, []string{"a true true false"})

		var changes []string
		wantErr(t, "changes", d.Changes(ctx, 1, 2, func(r vuln.Row) error { changes = append(changes, word(r)); return nil }), nil)
		slices.Sort(changes)
		check(t, "changes from 1 to 2", changes, []string{"osv/Go a a1 1-2", "osv/Go a a2 2-0", "osv/Go b b1 1-2", "osv/Go c c2 2-0"})
		wantErr(t, "changes up to what is not published", d.Changes(ctx, 1, 3, nil), vuln.ErrNoSnapshot)
		s, err = d.Current(ctx)
		wantErr(t, "current", err, nil)
		check(t, "current", s, evidence.Snapshot{Seq: 2, Digest: digest("2"), At: noon, Advisories: 3, Ecosystems: []string{"Debian", "Go"}})
		fail := errors.New("enough")
		wantErr(t, "a function that fails", d.Rows(ctx, 2, func(vuln.Row) error { return fail }), fail)

		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			return tx.Record(ctx, []vuln.FeedState{{Name: "osv/Go", Problem: "lost a tenth"}})
		})
		feeds, err = d.Feeds(ctx)
		wantErr(t, "feeds", err, nil)
		check(t, "feeds", feeds, []vuln.FeedState{{Name: "osv/Debian"}, {Name: "osv/Go", Problem: "lost a tenth"}})
	})
}

func TestLoadsEnd(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ctx := t.Context()
		first := begin(t, d, "first")
		var many []vuln.Row
		for i := range vuln.MaxBatch {
			many = append(many, advisory(first, "f", fmt.Sprintf("%04d", i), "1"))
		}
		stage(t, d, first, vuln.Batch{Feed: "f", Insert: many})
		publish(t, d, first)

		crashed := begin(t, d, "crashed")
		var ids []string
		for i := range many[:400] {
			ids = append(ids, many[i].ID)
		}
		stage(t, d, crashed, vuln.Batch{Feed: "f", Close: ids})
		for range 3 { // more than one batch is left behind
			for i := range many {
				many[i].From, many[i].Feed = crashed.Seq, fmt.Sprint("g", i%2)
				many[i].ID += "x"
			}
			for f := range 2 {
				b := vuln.Batch{Feed: fmt.Sprint("g", f)}
				for _, r := range many {
					if r.Feed == b.Feed {
						b.Insert = append(b.Insert, r)
					}
				}
				stage(t, d, crashed, b)
			}
		}
		next := begin(t, d, "next")
		check(t, "number of the next load", next.Seq, crashed.Seq)
		for name, err := range map[string]error{
			"staging":      d.Stage(ctx, crashed, vuln.Batch{Feed: "f", Close: ids[:1]}),
			"taking back":  d.Unstage(ctx, crashed, "f"),
			"publishing":   d.Update(ctx, func(tx *db.Tx) error { return tx.Publish(ctx, crashed, evidence.Snapshot{Seq: crashed.Seq}, nil) }),
			"a made-up id": d.Stage(ctx, vuln.LoadID{Seq: 77, Token: "next"}, vuln.Batch{Feed: "f"}),
		} {
			wantErr(t, name, err, vuln.ErrSuperseded)
		}
		wantErr(t, "abandoning", d.Abandon(ctx, crashed), nil)
		stage(t, d, next, vuln.Batch{Feed: "f", Close: ids[:2], Insert: []vuln.Row{advisory(next, "f", ids[0], "2")}})
		publish(t, d, next)
		got := rows(t, d, next.Seq)
		if len(got) != vuln.MaxBatch-1 || got[0] != "f 0000 2 2-0" {
			t.Errorf("%d rows from %q: what a crashed load staged is there, or what it closed is not", len(got), got[0])
		}
		wantErr(t, "abandoning what was published", d.Abandon(ctx, next), nil)
		check(t, "rows after that", len(rows(t, d, next.Seq)), len(got))

		third := begin(t, d, "third")
		stage(t, d, third, vuln.Batch{Feed: "f", Close: ids[5:9], Insert: []vuln.Row{advisory(third, "f", "new", "3")}})
		stage(t, d, third, vuln.Batch{Feed: "h", Insert: []vuln.Row{advisory(third, "h", "new", "3")}})
		wantErr(t, "taking back", d.Unstage(ctx, third, "f"), nil)
		wantErr(t, "staging again", d.Stage(ctx, third, vuln.Batch{Feed: "f", Close: ids[5:6]}), nil)
		if d.Unstage(ctx, third, "") == nil {
			t.Error("no feed was taken back")
		}
		publish(t, d, third)
		check(t, "rows of the third", len(rows(t, d, third.Seq)), len(got)) // one less, one more

		fourth := begin(t, d, "fourth")
		stage(t, d, fourth, vuln.Batch{Feed: "f", Close: ids[10:20]})
		for range 2 {
			wantErr(t, "abandoning", d.Abandon(ctx, fourth), nil)
		}
		wantErr(t, "staging what was abandoned", d.Stage(ctx, fourth, vuln.Batch{Feed: "f"}), vuln.ErrSuperseded)
		check(t, "rows", len(rows(t, d, third.Seq)), len(got))
	})
}

func TestStageRefuses(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		load := begin(t, d, "x")
		large := vuln.Batch{Feed: "f"}
		for i := range vuln.MaxBatch + 1 {
			large.Insert = append(large.Insert, advisory(load, "f", fmt.Sprint(i), "1"))
		}
		closed := advisory(load, "f", "a", "1")
		closed.To = 9
		other := advisory(load, "g", "a", "1")
		late := advisory(load, "f", "a", "1")
		late.From++
		for name, b := range map[string]vuln.Batch{
			"closing what is not in force": {Feed: "f", Close: []string{"none"}},
			"a row of another feed":        {Feed: "f", Insert: []vuln.Row{other}},
			"a row of another load":        {Feed: "f", Insert: []vuln.Row{late}},
			"a row that is closed":         {Feed: "f", Insert: []vuln.Row{closed}},
			"a row twice":                  {Feed: "f", Insert: []vuln.Row{advisory(load, "f", "a", "1"), advisory(load, "f", "a", "2")}},
			"too many":                     large,
		} {
			if err := d.Stage(t.Context(), load, b); err == nil || errors.Is(err, vuln.ErrSuperseded) {
				t.Errorf("%s: %v", name, err)
			}
		}
		publish(t, d, load)
		check(t, "rows", rows(t, d, load.Seq), []string(nil))
		err := d.Update(t.Context(), func(tx *db.Tx) error {
			return tx.Publish(t.Context(), vuln.LoadID{Seq: 2, Token: "x"}, evidence.Snapshot{Seq: 3}, nil)
		})
		if err == nil {
			t.Error("a snapshot with another number than its load was published")
		}
	})
}
