package feed

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDrop(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", records(2))
	b.put("npm", map[string]string{"N-1.json": record("N-1", "2.0")})
	before := b.load().Snapshot
	r, err := b.loader.Drop(t.Context(), []string{"osv/PyPI", "osv/never"})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Changed || r.Snapshot.Seq != before.Seq+1 || r.Snapshot.Digest == before.Digest || r.Snapshot.Advisories != 1 {
		t.Errorf("the snapshot after is %+v, before it was %+v", r.Snapshot, before)
	}
	if diff := cmp.Diff([]string{"npm"}, r.Snapshot.Ecosystems); diff != "" {
		t.Errorf("what is covered (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]FeedResult{{Name: "osv/PyPI", Gone: 2, Dropped: true}}, r.Feeds); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"osv/npm/N-1 from 1 known 05:00"}, b.rows()); diff != "" {
		t.Errorf("rows in force (-want +got):\n%s", diff)
	}
	past, err := b.store.History(t.Context(), "P-000")
	if err != nil || len(past) != 1 || past[0].To != r.Snapshot.Seq {
		t.Errorf("the row that ended is %+v, %v; want one that ends with snapshot %d", past, err, r.Snapshot.Seq)
	}

	again, err := b.loader.Drop(t.Context(), []string{"osv/PyPI"})
	if err != nil || again.Changed || len(again.Feeds) != 0 {
		t.Errorf("dropped twice: %+v, %v", again, err)
	}

	// The archive is the same as before, and is read again all the same.
	if back := b.load(); back.Snapshot.Digest != before.Digest {
		t.Errorf("loaded again: %+v", back)
	}
	if got := b.rows(); len(got) != 3 {
		t.Errorf("loaded again, in force are %v", got)
	}
}

// TestDropIsNotMissed: a feed that was dropped is no loss of its source.
func TestDropIsNotMissed(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", records(2))
	b.put("npm", map[string]string{"N-1.json": record("N-1", "2.0")})
	b.load()
	if _, err := b.loader.Drop(t.Context(), []string{"osv/npm"}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(b.root, "npm")); err != nil {
		t.Fatal(err)
	}
	if r := b.load(); r.Err() != nil {
		t.Errorf("loading without it: %v", r.Err())
	}
}

func TestDropFails(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", records(2))
	before := b.load().Snapshot
	b.fail = errors.New("the database is away")
	if _, err := b.loader.Drop(t.Context(), []string{"osv/PyPI"}); !errors.Is(err, b.fail) {
		t.Errorf("got %v, want the reason", err)
	}
	if got := b.rows(); len(got) != 2 {
		t.Errorf("in force after it failed are %v, and snapshot %d was", got, before.Seq)
	}
}

func TestSourceOf(t *testing.T) {
	for _, test := range []struct {
		name       string
		ecosystems []string
		want       bool
	}{
		{name: "osv", want: true}, {name: "osv/Go", want: true}, {name: "osv/Go", ecosystems: []string{"Go"}, want: true},
		{name: "osv/npm", ecosystems: []string{"Go"}}, {name: "osv-2"}, {name: "osv-2/Go"}, {name: "os"}, {name: "osv/"}, {name: ""},
	} {
		if src := (&Source{Name: "osv", Ecosystems: test.ecosystems}); src.Of(test.name) != test.want {
			t.Errorf("feed %q of %v: got %v", test.name, test.ecosystems, !test.want)
		}
	}
}
