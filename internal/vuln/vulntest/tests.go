package vulntest

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

func testEmpty(s *suite) {
	got, err := s.Reader.Current(s.ctx)
	if d := cmp.Diff(evidence.Snapshot{}, got, equalDigests); err != nil || d != "" {
		s.Errorf("current snapshot of nothing: %v, %s", err, d)
	}
	_, err = s.Reader.Snapshot(s.ctx, 1)
	s.wantErr("snapshot 1", err, vuln.ErrNoSnapshot)
	s.wantErr("rows of snapshot 1", s.Reader.Rows(s.ctx, 1, nothing), vuln.ErrNoSnapshot)
	s.wantErr("rows of snapshot 0", s.Reader.Rows(s.ctx, 0, nothing), vuln.ErrNoSnapshot)
	if feeds, err := s.Reader.Feeds(s.ctx); err != nil || len(feeds) != 0 {
		s.Errorf("feeds: %v, %v", feeds, err)
	}
	s.want("history", s.history("CVE-1"), nil)
	s.want("heads", s.heads("osv/Debian"), nil)
}

var equalDigests = cmp.Comparer(func(a, b oci.Digest) bool { return a == b })

func testRoundTrip(s *suite) {
	in := []vuln.Row{row("osv/Debian", "DEBIAN-CVE-2024-1", 1), row("osv/Debian", "DSA-1-1", 2), row("osv/Rocky Linux", "RLSA-2024:1", 3)}
	load := s.begin("token")
	s.stage(load, "osv/Rocky Linux", nil, in[2])
	s.stage(load, "osv/Debian", nil, in[1], in[0])
	snap := s.publish(load)
	var out []vuln.Row
	err := s.Reader.Rows(s.ctx, 1, func(r vuln.Row) error {
		r.Packed = append([]byte(nil), r.Packed...)
		out = append(out, r)
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	for i := range in {
		in[i].From = 1
	}
	if d := cmp.Diff(in, out, equalDigests); d != "" {
		s.Errorf("rows (-put +got):\n%s", d)
	}
	history, err := s.Reader.History(s.ctx, "DSA-1-1")
	if d := cmp.Diff(in[1:2], history, equalDigests); err != nil || d != "" {
		s.Errorf("history (-put +got): %v\n%s", err, d)
	}
	for _, read := range []func() (evidence.Snapshot, error){
		func() (evidence.Snapshot, error) { return s.Reader.Current(s.ctx) },
		func() (evidence.Snapshot, error) { return s.Reader.Snapshot(s.ctx, 1) },
	} {
		got, err := read()
		if d := cmp.Diff(snap, got, equalDigests); err != nil || d != "" {
			s.Errorf("snapshot (-put +got): %v\n%s", err, d)
		}
	}
	var heads []vuln.Head
	if err := s.Stager.Heads(s.ctx, "osv/Debian", func(h vuln.Head) error { heads = append(heads, h); return nil }); err != nil {
		s.Fatal(err)
	}
	want := []vuln.Head{
		{ID: in[0].ID, InForce: true, Known: when, Digest: in[0].Digest, Format: 1},
		{ID: in[1].ID, InForce: true, Withdrawn: true, Known: when, Digest: in[1].Digest, Format: 2},
	}
	if d := cmp.Diff(want, heads, equalDigests); d != "" {
		s.Errorf("heads (-want +got):\n%s", d)
	}
}

func testInvisible(s *suite) {
	s.load("f", nil, row("f", "A", 1), row("f", "B", 1))
	load := s.begin("token")
	s.stage(load, "f", []string{"A", "B"}, row("f", "A", 3), row("f", "C", 1))
	s.wantSeq(1)
	s.want("rows", s.rows(1), []string{"f/A@1-0", "f/B@1-0"})
	s.want("changes", s.changes(0, 1), []string{"f/A@1-0", "f/B@1-0"})
	s.want("history", s.history("A"), []string{"f/A@1-0"})
	s.want("history of what is new", s.history("C"), nil)
	s.want("heads", s.heads("f"), []string{"A in force", "B in force"})
	s.wantErr("rows of what is staged", s.Reader.Rows(s.ctx, 2, nothing), vuln.ErrNoSnapshot)
}

func testPast(s *suite) {
	s.load("f", nil, row("f", "A", 1), row("f", "B", 1))
	s.load("f", []string{"A"}, row("f", "A", 3))
	s.load("f", []string{"A", "B"}, row("f", "A", 5))
	s.wantSeq(3)
	s.want("rows of 1", s.rows(1), []string{"f/A@1-2", "f/B@1-3"})
	s.want("rows of 2", s.rows(2), []string{"f/A@2-3", "f/B@1-3"})
	s.want("rows of 3", s.rows(3), []string{"f/A@3-0"})
	s.want("history of A", s.history("A"), []string{"f/A@1-2", "f/A@2-3", "f/A@3-0"})
	if past, err := s.Reader.Snapshot(s.ctx, 2); err != nil || past.Seq != 2 {
		s.Errorf("snapshot 2 is %+v, error %v", past, err)
	}
}

func testGoneAndBack(s *suite) {
	s.load("f", nil, row("f", "A", 1), row("f", "B", 1))
	s.load("f", []string{"A"})
	s.want("heads without A", s.heads("f"), []string{"A gone", "B in force"})
	back := row("f", "A", 3)
	s.load("f", nil, back)
	s.want("heads with A", s.heads("f"), []string{"A in force", "B in force"})
	s.want("rows of 2", s.rows(2), []string{"f/B@1-0"})
	s.want("history of A", s.history("A"), []string{"f/A@1-2", "f/A@3-0"})
	err := s.Stager.Heads(s.ctx, "f", func(h vuln.Head) error {
		if h.ID == "A" && h.Digest != back.Digest {
			s.Errorf("the head of A is not its newest version")
		}
		return nil
	})
	if err != nil {
		s.Error(err)
	}
}

func testChanges(s *suite) {
	s.load("f", nil, row("f", "A", 1), row("f", "B", 1))
	s.load("f", []string{"A"}, row("f", "A", 3))
	s.load("f", []string{"A"}, row("f", "C", 1))
	s.want("all", s.changes(0, 3), []string{"f/A@1-2", "f/A@2-3", "f/B@1-0", "f/C@3-0"})
	s.want("second", s.changes(1, 2), []string{"f/A@1-2", "f/A@2-3"})
	s.want("third", s.changes(2, 3), []string{"f/A@2-3", "f/C@3-0"})
	s.want("none", s.changes(3, 3), nil)
	s.wantErr("to the future", s.Reader.Changes(s.ctx, 1, 4, nothing), vuln.ErrNoSnapshot)
}

func testUnstage(s *suite) {
	s.load("f", nil, row("f", "A", 1), row("f", "B", 1))
	load := s.begin("token")
	s.stage(load, "f", []string{"A"}, row("f", "A", 3), row("f", "C", 1))
	s.stage(load, "g", nil, row("g", "A", 1))
	if err := s.Stager.Unstage(s.ctx, load, "f"); err != nil {
		s.Fatal(err)
	}
	s.stage(load, "f", []string{"B"}) // the feed can be staged anew
	s.publish(load)
	s.want("rows", s.rows(2), []string{"f/A@1-0", "g/A@2-0"})
	s.want("history", s.history("C"), nil)
}

func testAbandon(s *suite) {
	s.load("f", nil, row("f", "A", 1))
	load := s.begin("token")
	s.stage(load, "f", []string{"A"}, row("f", "B", 1))
	for range 2 {
		if err := s.Stager.Abandon(s.ctx, load); err != nil {
			s.Fatal(err)
		}
	}
	s.wantErr("staging after the end", s.Stager.Stage(s.ctx, load, batch(load, "f", nil, row("f", "C", 1))), vuln.ErrSuperseded)
	s.load("f", []string{"A"}, row("f", "A", 3))
	if err := s.Stager.Abandon(s.ctx, load); err != nil { // published is published
		s.Fatal(err)
	}
	s.want("rows", s.rows(2), []string{"f/A@2-0"})
}

func testSupersede(s *suite) {
	s.load("f", nil, row("f", "A", 1))
	first := s.begin("first")
	s.stage(first, "f", []string{"A"}, row("f", "B", 1))
	second := s.begin("second")
	if second.Seq != first.Seq {
		s.Errorf("the second load is for snapshot %d, the first for %d", second.Seq, first.Seq)
	}
	s.wantErr("stage", s.Stager.Stage(s.ctx, first, batch(first, "f", nil, row("f", "C", 1))), vuln.ErrSuperseded)
	s.wantErr("unstage", s.Stager.Unstage(s.ctx, first, "f"), vuln.ErrSuperseded)
	s.wantErr("publish", s.Update(s.ctx, func(p vuln.Publisher) error {
		return p.Publish(s.ctx, first, snapshot(first.Seq), nil)
	}), vuln.ErrSuperseded)
	s.stage(second, "f", []string{"A"}, row("f", "D", 1))
	if err := s.Stager.Abandon(s.ctx, first); err != nil {
		s.Fatal(err)
	}
	s.publish(second)
	s.want("rows", s.rows(2), []string{"f/D@2-0"})
}

func testRollback(s *suite) {
	load := s.begin("token")
	s.stage(load, "f", nil, row("f", "A", 1))
	why := errors.New("no audit event, no change")
	err := s.Update(s.ctx, func(p vuln.Publisher) error {
		if err := p.Publish(s.ctx, load, snapshot(load.Seq), []vuln.FeedState{{Name: "f", Records: 1}}); err != nil {
			return err
		}
		return why
	})
	s.wantErr("update", err, why)
	s.wantSeq(0)
	if feeds, err := s.Reader.Feeds(s.ctx); err != nil || len(feeds) != 0 {
		s.Errorf("feeds: %v, %v", feeds, err)
	}
	s.publish(load)
	s.want("rows", s.rows(1), []string{"f/A@1-0"})
}

func testPublishOnce(s *suite) {
	load := s.begin("token")
	err := s.Update(s.ctx, func(p vuln.Publisher) error { return p.Publish(s.ctx, load, snapshot(7), nil) })
	if err == nil {
		s.Error("a snapshot with another sequence number than the load's was published")
	}
	s.publish(load) // without any row
	s.wantErr("publishing again", s.Update(s.ctx, func(p vuln.Publisher) error {
		return p.Publish(s.ctx, load, snapshot(load.Seq), nil)
	}), vuln.ErrSuperseded)
	s.wantSeq(1)
}

func testBadBatches(s *suite) {
	s.load("f", nil, row("f", "A", 1))
	load := s.begin("token")
	many := make([]vuln.Row, vuln.MaxBatch)
	for i := range many {
		many[i] = row("f", fmt.Sprint("many-", i), 1)
	}
	for what, b := range map[string]vuln.Batch{
		"closing what is not there":  batch(load, "f", []string{"B"}, row("f", "C", 1)),
		"inserting what is in force": batch(load, "f", nil, row("f", "A", 3), row("f", "C", 1)),
		"a row of another feed":      batch(load, "f", nil, row("g", "C", 1)),
		"a batch that is too large":  batch(load, "f", []string{"A"}, many...),
	} {
		if err := s.Stager.Stage(s.ctx, load, b); err == nil {
			s.Errorf("%s was staged", what)
		}
	}
	s.stage(load, "f", nil, row("f", "C", 3)) // nothing of the bad ones is there
	s.publish(load)
	s.want("rows", s.rows(2), []string{"f/A@1-0", "f/C@2-0"})
}

func testFeedStates(s *suite) {
	full := vuln.FeedState{
		Name: "osv/Debian", Source: "https://feeds.example/osv", Ecosystems: []string{"Debian"}, Records: 22002, Skipped: 2,
		Reasons: []string{"X-1: no, \"it\" is\nbad"}, Digest: oci.FromBytes([]byte("d")), Seq: 1, ETag: `W/"a"`, LastModified: "Sun, 22 Nov 2026 06:31:00 GMT",
		LoadedAt: when, CheckedAt: when.Add(time.Hour), Problem: "lost a tenth", Held: true, Format: vuln.KEV, Dated: when.Add(-time.Hour),
	}
	bare := vuln.FeedState{Name: "osv/Alpine", Source: "/srv/osv", CheckedAt: when}
	record := func(states ...vuln.FeedState) {
		s.Helper()
		if err := s.Update(s.ctx, func(p vuln.Publisher) error { return p.Record(s.ctx, states) }); err != nil {
			s.Fatal(err)
		}
	}
	want := func(states ...vuln.FeedState) {
		s.Helper()
		got, err := s.Reader.Feeds(s.ctx)
		if d := cmp.Diff(states, got, equalDigests); err != nil || d != "" {
			s.Errorf("states (-want +got): %v\n%s", err, d)
		}
	}
	record(full, bare)
	want(bare, full)
	s.wantSeq(0)
	load := s.begin("token")
	bare.Records, bare.LoadedAt = 1, when
	s.publish(load, bare)
	want(bare, full)
	full.Problem, full.Held, full.Reasons = "", false, nil
	record(full)
	want(bare, full)
}

// testDocuments: a document is there with the snapshot that names it, or not at all.
func testDocuments(s *suite) {
	content := []byte("what is exploited")
	d := oci.FromBytes(content)
	if _, err := s.Reader.Document(s.ctx, d); !errors.Is(err, vuln.ErrNoDocument) {
		s.Errorf("a document that nobody kept: %v", err)
	}
	fails := errors.New("something else fails")
	err := s.Update(s.ctx, func(p vuln.Publisher) error { return errors.Join(p.Keep(s.ctx, d, content), fails) })
	if !errors.Is(err, fails) {
		s.Fatal(err)
	}
	if _, err := s.Reader.Document(s.ctx, d); !errors.Is(err, vuln.ErrNoDocument) {
		s.Errorf("a document whose keeping was taken back: %v", err)
	}
	if err := s.Update(s.ctx, func(p vuln.Publisher) error { return p.Keep(s.ctx, d, []byte("something else")) }); err == nil {
		s.Error("a document was kept under another's digest")
	}
	for range 2 {
		load := s.begin("token")
		snap := snapshot(load.Seq)
		snap.Exploited = d
		err := s.Update(s.ctx, func(p vuln.Publisher) error {
			return errors.Join(p.Keep(s.ctx, d, content), p.Publish(s.ctx, load, snap, nil))
		})
		if err != nil {
			s.Fatal(err)
		}
		current, err := s.Reader.Current(s.ctx)
		if err != nil || current.Exploited != d || !current.Scores.IsZero() || !current.Lifecycles.IsZero() {
			s.Errorf("snapshot %+v, %v", current, err)
		}
	}
	got, err := s.Reader.Document(s.ctx, d)
	if err != nil || string(got) != string(content) {
		s.Errorf("document %q, %v", got, err)
	}
}

func testTwoFeeds(s *suite) {
	load := s.begin("token")
	s.stage(load, "g", nil, row("g", "GHSA-1", 1))
	s.stage(load, "f", nil, row("f", "GHSA-1", 3))
	s.publish(load)
	s.want("rows", s.rows(1), []string{"f/GHSA-1@1-0", "g/GHSA-1@1-0"})
	s.load("f", []string{"GHSA-1"})
	s.want("rows", s.rows(2), []string{"g/GHSA-1@1-0"})
	if n := len(s.history("GHSA-1")); n != 2 {
		s.Errorf("history has %d versions, want 2", n)
	}
}

func testStop(s *suite) {
	s.load("f", nil, row("f", "A", 1), row("f", "B", 1))
	enough := errors.New("enough")
	calls := 0
	s.wantErr("rows", s.Reader.Rows(s.ctx, 1, func(vuln.Row) error { calls++; return enough }), enough)
	s.wantErr("changes", s.Reader.Changes(s.ctx, 0, 1, func(vuln.Row) error { calls++; return enough }), enough)
	s.wantErr("heads", s.Stager.Heads(s.ctx, "f", func(vuln.Head) error { calls++; return enough }), enough)
	if calls != 3 {
		s.Errorf("%d calls after three stops", calls)
	}
}

func testMany(s *suite) {
	const n = 4 * vuln.MaxBatch
	load := s.begin("token")
	for first := 0; first < n; first += vuln.MaxBatch {
		rows := make([]vuln.Row, vuln.MaxBatch)
		for i := range rows {
			rows[i] = row("f", fmt.Sprintf("ID-%06d", first+i), 1)
		}
		s.stage(load, "f", nil, rows...)
	}
	s.publish(load)
	rows := s.rows(1)
	if len(rows) != n || rows[0] != "f/ID-000000@1-0" || rows[n-1] != fmt.Sprintf("f/ID-%06d@1-0", n-1) {
		s.Errorf("%d rows, want %d in order", len(rows), n)
	}
	if heads := s.heads("f"); len(heads) != n {
		s.Errorf("%d heads, want %d", len(heads), n)
	}
}
