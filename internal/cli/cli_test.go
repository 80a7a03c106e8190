package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/fsck"
)

var update = flag.Bool("update", false, "rewrite the scripts' expectations and docs/cli")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bonded": bonded})
}

// bonded is the command as the scripts run it: everything is real but the
// clock and the parts that need a server's stores.
func bonded() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	env := cli.Env{Vars: os.Environ(), Version: "1.2.3", Clock: func() time.Time { return now }, After: soon, Hostname: "box", Deps: fakeParts()}
	width, _ := strconv.Atoi(os.Getenv("TEST_WIDTH")) // no terminal where it is not set
	code := cli.Run(ctx, env, cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Width: width}, os.Args[1:])
	stop()
	os.Exit(code)
}

// soon is time.After for those who have no time.
func soon(d time.Duration) <-chan time.Time { return time.After(d / 50) }

// fakeParts stand for the parts that only main knows.
func fakeParts() cli.Deps {
	started := func(c *config.Config) cli.Started {
		return cli.Started{URL: "https://box:8443", Data: string(c.Data), Fresh: true, Notes: map[string]string{"advisories": "none yet: bonded feed update"}}
	}
	return cli.Deps{
		Serve: func(ctx context.Context, c *config.Config, o cli.ServeOptions) error {
			o.Log.InfoContext(ctx, "serving", "listen", c.Listen, "feeds", len(c.Feeds), "plain", c.TLS.Off)
			s := started(c)
			switch {
			case o.Dev && !config.LoopbackAddress(c.Listen):
				return cli.Misused(errors.New("a development server listens on loopback only"), "--listen 127.0.0.1:PORT")
			case o.Dev:
				s.URL, s.Admin = "http://"+c.Listen, &api.Enrolled{Name: "administrator", Secret: "0123456789abcdef"}
				s.Reader = &api.Enrolled{Name: "reader", Secret: "fedcba9876543210"}
			default:
				s.Enrol = &api.Invite{Name: "admin", Code: "KX4P-9QTM", Expires: now.Add(15 * time.Minute)}
				s.CA, s.Fingerprint = "-----BEGIN CERTIFICATE-----\n", "00ff"
			}
			o.Ready(s)
			return nil
		},
		Init: func(_ context.Context, c *config.Config, _ *slog.Logger) (*cli.Started, error) {
			s := started(c)
			if url := os.Getenv("FAKE_URL"); url != "" {
				s.URL = url
			}
			s.Enrol = &api.Invite{Name: "bob", Code: "KX4P-9QTM", Expires: now.Add(15 * time.Minute)}
			return &s, nil
		},
		Scan: func(_ context.Context, r cli.ScanRequest) (*cli.ScanResult, error) {
			if _, err := os.Stat(r.Target); err != nil {
				return nil, fmt.Errorf("opening %s: %w", r.Target, err)
			}
			r.Step("reading layer 1 of 1")
			d := denied(r.Gate.Name())
			if r.Advisories == "" {
				d.Outcome, d.Reasons = api.CannotTell, d.Reasons[2:]
			}
			return &cli.ScanResult{Target: r.Target, Inventory: api.Inventory{Coverage: "full", Searched: "full", Layers: make([]api.Layer, 1)}, Findings: findings(), Decision: *d, Next: fakeNext(r.Gate.Name())}, nil
		},
		Rotate: fakeRotate, Verify: fakeVerify,
		Audit: func(_ context.Context, c *config.Config, r cli.AuditRequest) (*api.AuditCheck, error) {
			return &api.AuditCheck{State: api.AuditLogAhead, Origin: fakeOrigin, Entries: 3, Head: strings.Repeat("ab", 32), Checkpoint: "signed", At: now, Problem: "ahead", Next: "find it", Checks: []api.AuditPart{
				{Name: "history", State: api.AuditLogAhead, Text: fmt.Sprintf("the log is ahead of the database (%d heads)", len(r.Heads)), Next: "find it"},
			}}, nil
		},
		Fsck: func(_ context.Context, c *config.Config, r cli.FsckRequest) (*fsck.Report, error) {
			report := &fsck.Report{Blobs: 12, Bytes: 375_000_000, Manifests: 3, Placements: 4, Tags: 1, Entries: 18204, Problems: []fsck.Problem{}}
			if r.Content {
				report.Problems = append(report.Problems, fsck.Problem{Check: "blob", Subject: goodDigest, Text: "has 3 bytes, 4 are recorded"})
				report.Orphans = 1
			}
			return report, nil
		},
	}
}

