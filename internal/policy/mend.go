package policy

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/bonded-dev/bonded/api"
)

// mending returns the worst fact, with the latest fix that any of the facts
// about the same package names: whoever updates to the fix of the first fault
// alone is denied again for the next.
func mending(found []item) api.Fact {
	worst := found[0].fact
	for _, i := range found[1:] {
		f := i.fact
		if f.Package == worst.Package && f.Version == worst.Version && f.Fixed != "" && compareVersions(f.Fixed, worst.Fixed) > 0 {
			worst.Fixed = f.Fixed
		}
	}
	return worst
}

// remedyFor fills in a remedy, and says for how many other packages it has to be
// done before the rule allows: the first alone would change nothing.
func remedyFor(remedy string, found []item) string {
	worst := mending(found)
	text := fill(remedy, worst)
	others := map[string]bool{}
	for _, i := range found {
		if p := i.fact.Package; p != "" && p != worst.Package {
			others[p] = true
		}
	}
	switch {
	case text == "" || text == remedy || len(others) == 0:
		return text
	case len(others) == 1:
		return text + ", and likewise 1 other package"
	}
	return fmt.Sprintf("%s, and likewise %d other packages", text, len(others))
}

// compareVersions orders two versions of one package as people read them: runs
// of digits by their number, all else by its bytes, with "~" before the end.
// It serves to name a version in a sentence; nothing is decided by it.
func compareVersions(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a = run(a)
		y, b = run(b)
		if c := compareRuns(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// run cuts the first run of digits, or of anything else, off s.
func run(s string) (first, rest string) {
	for i := range len(s) {
		if isDigit(s[i]) != isDigit(s[0]) {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func compareRuns(x, y string) int {
	tilde := func(s string) bool { return strings.HasPrefix(s, "~") }
	switch {
	case tilde(x) != tilde(y):
		if tilde(x) {
			return -1
		}
		return 1
	case x != "" && y != "" && isDigit(x[0]) && isDigit(y[0]):
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	}
	return cmp.Compare(x, y)
}
