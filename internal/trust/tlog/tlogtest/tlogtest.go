// Package tlogtest is the suite that admits an implementation of tlog.Store with
// a blob.Store, and what tests of logs need besides: keys that are always the
// same, a store in memory that can fail, a check of a whole log.
package tlogtest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Origin is the name of the log in tests.
const Origin = "log.example"

// Key is an Ed25519 key made from a name, the same each time.
func Key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Options are those of a log of Origin over a store.
func Options(t testing.TB, s tlog.Store, b blob.Store) tlog.Options {
	t.Helper()
	key := Key(Origin)
	signer, err := tlog.NewEd25519Signer(Origin, crypto.Signer(key))
	if err != nil {
		t.Fatal(err)
	}
	return tlog.Options{Origin: Origin, Store: s, Blobs: b, Signer: signer, Verifier: Verifier(t), Clock: time.Now, Wait: time.Millisecond}
}

// Verifier is that of the log of Options.
func Verifier(t testing.TB) note.Verifier {
	t.Helper()
	v, err := tlog.Ed25519Verifier(Origin, Key(Origin).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Begin creates a log, opens and starts it. It is stopped with the test.
func Begin(t testing.TB, o tlog.Options) *tlog.Log {
	t.Helper()
	if err := tlog.Create(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	return Open(t, o)
}

// Open opens a log and starts it. It is stopped with the test.
func Open(t testing.TB, o tlog.Options) *tlog.Log {
	t.Helper()
	l, err := tlog.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	l.Start()
	t.Cleanup(func() {
		if err := l.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Entry is an entry of a text.
func Entry(text string) tlog.Entry {
	e, err := tlog.Plain([]byte(text))
	if err != nil {
		panic(err)
	}
	return e
}

// Entries are n entries that differ, and differ by from.
func Entries(from, n int) []tlog.Entry {
	all := make([]tlog.Entry, n)
	for i := range all {
		all[i] = Entry(fmt.Sprintf("entry %d %x", from+i, sha256.Sum256([]byte{byte(from + i)})))
	}
	return all
}

// Create makes the storage of an empty log. Each call of the result opens it as
// a new process would.
type Create func(t testing.TB) func(t testing.TB) (tlog.Store, blob.Store)

// Run tests an implementation.
func Run(t *testing.T, create Create) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open func(t testing.TB) (tlog.Store, blob.Store))
	}{
		{"NoLog", testNoLog},
		{"Create", testCreate},
		{"Append", testAppend},
		{"Conflict", testConflict},
		{"Publish", testPublish},
		{"Index", testIndex},
		{"Log", testLog},
		{"Processes", testProcesses},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, create(t)) })
	}
}

type open = func(t testing.TB) (tlog.Store, blob.Store)

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

func testNoLog(t *testing.T, open open) {
	s, _ := open(t)
	_, err := s.Head(t.Context())
	wantErr(t, "Head", err, tlog.ErrNoLog)
	_, _, err = s.Tail(t.Context())
	wantErr(t, "Tail", err, tlog.ErrNoLog)
	tiles, err := s.Tiles(t.Context(), 0, 0, 10)
	if err != nil || len(tiles) > 0 {
		t.Errorf("tiles of no log: %v, %v", tiles, err)
	}
	wantErr(t, "Append", s.Append(t.Context(), stepOf(tlog.EmptyState(), Entries(0, 1))), tlog.ErrConflict)
}

func empty() tlog.Head {
	return tlog.Head{Origin: Origin, Root: tlog.EmptyRoot(), Checkpoint: []byte("signed 0"), Published: []byte("published 0")}
}

func testCreate(t *testing.T, open open) {
	s, _ := open(t)
	wantErr(t, "Create", s.Create(t.Context(), empty()), nil)
	wantErr(t, "Create again", s.Create(t.Context(), empty()), tlog.ErrExists)
	s, _ = open(t)
	wantErr(t, "Create in another process", s.Create(t.Context(), empty()), tlog.ErrExists)
	h, err := s.Head(t.Context())
	if diff := cmp.Diff(empty(), h); diff != "" || err != nil {
		t.Errorf("the head (-want +got): %s %v", diff, err)
	}
}

// stepOf is a step with the plan of some entries.
func stepOf(s *tlog.State, entries []tlog.Entry) *tlog.Step {
	p := s.Plan(entries)
	return &tlog.Step{
		Old:    tlog.Checkpoint{Origin: Origin, Size: s.Size, Root: s.Root},
		New:    tlog.Checkpoint{Origin: Origin, Size: p.Next.Size, Root: p.Next.Root},
		Signed: fmt.Appendf(nil, "signed %d", p.Next.Size),
		Full:   p.Full, Tail: p.Tail, Index: p.Leaves,
	}
}

