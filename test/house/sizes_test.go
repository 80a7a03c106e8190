package house

import (
	"go/ast"
	"strings"
	"testing"
)

// What may not be exceeded; see the style of the project for what is aimed at.
const (
	fileLines        = 800
	functionLines    = 120
	interfaceMethods = 7
)

func TestFilesAreShort(t *testing.T) {
	tr := load(t)
	for _, dir := range tr.names() {
		for _, f := range tr.packages[dir] {
			if f.lines > fileLines {
				t.Errorf("%s has %d lines, %d are the most: it holds two ideas", f.path, f.lines, fileLines)
			}
		}
	}
}

func TestFunctionsAreShort(t *testing.T) {
	tr := load(t)
	tr.inspect(func(f file, n ast.Node) {
		fn, ok := n.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			return
		}
		lines := tr.fset.Position(fn.End()).Line - tr.fset.Position(fn.Pos()).Line + 1
		if lines > functionLines {
			t.Errorf("%s: %s has %d lines, %d are the most", f.path, fn.Name.Name, lines, functionLines)
		}
	})
}

// Methods that come with an embedded interface were counted where they are
// declared.
func TestInterfacesAreNarrow(t *testing.T) {
	tr := load(t)
	tr.inspect(func(f file, n ast.Node) {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return
		}
		iface, ok := spec.Type.(*ast.InterfaceType)
		if !ok {
			return
		}
		methods := 0
		for _, m := range iface.Methods.List {
			methods += len(m.Names)
		}
		if methods > interfaceMethods {
			t.Errorf("%s: %s has %d methods, %d are the most: split it by who calls", f.path, spec.Name.Name, methods, interfaceMethods)
		}
	})
}

func TestPackagesHaveComments(t *testing.T) {
	tr := load(t)
	for _, dir := range tr.names() {
		if !tr.documented(dir) {
			t.Errorf("%s has no comment that starts with %q: say in one sentence what the one thing is that it holds", dir, "Package NAME")
		}
	}
}

// documented tells whether a file of the package carries its comment. A package
// of tests of another package has that one's.
func (t *tree) documented(dir string) bool {
	for _, f := range t.packages[dir] {
		if f.ast.Doc == nil {
			continue
		}
		text := f.ast.Doc.Text()
		name := f.ast.Name.Name
		if strings.HasPrefix(text, "Package "+name+" ") || name == "main" && strings.HasPrefix(text, "Command ") {
			return true
		}
	}
	return false
}

func TestNothingHappensOnImport(t *testing.T) {
	tr := load(t)
	tr.inspect(func(f file, n ast.Node) {
		if fn, ok := n.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			t.Errorf("%s has a func init: whoever imports a package must see what it does", f.path)
		}
	})
}

// inspect calls fn for every node of every file.
func (t *tree) inspect(fn func(f file, n ast.Node)) {
	for _, dir := range t.names() {
		for _, f := range t.packages[dir] {
			ast.Inspect(f.ast, func(n ast.Node) bool {
				if n != nil {
					fn(f, n)
				}
				return true
			})
		}
	}
}
