package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// module is the path that all packages of ours start with.
const module = "github.com/bonded-dev/bonded"

// file is one parsed source file.
type file struct {
	path  string // relative to the module's root, with slashes
	test  bool   // NAME_test.go
	ast   *ast.File
	lines int
}

// tree is every package of the module by its folder, relative to the root.
type tree struct {
	fset     *token.FileSet
	packages map[string][]file
}

// read parses all Go files below root. Folders that the go command ignores and
// modules of their own are left out.
func read(root string) (tree, error) {
	t := tree{fset: token.NewFileSet(), packages: map[string][]file{}}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && (ownModule(name) || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return t.add(name, filepath.ToSlash(rel))
	})
	if err != nil {
		return tree{}, fmt.Errorf("reading the tree: %w", err)
	}
	return t, nil
}

// ownModule tells whether a folder below the root is a module of its own: what
// it imports is in no program but its.
func ownModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func (t *tree) add(name, rel string) error {
	parsed, err := parser.ParseFile(t.fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(rel)
	t.packages[dir] = append(t.packages[dir], file{
		path:  rel,
		test:  strings.HasSuffix(rel, "_test.go"),
		ast:   parsed,
		lines: t.fset.File(parsed.Pos()).LineCount(),
	})
	return nil
}

// names returns the folders of all packages, sorted.
func (t *tree) names() []string {
	var out []string
	for name := range t.packages {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// imports returns what the files of a package import outside its tests:
// folders for packages of ours, import paths for others. Sorted, without doubles.
func (t *tree) imports(dir string) (ours, others []string) {
	for _, f := range t.packages[dir] {
		if f.test {
			continue
		}
		for _, spec := range f.ast.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // the parser has checked it
			}
			if rel, ok := strings.CutPrefix(name, module+"/"); ok {
				ours = append(ours, rel)
			} else {
				others = append(others, name)
			}
		}
	}
	slices.Sort(ours)
	slices.Sort(others)
	return slices.Compact(ours), slices.Compact(others)
}

// within tells whether dir is room or below it.
func within(dir, room string) bool {
	return dir == room || strings.HasPrefix(dir, room+"/")
}

// withinAny tells whether dir is one of the rooms or below it.
func withinAny(dir string, rooms []string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool { return within(dir, r) })
}

// roomOf returns the longest room of the plan that holds dir.
func roomOf(dir string) (name string, ok bool) {
	for d := dir; d != "."; d = path.Dir(d) {
		if _, ok := rooms[d]; ok {
			return d, true
		}
	}
	return "", false
}

// suite tells whether dir is support for tests: its room is one of tests, or
// its last element ends in test, as in blob/blobtest, and it is no room itself.
func suite(dir string) bool {
	name, ok := roomOf(dir)
	if ok && rooms[name].tier == tests {
		return true
	}
	return name != dir && strings.HasSuffix(path.Base(dir), "test")
}
