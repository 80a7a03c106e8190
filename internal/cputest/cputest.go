// Package cputest is the clock for what a test or a benchmark bounds: the time of
// the processor, which a busy machine does not change, in place of the time of day.
package cputest

import (
	"syscall"
	"testing"
	"time"
)

// Used is the processor time of this process so far, user and system, of all that
// runs in it: tests that run at the same time count.
func Used(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
