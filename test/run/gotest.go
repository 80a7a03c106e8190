package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bonded-dev/bonded/internal/testparts"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string // empty for what concerns the package
	Output     string
}

// skip is one test that did not run.
type skip struct {
	pkg, test string
	part      string // empty where no part of the run is the cause
	reason    string
}

// results are what the events of a whole `go test` add up to.
type results struct {
	passed, failed int
	skips          []skip
}

// goTest runs `go test` with args in the folder of a module, prints a line per
// package, and everything a failing test said. Its error says that the run
// failed, not why: that was printed.
func goTest(ctx context.Context, w io.Writer, m module, args ...string) (results, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stderr = m.dir, m.env, os.Stderr
	// Tests get a moment to stop what they started.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return results{}, fmt.Errorf("connecting to go test: %v", err)
	}
	if err := cmd.Start(); err != nil {
		return results{}, fmt.Errorf("starting go test: %v", err)
	}
	read := newReader(w)
	if err := read.all(stdout); err != nil {
		return read.results, fmt.Errorf("reading the events of go test: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		return read.results, fmt.Errorf("go test: %v", err)
	}
	return read.results, nil
}

// reader folds events into results.
type reader struct {
	w       io.Writer
	results results
	said    map[string]*strings.Builder // what each running test printed, by package and test
}

func newReader(w io.Writer) *reader {
	return &reader{w: w, said: map[string]*strings.Builder{}}
}

func (r *reader) all(in io.Reader) error {
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 64<<10), 16<<20)
	for scan.Scan() {
		var e event
		if json.Unmarshal(scan.Bytes(), &e) != nil {
			// go test itself speaks in plain lines now and then.
			fmt.Fprintln(r.w, scan.Text())
			continue
		}
		r.one(e)
	}
	return scan.Err()
}

func (r *reader) one(e event) {
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "build-output":
		io.WriteString(r.w, e.Output)
	case "output":
		r.output(key, e)
	case "pass":
		if e.Test != "" {
			r.results.passed++
		}
		delete(r.said, key)
	case "fail":
		if e.Test != "" {
			r.results.failed++
		}
		r.print(key)
	case "skip":
		if e.Test != "" {
			r.results.skips = append(r.results.skips, skipOf(e, r.said[key]))
		}
		delete(r.said, key)
	}
}

// output keeps what a test prints until its end tells whether anybody wants to
// read it. The closing line of a package is printed at once.
func (r *reader) output(key string, e event) {
	if e.Test == "" && closing(e.Output) {
		io.WriteString(r.w, e.Output)
		return
	}
	if r.said[key] == nil {
		r.said[key] = &strings.Builder{}
	}
	r.said[key].WriteString(e.Output)
}

func (r *reader) print(key string) {
	if said := r.said[key]; said != nil {
		io.WriteString(r.w, said.String())
		delete(r.said, key)
	}
}

// closing tells whether line is what `go test` says of a whole package.
func closing(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "?   \t")
}

var (
	absentLine = regexp.MustCompile(regexp.QuoteMeta(testparts.AbsentPrefix) + `([a-z0-9.-]+): (.*)`)
	reasonLine = regexp.MustCompile(`\.go:\d+: (.*)`)
)

// skipOf reads the reason of a skip from what the test printed.
func skipOf(e event, said *strings.Builder) skip {
	s := skip{pkg: e.Package, test: e.Test, reason: "no reason given"}
	if said == nil {
		return s
	}
	if m := absentLine.FindStringSubmatch(said.String()); m != nil {
		s.part, s.reason = m[1], m[2]
	} else if m := reasonLine.FindStringSubmatch(said.String()); m != nil {
		s.reason = m[1]
	}
	return s
}

// suite is a group of skipped tests with one cause.
type suite struct {
	name, reason string
	tests        []string // package.Test, sorted
}

// suites groups skips by the part that was absent, or by their reason.
func suites(skips []skip) []suite {
	byCause := map[string]*suite{}
	for _, s := range skips {
		name := s.part
		if name == "" {
			name = s.pkg[strings.LastIndexByte(s.pkg, '/')+1:]
		}
		cause := name + "\x00" + s.reason
		if byCause[cause] == nil {
			byCause[cause] = &suite{name: name, reason: s.reason}
		}
		byCause[cause].tests = append(byCause[cause].tests, s.pkg+"."+s.test)
	}
	var list []suite
	for _, s := range byCause {
		slices.Sort(s.tests)
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b suite) int { return strings.Compare(a.name+a.reason, b.name+b.reason) })
	return list
}
