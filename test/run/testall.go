package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/testparts"
)

// testTimeout bounds one package's tests. It is far above what any needs, so
// that it tells a hang and not a slow machine.
const testTimeout = "15m"

// shownTests is how many tests of a suite that did not run are named.
const shownTests = 3

var errFailed = errors.New("not passed")

// testAll runs everything. Its error is errFailed where something did not
// pass, which was printed by then.
func testAll(ctx context.Context, w io.Writer, requireAll bool) error {
	p, err := newParts(filepath.Join("test", "parts"), os.Environ())
	if err != nil {
		return err
	}
	defer p.close(w)
	if requireAll {
		p.env = setenv(p.env, testparts.EnvRequireAll, "1")
	}
	var failures []string
	check := func(name string, err error) {
		if err != nil {
			failures = append(failures, name)
			fmt.Fprintf(w, "FAIL  %s: %v\n", name, err)
		}
	}

	check("build", buildBinary(ctx, w, p))
	p.start(ctx, w, suiteParts, requireAll)
	check("lint", lint(ctx, w))
	begun := time.Now()
	results, err := goTest(ctx, w, module{dir: ".", env: p.env}, "-timeout", testTimeout, "./...")
	check("tests", err)
	for _, m := range otherModules {
		more, err := testModule(ctx, w, m.with(p.env))
		check(m.dir, err)
		results.add(more)
	}
	fmt.Fprintf(w, "\ntests took %s\n", time.Since(begun).Round(time.Second))

	p.explain(results.skips, suiteParts)
	if missing := report(w, suites(results.skips), requireAll); missing > 0 && requireAll {
		failures = append(failures, fmt.Sprintf("%d suites did not run and all are required", missing))
	}
	if len(failures) > 0 {
		fmt.Fprintf(w, "\nNOT PASSED: %s\n", strings.Join(failures, ", "))
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", results.passed, results.failed, len(results.skips))
	if len(failures) > 0 {
		return errFailed
	}
	return nil
}

// buildBinary builds the program that the suites run, the way it is shipped.
func buildBinary(ctx context.Context, w io.Writer, p *parts) error {
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "build")
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, w, w
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make build: %v", err)
	}
	path, err := filepath.Abs(filepath.Join("bin", "bonded"))
	if err != nil {
		return fmt.Errorf("finding the program: %v", err)
	}
	p.env = setenv(p.env, testparts.EnvBinary, path)
	return nil
}

// report prints the suites that did not run, and returns how many they are.
func report(w io.Writer, list []suite, requireAll bool) int {
	if len(list) == 0 {
		fmt.Fprintln(w, "\nEvery suite ran.")
		return 0
	}
	fmt.Fprintln(w, "\nSuites that did not run")
	for _, s := range list {
		fmt.Fprintf(w, "  %-20s %s\n", s.name, s.reason)
		for i, test := range s.tests {
			if i == shownTests {
				fmt.Fprintf(w, "  %-20s … and %d more\n", "", len(s.tests)-i)
				break
			}
			fmt.Fprintf(w, "  %-20s %s\n", "", strings.TrimPrefix(test, "github.com/bonded-dev/bonded/"))
		}
	}
	if !requireAll {
		fmt.Fprintln(w, "\nTo run them: make test REQUIRE_ALL=1  (as root; installs packages and builds programs)")
	}
	return len(list)
}
