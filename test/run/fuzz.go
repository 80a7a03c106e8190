package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// target is one fuzz function and the folder of its package, relative to the
// root of the tree.
type target struct{ dir, name string }

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz[A-Z][A-Za-z0-9_]*)\(`)

// fuzzTargets finds every fuzz target below root, sorted by folder and name.
func fuzzTargets(root string) ([]target, error) {
	var list []target
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, m := range fuzzFunc.FindAllSubmatch(text, -1) {
			list = append(list, target{dir: dir, name: string(m[1])})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for fuzz targets: %v", err)
	}
	slices.SortFunc(list, func(a, b target) int { return strings.Compare(a.dir+"\x00"+a.name, b.dir+"\x00"+b.name) })
	return list, nil
}

// fuzzAll runs every target for d. What a target finds, go leaves in the
// package's testdata/fuzz, to be committed with the fix.
func fuzzAll(ctx context.Context, w io.Writer, root string, d time.Duration) error {
	targets, err := fuzzTargets(root)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return errors.New("no fuzz target was found")
	}
	var failed []string
	for _, t := range targets {
		fmt.Fprintf(w, "fuzz  %s %s\n", t.dir, t.name)
		m, below := moduleOf(t.dir)
		if why := m.absent(); why != "" {
			fmt.Fprintf(w, "fuzz  %s %s did not run: %s\n", t.dir, t.name, why)
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", d.String(), "-fuzzminimizetime", "100x", "./"+filepath.ToSlash(below))
		cmd.Dir, cmd.Env = filepath.Join(root, m.dir), m.with(os.Environ()).env
		out, err := cmd.CombinedOutput()
		if err != nil {
			failed = append(failed, t.dir+"."+t.name)
			fmt.Fprintf(w, "%s", out)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Fprintf(w, "\n%d passed, %d failed\n", len(targets)-len(failed), len(failed))
	if len(failed) > 0 {
		return fmt.Errorf("these found something: %s", strings.Join(failed, ", "))
	}
	return nil
}
