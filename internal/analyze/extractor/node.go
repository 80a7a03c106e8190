package extractor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/pnpmlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/yarnlock"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// nodeModule reads package.json of what is installed: in node_modules, and
// where packages of Debian put modules. Others (an application's own, tests
// inside packages) describe nothing installed.
type nodeModule struct{}

func (nodeModule) Info() analyze.Info {
	return analyze.Info{Name: "npm", Version: "2", Max: maxManifest}
}

func (nodeModule) Wants(path string, _ fs.FileMode) bool { return isNodeModule(path) }

// isNodeModule matches FOLDER/NAME/package.json and with a scope
// FOLDER/@SCOPE/NAME/package.json.
func isNodeModule(p string) bool {
	dir, ok := strings.CutSuffix(p, "/package.json")
	if !ok {
		return false
	}
	name, ok := installed(dir)
	scope, rest, scoped := strings.Cut(name, "/")
	if scoped {
		return ok && scope[:1] == "@" && rest != "" && !strings.Contains(rest, "/")
	}
	return ok && name[0] != '@'
}

// installed returns what comes after the innermost folder of modules of a path.
func installed(p string) (name string, ok bool) {
	if name, ok := inModules(p); ok {
		return name, true
	}
	name = inDebian(p)
	return name, name != "" && name[0] != '/'
}

// inModules returns what comes after the last node_modules/ of a path.
func inModules(p string) (name string, ok bool) {
	const modules = "/node_modules/"
	p = "/" + p
	i := strings.LastIndex(p, modules)
	if i < 0 || len(p) == i+len(modules) || p[i+len(modules)] == '/' {
		return "", false
	}
	return p[i+len(modules):], true
}

// inDebian returns what comes after the folders that Debian's node looks for
// modules in, for all machines or for one: /usr/share/nodejs, /usr/lib/nodejs,
// /usr/lib/x86_64-linux-gnu/nodejs. "" when it is none of them.
func inDebian(p string) (name string) {
	if name, ok := strings.CutPrefix(p, "usr/share/nodejs/"); ok {
		return name
	}
	rest, ok := strings.CutPrefix(p, "usr/lib/")
	if !ok {
		return ""
	}
	if machine, below, _ := strings.Cut(rest, "/"); strings.Contains(machine, "-linux-gnu") {
		rest = below
	}
	name, _ = strings.CutPrefix(rest, "nodejs/")
	if len(name) == len(rest) {
		return ""
	}
	return name
}

func (nodeModule) Extract(_ context.Context, f *analyze.File) ([]inventory.Package, error) {
	var doc struct {
		Name    string          `json:"name"`
		Version string          `json:"version"`
		License json.RawMessage `json:"license"`
	}
	if err := decode(f, &doc); err != nil {
		return nil, err
	}
	if doc.Name == "" || doc.Version == "" {
		return nil, nil // only tells the loader about a folder
	}
	p := npmPackage(doc.Name, doc.Version)
	p.Licenses = npmLicense(doc.License)
	return []inventory.Package{p}, nil
}

func npmPackage(name, version string) inventory.Package {
	scope, rest := cutScope(name)
	return inventory.Package{Type: "npm", Namespace: scope, Name: rest, Version: version, Ecosystem: "npm"}
}

// npmLicense reads "MIT" and the older {"type": "MIT"}.
func npmLicense(raw json.RawMessage) []string {
	var text string
	var object struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(raw, &text) != nil && json.Unmarshal(raw, &object) == nil {
		text = object.Type
	}
	if text == "" {
		return nil
	}
	return []string{text}
}

// npmLock reads package-lock.json and npm-shrinkwrap.json of all versions
// (https://docs.npmjs.com/cli/v11/configuring-npm/package-lock-json).
type npmLock struct{}

func (npmLock) Info() analyze.Info {
	return analyze.Info{Name: "npm-lock", Version: "1", Max: maxLock}
}

func (npmLock) Wants(path string, mode fs.FileMode) bool {
	return lockFile("package-lock.json", "npm-shrinkwrap.json")(path, mode)
}

// npmLocked is an entry of either form of the list.
type npmLocked struct {
	Name         string               `json:"name"`
	Version      string               `json:"version"`
	Dev          bool                 `json:"dev"`
	Link         bool                 `json:"link"`
	Dependencies map[string]npmNested `json:"dependencies"`
}

// npmNested is an entry of the first form, or a range of versions where the
// second form says what a package depends on.
type npmNested struct{ raw json.RawMessage }

func (n *npmNested) UnmarshalJSON(b []byte) error {
	n.raw = append(n.raw, b...)
	return nil
}

func (npmLock) Extract(_ context.Context, f *analyze.File) ([]inventory.Package, error) {
	var doc struct {
		Packages     map[string]npmLocked `json:"packages"`     // from version 2 on, by folder
		Dependencies map[string]npmNested `json:"dependencies"` // version 1, nested
	}
	if err := decode(f, &doc); err != nil {
		return nil, err
	}
	if doc.Packages != nil {
		return npmByFolder(doc.Packages), nil
	}
	return npmByName(doc.Dependencies, 0)
}

// npmByFolder: folders outside of node_modules are the project's own.
func npmByFolder(packages map[string]npmLocked) []inventory.Package {
	var found []inventory.Package
	for folder, p := range packages {
		name, ok := inModules(folder)
		if !ok || p.Link || p.Dev {
			continue
		}
		if p.Name != "" {
			name = p.Name // installed under another name
		}
		found = append(found, npmPackage(name, npmVersion(p.Version)))
	}
	return found
}

var errDeep = errors.New("dependencies nested deeper than 32")

func npmByName(dependencies map[string]npmNested, depth int) (found []inventory.Package, err error) {
	if depth > 32 {
		return nil, errDeep
	}
	for name, nested := range dependencies {
		var p npmLocked
		if err := json.Unmarshal(nested.raw, &p); err != nil {
			return found, fmt.Errorf("dependency %q: %w", name, err)
		}
		if p.Dev {
			continue
		}
		version := p.Version
		if alias, ok := strings.CutPrefix(version, "npm:"); ok { // npm:NAME@VERSION
			if i := strings.LastIndexByte(alias, '@'); i > 0 {
				name, version = alias[:i], alias[i+1:]
			}
		}
		found = append(found, npmPackage(name, npmVersion(version)))
		inner, err := npmByName(p.Dependencies, depth+1)
		found = append(found, inner...)
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// npmVersion returns "" for what is no version: a folder, a repository, a URL.
func npmVersion(v string) string {
	if v == "" || v[0] < '0' || v[0] > '9' {
		return ""
	}
	return v
}

// lockFile wants files of some names outside of modules: a lock file that
// a package brings along says nothing about what is installed.
func lockFile(names ...string) func(string, fs.FileMode) bool {
	return func(p string, _ fs.FileMode) bool {
		_, inside := installed(p)
		return slices.Contains(names, path.Base(p)) && !inside
	}
}

func pnpmLock() analyze.Extractor {
	return wrap(wrapped{
		info:        analyze.Info{Name: "pnpm-lock", Version: "1", Max: maxLock / 2},
		wants:       lockFile("pnpm-lock.yaml"),
		unversioned: true, // what comes out of a folder or a repository
	}, pnpmlock.New)
}

func yarnLock() analyze.Extractor {
	return wrap(wrapped{
		info:  analyze.Info{Name: "yarn-lock", Version: "1", Max: maxLock},
		wants: lockFile("yarn.lock"),
		lines: true,
	}, yarnlock.New)
}
