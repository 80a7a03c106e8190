package vuln

import (
	"slices"
	"strings"
	"time"
)

// Carry sets Since of the record's packages by what the version before it said
// of them: a package of which severity or fixes are said anew is said so since
// now, the others since whenever it was. A deadline for a fix must not begin
// before there is one.
func (r *Record) Carry(before *Record, now time.Time) {
	said := before.statements()
	since := map[[2]string]time.Time{}
	for i := range before.Affected {
		a := &before.Affected[i]
		since[[2]string{a.Ecosystem, a.Name}] = a.Since
	}
	says := r.statements()
	for i := range r.Affected {
		a := &r.Affected[i]
		k := [2]string{a.Ecosystem, a.Name}
		if old, ok := said[k]; ok && old == says[k] {
			a.Since = since[k]
		} else {
			a.Since = now.Truncate(time.Second)
		}
	}
}

// statements returns, by ecosystem and name, what the record says of severity
// and fixes, in one text each.
func (r *Record) statements() map[[2]string]string {
	parts := map[[2]string][]string{}
	for i := range r.Affected {
		a := &r.Affected[i]
		k := [2]string{a.Ecosystem, a.Name}
		parts[k] = append(parts[k], "severity "+string(a.Rating.or(r.Rating).Level))
		for _, rng := range a.Ranges {
			for _, e := range rng.Events {
				if e.Kind == Fixed {
					parts[k] = append(parts[k], e.Version)
				}
			}
		}
	}
	out := make(map[[2]string]string, len(parts))
	for k, p := range parts {
		slices.Sort(p)
		out[k] = strings.Join(slices.Compact(p), "\n")
	}
	return out
}
