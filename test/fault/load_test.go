package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/test/drive"
)

// runs is how many times each fault is tried.
func runs(t *testing.T) int {
	t.Helper()
	text := os.Getenv("BONDED_FAULT_RUNS")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("BONDED_FAULT_RUNS=%s is no number of runs", text)
	}
	return n
}

// seed makes a run that failed happen again as far as that is possible. It is
// printed with every failure.
const seed = 20261122

// goods is one image on its way in, and what the server has said about it.
type goods struct {
	drive.Image
	repository, tag string
	// When each was acknowledged; zero where it was not.
	pushed, promoted time.Time
	asked            bool // a promotion was asked for
}

// load is what users do at the same time, and what came of it.
type load struct {
	ann, ops *drive.User
	base     []byte        // a layer that all images share
	acks     chan struct{} // gets one for each thing acknowledged, and never blocks
	name     string        // tells the images of one load from those of another

	mu      sync.Mutex // guards what follows
	goods   []*goods
	uploads []*upload
}

// upload is one that is never finished while the server lives.
type upload struct {
	*drive.Upload
	content []byte
}

func newLoad(name string, ann, ops *drive.User) *load {
	return &load{
		ann: ann, ops: ops, name: name, acks: make(chan struct{}, 10_000),
		base: drive.MustGzip(drive.MustLayer(map[string][]byte{"base": noise(1, 20_000)})),
	}
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// run pushes and promotes until ctx ends or the server does, images at most.
func (l *load) run(ctx context.Context, workers, images int) {
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := 0; i < images && l.one(ctx, r, w, i); i++ {
				l.leave(ctx, r, w, i)
			}
		})
	}
	all.Wait()
}

// one takes an image in, and every other one to staging. It reports whether the
// server still answers.
func (l *load) one(ctx context.Context, r *rand.Rand, w, i int) bool {
	name := fmt.Sprintf("%s-%d-%d", l.name, w, i)
	content := noise(r.Uint64(), 1+r.IntN(40_000))
	g := &goods{
		Image:      drive.NewImage(l.base, drive.MustGzip(drive.MustLayer(map[string][]byte{name: content}))),
		repository: fmt.Sprintf("app-%d", w%2), tag: name,
	}
	l.mu.Lock()
	l.goods = append(l.goods, g)
	l.mu.Unlock()
	if err := l.ann.Push(ctx, "dev/"+g.repository, g.tag, g.Image); err != nil {
		return drive.Status(err) != 0
	}
	l.ack(&g.pushed)
	if i%2 == 1 {
		return true
	}
	if _, err := l.ann.Judged(ctx, "dev/"+g.repository+":"+g.tag, "admitted"); err != nil {
		return drive.Status(err) != 0
	}
	l.mu.Lock()
	g.asked = true
	l.mu.Unlock()
	p, err := l.ann.Promote(ctx, "dev/"+g.repository+":"+g.tag, "staging")
	if err != nil {
		return drive.Status(err) != 0
	}
	if p.Decision.Outcome == api.Allow {
		l.ack(&g.promoted)
	}
	return true
}

func (l *load) ack(when *time.Time) {
	l.mu.Lock()
	*when = time.Now()
	l.mu.Unlock()
	select {
	case l.acks <- struct{}{}:
	default:
	}
}

// leave begins an upload and goes away.
func (l *load) leave(ctx context.Context, r *rand.Rand, w, i int) {
	if i%4 != 0 {
		return
	}
	up, err := l.ann.Begin(ctx, fmt.Sprintf("dev/app-%d", w%2))
	if err != nil {
		return
	}
	u := &upload{Upload: up, content: noise(r.Uint64(), 30_000)}
	if err := l.ann.Send(ctx, up, u.content[:10_000]); err == nil {
		l.mu.Lock()
		l.uploads = append(l.uploads, u)
		l.mu.Unlock()
	}
}

// check compares what is there with what was acknowledged before some moment;
// the zero time stands for now.
func (l *load) check(ctx context.Context, t *testing.T, until time.Time) {
	t.Helper()
	before := func(when time.Time) bool { return !when.IsZero() && (until.IsZero() || when.Before(until)) }
	for _, g := range l.goods {
		l.checkOne(ctx, t, g, before(g.pushed), before(g.promoted))
	}
}

func (l *load) checkOne(ctx context.Context, t *testing.T, g *goods, pushed, promoted bool) {
	t.Helper()
	dev, staging := "dev/"+g.repository, "staging/"+g.repository
	for _, name := range []string{g.tag, g.Digest.String()} {
		// Who brought it has it whole, or it is not there.
		whole(t, dev, name, l.ann.Pull(ctx, dev, name, g.Image), pushed)
		// Others have it whole once it is admitted, and nothing before.
		whole(t, dev, name, l.ops.Pull(ctx, dev, name, g.Image), false)
		whole(t, staging, name, l.ops.Pull(ctx, staging, name, g.Image), promoted)
	}
	byTag, byDigest := l.ops.Pull(ctx, staging, g.tag, g.Image), l.ops.Pull(ctx, staging, g.Digest.String(), g.Image)
	if (byTag == nil) != (byDigest == nil) {
		t.Errorf("%s was promoted by halves: by tag %v, by digest %v", g.tag, byTag, byDigest)
	}
	if pushed && !t.Failed() {
		if _, err := l.ann.Judged(ctx, dev+"@"+g.Digest.String(), "admitted"); err != nil {
			t.Errorf("what was pushed is not judged any more: %v", err)
		}
	}
}

// whole fails the test unless a pull gave everything, or a manifest that is not
// there where that may be.
func whole(t *testing.T, repository, name string, err error, must bool) {
	t.Helper()
	if err == nil || !must && drive.Status(err) == http.StatusNotFound && isManifest(err) {
		return
	}
	t.Errorf("%s %s (acknowledged: %v): %v", repository, name, must, err)
}

// resume finishes the uploads that were left. least says how many bytes the
// server must still have of one that it said it has sent bytes of.
func (l *load) resume(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, u := range l.uploads {
		sent := u.Sent
		if err := l.ann.Resume(ctx, u.Upload); err != nil {
			t.Errorf("resuming an upload: %v", err)
			continue
		}
		if u.Sent < sent {
			t.Errorf("an upload has %d bytes, %d were acknowledged", u.Sent, sent)
		}
		if err := l.ann.Finish(ctx, u.Upload, u.content[u.Sent:], oci.FromBytes(u.content)); err != nil {
			t.Errorf("finishing an upload: %v", err)
		}
	}
}
