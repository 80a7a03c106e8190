// Command bench measures what the project promises about its own cost. Each bar
// is a number and the limit it must stay under; a bar whose peer or program is not
// on this machine was not seen, which is neither passed nor missed.
//
// CPU times are of the server's process alone. A bar compares with a peer, or with
// a calibration loop, of the same run on the same machine; none is a wall time by
// itself.
//
// Usage:
//
//	bench [-bars REGEXP] [-sizes N,N,N] [-out FILE]
//
// What it measures with comes from the environment; all of it is optional, and
// bars that need what is not there are not seen:
//
//	BONDED_TEST_BINARY    the server (default: bin/bonded)
//	BONDED_TEST_OSV       a folder with advisories in the layout of osv.dev
//	BONDED_PEER_REGISTRY  distribution's registry
//	BONDED_PEER_ZOT       zot
//	BONDED_PEER_TRIVY     trivy
//	BONDED_PEER_TRIVY_DB  a folder with trivy's database; without it trivy matches nothing
//
// The Debian image is made once, of packages that apt-get downloads, and kept in
// the user's cache folder (about 420 MB).
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitMet    = 0
	exitMissed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pattern := flags.String("bars", "", "measure the bars whose name matches; empty: all")
	scale := flags.String("sizes", "1000,10000,100000", "three numbers of images, multiples of 1000, between which growth is measured")
	out := flags.String("out", "", "write the table to this file; with -bars it must be empty")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	chosen, err := regexp.Compile(*pattern)
	if err != nil {
		fmt.Fprintf(stderr, "bench: reading -bars: %v\n", err)
		return exitUsage
	}
	sizes, err := readSizes(*scale)
	if err != nil {
		fmt.Fprintf(stderr, "bench: reading -sizes: %v\n", err)
		return exitUsage
	}
	if err := measureAll(ctx, stdout, &bench{env: os.Getenv, sizes: sizes}, chosen, *out); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return exitMissed
	}
	return exitMet
}

// readSizes reads the three sizes of stocks, which grow.
func readSizes(text string) ([]int, error) {
	var sizes []int
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		if n < 1000 || n%1000 != 0 || len(sizes) > 0 && n <= sizes[len(sizes)-1] {
			return nil, fmt.Errorf("%d is no multiple of 1000, or not larger than the size before", n)
		}
		sizes = append(sizes, n)
	}
	if len(sizes) != 3 {
		return nil, fmt.Errorf("%d sizes are given, where three are needed", len(sizes))
	}
	return sizes, nil
}

// measureAll measures the chosen bars, prints each as it is known, and writes
// the table where all were measured.
func measureAll(ctx context.Context, w io.Writer, b *bench, chosen *regexp.Regexp, out string) (err error) {
	if b.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return fmt.Errorf("making a folder for the run: %w", err)
	}
	defer os.RemoveAll(b.dir)
	results := measure(ctx, w, b, bars(), chosen)
	if err := b.stopAll(); err != nil {
		return err
	}
	if out != "" && chosen.String() == "" {
		if err := os.WriteFile(out, []byte(markdown(results, machine())), 0o644); err != nil {
			return fmt.Errorf("writing the table: %w", err)
		}
	}
	return verdictOf(results)
}
