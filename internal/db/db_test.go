package db_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// each runs fn on an open database of each engine. clock starts at noon and
// stands still but for what fn does to it.
func each(t *testing.T, fn func(t *testing.T, d *db.DB, clock *clock)) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		c := &clock{}
		c.set(noon)
		o.Clock = c.now
		fn(t, dbtest.Open(t, o), c)
	})
}

type clock struct{ micros atomic.Int64 }

func (c *clock) now() time.Time       { return time.UnixMicro(c.micros.Load()).UTC() }
func (c *clock) set(t time.Time)      { c.micros.Store(t.UnixMicro()) }
func (c *clock) add(by time.Duration) { c.set(c.now().Add(by)) }

func update(t *testing.T, d *db.DB, fn func(ctx context.Context, tx *db.Tx) error) {
	t.Helper()
	if err := d.Update(t.Context(), func(tx *db.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, d *db.DB, fn func(ctx context.Context, tx *db.Tx) error) {
	t.Helper()
	if err := d.View(t.Context(), func(tx *db.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	opts := cmp.Options{
		cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b oci.Digest) bool { return a == b }),
		cmp.Comparer(func(a, b oci.Repository) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func digest(name string) oci.Digest { return oci.FromBytes([]byte(name)) }

func event(id string) audit.Event {
	return audit.Event{ID: id, At: noon, Kind: "blob.pushed", Principal: "alice", Method: "token"}
}

func TestOpenWants(t *testing.T) {
	for _, o := range []db.Options{{}, {Folder: t.TempDir(), URL: "postgres://localhost/x"}} {
		if _, err := db.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "exactly one") {
			t.Errorf("opening %+v: %v", o, err)
		}
	}
	if _, err := db.Open(t.Context(), db.Options{URL: "postgres://127.0.0.1:1/none?connect_timeout=1", Clock: time.Now}); err == nil {
		t.Error("a server that is not there was opened")
	}
}

func TestTxEnds(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		var kept *db.Tx
		update(t, d, func(_ context.Context, tx *db.Tx) error { kept = tx; return nil })
		if err := kept.PutBlob(t.Context(), digest("a"), 1); err == nil {
			t.Error("a transaction that has ended was written to")
		}
		if _, err := kept.Stored(t.Context(), digest("a")); err == nil || errors.Is(err, repo.ErrNotFound) {
			t.Errorf("a transaction that has ended was read: %v", err)
		}
	})
}

// TestConcurrentUpdates has many writers count one thing: each has to see what
// the others did.
func TestConcurrentUpdates(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ctx := t.Context()
		r := oci.MustRepository("dev/a")
		m := &repo.Manifest{Digest: digest("m"), MediaType: oci.MediaTypeManifest, Kind: oci.KindImage, Raw: []byte("m")}
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			return errors.Join(tx.PutManifest(ctx, m),
				tx.Place(ctx, &repo.Placement{Repository: r, Digest: m.Digest, State: repo.Held, BroughtBy: "x", BroughtAt: noon}))
		})
		const writers, rounds = 8, 6
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for range rounds {
					err := d.Update(ctx, func(tx *db.Tx) error {
						p, err := tx.Lookup(ctx, r, repo.Selector{Digest: m.Digest}, repo.Viewer{Quarantine: true})
						if err != nil {
							return err
						}
						return tx.Place(ctx, &p.Placement)
					})
					if err != nil {
						t.Errorf("updating: %v", err)
					}
				}
			})
		}
		all.Wait()
		p, err := d.Lookup(ctx, r, repo.Selector{Digest: m.Digest}, repo.Viewer{})
		if err != nil || p.Version != 1+writers*rounds {
			t.Errorf("version %d, %v, want %d: an update was lost", p.Version, err, 1+writers*rounds)
		}
	})
}

