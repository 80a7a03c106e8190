package sign_test

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

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/sign/signtest"
)

func TestPaths(t *testing.T) {
	var leaves []sign.Hash
	for n := range 70 {
		root := sign.Root(leaves)
		for i := range leaves {
			path := sign.Path(leaves, i)
			if err := sign.CheckPath(path, int64(n), int64(i), leaves[i], root); err != nil {
				t.Fatalf("leaf %d of %d: %v", i, n, err)
			}
			if sign.CheckPath(path, int64(n), int64(i), sign.PayloadHash([]byte("another")), root) == nil {
				t.Fatalf("leaf %d of %d proves another payload", i, n)
			}
			if n > 1 && sign.CheckPath(path, int64(n), int64((i+1)%n), leaves[i], root) == nil {
				t.Fatalf("leaf %d of %d proves another place", i, n)
			}
		}
		leaves = append(leaves, sign.PayloadHash([]byte(fmt.Sprint(n))))
	}
	if err := sign.CheckPath(nil, 0, 0, sign.Hash{}, sign.Root(nil)); err == nil {
		t.Error("the empty tree has a leaf")
	}
}

// TestBatch: what waits becomes one batch, each decision of which is proven by
// the trusted root alone; the next batch names the one before.
func TestBatch(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		w := newWorld(t, o, func(o *sign.Options) {
			o.Audit = func(context.Context) (sign.Head, error) {
				return sign.Head{Origin: "bonded.example/audit", Size: 3, Root: sign.Root(nil)}, nil
			}
		})
		if more, err := w.Seal(t.Context(), false); more || err != nil {
			t.Fatalf("sealing nothing: %v, %v", more, err)
		}
		var ids []int64
		for n := range 100 {
			ids = append(ids, w.decided(fmt.Sprint(n)))
		}
		p, err := w.Proof(t.Context(), ids[0])
		if err != nil || p.Proven || !strings.Contains(p.Text, "not proven yet") || p.Batch != nil {
			t.Fatalf("before the batch: %+v, %v", p, err)
		}
		first, err := w.Prove(t.Context(), ids[7])
		w.must(err)
		for n, id := range ids {
			p, err := w.Proof(t.Context(), id)
			w.must(err)
			said := w.checked(p)
			if p.Index != int64(n) || said.Number != 1 || said.Decisions.Count != 100 || said.Audit.Size != 3 || said.Previous != nil {
				t.Fatalf("decision %d: index %d, %+v", n, p.Index, said)
			}
		}
		second, err := w.Prove(t.Context(), w.decided("later"))
		w.must(err)
		if said := w.checked(second); said.Number != 2 || "sha256:"+said.Previous["sha256"] != first.Batch.Digest {
			t.Errorf("the second batch says %+v", said)
		}
		want := []string{"intended batch", "signed batch", "released batch"}
		if d := cmp.Diff(append(want, want...), w.events()); d != "" {
			t.Error(d)
		}
		if n := w.i.Certificates.Load(); n != 1 {
			t.Errorf("%d certificates for two signatures", n)
		}
		if _, err := w.Proof(t.Context(), 4711); !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("of no decision: %v", err)
		}
	})
}

// TestProofOfAnother: a proof is of its decision and of no other.
func TestProofOfAnother(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, nil)
	var all []int64
	for n := range 5 {
		all = append(all, w.decided(fmt.Sprint(n)))
	}
	p, err := w.Prove(t.Context(), all[2])
	w.must(err)
	other, err := w.Prove(t.Context(), all[3])
	w.must(err)
	root, err := w.i.TrustedRoot()
	w.must(err)
	for name, change := range map[string]func(){
		"payload": func() { p.Payload = other.Payload },
		"index":   func() { p.Index++ },
		"path":    func() { p.Path = other.Path },
		"bundle": func() {
			next, err := w.Prove(t.Context(), w.decided("next"))
			w.must(err)
			p.Batch = next.Batch
		},
	} {
		good := *p
		change()
		if _, err := check(p, root); err == nil {
			t.Errorf("with another %s it proves", name)
		}
		*p = good
	}
	w.checked(p)
}

