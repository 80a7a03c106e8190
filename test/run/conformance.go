package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bonded-dev/bonded/internal/testparts"
)

// conformance runs the official programs against our registry on each of its
// storages, or against the one that the environment names. Nothing is skipped: a
// storage or a program that is not to be had has failed.
func conformance(ctx context.Context, w io.Writer, install bool) error {
	p, err := newParts(filepath.Join("test", "parts"), setenv(os.Environ(), testparts.EnvRequireAll, "1"))
	if err != nil {
		return err
	}
	defer p.close(w)
	if err := buildBinary(ctx, w, p); err != nil {
		return err
	}
	p.start(ctx, w, conformanceParts, install)
	cmd := exec.CommandContext(ctx, "go", "test", "-tags", "conformance", "-count=1", "-v", "-timeout", testTimeout, "./test/conformance")
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, w, w
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go test: %v", err)
	}
	return nil
}