// fakeNext is what the zone after dev says.
func fakeNext(gate string) []api.Decision {
	if gate != "dev" {
		return nil
	}
	return []api.Decision{*denied("staging")}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		UpdateScripts:      *update,
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			f := newFakeServer(t)
			env.Values["fake"] = f
			env.Defer(func() {
				f.Close()
				for _, w := range f.wrong {
					env.T().Fatal("the fake server was misused: " + w)
				}
			})
			env.Setenv("FAKE_URL", f.URL)
			env.Setenv("FAKE_HOST", strings.TrimPrefix(f.URL, "http://"))
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("USER", "bob")
			return os.Mkdir(filepath.Join(env.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"as":       as,
			"auditlog": auditlog,
			"mode":     mode,
			"seen":     seenBefore,
		},
	})
}

// exits runs a command and wants that exit code: exits 3 bonded why …
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: exits CODE COMMAND")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("exits with %d, want %d", code, want)
	}
}

// as sets who asks the fake server, by environment: as ann.
func as(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("BONDED_URL", ts.Getenv("FAKE_URL"))
	ts.Setenv("BONDED_TOKEN", args[0]+":s3cret")
}

// auditlog does something to the fake server's audit log: auditlog rewrite.
func auditlog(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value("fake").(*fakeServer)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.audit.mu.Lock()
	defer f.audit.mu.Unlock()
	events := slices.Clone(f.events)
	switch args[0] {
	case "grow":
		f.events = append(events, api.Event{Seq: 4, ID: "3", At: now, Kind: "token.made", Principal: "ann", Method: "token"})
		f.audit.fill(f.events)
	case "rewrite":
		events[1].Principal = "mallory"
		f.audit.fill(events)
	case "cut":
		f.audit.fill(events[:1])
	case "restore":
		f.audit.fill(events)
		f.audit.rows = nil
	case "rekey": // which clients are not told of before publish
		f.audit.name = "audit-2"
		f.audit.fill(events)
	case "publish":
		r, err := f.repository()
		ts.Check(err)
		ts.Check(r.publish(f.audit))
	case "unwitnessed":
		f.audit.unsign()
	case "editrow":
		f.audit.rows = []api.AuditRow{{Seq: 2, Text: "row 2 was edited: its principal is \"ann\", and the row says \"mallory\""}}
	default:
		ts.Fatalf("auditlog %s", args[0])
	}
}

// mode wants those permissions of a file: mode 0600 file.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// stream collects what a command says and tells about each write.
type stream struct {
	strings.Builder
	wrote chan string
}

func (s *stream) Write(p []byte) (int, error) {
	s.wrote <- string(p)
	return len(p), nil
}

// TestTail follows the events of a server until it is interrupted.
func TestTail(t *testing.T) {
	f := newFakeServer(t)
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	out, pause, code := &stream{wrote: make(chan string, 1)}, make(chan time.Time), make(chan int)
	env := cli.Env{Vars: []string{"BONDED_URL=" + f.URL, "BONDED_TOKEN=ann:s3cret"}, Clock: func() time.Time { return now }, After: func(time.Duration) <-chan time.Time { return pause }}
	go func() {
		code <- cli.Run(ctx, env, cli.Stdio{Out: out, Err: out}, []string{"audit", "tail", "-o", "json"})
	}()
	next := func() (e api.Event) {
		t.Helper()
		line := <-out.wrote
		if err := json.Unmarshal([]byte(line), &e); err != nil || strings.Count(line, "\n") != 1 {
			t.Fatalf("%q: %v", line, err)
		}
		return e
	}
	for seq := int64(1); seq <= 3; seq++ {
		if e := next(); e.Seq != seq {
			t.Errorf("event %d comes where %d should", e.Seq, seq)
		}
	}
	f.mu.Lock()
	f.events = append(f.events, api.Event{Seq: 4, Kind: "placement.denied"})
	f.mu.Unlock()
	pause <- now
	if e := next(); e.Seq != 4 {
		t.Errorf("event %d comes where 4 should", e.Seq)
	}
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("interrupted, it exits with %d", got)
	}
}

// TestWait: bonded why asks again until there is a decision, and no longer than
// it was told to.
func TestWait(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		answer := api.Why{Artifact: api.Artifact{Repository: "dev/a", State: "held"}, Held: true}
		if asked == 3 {
			answer.Decision = &api.Decision{Zone: "dev", Outcome: api.Deny}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	for wait, want := range map[string]struct{ asked, code int }{"0s": {1, 3}, "1s": {2, 3}, "5m": {3, 1}} {
		asked = 0
		clock := now
		env := cli.Env{
			Vars: []string{"BONDED_URL=" + srv.URL, "BONDED_TOKEN=ann:s3cret"}, Clock: func() time.Time { return clock },
			After: func(time.Duration) <-chan time.Time {
				clock = clock.Add(time.Second)
				c := make(chan time.Time, 1)
				c <- clock
				return c
			},
		}
		code := cli.Run(t.Context(), env, cli.Stdio{Out: io.Discard, Err: io.Discard}, []string{"why", "dev/a:1", "--wait", wait})
		if code != want.code || asked != want.asked {
			t.Errorf("--wait %s: asked %d times and exited with %d, want %d and %d", wait, asked, code, want.asked, want.code)
		}
	}
}
