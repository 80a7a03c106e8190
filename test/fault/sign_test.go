package fault

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/test/drive"
)

// proofs are what a server has proven about images, by reference.
type proofs struct {
	ann *drive.User

	mu      sync.Mutex // guards the rest
	judged  []string   // references that were decided
	proven  map[string]*api.Proof
	refused []error
	acks    chan struct{}
}

// ask returns what the server proves about a reference.
func (p *proofs) ask(ctx context.Context, ref string) (*api.Why, error) {
	w := new(api.Why)
	return w, p.ann.API(ctx, http.MethodGet, "/why?proof=whole&ref="+url.QueryEscape(ref), nil, w)
}

// run pushes images, and asks for the proofs and the statements about them, until
// the server does not answer. An answer that says no is kept.
func (p *proofs) run(ctx context.Context, worker, run int) {
	for i := 0; ; i++ {
		if err := p.one(ctx, worker, run, i); err != nil {
			if drive.Status(err) != 0 {
				p.mu.Lock()
				p.refused = append(p.refused, err)
				p.mu.Unlock()
			}
			return
		}
		p.acks <- struct{}{}
	}
}

func (p *proofs) one(ctx context.Context, worker, run, i int) error {
	tag := fmt.Sprintf("%d-%d-%d", run, worker, i)
	ref := "dev/signed:" + tag
	image := drive.NewImage(drive.MustGzip(drive.MustLayer(map[string][]byte{tag: []byte(tag)})))
	if err := p.ann.Push(ctx, "dev/signed", tag, image); err != nil {
		return err
	}
	if _, err := p.ann.Judged(ctx, ref, "admitted"); err != nil {
		return err
	}
	p.mu.Lock()
	p.judged = append(p.judged, ref)
	p.mu.Unlock()
	if i%3 > 0 { // somebody looks at once, or later, or never
		w, err := p.ask(ctx, ref)
		if err != nil {
			return err
		}
		if w.Proof != nil && w.Proof.Proven {
			p.mu.Lock()
			p.proven[ref] = w.Proof
			p.mu.Unlock()
		}
	}
	if i%3 == 2 {
		a, err := p.ann.Do(ctx, http.MethodGet, "/v2/dev/signed/referrers/"+image.Digest.String(), nil)
		if err != nil {
			return err
		}
		return a.Err(http.StatusOK)
	}
	return nil
}

// check verifies all proofs that left the server, and that what it says now is
// the same.
func (p *proofs) check(ctx context.Context, t *testing.T, root []byte) {
	t.Helper()
	name, err := trust.ServerIn(root) // the one of the first start, wherever it is by now
	if err != nil {
		t.Fatal(err)
	}
	identity, issuer := trust.IdentityOf(name)
	batches := map[int64]string{}
	for _, ref := range p.judged {
		w, err := p.ask(ctx, ref)
		if err != nil || w.Proof == nil || !w.Proof.Proven {
			t.Fatalf("%s is not proven: %+v, %v", ref, w.Proof, err)
		}
		if digest := batches[w.Proof.Batch.Number]; digest != "" && digest != w.Proof.Batch.Digest {
			t.Errorf("there are two batches %d", w.Proof.Batch.Number)
		}
		batches[w.Proof.Batch.Number] = w.Proof.Batch.Digest
		before, ok := p.proven[ref]
		if !ok {
			continue
		}
		d, _, err := sign.VerifyProof(before, root, identity, issuer)
		if err != nil || d.Digest != w.Digest {
			t.Errorf("what left the server about %s: %v", ref, err)
		}
		if now := w.Proof; now.Decision == before.Decision && (now.Batch.Number != before.Batch.Number || now.Index != before.Index) {
			t.Errorf("decision %d was in batch %d and is in %d", now.Decision, before.Batch.Number, now.Batch.Number)
		}
	}
}

// trustedRoot reads what the server's signatures are verified by.
func trustedRoot(ctx context.Context, t *testing.T, s *drive.Server) []byte {
	t.Helper()
	dir := filepath.Join(s.Data(), "trust")
	rec, err := trust.Peek(dir)
	if err != nil {
		t.Fatal(err)
	}
	i, err := trust.Open(ctx, trust.Options{Dir: dir, Origin: rec.Origin, URL: s.URL(), Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	root, err := i.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestKillSign kills a server while it signs, again and again on the same folder:
// every proof that left it verifies and stays what it was, every decision is
// proven by the next one, and no two batches have one number.
func TestKillSign(t *testing.T) {
	ctx := context.Background()
	server := drive.Start(t, drive.Options{Config: drive.Advisories(t, "../..")})
	server.UpdateFeeds()
	p := &proofs{ann: server.Enrol("ann", "developer"), proven: map[string]*api.Proof{}, acks: make(chan struct{}, 10_000)}
	r := rand.New(rand.NewPCG(seed, 3))
	for run := range runs(t) {
		alive, gone := context.WithCancel(ctx)
		var all sync.WaitGroup
		for w := range 3 {
			all.Go(func() { p.run(alive, w, run) })
		}
		for range 1 + r.IntN(12) {
			select {
			case <-p.acks:
			case <-time.After(time.Minute):
				t.Fatalf("nothing was proven in a minute: %v; the server said:\n%s", p.refused, server.Said())
			}
		}
		<-time.After(time.Duration(r.IntN(30_000)) * time.Microsecond)
		server.Kill()
		gone()
		all.Wait()
		server.Fsck()
		server.Again()
		for _, err := range p.refused {
			t.Error(err)
		}
		p.check(ctx, t, trustedRoot(ctx, t, server))
		if t.Failed() {
			t.Fatalf("run %d of seed %d; the server said:\n%s", run, seed, server.Said())
		}
	}
	t.Logf("%d decisions, %d proofs that left the server", len(p.judged), len(p.proven))
	if len(p.proven) == 0 {
		t.Error("nothing was proven before a kill")
	}
	server.Stop()
	server.Fsck()
}
