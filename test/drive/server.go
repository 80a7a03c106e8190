package drive

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// Limits of one start and one stop. They tell a hang, not a slow machine.
const (
	startTime = 60 * time.Second
	stopTime  = 60 * time.Second
)

// Server is a process of the real program on a data folder of the test's own.
// It may be killed, stopped and started again, by one goroutine at a time.
type Server struct {
	// Admin is the first administrator, who has enrolled with the code that the
	// first start printed.
	Admin *User
	// Binary is the program under test.
	Binary string

	tb      testing.TB
	args    []string // of serve, fsck and others: which configuration
	wrap    []string // what becomes the program; Optional
	data    string
	http    *http.Client // of the last start
	cmd     *exec.Cmd
	started Started
	stderr  *tail
	exited  chan struct{} // closed when the process is gone
	exit    error         // of the process; read after exited
}

// Started is what a server says when it is ready.
type Started struct {
	URL   string      `json:"url"`
	CA    string      `json:"ca"` // PEM; "" for plain HTTP
	Enrol *api.Invite `json:"enrol"`
}

// Options say what to start.
type Options struct {
	// Config is the YAML of the configuration. The lines for data and listen are
	// added to it. Optional.
	Config string
	// Binary is the program. Optional: testparts.Binary.
	Binary string
	// Wrap is the command, with arguments, that becomes the program. Optional.
	Wrap []string
	// Data is a folder that another server left; nobody is enrolled then, see As.
	// Optional.
	Data string
	// Folder is where the new data folder is made. Optional: a folder of the test.
	Folder string
}

// Start starts a server on a new folder and has the administrator enrol. The server is stopped when the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s := &Server{tb: tb, Binary: o.Binary, wrap: o.Wrap}
	if s.Binary == "" {
		s.Binary = testparts.Binary(tb)
	}
	dir := tb.TempDir()
	file := filepath.Join(dir, "bonded.yaml")
	s.data = o.Data
	if s.data == "" {
		s.data = filepath.Join(cmp.Or(o.Folder, dir), "data")
	}
	text := fmt.Sprintf("data: %s\nlisten: 127.0.0.1:0\n%s", s.data, o.Config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.args = []string{"--config", file}
	s.Again()
	tb.Cleanup(s.Stop)
	if o.Data != "" {
		return s
	}
	if s.started.Enrol == nil {
		tb.Fatal("the first start gave no code for an administrator")
	}
	nobody := &User{server: s}
	e := &api.Enrolled{}
	if err := nobody.API(tb.Context(), http.MethodPost, "/enrol", api.EnrolRequest{Code: s.started.Enrol.Code, Label: "test"}, e); err != nil {
		tb.Fatalf("enrolling the administrator: %v\n%s", err, s.Said())
	}
	s.Admin = s.user(*e)
	return s
}

// URL is the root of the server. It changes with each start.
func (s *Server) URL() string { return s.started.URL }

// CA is the PEM of the server's own authority, "" for plain HTTP.
func (s *Server) CA() string { return s.started.CA }

// PID is the process of the last start.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Said is the last of what the server logged.
func (s *Server) Said() string { return s.stderr.String() }

// Data is the folder with everything.
func (s *Server) Data() string { return s.data }

// Again starts the server, after Kill or Stop, on what is in its folder.
func (s *Server) Again() {
	s.tb.Helper()
	if err := s.TryAgain(); err != nil {
		s.tb.Fatal(err)
	}
}

// TryAgain is Again for a server that may refuse to start. The error says what
// it said.
func (s *Server) TryAgain() error {
	said := s.Launch()
	if said == nil {
		return fmt.Errorf("starting %s: %v", s.cmd.Path, s.exit)
	}
	select {
	case s.started = <-said:
	case <-s.exited:
		return fmt.Errorf("the server ended with %v before it was ready:\n%s", s.exit, s.Said())
	case <-time.After(startTime):
		s.Kill()
		return fmt.Errorf("the server was not ready within %s:\n%s", startTime, s.Said())
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.started.CA))
	s.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 16,
	}}
	return nil
}

// Launch starts the process and does not wait until it is ready. What it
// returns gets what the server then says; it is nil where nothing was started.
func (s *Server) Launch() <-chan Started {
	line := append(append(s.wrap[:len(s.wrap):len(s.wrap)], s.Binary, "serve", "-o", "json"), s.args...)
	cmd := exec.Command(line[0], line[1:]...)
	exited, said := make(chan struct{}), make(chan Started, 1)
	s.cmd, s.exited, s.stderr = cmd, exited, &tail{}
	cmd.Stdout, cmd.Stderr = &announcement{said: said}, s.stderr
	if s.exit = cmd.Start(); s.exit != nil {
		close(exited)
		return nil
	}
	go func() {
		s.exit = cmd.Wait()
		close(exited)
	}()
	return said
}

// Kill kills the process as kill -9 does, and waits until it is gone.
func (s *Server) Kill() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill() // it may be gone already, which is what is wanted
	}
	<-s.exited
}

// Stop stops the server as an operator does. One that does not stop in time, or
// not with success, fails the test; one that is gone already does not.
func (s *Server) Stop() {
	s.tb.Helper()
	select {
	case <-s.exited:
		return
	default:
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.tb.Errorf("stopping the server: %v", err)
	}
	select {
	case <-s.exited:
		if s.exit != nil {
			s.tb.Errorf("the server stopped with %v:\n%s", s.exit, s.Said())
		}
	case <-time.After(stopTime):
		s.Kill()
		s.tb.Errorf("the server did not stop within %s:\n%s", stopTime, s.Said())
	}
}

// Exited is closed when the process of the last start is gone.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Fsck runs `bonded fsck --content` on the folder of a server that does not
// run, and fails the test with what it found.
func (s *Server) Fsck() {
	s.tb.Helper()
	if out, err := s.Command("fsck", "--content", "-o", "json"); err != nil {
		s.tb.Errorf("fsck: %v\n%s", err, out)
	}
}

// Command runs another verb of the program on the server's configuration.
func (s *Server) Command(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.tb.Context()), startTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.Binary, append(args, s.args...)...).CombinedOutput()
	return string(out), err
}

// announcement reads the one JSON value that a server prints when it is ready.
type announcement struct {
	said chan<- Started
	text bytes.Buffer
	done bool
}

func (a *announcement) Write(p []byte) (int, error) {
	a.text.Write(p)
	var s Started
	if !a.done && json.Unmarshal(a.text.Bytes(), &s) == nil {
		a.done = true
		a.said <- s
	}
	return len(p), nil
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex // guards text
	text []byte
}

// tailSize is how many bytes are kept: enough for the logs of one request that
// went wrong.
const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
