package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// bar is one promise: a value that must not exceed a limit.
type bar struct {
	name  string // words with hyphens
	what  string // what is divided by what, or measured in which unit
	limit float64
	unit  string // Optional; empty for a ratio.
	// measure returns the value. An error that matches errNotSeen says that
	// something is not on this machine.
	measure func(ctx context.Context, b *bench) (reading, error)
}

// reading is a value and what it was made of.
type reading struct {
	value  float64
	detail string
}

// outcome is what became of a bar.
type outcome int

const (
	met outcome = iota
	missed
	notSeen
	broken // the measurement failed; it says nothing about the bar and fails the run
)

var outcomeNames = map[outcome]string{met: "met", missed: "MISSED", notSeen: "not seen", broken: "BROKEN"}

// errNotSeen is matched by the error of a measurement that needs what this
// machine has not.
var errNotSeen = errors.New("not seen")

// absent returns an error that matches errNotSeen.
func absent(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNotSeen, fmt.Sprintf(format, args...))
}

// result is a bar that was tried.
type result struct {
	bar     bar
	outcome outcome
	reading reading
	reason  string // of what is neither met nor missed
	took    time.Duration
}

// bench is what measurements share.
type bench struct {
	dir string // for this run; removed at its end
	env func(name string) string

	// sizes are the numbers of images in stocks, three, smallest first.
	sizes []int

	loop    float64          // of calibration; 0 until asked for
	server  *ours            // nil until asked for
	stocks  map[int]*stocked // by size, those that were asked for
	audit   *grownLog        // nil until asked for
	revoked map[int]*revoked // by size, as they are asked for

	// What several bars read out of one measurement; zero until it was made.
	image                  *comparison
	plainOurs, plainTheirs plain
}

// measure tries the chosen bars one after the other and prints a line for each.
func measure(ctx context.Context, w io.Writer, b *bench, list []bar, chosen *regexp.Regexp) []result {
	var results []result
	for _, x := range list {
		if !chosen.MatchString(x.name) {
			continue
		}
		begun := time.Now()
		got, err := x.measure(ctx, b)
		r := judge(x, got, err)
		r.took = time.Since(begun)
		results = append(results, r)
		fmt.Fprintln(w, line(r))
	}
	return results
}

// judge compares a reading with its limit.
func judge(x bar, got reading, err error) result {
	r := result{bar: x, reading: got}
	switch {
	case errors.Is(err, errNotSeen):
		r.outcome, r.reason = notSeen, strings.TrimPrefix(err.Error(), errNotSeen.Error()+": ")
	case err != nil:
		r.outcome, r.reason = broken, err.Error()
	case got.value > x.limit:
		r.outcome = missed
	}
	return r
}

// verdictOf is an error where a bar was missed or could not be measured. What
// was not seen is no failure, and never counts as met.
func verdictOf(results []result) error {
	var names []string
	for _, r := range results {
		if r.outcome == missed || r.outcome == broken {
			names = append(names, r.bar.name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("not met: %s", strings.Join(names, ", "))
	}
	return nil
}
