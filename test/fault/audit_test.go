package fault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// envAudit makes this program a process that commits events, and moves them into
// the audit log of a folder, until it is killed.
const envAudit = "BONDED_FAULT_AUDIT"

// audited is the audit log of a folder, with its database and its head store.
type audited struct {
	db  *db.DB
	log *tlog.Log
	o   tlog.Options
}

func openAudited(folder string) (*audited, error) {
	heads := filepath.Join(folder, "heads")
	if err := os.MkdirAll(heads, 0o700); err != nil {
		return nil, err
	}
	blobs, err := disk.Open(filepath.Join(folder, "content"), disk.Options{})
	if err != nil {
		return nil, err
	}
	d, err := db.Open(context.Background(), db.Options{Folder: folder, Clock: time.Now})
	if err != nil {
		return nil, err
	}
	a := &audited{db: d, o: tlog.Options{Origin: tlogtest.Origin, Store: d.AuditLog(), Blobs: blobs, Clock: time.Now}}
	var errs [3]error
	a.o.Signer, errs[0] = tlog.NewEd25519Signer(tlogtest.Origin, tlogtest.Key(tlogtest.Origin))
	a.o.Verifier, errs[1] = tlog.ParseVerifier(fmt.Sprint(a.o.Signer))
	a.o.Heads, errs[2] = tlog.NewHeadFolder(heads, nil)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := tlog.Create(context.Background(), a.o); err != nil && !errors.Is(err, tlog.ErrExists) && !errors.Is(err, tlog.ErrBehind) {
		return nil, errors.Join(err, d.Close())
	}
	if a.log, err = tlog.Open(context.Background(), a.o); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return a, nil
}

// auditForever commits events, and says the ID of each that was committed.
func auditForever(folder string) error {
	ctx := context.Background()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	a, err := openAudited(folder)
	if err != nil {
		return err
	}
	s := audit.NewSequencer(audit.SequencerOptions{Log: audit.NewIntegrator(audit.IntegratorOptions{Store: a.db, Log: a.log}), Batch: 40, Gap: time.Millisecond})
	a.db.OnCommit(func(db.Commit) { s.Wake() })
	s.Start()
	var mu sync.Mutex
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for n := 0; ; n++ {
				e := audit.Event{ID: fmt.Sprint(os.Getpid(), "-", w, "-", n), At: time.Now().UTC(), Kind: "test.written", Principal: "tester", Method: "internal"}
				err := a.db.Update(ctx, func(tx *db.Tx) error { return tx.Append(ctx, e) })
				mu.Lock()
				if err == nil {
					fmt.Println(e.ID)
				} else {
					fmt.Fprintln(os.Stderr, err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return nil
}

// checkAudited drains what waits, verifies the log with the rows and the head
// store, and wants each event that was committed, once.
func checkAudited(t *testing.T, folder string, committed map[string]bool) {
	t.Helper()
	ctx := t.Context()
	a, err := openAudited(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.db.Close(); err != nil {
			t.Error(err)
		}
	}()
	in := audit.NewIntegrator(audit.IntegratorOptions{Store: a.db, Log: a.log})
	for n := 1; n > 0; {
		if n, err = in.Sequence(ctx, 500); err != nil {
			t.Fatal(err)
		}
	}
	check, err := audit.Verify(ctx, audit.VerifyOptions{
		Source: a.log, Origin: tlogtest.Origin, Verifier: a.o.Verifier, Rows: a.db, Heads: a.o.Heads, Clock: time.Now,
		Appended: func(context.Context) (int64, error) { return a.log.Status().Size, nil },
	})
	if err != nil || check.State != api.AuditOK {
		t.Fatalf("%+v, %v", check, err)
	}
	seen := map[string]int{}
	for after := int64(0); ; {
		entries, err := a.db.Entries(ctx, after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			_, id, _ := strings.Cut(string(e.Bytes), `"id":"`)
			id, _, _ = strings.Cut(id, `"`)
			seen[id]++
			after = e.Seq
		}
	}
	for id := range committed {
		if seen[id] == 0 {
			t.Errorf("event %s was committed and is not in the log", id)
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("event %s is in the log %d times", id, n)
		}
	}
}

// TestKillAudit kills a process between the commits of its events and those of
// its log, again and again on the same folder: no event is lost or logged twice,
// and the log goes on from each head that left the process.
func TestKillAudit(t *testing.T) {
	folder := t.TempDir()
	r := rand.New(rand.NewPCG(seed, 9))
	committed := map[string]bool{}
	for run := range runs(t) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envAudit+"="+folder)
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		input, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		read := func() bool {
			line, err := lines.ReadString('\n')
			if err == nil {
				committed[strings.TrimSpace(line)] = true
			}
			return err == nil
		}
		for range 1 + r.IntN(600) {
			if !read() {
				t.Fatalf("run %d of seed %d ended by itself; it said:\n%s", run, seed, said.String())
			}
		}
		<-time.After(time.Duration(r.IntN(15_000)) * time.Microsecond)
		_ = cmd.Process.Kill() // it may have ended by itself
		for read() {           // what it said before
		}
		_ = input.Close()
		_ = cmd.Wait()
		checkAudited(t, folder, committed)
		if t.Failed() {
			t.Fatalf("run %d of seed %d; it said:\n%s", run, seed, said.String())
		}
	}
	t.Logf("%d events in %d runs", len(committed), runs(t))
}
