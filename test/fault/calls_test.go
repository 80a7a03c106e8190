package fault

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/test/drive"
)

// breakable are the system calls of a push by which a data folder changes, how
// many of each one thread makes at most in it, and how they fail on real machines.
var breakable = []struct {
	name   string
	most   int
	errnos []string
}{
	{"pwrite64", 24, []string{"EIO", "ENOSPC"}},
	{"fsync", 8, []string{"EIO"}},
	{"openat", 8, []string{"EMFILE", "ENOSPC"}},
	{"renameat", 4, []string{"EIO", "ENOSPC"}},
	{"unlinkat", 4, []string{"EIO"}},
	{"mkdirat", 2, []string{"ENOSPC"}},
	{"ftruncate", 2, []string{"EIO"}},
}

// break1 is one fault: the n-th such call of each thread fails, which is one to
// a few calls in all, as a push moves between threads.
type break1 struct {
	call, errno string
	n           int
}

func breaks(most int) []break1 {
	var all []break1
	for n := range 24 {
		for _, b := range breakable {
			if n < b.most {
				all = append(all, break1{b.name, b.errnos[n%len(b.errnos)], n + 1})
			}
		}
	}
	return all[:min(most, len(all))]
}

// TestSystemCalls fails system calls of a running server during a push, its
// judging and a promotion. What it acknowledges nonetheless is there; what it
// does not can be done again; and a server that gives up starts again.
func TestSystemCalls(t *testing.T) {
	strace := testparts.Program(t, "strace")
	ctx := context.Background()
	server := drive.Start(t, drive.Options{Config: plain + drive.Advisories(t, "../..")})
	server.UpdateFeeds()
	ann, ops := server.Enrol("ann", "developer"), server.Enrol("ops", "reader")
	injected, refused, gone := 0, 0, 0
	var kept []*goods
	for i, b := range breaks(runs(t)) {
		g := &goods{
			Image:      drive.NewImage(drive.MustLayer(map[string][]byte{"file": noise(uint64(i), 50_000)})),
			repository: "app", tag: fmt.Sprintf("%s-%d", b.call, b.n),
		}
		s := inject(t, strace, server.PID(), b)
		// A server that cannot keep what it says must not answer for long.
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := takeIn(limited, ann, g)
		cancel()
		n := s.end(t)
		injected += n
		if err != nil {
			refused++
			t.Logf("%s %d with %s, %d times: %v", b.call, b.n, b.errno, n, err)
		}
		if exited(server) {
			gone++
			server.Again()
		}
		if err := takeIn(ctx, ann, g); err != nil {
			t.Fatalf("%s %d with %s: doing it again: %v; the server said:\n%s", b.call, b.n, b.errno, err, server.Said())
		}
		kept = append(kept, g)
	}
	t.Logf("%d calls failed, %d ways in were refused, the server gave up %d times", injected, refused, gone)
	if injected == 0 {
		t.Error("no call failed")
	}
	server.Stop()
	server.Fsck()
	server.Again()
	for _, g := range kept {
		for _, r := range []string{"dev/app", "staging/app"} {
			whole(t, r, g.tag, ops.Pull(ctx, r, g.tag, g.Image), true)
		}
	}
}

// takeIn brings an image in, by chunks, and has it promoted.
func takeIn(ctx context.Context, ann *drive.User, g *goods) error {
	up, err := ann.Begin(ctx, "dev/"+g.repository)
	if err != nil {
		return err
	}
	layer := g.Layers[0]
	if err := ann.Send(ctx, up, layer[:20_000]); err != nil {
		return err
	}
	if err := ann.Finish(ctx, up, layer[20_000:], oci.FromBytes(layer)); err != nil {
		return err
	}
	if err := ann.PushBlob(ctx, "dev/"+g.repository, g.Config); err != nil {
		return err
	}
	if err := ann.PushManifest(ctx, "dev/"+g.repository, g.tag, g.MediaType, g.Manifest); err != nil {
		return err
	}
	ref := "dev/" + g.repository + ":" + g.tag
	if _, err := ann.Judged(ctx, ref, "admitted"); err != nil {
		return err
	}
	p, err := ann.Promote(ctx, ref, "staging")
	if err == nil && p.Decision.Outcome != api.Allow {
		err = fmt.Errorf("staging says %+v", p.Decision)
	}
	return err
}

func exited(s *drive.Server) bool {
	select {
	case <-s.Exited():
		return true
	default:
		return false
	}
}

// injection is a strace that makes calls of a process fail.
type injection struct {
	cmd    *exec.Cmd
	file   string
	drains chan struct{}
}

// inject attaches to a process and returns once every thread of it is watched.
func inject(t *testing.T, strace string, pid int, b break1) *injection {
	t.Helper()
	s := &injection{file: filepath.Join(t.TempDir(), "out"), drains: make(chan struct{})}
	s.cmd = exec.CommandContext(context.Background(), strace, "-f", "-p", fmt.Sprint(pid), "-o", s.file, "-e", "signal=none",
		"-e", "trace="+b.call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d", b.call, b.errno, b.n))
	said, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	attached := false
	for !attached && lines.Scan() {
		attached = strings.Contains(lines.Text(), "attached")
	}
	if !attached {
		t.Fatalf("strace did not attach: %v", s.cmd.Wait())
	}
	go func() {
		defer close(s.drains)
		for lines.Scan() { // one line per thread
		}
	}()
	return s
}

// end detaches and returns how many calls failed.
func (s *injection) end(t *testing.T) int {
	t.Helper()
	_ = s.cmd.Process.Signal(os.Interrupt) // it ends by itself when the process does
	<-s.drains
	_ = s.cmd.Wait() // its exit code is that of the signal, or of the process
	out, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(out, []byte("(INJECTED)"))
}

func TestBreaks(t *testing.T) {
	all := breaks(1000)
	if len(all) < 50 || !slices.Contains(all, break1{"fsync", "EIO", 8}) || slices.Contains(all, break1{"fsync", "EIO", 9}) {
		t.Errorf("breaks: %v", all)
	}
}
