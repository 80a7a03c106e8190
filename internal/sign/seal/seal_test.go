package seal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/sign/signtest"
)

// record is what is committed.
type record struct {
	mu  sync.Mutex
	all map[int64]*seal.Intent
}

func (r *record) Intent(_ context.Context, id int64) (*seal.Intent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.all[id]
	if in == nil {
		return nil, fmt.Errorf("intent %d: %w", id, repo.ErrNotFound)
	}
	copied := *in
	return &copied, nil
}

var app = oci.FromBytes([]byte("an image"))

// statement is a summary about app that the server may want to sign.
func statement(t testing.TB, typ string, subjects ...attest.Subject) []byte {
	t.Helper()
	if len(subjects) == 0 {
		subjects = []attest.Subject{attest.About("app", app)}
	}
	raw, err := attest.Make(typ, json.RawMessage(`{"a":1}`), subjects...)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func intent(t testing.TB, id int64) *seal.Intent {
	raw := statement(t, seal.TypeSummary)
	return &seal.Intent{ID: id, Kind: seal.Summary, About: fmt.Sprint(id), Subject: app, Digest: oci.FromBytes(raw), Statement: raw}
}

type world struct {
	*testing.T
	*seal.Signer
	*record
	i *signtest.Instance
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, record: &record{all: map[int64]*seal.Intent{}}, i: signtest.New(t, time.Now)}
	w.Signer = w.i.Signer(w.record, time.Now)
	return w
}

