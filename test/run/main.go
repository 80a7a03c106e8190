// Command run is the one way the project is tested: `make test` and .ci/run both
// start it. It brings up the real parts that are at hand, runs the linters and
// every Go test against them, stops the parts, and closes with the suites that did
// not run and why.
//
// Usage:
//
//	run test [-require-all]          parts, linters, all tests
//	run lint                         linters alone
//	run fuzz [-time 10s]             every fuzz target for a short while
//	run conformance [-require-all]   the official OCI programs, which are in no other run
//
// With -require-all every part is installed (Debian packages as root, programs
// from Go modules) and a test that is skipped has failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitPassed = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(stderr, "usage: run test|lint|fuzz|conformance [flags]")
		return exitUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	requireAll := flags.Bool("require-all", false, "install every part; a skipped test has failed")
	fuzzTime := flags.Duration("time", 10*time.Second, "how long each fuzz target runs")
	if err := flags.Parse(args[1:]); err != nil {
		return exitUsage
	}
	var err error
	switch args[0] {
	case "test":
		err = testAll(ctx, stdout, *requireAll)
	case "lint":
		err = lint(ctx, stdout)
	case "fuzz":
		err = fuzzAll(ctx, stdout, ".", *fuzzTime)
	case "conformance":
		err = conformance(ctx, stdout, *requireAll)
	default:
		fmt.Fprintf(stderr, "run: no such verb: %s\n", args[0])
		return exitUsage
	}
	if err != nil {
		fmt.Fprintf(stderr, "run: %v\n", err)
		return exitFailed
	}
	return exitPassed
}
