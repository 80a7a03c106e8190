package tlog_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// keyOf is another key of the log of the suite.
func keyOf(t *testing.T, name string) (note.Signer, note.Verifier) {
	t.Helper()
	key := tlogtest.Key(name)
	s := must[note.Signer](t)(tlog.NewEd25519Signer(tlogtest.Origin, key))
	return s, must[note.Verifier](t)(tlog.Ed25519Verifier(tlogtest.Origin, key.Public().(ed25519.PublicKey)))
}

func opens(t *testing.T, signed []byte, v note.Verifier, size int64) {
	t.Helper()
	if c, err := tlog.OpenCheckpoint(signed, tlogtest.Origin, v); err != nil || c.Size != size {
		t.Errorf("the checkpoint of %d entries: %+v, %v\n%s", size, c, err, signed)
	}
}

// TestRekey replaces the key of a log that goes on, in one process and then in
// another, and looks at what each of them publishes.
func TestRekey(t *testing.T) {
	store, b, dir := &tlogtest.Memory{}, blobs(), t.TempDir()
	o := tlogtest.Options(t, store, b)
	store.Blobs, o.Heads = b, heads(t, dir)
	l := tlogtest.Begin(t, o)
	first := add(t, l, "first")
	opens(t, first.Signed, o.Verifier, 1)

	// the head has the signatures of both keys, so that nobody is left behind
	signer, verifier := keyOf(t, "second")
	if err := l.Rekey(t.Context(), signer, verifier, o.Heads); err != nil {
		t.Fatal(err)
	}
	both := must[[]byte](t)(l.Checkpoint(t.Context()))
	opens(t, both, o.Verifier, 1)
	opens(t, both, verifier, 1)

	second := add(t, l, "second")
	opens(t, second.Signed, verifier, 2)
	if _, err := tlog.OpenCheckpoint(second.Signed, tlogtest.Origin, o.Verifier); !errors.Is(err, tlog.ErrSignature) {
		t.Errorf("the key before still signs: %v", err)
	}

	// a process that has not heard of it yet is understood, and catches up
	late := o
	late.Heads = nil
	other := tlogtest.Open(t, late)
	third := add(t, other, "third")
	opens(t, third.Signed, o.Verifier, 3)
	if err := other.Rekey(t.Context(), signer, verifier, nil); err != nil {
		t.Fatal(err)
	}
	both = must[[]byte](t)(other.Checkpoint(t.Context()))
	opens(t, both, o.Verifier, 3)
	opens(t, both, verifier, 3)
	opens(t, add(t, other, "fourth").Signed, verifier, 4)

	// again is nothing new
	if err := other.Rekey(t.Context(), signer, verifier, nil); err != nil {
		t.Error(err)
	}
	r, err := tlog.Verify(t.Context(), tlog.VerifyOptions{Source: other, Origin: o.Origin, Verifier: verifier})
	if err != nil || r.Bad != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func add(t *testing.T, l *tlog.Log, text string) tlog.Added {
	t.Helper()
	a, err := l.Add(t.Context(), must[tlog.Entry](t)(tlog.Plain([]byte(text))))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRekeyRefuses(t *testing.T) {
	store, b := &tlogtest.Memory{}, blobs()
	o := tlogtest.Options(t, store, b)
	l := tlogtest.Begin(t, o)
	add(t, l, "first")
	signer, verifier := keyOf(t, "second")
	_, stranger := keyOf(t, "third")
	for what, err := range map[string]error{
		"a verifier of another key": l.Rekey(t.Context(), signer, stranger, nil),
		"a key that lies":           l.Rekey(t.Context(), liar{signer}, verifier, nil),
	} {
		if err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	opens(t, add(t, l, "second").Signed, o.Verifier, 2)
	// What was put into the database by somebody else is not signed.
	h, err := store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forged := fmt.Appendf(nil, "%s\n2\n%s\n\n— %s AAAAAAAA\n", tlogtest.Origin, h.Root, tlogtest.Origin)
	if err := store.Publish(t.Context(), 2, forged); err != nil {
		t.Fatal(err)
	}
	if err := l.Rekey(t.Context(), signer, verifier, nil); !errors.Is(err, tlog.ErrSignature) {
		t.Errorf("a forged checkpoint is signed: %v", err)
	}
}

// TestRekeyUnderLoad: nobody who adds notices.
func TestRekeyUnderLoad(t *testing.T) {
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	l := tlogtest.Begin(t, o)
	verifiers := []note.Verifier{o.Verifier}
	for n := range 5 {
		_, v := keyOf(t, fmt.Sprint(n))
		verifiers = append(verifiers, v)
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 20 {
				a, err := l.Add(t.Context(), must[tlog.Entry](t)(tlog.Plain(fmt.Append(nil, n, i))))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := tlog.Countersign(a.Signed, tlogtest.Origin, verifiers, o.Signer); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := range 5 {
		signer, verifier := keyOf(t, fmt.Sprint(n))
		if err := l.Rekey(t.Context(), signer, verifier, nil); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
}
