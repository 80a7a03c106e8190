package vuln

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/semantic"
)

// answer says whether a version has a fault. The zero value is that it cannot
// be told.
type answer uint8

const (
	unsure answer = iota
	no
	yes
)

// or is the answer over two ranges of one record: one yes is enough, and
// without one every range must say no.
func (a answer) or(b answer) answer {
	switch {
	case a == yes || b == yes:
		return yes
	case a == unsure || b == unsure:
		return unsure
	}
	return no
}

// parseVersion reads a version as the ecosystem orders it; nil when it cannot.
// semver offers semantic versioning to ecosystems without an order.
func parseVersion(eco *ecosystem, v string, semver bool) semantic.Version {
	if v == "" || len(v) > maxVersion {
		return nil
	}
	if eco.version != nil {
		if v = eco.version(v); v == "" {
			return nil
		}
	}
	if eco.plain != nil && !eco.plain(v) {
		return nil
	}
	if eco.order == "" {
		if !semver || !semverPlain(v) {
			return nil
		}
		return semantic.ParseSemverVersion(v)
	}
	parsed, err := semantic.Parse(v, eco.order)
	if err != nil {
		return nil
	}
	return parsed
}

// comparer compares one version with those that advisories name. It remembers
// the results: the advisories of a package name few versions many times.
type comparer struct {
	eco     *ecosystem
	version string           // as the package tells it
	parsed  semantic.Version // nil when it cannot be compared by the ecosystem's order
	semver  semantic.Version // nil but in ecosystems without an order
	seen    map[string]int8  // sign of version - key, or incomparable
	numbers bool             // whether compareNumbers may be asked
	plain   string           // the version as advisories write it
}

const incomparable = 2

func newComparer(eco *ecosystem, version string) *comparer {
	c := &comparer{eco: eco, version: version, seen: map[string]int8{}}
	c.parsed = parseVersion(eco, version, false)
	if eco.order == "" {
		c.semver = parseVersion(eco, version, true)
	}
	c.plain = version
	if eco.version != nil {
		c.plain = eco.version(version)
	}
	switch eco.purl {
	case "deb", "rpm", "apk", "golang", "npm", "cargo":
		c.numbers = c.parsed != nil
	}
	return c
}

// compareNumbers decides most comparisons without reading the versions whole:
// where both begin with the same numbers between dots and the next number
// differs, every order of numbers (Debian, RPM, Alpine, semantic versions)
// goes by that number. It says false where it does not decide: a number with a
// leading zero, an epoch, anything but digits and dots up to the difference,
// and beyond the third number, where a semantic version ends.
func compareNumbers(a string, b []byte) (int, bool) {
	for range 3 {
		n, m := 0, 0
		for n < len(a) && isDigit(a[n]) {
			n++
		}
		for m < len(b) && isDigit(b[m]) {
			m++
		}
		if n == 0 || m == 0 || a[0] == '0' && n > 1 || b[0] == '0' && m > 1 || n < len(a) && a[n] == ':' || m < len(b) && b[m] == ':' {
			return 0, false
		}
		if n != m {
			return cmp.Compare(n, m), true
		}
		if sign := strings.Compare(a[:n], string(b[:m])); sign != 0 {
			return sign, true
		}
		if n == len(a) || m == len(b) || a[n] != '.' || b[m] != '.' {
			return 0, false
		}
		a, b = a[n+1:], b[m+1:]
	}
	return 0, false
}

// readable reports whether the package's version can be compared at all.
func (c *comparer) readable() bool { return c.parsed != nil || c.semver != nil }

// compare returns the sign of the package's version minus v, and false when
// the two cannot be compared.
func (c *comparer) compare(v []byte, semver bool) (int, bool) {
	own := c.parsed
	if own == nil && semver {
		own = c.semver
	}
	if own == nil {
		return 0, false
	}
	if c.numbers {
		if sign, ok := compareNumbers(c.plain, v); ok {
			return sign, true
		}
	}
	if sign, ok := c.seen[string(v)]; ok {
		return int(sign), sign != incomparable
	}
	s := string(v)
	sign := compareParsed(own, parseVersion(c.eco, s, semver))
	c.seen[s] = sign
	return int(sign), sign != incomparable
}