// TestChangedDecision: a row that somebody changed is given out by no proof.
func TestChangedDecision(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, nil)
	id := w.decided("app")
	_, err := w.Prove(t.Context(), id)
	w.must(err)
	w.tampered = func(b []byte) []byte { return bytes.Replace(b, []byte("allow"), []byte("deny"), 1) }
	if _, err := w.Proof(t.Context(), id); err == nil || !strings.Contains(err.Error(), "not what was signed") {
		t.Errorf("the proof of a changed row: %v", err)
	}
}

// TestMoreThanOneBatchHolds: batches are bounded, and follow each other.
func TestMoreThanOneBatchHolds(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, func(o *sign.Options) { o.Most = 4 })
	var ids []int64
	for n := range 11 {
		ids = append(ids, w.decided(fmt.Sprint(n)))
	}
	for range 3 {
		_, err := w.Seal(t.Context(), false)
		w.must(err)
	}
	for n, id := range ids {
		p, err := w.Proof(t.Context(), id)
		w.must(err)
		if said := w.checked(p); said.Number != int64(1+n/4) {
			t.Errorf("decision %d is in batch %d", n, said.Number)
		}
	}
}

// TestProcesses: several processes on one database prove what each of them is
// asked; no decision is in two batches, and no batch is signed twice over.
func TestProcesses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		w := newWorld(t, o, nil)
		flows := []*sign.Flow{w.Flow, w.flow(), w.flow()}
		var ids []int64
		for n := range 24 {
			ids = append(ids, w.decided(fmt.Sprint(n)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		var all sync.WaitGroup
		for n, id := range ids {
			all.Go(func() {
				p, err := flows[n%3].Prove(ctx, id)
				if err != nil || !p.Proven {
					t.Errorf("decision %d: %+v, %v", n, p, err)
				}
			})
		}
		all.Wait()
		for _, id := range ids {
			p, err := w.Proof(t.Context(), id)
			w.must(err)
			w.checked(p)
		}
	})
}

// TestDown: while a part is down decisions are in force and wait, it is known
// since when, and all are proven when it is back.
func TestDown(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, nil)
	for _, part := range []struct {
		name string
		down interface{ Store(bool) }
	}{{"authority", &w.i.NoCA}, {"timestamp authority", &w.i.NoTSA}, {"log", &w.i.NoLog}} {
		part.down.Store(true)
		id := w.decided(part.name)
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		p, err := w.Prove(ctx, id)
		cancel()
		if err != nil || p.Proven || !strings.Contains(p.Text, "down") {
			t.Fatalf("%s down: %+v, %v", part.name, p, err)
		}
		if since, err := w.Status(); since.IsZero() || err == nil {
			t.Errorf("%s down: status %v, %v", part.name, since, err)
		}
		part.down.Store(false)
		p, err = w.Prove(t.Context(), id)
		w.must(err)
		w.checked(p)
		if since, err := w.Status(); !since.IsZero() || err != nil {
			t.Errorf("%s up: status %v, %v", part.name, since, err)
		}
	}
}

// TestCertificateEnds: a certificate is used while it is good, and then another.
func TestCertificateEnds(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, nil)
	for n := range 3 {
		p, err := w.Prove(t.Context(), w.decided(fmt.Sprint(n)))
		w.must(err)
		w.checked(p)
		w.clock.ahead.Add(int64(5 * time.Minute))
	}
	if n := w.i.Certificates.Load(); n != 2 {
		t.Errorf("%d certificates in ten minutes", n)
	}
}

