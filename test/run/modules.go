package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is a module of the tree, and the environment in which it is tested.
type module struct {
	dir string // relative to the root of the tree
	env []string
	// cgo says that it needs a C compiler, and part names what brings one.
	cgo  bool
	part string
}

// otherModules are those beside the main one: `./...` leaves them out.
var otherModules = []module{
	{dir: filepath.Join("cmd", "bonded-pkcs11"), cgo: true, part: "softhsm"},
}

// with returns the module with its environment.
func (m module) with(env []string) module {
	if m.env = env; m.cgo {
		m.env = setenv(env, "CGO_ENABLED", "1")
	}
	return m
}

// absent says why the module cannot be built here; "" where it can.
func (m module) absent() string {
	if _, err := exec.LookPath("gcc"); m.cgo && err != nil {
		return "there is no C compiler: " + err.Error()
	}
	return ""
}

// testModule vets and tests a module. One that cannot be built here is a suite
// that did not run.
func testModule(ctx context.Context, w io.Writer, m module) (results, error) {
	if why := m.absent(); why != "" {
		return results{skips: []skip{{pkg: filepath.ToSlash(m.dir), test: "all", part: m.part, reason: why}}}, nil
	}
	vet := exec.CommandContext(ctx, "go", "vet", "./...")
	vet.Dir, vet.Env = m.dir, m.env
	if out, err := vet.CombinedOutput(); err != nil {
		return results{}, fmt.Errorf("go vet: %v\n%s", err, out)
	}
	return goTest(ctx, w, m, "-timeout", testTimeout, "./...")
}

// moduleOf returns the module that holds a package, and the package's folder in
// it.
func moduleOf(dir string) (m module, below string) {
	for _, m := range otherModules {
		if dir == m.dir {
			return m, "."
		}
		if below, ok := strings.CutPrefix(dir, m.dir+string(filepath.Separator)); ok {
			return m, below
		}
	}
	return module{dir: "."}, dir
}

// add counts what another run gave.
func (r *results) add(more results) {
	r.passed += more.passed
	r.failed += more.failed
	r.skips = append(r.skips, more.skips...)
}
