package vuln

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
)

// touch is a package of an ecosystem whose findings may differ between two
// snapshots.
type touch struct {
	// ecosystem is the canonical one that the advisories name, with release;
	// without one where they are for all releases.
	ecosystem, name string
}

// difference sums up, by exclusive or, hashes of what rows say. A row that
// went and one that came cancel each other where they say the same, so that
// what is not zero in the end has changed.
type difference struct {
	seed     maphash.Seed
	packages map[touch]uint64
	ratings  map[string]uint64 // by CVE: other records' findings may use the rating
}

func newDifference() *difference {
	return &difference{seed: maphash.MakeSeed(), packages: map[touch]uint64{}, ratings: map[string]uint64{}}
}

// add takes a row, unpacked, that came or went.
func (d *difference) add(row *Row, rec *Record) {
	var p packer
	p.seen = map[string]int{}
	p.str(row.Feed)
	p.str(rec.ID)
	p.rating(rec.Rating)
	common := len(p.b)
	p.b = append(p.b, fmt.Sprint(rec.Malicious)...)
	p.strs(rec.Aliases)
	p.strs(rec.Upstream)
	head := maphash.Bytes(d.seed, p.b)
	rating := maphash.Bytes(d.seed, p.b[:common])
	for i := range rec.Affected {
		a := &rec.Affected[i]
		e := packer{seen: map[string]int{}}
		e.num(int(head >> 1))
		e.num(i) // two equal entries must not cancel each other
		e.entry(a)
		d.packages[touch{a.Ecosystem, a.Name}] ^= maphash.Bytes(d.seed, e.b)
		e = packer{seen: map[string]int{}}
		e.num(i)
		e.rating(a.Rating)
		rating ^= maphash.Bytes(d.seed, e.b)
	}
	if cves := rec.cves(); len(cves) == 1 && rec.rated() {
		d.ratings[cves[0]] ^= rating
	}
}

// rated reports whether anything in the record rates the fault.
func (r *Record) rated() bool {
	rated := r.Rating.rated()
	for i := range r.Affected {
		rated = rated || r.Affected[i].Rating.rated()
	}
	return rated
}

// touches returns the packages whose findings may differ, sorted, each once. A
// change that matters to no finding (new references, another text, a new
// modified time) touches nothing. x is the index of the later snapshot.
func (d *difference) touches(x *Index) []touch {
	var out []touch
	for t, sum := range d.packages {
		if sum != 0 {
			out = append(out, t)
		}
	}
	for cve, sum := range d.ratings {
		if sum == 0 {
			continue
		}
		for _, a := range x.Lookup(cve) {
			out = append(out, a.touches()...)
		}
	}
	slices.SortFunc(out, func(a, b touch) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.ecosystem, b.ecosystem))
	})
	return slices.Compact(out)
}

// touches returns the packages that the record names.
func (r *Record) touches() []touch {
	var out []touch
	if !r.Withdrawn.IsZero() {
		return nil
	}
	for i := range r.Affected {
		out = append(out, touch{r.Affected[i].Ecosystem, r.Affected[i].Name})
	}
	return out
}

// keys returns the keys of packages that may be meant. The ecosystem of an OS
// package is that of its image's distribution, whatever its own format is.
func (t touch) keys() []PackageKey {
	base := BaseEcosystem(t.ecosystem)
	eco, known := ecosystems[base]
	if known && !eco.distro {
		return []PackageKey{{eco.purl, t.name}}
	}
	keys := []PackageKey{{"apk", t.name}, {"deb", t.name}, {"rpm", t.name}}
	if !known {
		keys = append(keys, PackageKey{lookupEcosystem(base).purl, t.name})
	}
	return keys
}

// Keys returns the packages that the record names, each once, sorted: where to
// look for images that it may concern.
func (r *Record) Keys() []PackageKey {
	var out []PackageKey
	for _, t := range r.touches() {
		out = append(out, t.keys()...)
	}
	slices.SortFunc(out, PackageKey.compare)
	return slices.Compact(out)
}

func (k PackageKey) compare(o PackageKey) int {
	return cmp.Or(cmp.Compare(k.Type, o.Type), cmp.Compare(k.Name, o.Name))
}
