// Package vulntest is the suite that admits an implementation of the stores of
// package vuln.
package vulntest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// Stores are one empty database.
type Stores struct {
	Reader vuln.Reader
	Stager vuln.Stager
	// Update runs fn in one transaction, which is rolled back when fn fails,
	// and returns fn's error.
	Update func(ctx context.Context, fn func(vuln.Publisher) error) error
}

// Run runs the suite. Each test asks open for stores of its own.
func Run(t *testing.T, open func(t *testing.T) Stores) {
	for name, test := range map[string]func(*suite){
		"Empty":                  testEmpty,
		"RowsComeBackAsTheyWere": testRoundTrip,
		"StagedRowsAreInvisible": testInvisible,
		"PastSnapshotsStay":      testPast,
		"GoneAndBack":            testGoneAndBack,
		"Changes":                testChanges,
		"Unstage":                testUnstage,
		"Abandon":                testAbandon,
		"BeginSupersedes":        testSupersede,
		"RolledBackPublish":      testRollback,
		"PublishOnce":            testPublishOnce,
		"BadBatches":             testBadBatches,
		"FeedStates":             testFeedStates,
		"SameIDInTwoFeeds":       testTwoFeeds,
		"StopWhenToldTo":         testStop,
		"ManyRows":               testMany,
		"Documents":              testDocuments,
	} {
		t.Run(name, func(t *testing.T) {
			test(&suite{T: t, Stores: open(t), ctx: t.Context()})
		})
	}
}

type suite struct {
	*testing.T
	Stores
	ctx context.Context
}

// Some moment, with all the microseconds that a store must keep.
var when = time.Date(2026, 11, 22, 4, 5, 6, 789012000, time.UTC)

// row is a version of a record that differs from others in all its fields.
func row(feed, id string, version int) vuln.Row {
	packed := make([]byte, 300)
	for i := range packed {
		packed[i] = byte(i + version)
	}
	r := vuln.Row{
		Feed: feed, ID: id, Modified: when.Add(time.Duration(version)*time.Hour).AddDate(1, 0, 0), Known: when,
		Digest: oci.FromBytes(fmt.Append(nil, feed, id, version)), Format: version, Packed: packed,
	}
	if version%2 == 0 {
		r.Withdrawn = when.Add(time.Duration(version) * time.Minute)
	}
	return r
}

func (s *suite) begin(token string) vuln.LoadID {
	s.Helper()
	load, err := s.Stager.Begin(s.ctx, token)
	if err != nil {
		s.Fatal(err)
	}
	return load
}

func (s *suite) stage(load vuln.LoadID, feed string, closed []string, rows ...vuln.Row) {
	s.Helper()
	if err := s.Stager.Stage(s.ctx, load, batch(load, feed, closed, rows...)); err != nil {
		s.Fatal(err)
	}
}

func batch(load vuln.LoadID, feed string, closed []string, rows ...vuln.Row) vuln.Batch {
	for i := range rows {
		rows[i].From = load.Seq
	}
	return vuln.Batch{Feed: feed, Close: closed, Insert: rows}
}

func (s *suite) publish(load vuln.LoadID, feeds ...vuln.FeedState) evidence.Snapshot {
	s.Helper()
	snap := snapshot(load.Seq)
	err := s.Update(s.ctx, func(p vuln.Publisher) error { return p.Publish(s.ctx, load, snap, feeds) })
	if err != nil {
		s.Fatal(err)
	}
	return snap
}

func snapshot(seq int64) evidence.Snapshot {
	return evidence.Snapshot{
		Seq: seq, Digest: oci.FromBytes(fmt.Append(nil, "snapshot", seq)), At: when.Add(time.Duration(seq) * time.Second),
		Advisories: int(seq) * 10, Ecosystems: []string{"Debian", "Rocky Linux", "npm"},
	}
}

// load publishes one feed's changes.
func (s *suite) load(feed string, closed []string, rows ...vuln.Row) evidence.Snapshot {
	s.Helper()
	load := s.begin("token")
	s.stage(load, feed, closed, rows...)
	return s.publish(load)
}

// rows returns "feed/id@from-to" of what is in force.
func (s *suite) rows(seq int64) []string {
	s.Helper()
	return s.names(func(fn func(vuln.Row) error) error { return s.Reader.Rows(s.ctx, seq, fn) })
}

func (s *suite) changes(after, upto int64) []string {
	s.Helper()
	return slices.Sorted(slices.Values(s.names(func(fn func(vuln.Row) error) error { return s.Reader.Changes(s.ctx, after, upto, fn) })))
}

func (s *suite) history(id string) []string {
	s.Helper()
	rows, err := s.Reader.History(s.ctx, id)
	if err != nil {
		s.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		out = append(out, name(r))
	}
	return out
}

func (s *suite) names(each func(fn func(vuln.Row) error) error) (out []string) {
	s.Helper()
	if err := each(func(r vuln.Row) error { out = append(out, name(r)); return nil }); err != nil {
		s.Fatal(err)
	}
	return out
}

func name(r vuln.Row) string { return fmt.Sprintf("%s/%s@%d-%d", r.Feed, r.ID, r.From, r.To) }

// heads returns "id in force" and "id gone".
func (s *suite) heads(feed string) (out []string) {
	s.Helper()
	err := s.Stager.Heads(s.ctx, feed, func(h vuln.Head) error {
		state := "gone"
		if h.InForce {
			state = "in force"
		}
		out = append(out, h.ID+" "+state)
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return out
}

func (s *suite) want(what string, got, want []string) {
	s.Helper()
	if d := cmp.Diff(want, got); d != "" {
		s.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func (s *suite) wantErr(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func (s *suite) wantSeq(want int64) {
	s.Helper()
	got, err := s.Reader.Current(s.ctx)
	if err != nil || got.Seq != want {
		s.Errorf("current snapshot is %d (error %v), want %d", got.Seq, err, want)
	}
}

func nothing(vuln.Row) error { return nil }