func testAppend(t *testing.T, open open) {
	s, _ := open(t)
	wantErr(t, "Create", s.Create(t.Context(), empty()), nil)
	state, tiles, pieces := tlog.EmptyState(), map[int][]tlog.Full{}, []tlog.Piece(nil)
	for i, n := range []int{1, 2, 252, 1, 3, 600, 168, 256, 1} {
		entries := Entries(int(state.Size), n)
		step := stepOf(state, entries)
		for _, b := range state.Plan(entries).Blobs {
			_, blobs := open(t)
			wantErr(t, "Put", blobs.Put(t.Context(), b.Digest, b.Bytes), nil)
		}
		wantErr(t, "Append", s.Append(t.Context(), step), nil)
		for _, f := range step.Full {
			tiles[f.Level] = append(tiles[f.Level], f)
			pieces = nil
		}
		if len(step.Tail.Leaves) > 0 {
			pieces = append(pieces, step.Tail)
		}
		s, _ = open(t)
		h, got, err := s.Tail(t.Context())
		want := tlog.Head{Origin: Origin, Size: step.New.Size, Root: step.New.Root, Checkpoint: step.Signed, Published: []byte("published 0")}
		if diff := cmp.Diff(want, h) + cmp.Diff(pieces, got); diff != "" || err != nil {
			t.Fatalf("after step %d (-want +got): %s %v", i, diff, err)
		}
		state = state.Plan(entries).Next
	}
	for level, want := range tiles {
		for from := range int64(len(want)) + 1 {
			got, err := s.Tiles(t.Context(), level, from, from+2)
			if diff := cmp.Diff(want[from:min(from+2, int64(len(want)))], got, cmp.Comparer(sameDigest), equateEmpty); diff != "" || err != nil {
				t.Errorf("tiles of level %d from %d (-want +got): %s %v", level, from, diff, err)
			}
		}
	}
}

func sameDigest(a, b oci.Digest) bool { return a == b }

var equateEmpty = cmp.FilterValues(func(a, b []tlog.Full) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())

func testConflict(t *testing.T, open open) {
	s, _ := open(t)
	wantErr(t, "Create", s.Create(t.Context(), empty()), nil)
	first := stepOf(tlog.EmptyState(), Entries(0, 3))
	wantErr(t, "Append", s.Append(t.Context(), first), nil)
	wantErr(t, "the same again", s.Append(t.Context(), first), tlog.ErrConflict)
	// The size is right and the root is not: a fork.
	other := stepOf(tlog.EmptyState().Plan(Entries(7, 3)).Next, Entries(3, 1))
	wantErr(t, "another history", s.Append(t.Context(), other), tlog.ErrConflict)
	h, pieces, err := s.Tail(t.Context())
	if err != nil || h.Size != 3 || len(pieces) != 1 {
		t.Errorf("after conflicts: %+v, %d pieces, %v", h, len(pieces), err)
	}
	next := tlog.EmptyState().Plan(Entries(0, 3)).Next
	var won, lost int
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			err := s.Append(t.Context(), stepOf(next, Entries(10*i+10, 2)))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if errors.Is(err, tlog.ErrConflict) {
				lost++
			} else {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won != 1 || lost != 7 {
		t.Errorf("of 8 steps from one head %d were taken and %d conflicted", won, lost)
	}
}

func testPublish(t *testing.T, open open) {
	s, _ := open(t)
	wantErr(t, "Create", s.Create(t.Context(), empty()), nil)
	state := tlog.EmptyState()
	published := func(size int64, want string) {
		t.Helper()
		h, err := s.Head(t.Context())
		if err != nil || h.PublishedSize != size || string(h.Published) != want {
			t.Errorf("published is %q of %d, %v; want %q of %d", h.Published, h.PublishedSize, err, want, size)
		}
	}
	for range 3 {
		wantErr(t, "Append", s.Append(t.Context(), stepOf(state, Entries(int(state.Size), 2))), nil)
		state = state.Plan(Entries(int(state.Size), 2)).Next
	}
	published(0, "published 0")
	wantErr(t, "Publish", s.Publish(t.Context(), 4, []byte("four")), nil)
	published(4, "four")
	wantErr(t, "Publish less", s.Publish(t.Context(), 2, []byte("two")), nil)
	published(4, "four")
	wantErr(t, "Publish again", s.Publish(t.Context(), 4, []byte("four, cosigned")), nil)
	published(4, "four, cosigned")
	step := stepOf(state, Entries(6, 1))
	step.Publish = true
	wantErr(t, "Append and publish", s.Append(t.Context(), step), nil)
	published(7, "signed 7")
}

func testIndex(t *testing.T, open open) {
	s, _ := open(t)
	wantErr(t, "Create", s.Create(t.Context(), empty()), nil)
	entries := Entries(0, 150)
	entries = append(entries, entries[7], entries[0])
	wantErr(t, "Append", s.Append(t.Context(), stepOf(tlog.EmptyState(), entries)), nil)
	more := append(Entries(200, 3), entries[5])
	wantErr(t, "Append", s.Append(t.Context(), stepOf(tlog.EmptyState().Plan(entries).Next, more)), nil)
	var leaves []tlog.Hash
	want := map[tlog.Hash]int64{}
	for i, e := range append(Entries(0, 150), Entry("no such")) {
		leaves = append(leaves, e.Leaf)
		if i < 150 {
			want[e.Leaf] = int64(i)
		}
	}
	leaves = append(leaves, more[2].Leaf)
	want[more[2].Leaf] = 154
	got, err := s.Find(t.Context(), leaves)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("found (-want +got): %s %v", diff, err)
	}
	if got, err := s.Find(t.Context(), nil); err != nil || len(got) > 0 {
		t.Errorf("found of nothing: %v, %v", got, err)
	}
}

