package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// linters are the commands that must print nothing (gofmt) or succeed.
var linters = []struct {
	name   string
	args   []string
	silent bool // output is failure
}{
	{name: "gofmt", args: []string{"gofmt", "-l", "."}, silent: true},
	{name: "vet", args: []string{"go", "vet", "./..."}},
	{name: "golangci-lint", args: []string{filepath.Join("test", "parts", "lint.sh"), "run"}},
}

// lint runs every linter, also after one has complained.
func lint(ctx context.Context, w io.Writer) error {
	var complained []string
	for _, l := range linters {
		begun := time.Now()
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, l.args[0], l.args[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		if err != nil || l.silent && out.Len() > 0 {
			complained = append(complained, l.name)
			fmt.Fprintf(w, "lint  %s complains:\n%s", l.name, out.String())
			continue
		}
		fmt.Fprintf(w, "lint  %-14s clean after %s\n", l.name, time.Since(begun).Round(100*time.Millisecond))
	}
	if len(complained) > 0 {
		return errors.New(strings.Join(complained, ", "))
	}
	return ctx.Err()
}
