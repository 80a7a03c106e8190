package tlog_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

func blobs() blob.Store { return mem.New(mem.Options{}) }

func TestMemory(t *testing.T) { tlogtest.Run(t, tlogtest.InMemory) }

// TestDisk is the suite with tiles on disk.
func TestDisk(t *testing.T) {
	tlogtest.Run(t, func(t testing.TB) func(testing.TB) (tlog.Store, blob.Store) {
		dir, s := t.TempDir(), &tlogtest.Memory{}
		return func(t testing.TB) (tlog.Store, blob.Store) {
			return s, must[*disk.Store](t)(disk.Open(dir, disk.Options{}))
		}
	})
}

// TestAppend is a transaction of the caller's, which others race with.
func TestAppend(t *testing.T) {
	s := &tlogtest.Memory{}
	o := tlogtest.Options(t, s, blobs())
	l := tlogtest.Begin(t, o)
	rival := tlogtest.Open(t, o)
	calls := 0
	commit := func(ctx context.Context, step *tlog.Step) error {
		if calls++; calls < 3 {
			must[tlog.Added](t)(rival.Add(ctx, tlogtest.Entry(fmt.Sprint("rival ", calls))))
		}
		return s.Append(ctx, step)
	}
	signed, err := l.Append(t.Context(), tlogtest.Entries(0, 300), commit)
	if err != nil || calls != 3 {
		t.Fatalf("appended after %d calls: %v", calls, err)
	}
	if c, err := tlog.OpenCheckpoint(signed, tlogtest.Origin, tlogtest.Verifier(t)); err != nil || c.Size != 302 {
		t.Errorf("published: %+v, %v", c, err)
	}
	tlogtest.Check(t, l, append(tlogtest.Entries(0, 300), tlogtest.Entry("rival 1"), tlogtest.Entry("rival 2")))
	refused := errors.New("the rows are gone")
	if _, err := l.Append(t.Context(), tlogtest.Entries(300, 1), func(context.Context, *tlog.Step) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("a commit that fails: %v", err)
	}
	if signed, err := l.Append(t.Context(), nil, nil); err != nil || len(signed) == 0 {
		t.Errorf("nothing: %q, %v", signed, err)
	}
	always := func(context.Context, *tlog.Step) error { return tlog.ErrConflict }
	if _, err := l.Append(t.Context(), tlogtest.Entries(300, 1), always); !errors.Is(err, tlog.ErrBusy) {
		t.Errorf("others are always first: %v", err)
	}
	must[[]byte](t)(l.Append(t.Context(), tlogtest.Entries(300, 1), s.Append))
	tlogtest.Check(t, l, append(tlogtest.Entries(0, 301), tlogtest.Entry("rival 1"), tlogtest.Entry("rival 2")))
}

// TestAddAt: entries that contain their index, as those of CT do.
func TestAddAt(t *testing.T) {
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	l := tlogtest.Begin(t, o)
	var all sync.WaitGroup
	for range 300 {
		all.Go(func() {
			var made string
			a, err := l.AddAt(t.Context(), func(index int64) (tlog.Entry, error) {
				made = fmt.Sprint("index ", index)
				return tlogtest.Entry(made), nil
			})
			if err != nil || made != fmt.Sprint("index ", a.Index) || a.Leaf != tlogtest.Entry(made).Leaf {
				t.Errorf("%q was added at %d, %v", made, a.Index, err)
			}
		})
	}
	refused := errors.New("not this one")
	if _, err := l.AddAt(t.Context(), func(int64) (tlog.Entry, error) { return tlog.Entry{}, refused }); !errors.Is(err, refused) {
		t.Errorf("an entry that cannot be made: %v", err)
	}
	if _, err := l.Add(t.Context(), tlog.Entry{Bundle: make([]byte, 70_000)}); !errors.Is(err, tlog.ErrTooLarge) {
		t.Errorf("a large entry: %v", err)
	}
	all.Wait()
	if n := l.Status().Size; n != 300 {
		t.Errorf("%d entries, want 300", n)
	}
}

