package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// part is something that one script of test/parts brings up.
type part struct {
	name   string
	script string // without .sh; Optional, default: the name
	env    string // NAME=VALUE for the script. Optional.
	// builds says that the part is worth building from Go modules in every run;
	// the others are used where they are built or installed already.
	builds bool
	// root says that the part can be used by root alone.
	root bool
	// brings are the suites that need the part, beside that of its name. Optional.
	brings []string
}

// suiteParts are brought up in this order and stopped in reverse.
var suiteParts = []part{
	{name: "postgres"},
	{name: "s3", builds: true},
	{name: "crane", script: "clients", env: "CLIENTS=crane", builds: true},
	{name: "clients"},
	{name: "strace"},
	{name: "softhsm"},
	{name: "podman", root: true, brings: []string{"buildah", "skopeo"}},
	{name: "docker", root: true},
}

// conformanceParts are the storage that the programs test, and the programs.
var conformanceParts = []part{
	{name: "postgres"},
	{name: "s3", builds: true},
	{name: "conformance", builds: true},
}

// parts are the parts of one run and what they export.
type parts struct {
	scripts string   // folder of the scripts
	env     []string // the environment for tests
	started []string // scripts, in order
	absent  map[string]string
	dir     string // PARTS_RUN
}

// newParts prepares a run whose data lies in a new folder under the system's
// folder for temporary files. Close removes it.
func newParts(scripts string, env []string) (*parts, error) {
	dir, err := os.MkdirTemp("", "bonded-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the parts: %v", err)
	}
	// PostgreSQL runs as another user and must be able to walk through.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening %s to other users: %v", dir, err)
	}
	return &parts{
		scripts: scripts,
		env:     setenv(env, "PARTS_RUN", dir),
		absent:  map[string]string{},
		dir:     dir,
	}, nil
}

// start brings up each part that can be had. What cannot is kept in absent
// with the reason that its script gave.
func (p *parts) start(ctx context.Context, w io.Writer, list []part, install bool) {
	for _, x := range list {
		begun := time.Now()
		if err := p.startOne(ctx, x, install); err != nil {
			p.absent[x.name] = err.Error()
			fmt.Fprintf(w, "part  %-12s absent: %v\n", x.name, err)
			continue
		}
		fmt.Fprintf(w, "part  %-12s up after %s\n", x.name, time.Since(begun).Round(100*time.Millisecond))
	}
}

func (p *parts) startOne(ctx context.Context, x part, install bool) error {
	if x.root && os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	env := p.env
	if !install && !x.builds {
		env = setenv(env, "PARTS_INSTALL", "no")
	}
	if name, value, ok := strings.Cut(x.env, "="); ok {
		env = setenv(env, name, value)
	}
	var stdout, stderr bytes.Buffer
	script := cmp.Or(x.script, x.name)
	cmd := exec.CommandContext(ctx, filepath.Join(p.scripts, script+".sh"), "start")
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s", lastLine(stderr.String(), err.Error()))
	}
	p.started = append(p.started, script)
	for name, value := range exports(stdout.String()) {
		p.env = setenv(p.env, name, value)
	}
	return nil
}

// explain gives skipped tests the reason why their part is absent: they saw no
// more than that it is.
func (p *parts) explain(skips []skip, known []part) {
	for _, x := range known {
		why, absent := p.absent[x.name]
		for i := range skips {
			if s := &skips[i]; absent && (s.part == x.name || slices.Contains(x.brings, s.part)) {
				s.reason = why
			}
		}
	}
}

// close stops what was started, last first, and removes the data. It does so
// even where the run was cancelled, so it takes no context of the run.
func (p *parts) close(w io.Writer) {
	for i := len(p.started) - 1; i >= 0; i-- {
		cmd := exec.Command(filepath.Join(p.scripts, p.started[i]+".sh"), "stop")
		cmd.Env = p.env
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(w, "part  %-12s did not stop: %s\n", p.started[i], lastLine(string(out), err.Error()))
		}
	}
	if err := os.RemoveAll(p.dir); err != nil {
		fmt.Fprintf(w, "part  leaves %s behind: %v\n", p.dir, err)
	}
}

var exportLine = regexp.MustCompile(`^export ([A-Za-z_][A-Za-z0-9_]*)='(.*)'$`)

// exports reads the lines `export NAME='value'` that a script printed.
func exports(out string) map[string]string {
	vars := map[string]string{}
	scan := bufio.NewScanner(strings.NewReader(out))
	for scan.Scan() {
		if m := exportLine.FindStringSubmatch(scan.Text()); m != nil {
			vars[m[1]] = m[2]
		}
	}
	return vars
}

// setenv returns env with name set to value; env itself is not changed.
func setenv(env []string, name, value string) []string {
	out := make([]string, 0, len(env)+1)
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return append(out, name+"="+value)
}

// lastLine returns the last line of s that says something, else otherwise.
func lastLine(s, otherwise string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return otherwise
}