// compareParsed returns the sign of a - b, or incomparable.
func compareParsed(a, b semantic.Version) int8 {
	if a == nil || b == nil {
		return incomparable
	}
	switch sign, err := a.Compare(b); {
	case err != nil:
		return incomparable
	case sign < 0:
		return -1
	case sign > 0:
		return 1
	}
	return 0
}

// is reports whether v names the package's version, in the same or another
// spelling.
func (c *comparer) is(v []byte) bool {
	if string(v) == c.version {
		return true
	}
	sign, ok := c.compare(v, false)
	return ok && sign == 0
}

// eventSeq yields the events of a range in order of version, until yield
// returns false.
type eventSeq func(yield func(kind EventKind, version []byte) bool)

// inRange is the evaluation of https://ossf.github.io/osv-schema/#evaluation
// for one range in order, with a third answer for versions that cannot be
// compared.
func inRange(events eventSeq, compare func(v []byte) (int, bool)) answer {
	in, comparable := false, true
	limited, below := false, false
	events(func(kind EventKind, v []byte) bool {
		if kind == Introduced && len(v) == 1 && v[0] == '0' {
			in = true
			return true
		}
		var sign int
		if sign, comparable = compare(v); !comparable {
			return false
		}
		switch kind {
		case Introduced:
			in = in || sign >= 0
		case Fixed:
			in = in && sign < 0
		case LastAffected:
			in = in && sign <= 0
		case Limit:
			limited, below = true, below || sign < 0
		}
		return true
	})
	switch {
	case !comparable:
		return unsure
	case in && (!limited || below):
		return yes
	}
	return no
}

// seq yields the events of r.
func (r *Range) seq(yield func(EventKind, []byte) bool) {
	for _, e := range r.Events {
		if !yield(e.Kind, []byte(e.Version)) {
			return
		}
	}
}

// order sorts the events by version, keeping the given order of equal ones. A
// range that only ends needs no sorting, and its end no reading before it is
// compared with.
func (r *Range) order(base string) {
	if len(r.Events) == 1 || len(r.Events) == 2 && r.Events[0] == (Event{Introduced, "0"}) {
		return
	}
	eco := lookupEcosystem(base)
	type keyed struct {
		Event
		v semantic.Version
	}
	events := make([]keyed, len(r.Events))
	for i, e := range r.Events {
		events[i] = keyed{Event: e}
		if e == (Event{Introduced, "0"}) {
			continue
		}
		if events[i].v = parseVersion(&eco, e.Version, r.Semver); events[i].v == nil {
			r.Unordered = true
			return
		}
	}
	slices.SortStableFunc(events, func(a, b keyed) int {
		switch {
		case a.v == nil && b.v == nil:
			return 0
		case a.v == nil:
			return -1
		case b.v == nil:
			return 1
		}
		sign := compareParsed(a.v, b.v)
		if sign == incomparable {
			r.Unordered = true
			return 0
		}
		return int(sign)
	})
	for i := range events {
		r.Events[i] = events[i].Event
	}
}

// notCovered returns those of versions that are in none of the ranges for
// sure. The others need not be kept: the ranges say the same.
func notCovered(base string, ranges []Range, versions []string) []string {
	if len(versions) == 0 {
		return nil
	}
	if len(ranges) == 0 {
		return versions
	}
	eco := lookupEcosystem(base)
	events := map[string]semantic.Version{}
	for _, r := range ranges {
		for _, e := range r.Events {
			events[e.Version] = parseVersion(&eco, e.Version, r.Semver)
		}
	}
	var rest []string
	for _, version := range versions {
		own := parseVersion(&eco, version, true)
		compare := func(v []byte) (int, bool) {
			sign := compareParsed(own, events[string(v)])
			return int(sign), sign != incomparable
		}
		covered := false
		for i := range ranges {
			r := &ranges[i]
			covered = covered || !r.Unordered && (own != nil && inRange(r.seq, compare) == yes)
		}
		if !covered {
			rest = append(rest, version)
		}
	}
	return rest
}
