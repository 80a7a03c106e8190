package sign_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/sign"
)

// signing is one decision on its way to its proof and its evidence, in a process
// that may die on it.
func (w *world) signing(f *sign.Flow, d oci.Digest, id int64) error {
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	if _, err := f.Seal(ctx, false); err != nil {
		return err
	}
	return f.Need(ctx, app, d)
}

// recovered checks what must be true whatever failed, once another process has
// taken up what was left.
func (w *world) recovered(what string, d oci.Digest, ids ...int64) {
	w.Helper()
	w.clock.ahead.Add(int64(10 * time.Second)) // what was claimed is free again
	f := w.flow()
	if err := errors.Join(f.Recover(w.Context()), w.signing(f, d, ids[0])); err != nil {
		w.Fatalf("%s: then: %v", what, err)
	}
	for _, id := range ids {
		p, err := f.Proof(w.Context(), id)
		if err != nil || !p.Proven {
			w.Fatalf("%s: decision %d: %+v, %v", what, id, p, err)
		}
		w.checked(p)
	}
	if kinds := kindsOf(w.listed(app, d)); !slices.Equal(kinds, allKinds) {
		w.Fatalf("%s: listed are %v", what, kinds)
	}
	w.finished()
}

// chained checks that the batches are a chain in which each decision is once.
func (w *world) chained() {
	w.Helper()
	seen := map[sign.Hash]int64{}
	w.must(w.d.View(w.Context(), func(tx *db.Tx) error {
		last, err := tx.Batch(w.Context(), 0)
		if err != nil {
			return err
		}
		var before oci.Digest
		for n := int64(1); n <= last.Number; n++ {
			b, err := tx.Batch(w.Context(), n)
			if err != nil {
				return err
			}
			for _, l := range b.Leaves {
				if seen[l] != 0 {
					w.Errorf("a decision is in batches %d and %d", seen[l], n)
				}
				seen[l] = n
			}
			in, err := tx.Intent(w.Context(), b.Intent)
			if err != nil {
				return err
			}
			if b.Previous != before || in.About != fmt.Sprint(n) {
				w.Errorf("batch %d names %s, want %s", n, b.Previous, before)
			}
			before = in.Digest
		}
		return nil
	}))
}

// stride is how many statements stand between two that are broken: each is with
// BONDED_FAULT_RUNS, which asks for thorough tests.
func stride(t *testing.T) int {
	if os.Getenv("BONDED_FAULT_RUNS") != "" {
		return 1
	}
	return 11
}

// TestEachStatement fails each statement of a sign once, before and after it was
// executed: no decision is in two batches, no proof is of another, and no intent
// is lost.
func TestEachStatement(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		var faults dbtest.Faults
		o.Wrap = faults.Wrap
		w := newWorld(t, o, describing)
		broken, every := 0, stride(t)
		for _, after := range []bool{false, true} {
			for n := 1; ; n += every {
				d := w.image(app, fmt.Sprint(n, after))
				id := w.judge(app, d, api.Allow)
				f := w.flow()
				faults.Arm(n, after)
				err := w.signing(f, d, id)
				_, fired := faults.Disarm()
				if fired == "" {
					w.must(err)
					break
				}
				broken++
				w.recovered(fired, d, id)
			}
		}
		if broken*every < 300 {
			t.Errorf("only %d of the statements were broken", broken)
		}
		w.chained()
	})
}

// TestEachCall fails each call of the authority, the issuer, the timestamp
// authority and the log once, before and after it was done, as when an answer is
// lost.
func TestEachCall(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, describing)
	for _, after := range []bool{false, true} {
		for n := int64(1); ; n++ {
			d := w.image(app, fmt.Sprint(n, after))
			id := w.judge(app, d, api.Allow)
			f := w.flow() // with a key of its own
			w.i.After.Store(after)
			w.i.Calls.Store(0)
			w.i.At.Store(n)
			err := w.signing(f, d, id)
			w.i.At.Store(0)
			if w.i.Calls.Load() < n {
				w.must(err)
				if n < 8 {
					t.Errorf("a sign has %d calls", n-1)
				}
				break
			}
			w.recovered(fmt.Sprintf("call %d, done %v", n, after), d, id)
		}
	}
	w.chained()
}

// TestDiesBetweenActs: a process that dies after any commit of a sign leaves what
// another one finishes, in the order of the acts.
func TestDiesBetweenActs(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, describing)
	for n := 1; ; n++ {
		d := w.image(app, fmt.Sprint(n))
		id := w.judge(app, d, api.Allow)
		w.dieAfter(n)
		f := w.flow()
		err := w.signing(f, d, id)
		if !w.dies() {
			w.must(err)
			if n < 10 {
				t.Errorf("a sign has %d commits", n-1)
			}
			break
		}
		w.recovered(fmt.Sprintf("death after commit %d", n), d, id)
	}
	w.chained()
	state := map[string]string{}
	for _, e := range w.recordedEvents() {
		in, act := e.Details["intent"], e.Kind
		if in == "" {
			continue
		}
		if before, ok := map[string]string{"statement.intended": "", "statement.signed": "statement.intended", "statement.released": "statement.signed", "statement.abandoned": "statement.intended"}[act]; !ok || state[in] != before {
			t.Errorf("intent %s: %s after %q", in, act, state[in])
		}
		state[in] = act
	}
}

var errDead = errors.New("the process is dead")