func testLog(t *testing.T, open open) {
	s, blobs := open(t)
	o := Options(t, s, blobs)
	o.Index, o.Dedupe = true, true
	l := Begin(t, o)
	var all sync.WaitGroup
	entries := Entries(0, 700)
	for i := range entries {
		all.Go(func() { expectAdded(t, l, entries[i]) })
	}
	all.Wait()
	a, err := l.Add(t.Context(), entries[20])
	if err != nil || !a.Old || a.Checkpoint.Size != 700 {
		t.Errorf("added again: %+v, %v", a, err)
	}
	Check(t, l, entries)
	s, blobs = open(t)
	o.Store, o.Blobs = s, blobs
	again := Open(t, o)
	expectAdded(t, again, Entry("of the next process"))
	Check(t, again, append(entries, Entry("of the next process")))
}

// testProcesses: logs in several processes add at once, each to the same.
func testProcesses(t *testing.T, open open) {
	s, blobs := open(t)
	logs := []*tlog.Log{Begin(t, Options(t, s, blobs))}
	for range 2 {
		s, blobs := open(t)
		logs = append(logs, Open(t, Options(t, s, blobs)))
	}
	var all sync.WaitGroup
	entries := Entries(0, 300)
	for i, e := range entries {
		all.Go(func() { expectAdded(t, logs[i%len(logs)], e) })
	}
	all.Wait()
	Check(t, logs[0], entries)
}

// expectAdded adds an entry and verifies what comes back.
func expectAdded(t *testing.T, l *tlog.Log, e tlog.Entry) {
	t.Helper()
	a, err := l.Add(t.Context(), e)
	if err != nil {
		t.Error(err)
		return
	}
	c, err := tlog.OpenCheckpoint(a.Signed, Origin, Verifier(t))
	if err != nil || c != a.Checkpoint {
		t.Errorf("the checkpoint of entry %d: %+v, %v; want %+v", a.Index, c, err, a.Checkpoint)
	}
	if err := tlog.VerifyInclusion(a.Proof, c, a.Index, e.Leaf); err != nil {
		t.Error(err)
	}
}

// InMemory is the storage of a log in memory, for Run and other tests.
func InMemory(testing.TB) func(testing.TB) (tlog.Store, blob.Store) {
	blobs := mem.New(mem.Options{})
	s := &Memory{Blobs: blobs}
	return func(testing.TB) (tlog.Store, blob.Store) { return s, blobs }
}

// Check reads a log from its beginning to its end as anybody would, and fails
// unless it has exactly these entries, in any order.
func Check(t testing.TB, l *tlog.Log, entries []tlog.Entry) {
	t.Helper()
	ctx := context.Background()
	signed, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tlog.OpenCheckpoint(signed, Origin, Verifier(t))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, e := range entries {
		want[string(e.Bundle)]++
	}
	state := tlog.EmptyState()
	for state.Size < c.Size {
		width := int(min(c.Size-state.Size, tlog.TileWidth))
		b, err := l.Tile(ctx, tlog.Tile{Level: tlog.Entries, N: state.Size / tlog.TileWidth, Width: width})
		if err != nil {
			t.Fatal(err)
		}
		found, err := tlog.PlainEntries.Split(b, width)
		if err != nil {
			t.Fatal(err)
		}
		var next []tlog.Entry
		for _, f := range found {
			e := Entry(string(f.Data))
			want[string(e.Bundle)]--
			next = append(next, e)
		}
		expectTile(ctx, t, l, state.Size/tlog.TileWidth, next)
		state = state.Plan(next).Next
	}
	if state.Root != c.Root {
		t.Errorf("the entries have the root %s, the checkpoint of %d has %s", state.Root, c.Size, c.Root)
	}
	for e, n := range want {
		if n != 0 {
			t.Errorf("%q is %d times too few in the log", e, n)
		}
	}
}

func expectTile(ctx context.Context, t testing.TB, l *tlog.Log, n int64, entries []tlog.Entry) {
	t.Helper()
	var leaves []tlog.Hash
	for _, e := range entries {
		leaves = append(leaves, e.Leaf)
	}
	b, err := l.Tile(ctx, tlog.Tile{N: n, Width: len(leaves)})
	if err != nil || !bytes.Equal(b, tlog.JoinHashes(leaves)) {
		t.Errorf("tile %d of level 0 is not of its entries: %v", n, err)
	}
}
