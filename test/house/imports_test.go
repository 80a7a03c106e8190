package house

import (
	"strings"
	"sync"
	"testing"
)

// longestChain is how many imports of ours may follow one another, from the
// command to the bottom. Longer, and nobody knows what a change at the bottom moves.
// What stands beside the advisories takes the last two: feed, vuln, threat, lifecycle.
const longestChain = 7

// parsed is the module that this package is part of, read once.
var parsed = sync.OnceValues(func() (tree, error) { return read("../..") })

func load(t *testing.T) tree {
	t.Helper()
	tr, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestEveryPackageHasARoom(t *testing.T) {
	tr := load(t)
	for _, dir := range tr.names() {
		if _, ok := roomOf(dir); !ok {
			t.Errorf("%s is not in the plan of the house: give it a tier in test/house/table.go", dir)
		}
	}
}

func TestImportsOfOurs(t *testing.T) {
	tr := load(t)
	for _, dir := range tr.names() {
		if suite(dir) {
			continue
		}
		ours, _ := tr.imports(dir)
		for _, to := range ours {
			if why := forbidden(dir, to); why != "" {
				t.Errorf("%s imports %s: %s", dir, to, why)
			}
		}
	}
}

// forbidden says why the package from may not import the package to; empty
// where it may. Both are no support for tests, or from is none.
func forbidden(from, to string) string {
	if suite(to) {
		return "support for tests stays out of the program"
	}
	a, ok := roomOf(from)
	if !ok {
		return "" // TestEveryPackageHasARoom tells
	}
	b, ok := roomOf(to)
	if !ok {
		return ""
	}
	if a == b {
		return "" // a room is furnished as it likes
	}
	here, there := rooms[a], rooms[b]
	if here.only != nil {
		if withinAny(to, here.only) {
			return ""
		}
		return here.why
	}
	if _, ok := here.also[b]; ok || there.tier < here.tier {
		return ""
	}
	return reasons[here.tier]
}

func TestForbidden(t *testing.T) {
	tests := []struct {
		from, to string
		allowed  bool
	}{
		{"internal/oci", "internal/evidence", false},
		{"internal/evidence", "internal/oci", true},
		{"internal/policy", "internal/evidence", true},
		{"internal/policy", "internal/vuln", false},
		{"internal/vuln/feed", "internal/vuln", true},
		{"internal/push", "internal/repo", true},
		{"internal/push", "internal/assess", false},
		{"internal/registry", "internal/push", true},
		{"internal/registry", "internal/httpapi", false},
		{"internal/assess", "internal/db", false},
		{"internal/assess", "internal/blob/disk", false},
		{"internal/blob/disk", "internal/blob", true},
		{"internal/blob/disk", "internal/repo", false},
		{"internal/server", "internal/db/sqlite", true},
		{"internal/server", "internal/blob/s3", true},
		{"internal/server", "internal/blob/blobtest", false},
		{"internal/server", "cmd/bonded", false},
		{"internal/db", "internal/assess", true},
		{"internal/db", "internal/blob/disk", false},
		{"client", "api", true},
		{"client", "internal/oci", false},
	}
	for _, test := range tests {
		if why := forbidden(test.from, test.to); (why == "") != test.allowed {
			t.Errorf("%s imports %s: %q, want allowed %v", test.from, test.to, why, test.allowed)
		}
	}
}

func TestEveryRuleHasAReason(t *testing.T) {
	for name, r := range rooms {
		if r.only != nil && r.why == "" {
			t.Errorf("%s may import %q only, and nobody says why", name, r.only)
		}
		for to, why := range r.also {
			if why == "" {
				t.Errorf("%s may import %s too, and nobody says why", name, to)
			}
		}
	}
}

func TestLibrariesHaveTheirPlace(t *testing.T) {
	tr := load(t)
	for _, dir := range tr.names() {
		if suite(dir) {
			continue
		}
		_, others := tr.imports(dir)
		for _, lib := range libraries {
			for _, name := range others {
				if lib.covers(name) && !lib.welcome(dir) {
					t.Errorf("%s imports %s: %s", dir, name, lib.why)
				}
			}
		}
	}
}

// covers tells whether the library holds the package with that import path.
func (l library) covers(name string) bool {
	for _, p := range l.prefixes {
		if exact, ok := strings.CutSuffix(p, "$"); ok && exact == name || !ok && within(name, p) {
			return true
		}
	}
	return false
}

// welcome tells whether a package may import the library.
func (l library) welcome(dir string) bool {
	if l.only != nil {
		return withinAny(dir, l.only)
	}
	return !withinAny(dir, l.not)
}

func TestLongestChain(t *testing.T) {
	tr := load(t)
	known := map[string][]string{}
	var longest []string
	for _, dir := range tr.names() {
		if chain := tr.chain(dir, known); len(chain) > len(longest) {
			longest = chain
		}
	}
	if imports := len(longest) - 1; imports > longestChain {
		t.Errorf("%d imports follow one another, %d may: %s", imports, longestChain, strings.Join(longest, " → "))
	}
}

// chain returns the longest chain of imports that starts at dir. known holds
// the answers so far.
func (t *tree) chain(dir string, known map[string][]string) []string {
	if chain, ok := known[dir]; ok {
		return chain
	}
	var longest []string
	ours, _ := t.imports(dir)
	for _, to := range ours {
		if chain := t.chain(to, known); len(chain) > len(longest) {
			longest = chain
		}
	}
	known[dir] = append([]string{dir}, longest...)
	return known[dir]
}
