package fault

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/test/drive"
)

// plain lets a trace be read beside the requests, and needs no authority that a
// client would have to trust again.
const plain = "tls: {plain_http: true}\n"

// TestPowerCut records a server from its first start through pushes and
// promotions, cuts the power at moments of that record, and starts a server on
// what is left.
//
// What it does not show: losses within a page, reordering across a sync that
// succeeded, and file systems where a rename is not atomic.
func TestPowerCut(t *testing.T) {
	ctx := context.Background()
	trace := filepath.Join(t.TempDir(), "trace")
	server := drive.Start(t, drive.Options{
		Config: plain + drive.Advisories(t, "../.."), Wrap: recorder(testparts.Program(t, "strace"), trace),
	})
	server.UpdateFeeds()
	ann, ops := server.Enrol("ann", "developer"), server.Enrol("ops", "reader")
	ready := time.Now()
	l := newLoad("power", ann, ops)
	l.run(ctx, 4, 6)
	pid := server.PID()
	server.Stop()
	calls := readTraceOf(t, trace, pid)
	first := slices.IndexFunc(calls, func(c call) bool { return c.at.After(ready) })
	t.Logf("%d calls, %d of them before the first push; %d images", len(calls), first, len(l.goods))

	p, err := newPlayer(server.Data())
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 2))
	for run, at := range moments(r, runs(t), first, len(calls)) {
		p.playTo(t, calls, at)
		kinds := losses(r)
		kind := slices.Sorted(maps.Keys(kinds))[run%len(kinds)]
		t.Run(fmt.Sprintf("call %d, %s", at, kind), func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			if err := write(p.disk.Restart(kinds[kind]), p.root, data); err != nil {
				t.Fatal(err)
			}
			until := time.Now()
			if at < len(calls) {
				until = calls[at].at
			}
			afterCut(ctx, t, l, server, data, until, !until.After(ready))
		})
	}
}

// moments chooses after how many calls the power goes, in order: a fifth during
// the first start, the others while there is something to lose.
func moments(r *rand.Rand, n, first, calls int) []int {
	out := make([]int, n)
	for i := range out {
		if i%5 == 4 {
			out[i] = r.IntN(first)
		} else {
			out[i] = first + r.IntN(calls-first+1)
		}
	}
	slices.Sort(out)
	return out
}

// afterCut starts a server on what a power cut left and looks at it. fresh says
// that nobody had an account yet for certain.
func afterCut(ctx context.Context, t *testing.T, l *load, before *drive.Server, data string, until time.Time, fresh bool) {
	t.Helper()
	boot := filepath.Join(data, "content", "boot")
	if _, err := os.Stat(boot); err == nil { // the machine that comes back is another start of it
		if err := os.WriteFile(boot, []byte("the one before"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := drive.Start(t, drive.Options{Config: plain + drive.Advisories(t, "../.."), Binary: before.Binary, Data: data})
	if !fresh {
		at := newLoad(l.name, server.As(l.ann.Name, l.ann.Secret), server.As(l.ops.Name, l.ops.Secret))
		at.goods = l.goods
		at.check(ctx, t, until)
		// It goes on.
		if err := at.ann.Push(ctx, "dev/app-0", "after", drive.NewImage(l.base)); err != nil {
			t.Errorf("pushing after the cut: %v", err)
		}
	}
	if a, err := server.As("", "").Do(ctx, http.MethodGet, "/readyz", nil); err != nil || a.Status != http.StatusOK {
		t.Errorf("readyz: %+v, %v", a, err)
	}
	server.Stop()
	server.Fsck()
}