// TestKeeper: what nobody waits for is proven all the same.
func TestKeeper(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, nil)
	k := sign.NewKeeper(w.Flow, 10*time.Millisecond)
	k.Start()
	k.Start()
	id := w.decided("app")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for {
		p, err := w.Proof(ctx, id)
		w.must(err)
		if p.Proven {
			break
		}
	}
	for range 2 {
		w.must(k.Stop(ctx))
	}
}

// TestAnchored: a batch can be had although nothing was decided, to prove the
// audit log.
func TestAnchored(t *testing.T) {
	size := int64(5)
	w := newWorld(t, db.Options{Folder: t.TempDir()}, func(o *sign.Options) {
		o.Audit = func(context.Context) (sign.Head, error) {
			return sign.Head{Origin: "bonded.example/audit", Size: size, Root: sign.Root(nil)}, nil
		}
	})
	one, err := w.Anchored(t.Context(), 5)
	w.must(err)
	same, err := w.Anchored(t.Context(), 2)
	w.must(err)
	if one.Number != 1 || same.Number != 1 {
		t.Errorf("batches %d and %d", one.Number, same.Number)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := w.Anchored(ctx, 6); err == nil || !strings.Contains(err.Error(), "only 5") {
		t.Errorf("beyond the log: %v", err)
	}
	size = 6
	next, err := w.Anchored(t.Context(), 6)
	w.must(err)
	if next.Number != 2 {
		t.Errorf("batch %d", next.Number)
	}
}

// TestVerifyProof: what a stranger verifies is what the proof says, for the server
// that was named and no other.
func TestVerifyProof(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, nil)
	for n := range 3 {
		w.decided(fmt.Sprint(n))
	}
	p, err := w.Prove(t.Context(), 2)
	w.must(err)
	root, err := w.i.TrustedRoot()
	w.must(err)
	verified := func(identity string) (*api.Decision, error) {
		d, _, err := sign.VerifyProof(p, root, identity, signtest.URL+"/oidc")
		return d, err
	}
	if d, err := verified(signtest.URL + "/server"); err != nil || d.Repository != app.String() {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := verified("https://evil.example/server"); err == nil || !strings.Contains(err.Error(), "not by the server") {
		t.Errorf("for another server: %v", err)
	}
	good := *p
	for name, change := range map[string]func(){
		"not proven":  func() { p.Proven = false },
		"no batch":    func() { p.Batch = nil },
		"no bundle":   func() { p.Batch = &api.Batch{Number: 1} },
		"payload":     func() { p.Payload = append(bytes.Clone(p.Payload), ' ') },
		"long path":   func() { p.Path = make([]string, 64) },
		"short hash":  func() { p.Path = []string{"00", "00"} },
		"no hex":      func() { p.Path = []string{strings.Repeat("x", 64), strings.Repeat("x", 64)} },
		"below index": func() { p.Index = -1 },
		"above index": func() { p.Index = 3 },
		"batch edited": func() {
			p.Batch = &api.Batch{Bundle: bytes.Replace(bytes.Clone(p.Batch.Bundle), []byte(`"payload":"`), []byte(`"payload":"A`), 1)}
		},
	} {
		*p = good
		change()
		if _, err := verified(signtest.URL + "/server"); err == nil {
			t.Errorf("%s: it verifies", name)
		}
	}
}

// FuzzVerifyProof: no proof is taken for one but that which is one.
func FuzzVerifyProof(f *testing.F) {
	f.Add([]byte(`{"decision":1,"proven":true,"payload":"e30=","path":["00"],"batch":{"number":1,"digest":"","bundle":{}}}`))
	f.Add([]byte(`{"proven":true,"batch":{"bundle":{"dsseEnvelope":{"payload":"e30="}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p api.Proof
		if json.Unmarshal(b, &p) != nil {
			return
		}
		if _, _, err := sign.VerifyProof(&p, []byte(`{}`), "https://a/server", "https://a/oidc"); err == nil {
			t.Errorf("%s is a proof", b)
		}
	})
}
