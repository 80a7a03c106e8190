package tlog_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

func TestWitnessStore(t *testing.T) {
	tlogtest.RunWitness(t, func(testing.TB) func(testing.TB) tlog.WitnessStore {
		m := &tlogtest.MemoryWitness{}
		return func(testing.TB) tlog.WitnessStore { return m }
	})
}

// witness is one that runs, and how it is asked.
type witness struct {
	tlog.WitnessAt
	store *tlogtest.MemoryWitness
	down  bool      // it answers 500
	clock time.Time // by which it signs; zero for the real one
	mute  chan struct{}
}

func newWitness(t testing.TB, name string) *witness {
	t.Helper()
	w := &witness{store: &tlogtest.MemoryWitness{}}
	key := tlogtest.Key(name)
	signer := must[note.Signer](t)(tlog.NewCosigner(name, key, func() time.Time {
		if w.clock.IsZero() {
			return time.Now()
		}
		return w.clock
	}))
	w.Verifier = must[note.Verifier](t)(tlog.CosignatureVerifier(name, key.Public().(ed25519.PublicKey)))
	inner := tlog.NewWitness(tlog.WitnessOptions{
		Signer: signer, Store: w.store, Logs: map[string][]note.Verifier{tlogtest.Origin: {tlogtest.Verifier(t)}},
	})
	srv := httptest.NewServer(http.StripPrefix("/w", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.mute != nil {
			select {
			case <-w.mute:
			case <-r.Context().Done():
			}
		}
		if w.down {
			http.Error(rw, "down", http.StatusInternalServerError)
			return
		}
		inner.ServeHTTP(rw, r)
	})))
	t.Cleanup(srv.Close)
	w.URL = srv.URL + "/w/"
	return w
}

func witnesses(t testing.TB, quorum int, ws ...*witness) *tlog.Witnesses {
	t.Helper()
	o := tlog.WitnessesOptions{Quorum: quorum, Client: http.DefaultClient, Clock: time.Now, Deadline: 5 * time.Second}
	for _, w := range ws {
		o.Witnesses = append(o.Witnesses, w.WitnessAt)
	}
	return must[*tlog.Witnesses](t)(tlog.NewWitnesses(o))
}

