package vuln

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// fault is one thing that is wrong with a package version, whatever number of
// records tell of it.
type fault struct {
	id        string
	aliases   []string // all other ids, CVE first, sorted
	rating    Rating
	summary   string
	fixed     string
	malicious bool
	published time.Time
	known     time.Time
	since     time.Time // as of evidence.Finding
}

// compare orders faults, worst first.
func (f *fault) compare(o *fault) int {
	return cmp.Or(
		cmp.Compare(o.rating.Level.Rank(), f.rating.Level.Rank()),
		cmp.Compare(o.rating.Score, f.rating.Score),
		cmp.Compare(f.id, o.id))
}

// equal reports whether two faults say the same in everything.
func (f *fault) equal(o *fault) bool {
	return f.id == o.id && slices.Equal(f.aliases, o.aliases) && f.rating == o.rating && f.summary == o.summary &&
		f.fixed == o.fixed && f.malicious == o.malicious &&
		f.published.Equal(o.published) && f.known.Equal(o.known) && f.since.Equal(o.since)
}

// result is what matching one package version gives. Results are shared and
// never written to.
type result struct {
	faults []fault // worst first
	// unsure lists the ids of records that may or may not apply, sorted.
	unsure []string
	// unreadable says that the reason is the package's version.
	unreadable bool
}

// equal reports whether two results say the same in everything.
func (r *result) equal(o *result) bool {
	return r.unreadable == o.unreadable && slices.Equal(r.unsure, o.unsure) &&
		slices.EqualFunc(r.faults, o.faults, func(a, b fault) bool { return a.equal(&b) })
}

// hit is one record that names the package.
type hit struct {
	rec     uint32
	answer  answer
	entries []posting // of this record, for this package
}

// match returns what is wrong with a version of a package. full is a canonical
// ecosystem, name a canonical name.
func (x *Index) match(full, name, version string) *result {
	key := memoKey{full, name, version}
	if r, ok := x.memo.get(key); ok {
		return r
	}
	r := x.matchAnew(full, name, version)
	x.memo.put(key, r)
	return r
}

// matchAnew is match without the memory of earlier ones.
func (x *Index) matchAnew(full, name, version string) *result {
	base := BaseEcosystem(full)
	eco := lookupEcosystem(base)
	hits := x.evaluate(&eco, ecosystemsOf(base, full, version), name, version)
	if len(hits) == 0 {
		return &result{}
	}
	m := matching{x: x, base: base, eco: &eco, cmp: newComparer(&eco, version), hits: hits}
	return m.fold()
}

// ecosystemsOf returns where to look for advisories about a package version,
// in groups: a record in an earlier group decides by that alone.
//
// Ubuntu publishes for each release what everyone gets and, under Pro, what
// subscribers get. A version that was built for subscribers says so itself,
// and only the subscribers' fixes tell whether it is fixed.
func ecosystemsOf(base, full, version string) [][]string {
	general := []string{full}
	if full != base {
		general = append(general, base) // entries for all releases
	}
	if rel, ok := strings.CutPrefix(full, "Ubuntu:"); ok && !strings.HasPrefix(rel, "Pro:") {
		v := strings.ToLower(version)
		pro := "Ubuntu:Pro:" + rel
		if strings.Contains(v, "fips") {
			return [][]string{{"Ubuntu:Pro:FIPS-updates:" + rel, "Ubuntu:Pro:FIPS-preview:" + rel, "Ubuntu:Pro:FIPS:" + rel}, {pro}, general}
		}
		if strings.Contains(v, "esm") {
			return [][]string{{pro}, general}
		}
	}
	return [][]string{general}
}

// evaluate returns the records that name the package in one of the ecosystems,
// each with its answer for the version.
func (x *Index) evaluate(eco *ecosystem, groups [][]string, name, version string) []hit {
	var hits []hit
	decided := map[uint32]bool{}
	var c *comparer
	for _, group := range groups {
		var posted []posting
		for _, full := range group {
			posted = append(posted, x.posted(full, name)...)
		}
		if len(posted) == 0 {
			continue
		}
		if c == nil {
			c = newComparer(eco, version)
		}
		if len(group) > 1 {
			slices.SortStableFunc(posted, func(a, b posting) int { return cmp.Compare(a.rec, b.rec) })
		}
		for len(posted) > 0 {
			n := 1
			for n < len(posted) && posted[n].rec == posted[0].rec {
				n++
			}
			h := hit{rec: posted[0].rec, entries: posted[:n:n]}
			posted = posted[n:]
			if decided[h.rec] {
				continue
			}
			if len(groups) > 1 {
				decided[h.rec] = true
			}
			h.answer = x.answer(&h, c)
			hits = append(hits, h)
		}
	}
	return hits
}

// answer evaluates the entries of a hit.
func (x *Index) answer(h *hit, c *comparer) answer {
	result := no
	for _, p := range h.entries {
		e := cursor{rec: x.packed(h.rec), at: int(p.off)}
		result = result.or(e.evaluate(c))
	}
	return result
}

// affected reads the entries of a hit.
func (x *Index) affected(h *hit) []Affected {
	out := make([]Affected, len(h.entries))
	for i, p := range h.entries {
		c := cursor{rec: x.packed(h.rec), at: int(p.off)}
		c.affected(&out[i])
	}
	return out
}

// Affects says whether the record's fault is in a package of the ecosystem
// (with release, where there are releases), and false for known when that
// cannot be told. It is what Index.Findings says by one record alone, for
// asking which of many packages an advisory concerns. A withdrawn record
// affects nothing.
func (r *Record) Affects(p *inventory.Package, ecosystem string) (affected, known bool) {
	if !r.Withdrawn.IsZero() {
		return false, true
	}
	base, full := canonicalEcosystem(ecosystem)
	eco := lookupEcosystem(base)
	result := no
	for _, name := range advisoryNames(p, eco.fold) {
		version := advisoryVersion(p, name)
		result = result.or(r.evaluate(newComparer(&eco, version), ecosystemsOf(base, full, version), name))
	}
	return result == yes, result != unsure
}

// evaluate asks the first group of ecosystems in which the record names the
// package.
func (r *Record) evaluate(c *comparer, groups [][]string, name string) answer {
	for _, group := range groups {
		result, named := no, false
		for i := range r.Affected {
			if a := &r.Affected[i]; a.Name == name && slices.Contains(group, a.Ecosystem) {
				named = true
				result = result.or(a.evaluate(c))
			}
		}
		if named {
			return result
		}
	}
	return no
}

// evaluate says whether the version has the fault according to a.
func (a *Affected) evaluate(c *comparer) answer {
	result := no
	for i := range a.Ranges {
		r := &a.Ranges[i]
		if r.Unordered {
			result = result.or(unsure)
			continue
		}
		result = result.or(inRange(r.seq, func(v []byte) (int, bool) { return c.compare(v, r.Semver) }))
	}
	for _, v := range a.Versions {
		if c.is([]byte(v)) {
			return yes
		}
	}
	if len(a.Versions) > 0 && c.version == "" {
		return result.or(unsure)
	}
	return result
}

// Names reports whether the finding is about the id, as its own or an alias.
func Names(f *evidence.Finding, id string) bool {
	return f.ID == id || slices.Contains(f.Aliases, id)
}
