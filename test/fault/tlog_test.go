package fault

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// envLog makes this program a process that appends to the log in a folder, which
// the tests of this file break from outside.
const envLog = "BONDED_FAULT_LOG"

func TestMain(m *testing.M) {
	if folder := os.Getenv(envLog); folder != "" {
		err := appendForever(folder)
		fmt.Fprintln(os.Stderr, "appending:", err)
		os.Exit(3)
	}
	if folder := os.Getenv(envAudit); folder != "" {
		err := auditForever(folder)
		fmt.Fprintln(os.Stderr, "auditing:", err)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// logOptions are those of the log in a folder: rows in SQLite, tiles in files,
// the head store beside them.
func logOptions(folder string) (tlog.Options, func(), error) {
	var o tlog.Options
	heads := filepath.Join(folder, "heads")
	if err := os.MkdirAll(heads, 0o700); err != nil {
		return o, nil, err
	}
	if err := syncFolder(folder); err != nil {
		return o, nil, err
	}
	blobs, err := disk.Open(filepath.Join(folder, "content"), disk.Options{})
	if err != nil {
		return o, nil, err
	}
	d, err := db.Open(context.Background(), db.Options{Folder: folder, Clock: time.Now})
	if err != nil {
		return o, nil, err
	}
	key := tlogtest.Key(tlogtest.Origin)
	o = tlog.Options{Origin: tlogtest.Origin, Store: d.TileLog("log"), Blobs: blobs, Clock: time.Now, Wait: 2 * time.Millisecond, Index: true, Dedupe: true}
	var errs [3]error
	o.Signer, errs[0] = tlog.NewEd25519Signer(tlogtest.Origin, key)
	o.Verifier, errs[1] = tlog.ParseVerifier(fmt.Sprint(o.Signer))
	o.Heads, errs[2] = tlog.NewHeadFolder(heads, nil)
	return o, func() { _ = d.Close() }, errors.Join(errs[:]...)
}

func syncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// appendForever adds entries and writes what was acknowledged to its output: the
// time in microseconds, the index, the leaf, and the checkpoint in one line.
// It ends when its input does, and so with the test that started it.
func appendForever(folder string) error {
	ctx := context.Background()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	o, _, err := logOptions(folder)
	if err != nil {
		return err
	}
	l, err := tlog.Open(ctx, o)
	if errors.Is(err, tlog.ErrNoLog) {
		if err := tlog.Create(ctx, o); err != nil {
			return err
		}
		l, err = tlog.Open(ctx, o)
	}
	if err != nil {
		return err
	}
	l.Start()
	var mu sync.Mutex
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for n := 0; l.Status().Err == nil; n++ {
				a, err := l.Add(ctx, anEntry(w, n))
				mu.Lock()
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
				} else {
					fmt.Printf("%d %d %x %d %x\n", time.Now().UnixMicro(), a.Index, a.Leaf[:], a.Checkpoint.Size, a.Checkpoint.Root[:])
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return l.Status().Err
}

// anEntry is one of many, of some length, now and then one that was there before.
func anEntry(writer, n int) tlog.Entry {
	r := rand.New(rand.NewPCG(uint64(writer), uint64(n)))
	return tlogtest.Entry(strings.Repeat(fmt.Sprint(writer, " ", n-n%20, " "), 1+r.IntN(200)) + fmt.Sprint(os.Getpid(), n))
}

// anAck is what the log said of an entry.
type anAck struct {
	at    time.Time
	index int64
	leaf  tlog.Hash
	head  tlog.Checkpoint
}

func parseAck(line string) (anAck, error) {
	var micros int64
	var leaf, root string
	a := anAck{head: tlog.Checkpoint{Origin: tlogtest.Origin}}
	_, err := fmt.Sscan(line, &micros, &a.index, &leaf, &a.head.Size, &root)
	if err != nil {
		return a, err
	}
	a.at = time.UnixMicro(micros)
	for _, h := range []struct {
		text string
		to   *tlog.Hash
	}{{leaf, &a.leaf}, {root, &a.head.Root}} {
		if n, err := hex.Decode(h.to[:], []byte(h.text)); err != nil || n != len(h.to) {
			return a, fmt.Errorf("reading %q: %w", line, errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	return a, nil
}

// appender is a process that appends.
type appender struct {
	cmd   *exec.Cmd
	acks  chan anAck // closed when it has ended
	trail []anAck    // those that were taken from acks
	said  strings.Builder
	input io.Closer
}

func startAppender(t *testing.T, folder string, wrap ...string) *appender {
	t.Helper()
	args := append(slices.Clone(wrap), os.Args[0])
	a := &appender{cmd: exec.Command(args[0], args[1:]...), acks: make(chan anAck, 1000)}
	a.cmd.Env = append(os.Environ(), envLog+"="+folder)
	a.cmd.Stderr = &a.said
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if a.input, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.acks)
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			ack, err := parseAck(scan.Text())
			if err != nil {
				break // the process was killed while it wrote the line
			}
			a.acks <- ack
		}
	}()
	return a
}

// take takes n acknowledgements, fewer when the process ends or until ends.
func (a *appender) take(n int, until <-chan time.Time) {
	for range n {
		select {
		case ack, ok := <-a.acks:
			if !ok {
				return
			}
			a.trail = append(a.trail, ack)
		case <-until:
			return
		}
	}
}

// kill ends the process at once and returns all it acknowledged.
func (a *appender) kill() []anAck {
	_ = a.cmd.Process.Kill() // it may have ended by itself
	return a.end()
}

// end lets the process end.
func (a *appender) end() []anAck {
	_ = a.input.Close()
	for ack := range a.acks {
		a.trail = append(a.trail, ack)
	}
	_ = a.cmd.Wait()
	return a.trail
}

// checkLog opens a log that was broken. Each entry acknowledged until then is
// where it was said to be, and the log goes on from each head that was seen.
func checkLog(t *testing.T, folder string, acks []anAck) {
	t.Helper()
	ctx := context.Background()
	o, end, err := logOptions(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	l, err := tlog.Open(ctx, o)
	if errors.Is(err, tlog.ErrNoLog) && len(acks) == 0 {
		if err := tlog.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
		l, err = tlog.Open(ctx, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Start()
	if _, err := l.Add(ctx, tlogtest.Entry(fmt.Sprint("it goes on ", len(acks)))); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	leaves := map[int64]tlog.Hash{}
	v := tlog.VerifyOptions{Source: l, Origin: tlogtest.Origin, Verifier: o.Verifier, Entry: func(index int64, data []byte) error {
		leaves[index] = tlog.LeafHash(data)
		return nil
	}}
	for _, a := range acks {
		v.Known = append(v.Known, tlog.Known{From: "a client", Checkpoint: a.head})
	}
	r, err := tlog.Verify(ctx, v)
	if err != nil || r.Bad != nil {
		t.Fatalf("%v, %v", r.Bad, err)
	}
	for _, a := range acks {
		if leaves[a.index] != a.leaf {
			t.Fatalf("entry %d, acknowledged, is another", a.index)
		}
	}
}

// TestKillLog kills a process that appends, again and again on the same folder.
func TestKillLog(t *testing.T) {
	folder := t.TempDir()
	r := rand.New(rand.NewPCG(seed, 7))
	var acks []anAck
	for run := range runs(t) {
		a := startAppender(t, folder)
		if run%5 != 4 { // else while it gets up
			a.take(1+r.IntN(400), time.After(20*time.Second))
		}
		<-time.After(time.Duration(r.IntN(15_000)) * time.Microsecond)
		acks = append(acks, a.kill()...)
		checkLog(t, folder, acks)
		if t.Failed() {
			t.Fatalf("run %d of seed %d; it said:\n%s", run, seed, a.said.String())
		}
	}
	t.Logf("%d acknowledgements in %d runs", len(acks), runs(t))
	if len(acks) == 0 {
		t.Error("nothing was acknowledged")
	}
}

// TestPowerCutLog records a process that appends, and cuts the power at moments
// of the record.
func TestPowerCutLog(t *testing.T) {
	dir := t.TempDir()
	root, trace := filepath.Join(dir, "data"), filepath.Join(dir, "trace")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	a := startAppender(t, root, recorder(testparts.Program(t, "strace"), trace)...)
	pid := a.cmd.Process.Pid
	a.take(900, time.After(30*time.Second))
	acks := a.end()
	calls := readTraceOf(t, trace, pid)
	if len(acks) < 300 {
		t.Fatalf("%d acknowledgements; it said:\n%s", len(acks), a.said.String())
	}
	first := slices.IndexFunc(calls, func(c call) bool { return c.at.After(acks[0].at) })
	t.Logf("%d calls, %d of them before the first of %d acknowledgements", len(calls), first, len(acks))
	p, err := newPlayer(root)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 8))
	for run, at := range moments(r, 4*runs(t), first, len(calls)) {
		p.playTo(t, calls, at)
		kinds := losses(r)
		kind := slices.Sorted(maps.Keys(kinds))[run%len(kinds)]
		t.Run(fmt.Sprintf("call %d, %s", at, kind), func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			if err := write(p.disk.Restart(kinds[kind]), p.root, data); err != nil {
				t.Fatal(err)
			}
			before := acks
			if at < len(calls) {
				before = slices.DeleteFunc(slices.Clone(acks), func(a anAck) bool { return !a.at.Before(calls[at].at) })
			}
			checkLog(t, data, before)
		})
	}
}

// TestSystemCallsLog fails system calls of a process that appends. What it
// acknowledges nonetheless is there after it was killed.
func TestSystemCallsLog(t *testing.T) {
	strace := testparts.Program(t, "strace")
	folder := t.TempDir()
	var acks []anAck
	injected, gaveUp := 0, 0
	a := startAppender(t, folder)
	for i, b := range breaks(2 * runs(t)) {
		a.take(20, time.After(10*time.Second))
		s := inject(t, strace, a.cmd.Process.Pid, b)
		a.take(200, time.After(3*time.Second))
		n := s.end(t)
		injected += n
		if syscall.Kill(a.cmd.Process.Pid, 0) != nil || i%4 == 3 || len(a.acks) == 0 {
			acks = append(acks, a.kill()...)
			checkLog(t, folder, acks)
			if strings.Contains(a.said.String(), "appending:") {
				gaveUp++
			}
			if t.Failed() {
				t.Fatalf("%s %d with %s, %d times; it said:\n%s", b.call, b.n, b.errno, n, a.said.String())
			}
			a = startAppender(t, folder)
		}
	}
	acks = append(acks, a.kill()...)
	checkLog(t, folder, acks)
	t.Logf("%d calls failed, the process gave up %d times, %d acknowledgements", injected, gaveUp, len(acks))
	if injected == 0 {
		t.Error("no call failed")
	}
}
