package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/test/drive"
)

// isManifest reports whether an answer is about a manifest.
func isManifest(err error) bool {
	var s *drive.StatusError
	return errors.As(err, &s) && strings.Contains(s.URL.Path, "/manifests/")
}

// TestKill kills a server during pushes and promotions, again and again on the
// same folder.
func TestKill(t *testing.T) {
	ctx := context.Background()
	server := drive.Start(t, drive.Options{Config: drive.Advisories(t, "../..")})
	server.UpdateFeeds()
	ann, ops := server.Enrol("ann", "developer"), server.Enrol("ops", "reader")
	r := rand.New(rand.NewPCG(seed, 1))
	acks := 0
	for run := range runs(t) {
		l := newLoad(fmt.Sprint("run", run), ann, ops)
		alive, gone := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.run(alive, 4, 50)
		}()
		// At some point of some operation after some others.
		for range 1 + r.IntN(25) {
			<-l.acks
			acks++
		}
		<-time.After(time.Duration(r.IntN(15_000)) * time.Microsecond)
		server.Kill()
		gone()
		<-done
		server.Fsck()
		if run%5 == 4 { // and while it gets up
			_ = server.Launch()
			<-time.After(time.Duration(r.IntN(150)) * time.Millisecond)
			server.Kill()
		}
		server.Again()
		l.check(ctx, t, time.Time{})
		l.resume(ctx, t)
		if t.Failed() {
			t.Fatalf("run %d of seed %d; the server said:\n%s", run, seed, server.Said())
		}
	}
	t.Logf("%d acknowledgements in %d runs", acks, runs(t))
	server.Stop()
	server.Fsck()
}