// TestWitnessProtocol asks as the specification does, step by step.
func TestWitnessProtocol(t *testing.T) {
	s := &tlogtest.Memory{}
	l := tlogtest.Begin(t, tlogtest.Options(t, s, blobs()))
	signer := tlogtest.Options(t, nil, nil).Signer
	heads := map[int64]tlog.Checkpoint{0: {Origin: tlogtest.Origin, Root: tlog.EmptyRoot()}}
	for _, e := range tlogtest.Entries(0, 20) {
		a := must[tlog.Added](t)(l.Add(t.Context(), e))
		heads[a.Checkpoint.Size] = a.Checkpoint
	}
	proof := func(from, to int64) []tlog.Hash {
		return must[[]tlog.Hash](t)(tlog.ProveConsistency(t.Context(), l, from, to))
	}
	signed := func(size int64) []byte { return sign(t, heads[size].Text(), signer) }
	other := heads[10]
	other.Root = tlog.Hash{1}
	stranger := heads[10]
	stranger.Origin = "stranger.example"
	wrongEmpty := tlog.Checkpoint{Origin: tlogtest.Origin, Root: tlog.Hash{1}}
	w := newWitness(t, "w.example")
	for _, step := range []struct {
		name   string
		body   []byte
		status int
		answer string
	}{
		{"no request", []byte("hello"), 400, "malformed"},
		{"a leading zero", tlog.FormatRequest(0, nil, signed(5))[1:], 400, "malformed"},
		{"too long a proof", tlog.FormatRequest(0, make([]tlog.Hash, 64), signed(5)), 400, "at most 63"},
		{"no checkpoint", tlog.FormatRequest(0, nil, sign(t, "hi\n", signer)), 400, "malformed"},
		{"a stranger", tlog.FormatRequest(0, nil, sign(t, stranger.Text(), signer)), 404, "not witnessed"},
		{"another key", tlog.FormatRequest(0, nil, sign(t, heads[5].Text(), must[note.Signer](t)(tlog.NewEd25519Signer(tlogtest.Origin, tlogtest.Key("x"))))), 403, "not signed"},
		{"larger before", tlog.FormatRequest(6, nil, signed(5)), 400, "larger"},
		{"another root of nothing", tlog.FormatRequest(0, nil, sign(t, wrongEmpty.Text(), signer)), 422, "no entries"},
		{"nothing", tlog.FormatRequest(0, nil, signed(0)), 200, "— w.example "},
		{"a proof from nothing", tlog.FormatRequest(0, proof(3, 5), signed(5)), 422, "do not go on"},
		{"another size first", tlog.FormatRequest(3, proof(3, 5), signed(5)), 409, "0\n"},
		{"the first", tlog.FormatRequest(0, nil, signed(5)), 200, "— w.example "},
		{"an extension", tlog.FormatRequest(5, nil, sign(t, heads[5].Text()+"ext\n", signer)), 200, "— w.example "},
		{"the first again", tlog.FormatRequest(5, nil, signed(5)), 200, "— w.example "},
		{"behind", tlog.FormatRequest(0, nil, signed(7)), 409, "5\n"},
		{"no proof", tlog.FormatRequest(5, nil, signed(10)), 422, "do not go on"},
		{"another proof", tlog.FormatRequest(5, proof(4, 10), signed(10)), 422, "do not go on"},
		{"another history", tlog.FormatRequest(5, proof(5, 10), sign(t, other.Text(), signer)), 422, "do not go on"},
		{"on", tlog.FormatRequest(5, proof(5, 10), signed(10)), 200, "— w.example "},
		{"back", tlog.FormatRequest(5, nil, signed(5)), 409, "10\n"},
		{"another history of the size", tlog.FormatRequest(10, nil, sign(t, other.Text(), signer)), 409, "two histories"},
		{"a proof to the same", tlog.FormatRequest(10, proof(5, 10), signed(10)), 422, "do not go on"},
		{"to the end", tlog.FormatRequest(10, proof(10, 20), signed(20)), 200, "— w.example "},
	} {
		res, err := http.Post(w.URL+"add-checkpoint", "text/plain", bytes.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != step.status || !strings.Contains(string(b), step.answer) {
			t.Errorf("%s: %d %q, %v; want %d with %q", step.name, res.StatusCode, b, err, step.status, step.answer)
		}
		if sized := res.Header.Get("Content-Type") == "text/x.tlog.size"; sized != (strings.TrimRight(step.answer, "0123456789") == "\n" || step.answer == "0\n" || step.answer == "5\n" || step.answer == "10\n") {
			t.Errorf("%s: content type %s", step.name, res.Header.Get("Content-Type"))
		}
		if step.status == 200 {
			expectCosigned(t, step.name, step.body, b)
		}
	}
	for _, r := range []struct{ method, path string }{{"GET", "add-checkpoint"}, {"POST", "other"}} {
		req := must[*http.Request](t)(http.NewRequest(r.method, w.URL+r.path, nil))
		res := must[*http.Response](t)(http.DefaultClient.Do(req))
		res.Body.Close()
		if res.StatusCode/100 != 4 {
			t.Errorf("%s %s: %s", r.method, r.path, res.Status)
		}
	}
}

// expectCosigned holds an answer against the verifier of others.
func expectCosigned(t *testing.T, name string, request, line []byte) {
	t.Helper()
	theirs := must[note.Verifier](t)(fnote.NewVerifierForCosignatureV1(fmt.Sprint(must[note.Verifier](t)(
		tlog.CosignatureVerifier("w.example", tlogtest.Key("w.example").Public().(ed25519.PublicKey))))))
	_, checkpoint, _ := bytes.Cut(request, []byte("\n\n"))
	if _, err := note.Open(append(checkpoint, line...), note.VerifierList(theirs)); err != nil {
		t.Errorf("%s: the cosignature %q: %v", name, line, err)
	}
}

// FuzzWitnessRequest: a request that is read is written the same, and none makes
// a witness fail.
func FuzzWitnessRequest(f *testing.F) {
	signer := tlogtest.Options(f, nil, nil).Signer
	empty := tlog.Checkpoint{Origin: tlogtest.Origin, Root: tlog.EmptyRoot()}
	f.Add(tlog.FormatRequest(0, nil, sign(f, empty.Text(), signer)))
	f.Add(tlog.FormatRequest(20852014, []tlog.Hash{{1}, {2}}, sign(f, some.Text(), signer)))
	w := tlog.NewWitness(tlog.WitnessOptions{
		Signer: must[note.Signer](f)(tlog.NewCosigner("w.example", tlogtest.Key("w"), at(noon))),
		Logs:   map[string][]note.Verifier{tlogtest.Origin: {tlogtest.Verifier(f)}},
		Store:  &tlogtest.MemoryWitness{},
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		from, proof, signed, err := tlog.ParseRequest(body)
		if err != nil && !errors.Is(err, tlog.ErrMalformed) {
			t.Error(err)
		}
		if err == nil && !bytes.Equal(tlog.FormatRequest(from, proof, signed), body) {
			t.Errorf("%q is read as %d, %v, %q", body, from, proof, signed)
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest("POST", "/add-checkpoint", bytes.NewReader(body)))
		if rec.Code >= 500 {
			t.Errorf("%q is answered %d %s", body, rec.Code, rec.Body)
		}
	})
}

func TestQuorum(t *testing.T) {
	a, b, c := newWitness(t, "a.example"), newWitness(t, "b.example"), newWitness(t, "c.example")
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	o.Witnesses = witnesses(t, 2, a, b, c)
	l := tlogtest.Begin(t, o)
	expectWitnessed(t, l, 1, 2, a, b, c)
	b.down = true
	expectWitnessed(t, l, 2, 2, a, b, c)
	c.clock = noon.AddDate(-1, 0, 0)
	if _, err := l.Add(t.Context(), tlogtest.Entry("stale")); !errors.Is(err, tlog.ErrUnwitnessed) || !strings.Contains(err.Error(), "set its clock") {
		t.Errorf("with one witness down and one of last year: %v", err)
	}
	if st := l.Status(); st.Size != 3 || st.Published != 2 || st.Quorum != 2 || st.Witnesses != 3 || !errors.Is(st.Unpublished, tlog.ErrUnwitnessed) {
		t.Errorf("status %+v", st)
	}
	size := func(tile tlog.Tile) bool { _, err := l.Tile(t.Context(), tile); return err == nil }
	if !size(tlog.Tile{Width: 2}) || size(tlog.Tile{Width: 3}) {
		t.Error("what no quorum has signed is shown")
	}
	if _, err := l.Add(t.Context(), tlogtest.Entry("not taken")); !errors.Is(err, tlog.ErrUnwitnessed) || l.Status().Size != 3 {
		t.Errorf("an entry after that: %v, of %d", err, l.Status().Size)
	}
	b.down = false
	expectWitnessed(t, l, 4, 2, a, b, c)
	if st := l.Status(); st.Published != 4 || st.Unpublished != nil {
		t.Errorf("status %+v", st)
	}
	tlogtest.Check(t, l, append(tlogtest.Entries(1, 2), tlogtest.Entry("stale"), tlogtest.Entries(4, 1)[0]))
}

// expectWitnessed adds an entry, whose index is one less than n.
func expectWitnessed(t *testing.T, l *tlog.Log, n, quorum int, ws ...*witness) {
	t.Helper()
	a, err := l.Add(t.Context(), tlogtest.Entries(n, 1)[0])
	if err != nil || a.Checkpoint.Size != int64(n) {
		t.Fatalf("adding entry %d: %+v, %v", n, a, err)
	}
	var vs []note.Verifier
	for _, w := range ws {
		vs = append(vs, w.Verifier)
	}
	r, err := tlog.Verify(t.Context(), tlog.VerifyOptions{
		Source: l, Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(t), Witnesses: vs, Quorum: quorum, Fresh: time.Minute, Clock: time.Now,
	})
	if err != nil || r.Bad != nil || r.Entries != int64(n) {
		t.Errorf("with %d entries: %+v, bad %v, %v", n, r, r.Bad, err)
	}
}

// TestSlowWitness: the quorum does not wait for one that does not answer.
func TestSlowWitness(t *testing.T) {
	a, b := newWitness(t, "a.example"), newWitness(t, "b.example")
	b.mute = make(chan struct{})
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	o.Witnesses = witnesses(t, 1, a, b)
	l := tlogtest.Begin(t, o)
	expectWitnessed(t, l, 1, 1, a, b)
	close(b.mute)
	expectWitnessed(t, l, 2, 1, a, b)
	if err := l.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if c, err := b.store.Latest(t.Context(), tlogtest.Origin); err != nil || c.Size == 0 {
		t.Errorf("the slow witness has seen %+v, %v", c, err)
	}
}

func TestDeadline(t *testing.T) {
	a := newWitness(t, "a.example")
	a.mute = make(chan struct{})
	defer close(a.mute)
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	o.Witnesses = must[*tlog.Witnesses](t)(tlog.NewWitnesses(tlog.WitnessesOptions{
		Witnesses: []tlog.WitnessAt{a.WitnessAt}, Quorum: 1, Client: http.DefaultClient, Clock: time.Now, Deadline: 30 * time.Millisecond,
	}))
	l := tlogtest.Begin(t, o)
	if _, err := l.Add(t.Context(), tlogtest.Entry("x")); !errors.Is(err, tlog.ErrUnwitnessed) {
		t.Errorf("with a mute witness: %v", err)
	}
}

// TestWitnessKnowsMore: a database that was restored is found by a witness.
func TestWitnessKnowsMore(t *testing.T) {
	a := newWitness(t, "a.example")
	begin := func() *tlog.Log {
		o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
		o.Witnesses = witnesses(t, 1, a)
		return tlogtest.Begin(t, o)
	}
	l := begin()
	for i := range 3 {
		expectWitnessed(t, l, i+1, 1, a)
	}
	again := begin()
	if _, err := again.Add(t.Context(), tlogtest.Entry("x")); !errors.Is(err, tlog.ErrUnwitnessed) || !errors.Is(err, tlog.ErrBehind) {
		t.Errorf("a log that began again: %v", err)
	}
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	fork := tlogtest.Begin(t, o)
	for i := range 5 {
		must[tlog.Added](t)(fork.Add(t.Context(), tlogtest.Entry(fmt.Sprint("fork", i))))
	}
	o.Witnesses = witnesses(t, 1, a)
	forked := tlogtest.Open(t, o)
	if _, err := forked.Add(t.Context(), tlogtest.Entry("x")); !errors.Is(err, tlog.ErrUnwitnessed) || !strings.Contains(err.Error(), "another history") {
		t.Errorf("a fork: %v", err)
	}
}

func TestWitnessesAreChecked(t *testing.T) {
	a := newWitness(t, "a.example").WitnessAt
	for _, o := range []tlog.WitnessesOptions{
		{Witnesses: []tlog.WitnessAt{a}, Quorum: 0}, {Witnesses: []tlog.WitnessAt{a}, Quorum: 2}, {Witnesses: []tlog.WitnessAt{a, a}, Quorum: 1}, {Quorum: 1},
	} {
		if _, err := tlog.NewWitnesses(o); err == nil {
			t.Errorf("a quorum of %d of %d, or one twice, is taken", o.Quorum, len(o.Witnesses))
		}
	}
}

// TestRenew asks again for cosignatures of a log that does not grow.
func TestRenew(t *testing.T) {
	a := newWitness(t, "a.example")
	now := time.Now()
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	o.Clock = func() time.Time { return now }
	o.Witnesses = witnesses(t, 1, a)
	if err := tlog.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	l := must[*tlog.Log](t)(tlog.Open(t.Context(), o))
	times := func() time.Time {
		r := must[tlog.Report](t)(tlog.Verify(t.Context(), tlog.VerifyOptions{
			Source: l, Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(t), Witnesses: []note.Verifier{a.Verifier},
		}))
		if len(r.Cosigned) != 1 {
			t.Fatalf("cosigned: %+v", r)
		}
		return r.Cosigned[0].At
	}
	a.clock = now.Add(-time.Minute)
	if err := l.Renew(context.Background()); err != nil {
		t.Fatal(err)
	}
	first := times()
	a.clock = now
	if err := l.Renew(context.Background()); err != nil || !times().Equal(first) {
		t.Errorf("asked again at once: %v", err)
	}
	now = now.Add(time.Hour)
	a.clock = time.Now()
	if err := l.Renew(context.Background()); err != nil || !times().After(first) {
		t.Errorf("not asked again after an hour: %v", err)
	}
}