// TestHostileText stores what PostgreSQL would refuse.
func TestHostileText(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		m := &repo.Manifest{
			Digest: digest("m"), MediaType: oci.MediaTypeManifest, ArtifactType: "nul\x00 and \xff", Kind: oci.KindEvidence, Raw: []byte{0, 0xff},
			Subject: digest("s"), Annotations: map[string]string{"\x00": "\xff"},
		}
		r := oci.MustRepository("dev/a")
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			return errors.Join(tx.PutManifest(ctx, m), tx.Place(ctx, &repo.Placement{
				Repository: r, Digest: m.Digest, State: repo.Attached, BroughtBy: "mallory\x00", Sentence: "\xf0\x9f", BroughtAt: noon,
			}))
		})
		ds, err := d.Referrers(t.Context(), r, m.Subject, m.ArtifactType, repo.Viewer{Principal: "mallory\x00"}, repo.Page{Limit: 5})
		if err != nil || len(ds) != 1 || ds[0].Annotations["\x00"] != "\xff" {
			t.Errorf("got %+v, %v, want the one", ds, err)
		}
	})
}

func TestOnCommit(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		var mu sync.Mutex
		var heard []db.Commit
		d.OnCommit(func(c db.Commit) {
			mu.Lock()
			defer mu.Unlock()
			if !c.Unknown { // a connection was made again
				heard = append(heard, c)
			}
		})
		update(t, d, func(ctx context.Context, tx *db.Tx) error { return tx.PutBlob(ctx, digest("a"), 1) })
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			return errors.Join(tx.Append(ctx, event("1")), tx.Enqueue(ctx, "judge", "a", noon), tx.Enqueue(ctx, "judge", "b", noon), tx.Enqueue(ctx, "sweep", "", noon))
		})
		no := errors.New("no")
		if err := d.Update(t.Context(), func(tx *db.Tx) error { return errors.Join(tx.Append(t.Context(), event("2")), no) }); !errors.Is(err, no) {
			t.Errorf("got %v, want what the update ended with", err)
		}
		mu.Lock()
		defer mu.Unlock()
		check(t, "commits", heard, []db.Commit{{Kinds: []string{"judge", "sweep"}, Events: true}})
	})
}

// TestOtherProcess: on a server, what one process commits wakes another.
func TestOtherProcess(t *testing.T) {
	url := testparts.Postgres(t)
	a, b := dbtest.Open(t, db.Options{URL: url}), dbtest.Open(t, db.Options{URL: url})
	heard := make(chan db.Commit, 100)
	b.OnCommit(func(c db.Commit) { heard <- c })
	limit := time.After(20 * time.Second)
	for i := 0; ; i++ { // b may not listen yet: then it is told that it has missed something
		update(t, a, func(ctx context.Context, tx *db.Tx) error {
			return errors.Join(tx.Enqueue(ctx, "judge", fmt.Sprint(i), noon), tx.Append(ctx, event(fmt.Sprint(i))))
		})
		select {
		case c := <-heard:
			if c.Unknown {
				continue
			}
			check(t, "what was heard", c, db.Commit{Kinds: []string{"judge"}, Events: true})
			return
		case <-limit:
			t.Fatal("nothing was heard")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func TestSweep(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, c *clock) {
		r := oci.MustRepository("dev/a")
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			for i := range 10 {
				if err := tx.Lease(ctx, r, digest(fmt.Sprint(i)), "alice", noon.Add(time.Duration(i)*time.Minute)); err != nil {
					return err
				}
			}
			return nil
		})
		c.add(5 * time.Minute)
		for _, want := range []int{4, 2, 0} {
			n, err := d.Sweep(t.Context(), 4)
			if err != nil || n != want {
				t.Errorf("removed %d, %v, want %d", n, err, want)
			}
		}
	})
}

// TestQuiet: opening a database, with its migrations, writes nothing to the
// terminal.
func TestQuiet(t *testing.T) {
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout, os.Stderr = write, write
	d, err := db.Open(t.Context(), db.Options{Folder: t.TempDir(), Clock: time.Now})
	os.Stdout, os.Stderr = stdout, stderr
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	var b [100]byte
	if n, _ := read.Read(b[:]); n > 0 {
		t.Errorf("printed %q", b[:n])
	}
}