// signed puts an intent on record with what came back of it.
func (w *world) signed(id int64) *seal.Intent {
	w.Helper()
	in := intent(w, id)
	w.all[id] = in
	permit, err := w.Check(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	made, err := w.Sign(w.Context(), permit)
	if err != nil {
		w.Fatal(err)
	}
	in.State, in.Bundle = seal.Signed, made.Bundle
	return in
}

// TestNoOtherWay: nothing is signed without a permit, and each permit signs once,
// also when two ask at the same time or the first did not succeed.
func TestNoOtherWay(t *testing.T) {
	w := newWorld(t)
	for _, p := range []*seal.Permit{nil, new(seal.Permit)} {
		if _, err := w.Sign(t.Context(), p); !errors.Is(err, seal.ErrNotIntended) {
			t.Errorf("without a permit: %v", err)
		}
	}
	if (seal.Sealed{}).Intent() != nil {
		t.Error("there is a Sealed that nothing was compared for")
	}
	w.all[1] = intent(t, 1)
	permit, err := w.Check(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	signed, used := 0, 0
	for range 8 {
		all.Go(func() {
			_, err := w.Sign(t.Context(), permit)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				signed++
			} else if errors.Is(err, seal.ErrUsed) {
				used++
			}
		})
	}
	all.Wait()
	if signed != 1 || used != 7 || w.i.Entries.Load() != 1 {
		t.Errorf("%d signatures and %d entries in the log with one permit", signed, w.i.Entries.Load())
	}
	permit, err = w.Check(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	w.i.NoTSA.Store(true)
	if _, err := w.Sign(t.Context(), permit); !errors.Is(err, signtest.ErrDown) {
		t.Errorf("without a timestamp authority: %v", err)
	}
	w.i.NoTSA.Store(false)
	if _, err := w.Sign(t.Context(), permit); !errors.Is(err, seal.ErrUsed) {
		t.Errorf("a permit whose signature failed: %v", err)
	}
}

// TestMadeToSignSomethingElse: an intent that is not on record, or not what was
// stored and audited, gets no permit.
func TestMadeToSignSomethingElse(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Check(t.Context(), 7); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("what is not on record: %v", err)
	}
	another := oci.FromBytes([]byte("another image"))
	sum := func(in *seal.Intent, raw []byte) { in.Statement, in.Digest = raw, oci.FromBytes(raw) }
	for name, test := range map[string]struct {
		change func(*seal.Intent)
		says   string
	}{
		"statement changed afterwards": {func(in *seal.Intent) { in.Statement = bytes.Replace(in.Statement, []byte(`"a":1`), []byte(`"a":2`), 1) }, "was stored and audited"},
		"statement gone":               {func(in *seal.Intent) { in.Statement = nil }, "was stored and audited"},
		"signed before":                {func(in *seal.Intent) { in.State = seal.Signed }, "not open"},
		"released before":              {func(in *seal.Intent) { in.State = seal.Released }, "not open"},
		"abandoned before":             {func(in *seal.Intent) { in.State = seal.Abandoned }, "not open"},
		"of no kind":                   {func(in *seal.Intent) { in.Kind = "" }, "is no"},
		"of an unknown kind":           {func(in *seal.Intent) { in.Kind = "release" }, "is no"},
		"type of another kind":         {func(in *seal.Intent) { sum(in, statement(t, seal.TypeBatch)) }, "is no"},
		"provenance":                   {func(in *seal.Intent) { sum(in, statement(t, "https://slsa.dev/provenance/v1")) }, "is no"},
		"no statement":                 {func(in *seal.Intent) { sum(in, []byte("hello")) }, "not a valid in-toto statement"},
		"duplicate keys": {func(in *seal.Intent) {
			sum(in, bytes.Replace(in.Statement, []byte(`{"_type"`), []byte(`{"_type":"x","_type"`), 1))
		}, "not a valid in-toto statement"},
		"subject of another": {func(in *seal.Intent) { in.Subject = another }, "alone"},
		"one more subject": {func(in *seal.Intent) {
			sum(in, statement(t, seal.TypeSummary, attest.About("app", app), attest.About("x", another)))
		}, "alone"},
	} {
		in := intent(t, 1)
		test.change(in)
		w.all[1] = in
		if _, err := w.Check(t.Context(), 1); !errors.Is(err, seal.ErrNotIntended) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What changes between the check and the signature changes nothing.
	w.all[1] = intent(t, 1)
	want := w.all[1].Digest
	permit, err := w.Check(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range w.all[1].Statement {
		w.all[1].Statement[i] = 'x'
	}
	made, err := w.Sign(t.Context(), permit)
	if err != nil {
		t.Fatal(err)
	}
	w.all[1] = intent(t, 1)
	w.all[1].State, w.all[1].Bundle = seal.Signed, made.Bundle
	if sealed, err := w.Compare(t.Context(), 1); err != nil || sealed.Intent().Digest != want {
		t.Errorf("what was checked was not what was signed: %v", err)
	}
}

// TestCompare: what comes back is released only when it is the server's own
// signature over exactly what was intended.
func TestCompare(t *testing.T) {
	w := newWorld(t)
	good := w.signed(1)
	if sealed, err := w.Compare(t.Context(), 1); err != nil || sealed.Intent().Digest != good.Digest || sealed.Index() != 0 {
		t.Fatalf("what was intended: %+v, %v", sealed, err)
	}
	other := intent(t, 2)
	raw := statement(t, seal.TypeSummary, attest.About("another name", app))
	other.Statement, other.Digest = raw, oci.FromBytes(raw)
	w.all[2] = other
	permit, err := w.Check(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	made, err := w.Sign(t.Context(), permit)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(path string, change func(map[string]any)) []byte {
		var doc map[string]any
		if err := json.Unmarshal(good.Bundle, &doc); err != nil {
			t.Fatal(err)
		}
		at := doc
		for _, key := range strings.Fields(path) {
			at = at[key].(map[string]any)
		}
		change(at)
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	stranger := newWorld(t)
	for name, bundle := range map[string][]byte{
		"nothing":                 nil,
		"no bundle":               []byte(`{}`),
		"of another statement":    made.Bundle,
		"of another instance":     stranger.signed(1).Bundle,
		"payload changed":         edit("dsseEnvelope", func(m map[string]any) { m["payload"] = "e30=" }),
		"payload type changed":    edit("dsseEnvelope", func(m map[string]any) { m["payloadType"] = "text/plain" }),
		"signature dropped":       edit("dsseEnvelope", func(m map[string]any) { m["signatures"] = []any{} }),
		"log entry dropped":       edit("verificationMaterial", func(m map[string]any) { delete(m, "tlogEntries") }),
		"timestamp dropped":       edit("verificationMaterial", func(m map[string]any) { delete(m, "timestampVerificationData") }),
		"certificate of no one":   edit("verificationMaterial", func(m map[string]any) { delete(m, "certificate") }),
		"certificate of nonsense": edit("verificationMaterial certificate", func(m map[string]any) { m["rawBytes"] = "AAAA" }),
	} {
		in := *good
		in.Bundle = bundle
		w.all[1] = &in
		if _, err := w.Compare(t.Context(), 1); !errors.Is(err, seal.ErrNotIntended) {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := *good
	in.State = seal.Open
	w.all[1] = &in
	if _, err := w.Compare(t.Context(), 1); !errors.Is(err, seal.ErrNotIntended) {
		t.Errorf("what is not on record as signed: %v", err)
	}
	root, err := w.i.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range [][2]string{{signtest.URL + "/another", signtest.URL + "/oidc"}, {signtest.URL + "/server", "https://evil.example"}} {
		if _, err := seal.Verify(good, root, who[0], who[1]); err == nil {
			t.Errorf("it is taken for one of %v", who)
		}
	}
}
