package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// faultRuns is how often a server is broken for a bar.
const faultRuns = "100"

// broke runs a test of package fault that breaks a server faultRuns times, and
// reads out how many of its checks failed: none may.
func broke(test string) func(context.Context, *bench) (reading, error) {
	return func(ctx context.Context, b *bench) (reading, error) {
		binary, err := filepath.Abs(cmp.Or(b.env("BONDED_TEST_BINARY"), "bin/bonded"))
		if err != nil {
			return reading{}, fmt.Errorf("finding the server: %w", err)
		}
		cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout=30m", "-run=^"+test+"$", "./test/fault")
		cmd.Env = append(os.Environ(), "BONDED_FAULT_RUNS="+faultRuns, "BONDED_TEST_BINARY="+binary)
		out, err := cmd.CombinedOutput()
		failed := bytes.Count(out, []byte("--- FAIL:"))
		var exit *exec.ExitError
		switch {
		case bytes.Contains(out, []byte("--- SKIP:")):
			return reading{}, absent("a part of %s is missing; make test says which", test)
		case err != nil && (!errors.As(err, &exit) || failed == 0):
			return reading{}, fmt.Errorf("running %s: %w\n%s", test, err, out)
		case failed == 0 && !bytes.Contains(out, []byte("--- PASS: "+test)):
			return reading{}, fmt.Errorf("running %s: it did not run\n%s", test, out)
		}
		return reading{value: float64(failed), detail: faultRuns + " runs of " + test}, nil
	}
}
