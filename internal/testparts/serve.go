package testparts

import (
	"bufio"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTime bounds how long a server may take to say where it listens.
const startTime = 60 * time.Second

// stopTime bounds a graceful stop.
const stopTime = 30 * time.Second

// Server is a running bonded of the test's own.
type Server struct {
	URL   string // root, with scheme, without a slash at the end
	Token string // of the administrator; empty where the server printed none
	PID   int    // of the process, for those who measure or kill it
}

// Dev starts `bonded serve --dev` on a free port with its data in a new folder
// and any further arguments, and stops it when the test ends. A server that does
// not stop in time, or not with success, fails the test.
func Dev(t testing.TB, args ...string) Server {
	t.Helper()
	all := append([]string{"serve", "--dev", "--listen", "127.0.0.1:0", "--data", t.TempDir()}, args...)
	cmd := exec.Command(Binary(t), all...)
	pipe, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting bonded: %v", err)
	}
	said := watch(pipe)
	exited := make(chan error, 1)
	go func() {
		exited <- cmd.Wait()
		_ = write.Close() // the reader is this process, which sees the end
	}()
	t.Cleanup(func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("bonded was gone before its test: %v\n%s", err, said.text())
			return
		}
		select {
		case err := <-exited:
			if err != nil {
				t.Errorf("bonded stopped with: %v\n%s", err, said.text())
			}
		case <-time.After(stopTime):
			t.Errorf("bonded did not stop within %s\n%s", stopTime, said.text())
			_ = cmd.Process.Kill() // it may have ended by now
		}
	})
	select {
	case <-said.ready:
	case err := <-exited:
		exited <- err
		t.Fatalf("bonded did not start: %v\n%s", err, said.text())
	case <-time.After(startTime):
		t.Fatalf("bonded did not say where it listens within %s\n%s", startTime, said.text())
	}
	return Server{URL: said.url, Token: said.token, PID: cmd.Process.Pid}
}

var (
	urlWord   = regexp.MustCompile(`https?://127\.0\.0\.1:[0-9]+`)
	tokenWord = regexp.MustCompile(`(?i)\btoken\W+([A-Za-z0-9._~-]{16,})`)
)

// output collects what a server says. url and token may be read once ready is
// closed.
type output struct {
	ready      chan struct{}
	url, token string

	mu   sync.Mutex // guards said
	said strings.Builder
}

// watch reads r to its end. ready is closed when both the address and the
// administrator's token were said.
func watch(r io.Reader) *output {
	o := &output{ready: make(chan struct{})}
	go func() {
		scan := bufio.NewScanner(r)
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			o.line(scan.Text())
		}
		// A line over the limit must not block the server.
		_, _ = io.Copy(io.Discard, r)
	}()
	return o
}

func (o *output) line(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.said.WriteString(s + "\n")
	if o.url != "" && o.token != "" {
		return
	}
	if o.url == "" {
		o.url = urlWord.FindString(s)
	}
	if m := tokenWord.FindStringSubmatch(s); m != nil && o.token == "" {
		o.token = m[1]
	}
	if o.url != "" && o.token != "" {
		close(o.ready)
	}
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.said.String()
}