func TestDedupe(t *testing.T) {
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	o.Index, o.Dedupe = true, true
	l := tlogtest.Begin(t, o)
	rival := tlogtest.Open(t, o)
	for i, want := range []struct {
		text  string
		index int64
		old   bool
	}{{"a", 0, false}, {"b", 1, false}, {"a", 0, true}, {"c", 2, false}, {"c", 2, true}} {
		for _, l := range []*tlog.Log{l, rival} {
			a, err := l.Add(t.Context(), tlogtest.Entry(want.text))
			if err != nil || a.Index != want.index || a.Old != (want.old || l == rival) {
				t.Errorf("%d: %s is %+v, %v", i, want.text, a, err)
			}
		}
	}
	var all sync.WaitGroup
	indexes := make([]int64, 40)
	for i := range indexes {
		all.Go(func() {
			a, err := []*tlog.Log{l, rival}[i%2].Add(t.Context(), tlogtest.Entry(fmt.Sprint("many ", i/10)))
			if indexes[i] = a.Index; err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range indexes {
		if indexes[i] != indexes[i/10*10] {
			t.Errorf("one entry has the indexes %d and %d", indexes[i], indexes[i/10*10])
		}
	}
	if n := max(l.Status().Size, rival.Status().Size); n != 7 {
		t.Errorf("%d entries, want 7", n)
	}
}

func TestStop(t *testing.T) {
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	if err := tlog.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	l := must[*tlog.Log](t)(tlog.Open(t.Context(), o))
	if _, err := l.Add(t.Context(), tlogtest.Entry("early")); !errors.Is(err, tlog.ErrStopped) {
		t.Errorf("before Start: %v", err)
	}
	l.Start()
	l.Start()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if _, err := l.Add(t.Context(), tlogtest.Entry(fmt.Sprint(i))); err != nil && !errors.Is(err, tlog.ErrStopped) {
				t.Error(err)
			}
		})
	}
	for range 2 {
		if err := l.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	l.Start()
	if _, err := l.Add(t.Context(), tlogtest.Entry("late")); !errors.Is(err, tlog.ErrStopped) {
		t.Errorf("after Stop: %v", err)
	}
	never := must[*tlog.Log](t)(tlog.Open(t.Context(), o))
	if err := never.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// held is a store whose Append waits.
type held struct {
	tlog.Store
	in, out chan struct{}
}

func (h *held) Append(ctx context.Context, s *tlog.Step) error {
	h.in <- struct{}{}
	<-h.out
	return h.Store.Append(ctx, s)
}

func TestPushback(t *testing.T) {
	h := &held{&tlogtest.Memory{}, make(chan struct{}, 100), make(chan struct{})}
	o := tlogtest.Options(t, h, blobs())
	o.Queue = 2
	l := tlogtest.Begin(t, o)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the caller went away")
	done := make(chan error, 4)
	add := func(ctx context.Context, text string) {
		go func() { _, err := l.Add(ctx, tlogtest.Entry(text)); done <- err }()
	}
	add(t.Context(), "first")
	<-h.in        // it is being committed
	for range 3 { // two may wait
		add(ctx, "leaves")
	}
	if err := <-done; !errors.Is(err, tlog.ErrBusy) {
		t.Errorf("one more than may wait: %v", err)
	}
	cancel(gone)
	for range 2 {
		if err := <-done; !errors.Is(err, gone) {
			t.Errorf("one that leaves: %v", err)
		}
	}
	close(h.out)
	if err := <-done; err != nil {
		t.Errorf("the first: %v", err)
	}
	must[tlog.Added](t)(l.Add(t.Context(), tlogtest.Entry("after")))
	if n := l.Status().Size; n != 2 {
		t.Errorf("%d entries: those who left were added", n)
	}
}

func heads(t *testing.T, dir string) *tlog.HeadFolder {
	return must[*tlog.HeadFolder](t)(tlog.NewHeadFolder(dir, nil))
}

// TestHeadStore goes through what can become of a database.
func TestHeadStore(t *testing.T) {
	dir := t.TempDir()
	begin := func(entries ...string) tlog.Options {
		o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
		if err := tlog.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		l := must[*tlog.Log](t)(tlog.Open(t.Context(), o))
		for _, e := range entries {
			must[[]byte](t)(l.Append(t.Context(), []tlog.Entry{tlogtest.Entry(e)}, o.Store.Append))
		}
		return o
	}
	open := func(o tlog.Options) (*tlog.Log, error) {
		o.Heads = heads(t, dir)
		return tlog.Open(t.Context(), o)
	}
	o := begin("a", "b")
	l, err := open(o)
	if err != nil {
		t.Fatalf("with an empty head store: %v", err)
	}
	if adopted := must[[]byte](t)(heads(t, dir).Load(t.Context(), tlogtest.Origin)); len(adopted) == 0 {
		t.Error("an empty head store is left empty")
	}
	for _, e := range []string{"c", "d"} {
		must[[]byte](t)(l.Append(t.Context(), []tlog.Entry{tlogtest.Entry(e)}, o.Store.Append))
	}
	if st := l.Status(); !st.HeadStore || st.Published != 4 {
		t.Errorf("status %+v", st)
	}
	for _, test := range []struct {
		name string
		o    tlog.Options
		want error
		says string
	}{
		{"the same", o, nil, ""},
		{"ahead", begin("a", "b", "c", "d", "e", "f"), nil, ""},
		{"restored", begin("a", "b", "c"), tlog.ErrBehind, "restored from a backup"},
		{"a fork of the size", begin("a", "b", "c", "x"), tlog.ErrFork, "do not use this database"},
		{"a larger fork", begin("a", "b", "c", "x", "e"), tlog.ErrFork, "at 4 entries"},
		{"begun again", begin(), tlog.ErrBehind, "give up this log"},
		{"empty", tlogtest.Options(t, &tlogtest.Memory{}, blobs()), tlog.ErrBehind, "the database none"},
	} {
		if _, err := open(test.o); !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	fresh := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	fresh.Heads = heads(t, dir)
	if err := tlog.Create(t.Context(), fresh); !errors.Is(err, tlog.ErrBehind) {
		t.Errorf("a new log under a known name: %v", err)
	}
	name := filepath.Join(dir, tlogtest.Origin+".checkpoint")
	if err := os.WriteFile(name, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(o); !errors.Is(err, tlog.ErrMalformed) {
		t.Errorf("a damaged head store: %v", err)
	}
	if _, err := tlog.NewHeadFolder(filepath.Join(dir, "absent"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a head store that is not mounted: %v", err)
	}
}

// TestRestoredWhileRunning: another database is under a log that runs.
func TestRestoredWhileRunning(t *testing.T) {
	for name, test := range map[string]struct {
		entries int
		want    error
	}{"smaller": {2, tlog.ErrBehind}, "another of the size": {5, tlog.ErrFork}, "another, larger": {9, tlog.ErrFork}} {
		t.Run(name, func(t *testing.T) {
			s := &swapped{Store: &tlogtest.Memory{}}
			o := tlogtest.Options(t, s, blobs())
			l := tlogtest.Begin(t, o)
			for _, e := range tlogtest.Entries(0, 5) {
				must[tlog.Added](t)(l.Add(t.Context(), e))
			}
			other := tlogtest.Begin(t, tlogtest.Options(t, &tlogtest.Memory{}, o.Blobs))
			for _, e := range tlogtest.Entries(50, test.entries) {
				must[tlog.Added](t)(other.Add(t.Context(), e))
			}
			s.Store = other.Reader.Store
			for range 2 {
				if _, err := l.Add(t.Context(), tlogtest.Entry("x")); !errors.Is(err, test.want) {
					t.Errorf("adding: %v, want %v", err, test.want)
				}
			}
			if l.Status().Err == nil {
				t.Error("the log goes on")
			}
			if n := must[tlog.Head](t)(s.Head(t.Context())).Size; n != int64(test.entries) {
				t.Errorf("the other database has %d entries now", n)
			}
		})
	}
}

type swapped struct{ tlog.Store }

func TestOpenRefuses(t *testing.T) {
	s := &tlogtest.Memory{}
	o := tlogtest.Options(t, s, blobs())
	if _, err := tlog.Open(t.Context(), o); !errors.Is(err, tlog.ErrNoLog) {
		t.Errorf("no log: %v", err)
	}
	if err := tlog.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := tlog.Create(t.Context(), o); !errors.Is(err, tlog.ErrExists) {
		t.Errorf("created again: %v", err)
	}
	renamed := o
	renamed.Origin = "other.example"
	renamed.Signer = must[note.Signer](t)(tlog.NewEd25519Signer(renamed.Origin, tlogtest.Key("x")))
	if _, err := tlog.Open(t.Context(), renamed); err == nil {
		t.Error("a signer without its verifier is taken")
	}
	renamed.Verifier = must[note.Verifier](t)(tlog.ParseVerifier(fmt.Sprint(renamed.Signer)))
	if _, err := tlog.Open(t.Context(), renamed); !errors.Is(err, tlog.ErrOrigin) || !strings.Contains(err.Error(), tlogtest.Origin) {
		t.Errorf("another origin: %v", err)
	}
	o.Dedupe = true
	if _, err := tlog.Open(t.Context(), o); err == nil {
		t.Error("Dedupe without Index is taken")
	}
}

// edited is a store whose rows somebody has edited.
type edited struct {
	tlog.Store
	tail func(h *tlog.Head, pieces []tlog.Piece) []tlog.Piece
	lost int64 // the tile of level 0 that is gone, from 1
}

func (e *edited) Tail(ctx context.Context) (tlog.Head, []tlog.Piece, error) {
	h, pieces, err := e.Store.Tail(ctx)
	if err == nil && e.tail != nil {
		pieces = e.tail(&h, append([]tlog.Piece(nil), pieces...))
	}
	return h, pieces, err
}

func (e *edited) Tiles(ctx context.Context, level int, from, to int64) ([]tlog.Full, error) {
	tiles, err := e.Store.Tiles(ctx, level, from, to)
	for i, f := range tiles {
		if level == 0 && f.N == e.lost-1 {
			return append(tiles[:i:i], tiles[i+1:]...), err
		}
	}
	return tiles, err
}

// TestDamaged: rows and blobs that do not fit are not appended to.
func TestDamaged(t *testing.T) {
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	l := tlogtest.Begin(t, o)
	for i := range 4 {
		must[[]byte](t)(l.Append(t.Context(), tlogtest.Entries(200*i, 200), o.Store.Append))
	}
	good := o.Store
	for name, e := range map[string]*edited{
		"the root": {tail: func(h *tlog.Head, ps []tlog.Piece) []tlog.Piece { h.Root[0]++; return ps }},
		"the size": {tail: func(h *tlog.Head, ps []tlog.Piece) []tlog.Piece { h.Size--; return ps }},
		"a leaf": {tail: func(_ *tlog.Head, ps []tlog.Piece) []tlog.Piece {
			ps[0].Leaves = make([]tlog.Hash, len(ps[0].Leaves))
			return ps
		}},
		"the start":           {tail: func(_ *tlog.Head, ps []tlog.Piece) []tlog.Piece { ps[0].Start++; return ps }},
		"no tail":             {tail: func(*tlog.Head, []tlog.Piece) []tlog.Piece { return nil }},
		"a tile is not there": {lost: 2},
	} {
		e.Store = good
		o.Store = e
		if _, err := tlog.Open(t.Context(), o); !errors.Is(err, tlog.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tiles := must[[]tlog.Full](t)(good.Tiles(t.Context(), 0, 1, 2))
	if err := o.Blobs.Delete(t.Context(), tiles[0].Entries); err != nil {
		t.Fatal(err)
	}
	r, err := tlog.Verify(t.Context(), tlog.VerifyOptions{Source: l, Origin: o.Origin, Verifier: o.Verifier})
	if err != nil || r.Bad == nil || r.Bad.Kind != tlog.BadTile || r.Bad.Tile != "tile/entries/001" || !strings.Contains(r.Bad.Reason, "is gone") {
		t.Errorf("a blob that is gone: %v, %v", r.Bad, err)
	}
	rec := httptest.NewRecorder()
	tlog.NewHandler(tlog.HandlerOptions{Source: l}).ServeHTTP(rec, httptest.NewRequest("GET", "/tile/entries/001", nil))
	if rec.Code != 500 || !strings.Contains(rec.Body.String(), "is gone") || rec.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("over HTTP: %d %s", rec.Code, rec.Body)
	}
}

// liar signs something else than it is asked to.
type liar struct{ note.Signer }

func (l liar) Sign(msg []byte) ([]byte, error) { return l.Signer.Sign(append(msg, 'x')) }

// TestSignerIsChecked: what a key signed is looked at before it counts.
func TestSignerIsChecked(t *testing.T) {
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	if err := tlog.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o.Signer = liar{o.Signer}
	l := must[*tlog.Log](t)(tlog.Open(t.Context(), o))
	if _, err := l.Append(t.Context(), tlogtest.Entries(0, 1), o.Store.Append); !errors.Is(err, tlog.ErrSignature) {
		t.Errorf("appending with a key that signs something else: %v", err)
	}
	if h := must[tlog.Head](t)(o.Store.Head(t.Context())); h.Size != 0 {
		t.Errorf("it was appended: %+v", h)
	}
}

// flaky is a blob store that can fail.
type flaky struct {
	blob.Store
	at, count int
	after     bool
}

func (f *flaky) Put(ctx context.Context, d oci.Digest, b []byte) error {
	f.count++
	if f.count == f.at && !f.after {
		return tlogtest.ErrInjected
	}
	err := f.Store.Put(ctx, d, b)
	if f.count == f.at {
		err = tlogtest.ErrInjected
	}
	return err
}

// TestEachCallFails fails each call of an append once, before and after it did
// its work: of the store, of the blobs, of the head store's file system.
func TestEachCallFails(t *testing.T) {
	for _, part := range []string{"store", "blobs", "heads"} {
		t.Run(part, func(t *testing.T) {
			broken := 0
			for _, after := range []bool{false, true} {
				for n := 1; ; n++ {
					files := &flakyFiles{files: map[string][]byte{}}
					b := &flaky{Store: blobs()}
					store := &tlogtest.Memory{Blobs: b}
					st := tlogtest.NewStory(t, store, b, must[tlog.HeadStore](t)(newHeads(files)))
					arm := map[string]func(int){
						"store": func(n int) { store.Arm(n, after) },
						"blobs": func(n int) { b.at, b.count, b.after = n, 0, after },
						"heads": func(n int) { files.at, files.count, files.after = n, 0, after },
					}[part]
					calls := map[string]func() int{"store": store.Calls, "blobs": func() int { return b.count }, "heads": func() int { return files.count }}[part]
					arm(n)
					err := st.Tell(t, 0)
					done := calls() < n
					arm(0)
					when := fmt.Sprintf("call %d of the %s fails, after: %v", n, part, after)
					if err != nil && !errors.Is(err, tlogtest.ErrInjected) {
						t.Errorf("%s: %v", when, err)
					}
					st.Check(t, when)
					if err := st.Tell(t, 10); err != nil {
						t.Fatalf("%s, then: %v", when, err)
					}
					st.Check(t, when+", then")
					if done {
						break
					}
					broken++
				}
			}
			t.Logf("%d calls were broken", broken)
			if broken < 8 {
				t.Errorf("only %d calls were broken", broken)
			}
		})
	}
}

func newHeads(f tlog.Files) (tlog.HeadStore, error) { return tlog.NewHeadFolder("/heads", f) }

// flakyFiles are files in memory, any call of which can fail.
type flakyFiles struct {
	mu        sync.Mutex
	files     map[string][]byte
	at, count int
	after     bool
}

func (f *flakyFiles) do(fn func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.count == f.at && !f.after {
		return tlogtest.ErrInjected
	}
	err := fn()
	if f.count == f.at {
		return tlogtest.ErrInjected
	}
	return err
}

func (f *flakyFiles) ReadFile(name string) (b []byte, err error) {
	err = f.do(func() error {
		var ok bool
		if b, ok = f.files[name]; !ok {
			return os.ErrNotExist
		}
		return nil
	})
	return b, err
}

func (f *flakyFiles) WriteFile(name string, b []byte) error {
	return f.do(func() error { f.files[name] = b; return nil })
}

func (f *flakyFiles) Rename(from, to string) error {
	return f.do(func() error { f.files[to] = f.files[from]; delete(f.files, from); return nil })
}

func (f *flakyFiles) SyncDir(string) error { return f.do(func() error { return nil }) }
