package vuln

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
)

// Touch is a package whose findings may differ between two snapshots.
type Touch struct {
	Key PackageKey
	// Ecosystem is the canonical ecosystem that the advisories name, with
	// release; without one where they are for all releases. Images of other
	// releases are not concerned.
	Ecosystem string
}

// Touched returns the packages whose findings may differ between the published
// snapshot after (0 for none) and the one of x, sorted, each once. A change
// that matters to no finding (new references, another text, a new modified
// time) touches nothing.
func Touched(ctx context.Context, r Reader, after int64, x *Index) ([]Touch, error) {
	upto := x.snapshot.Seq
	if upto <= after {
		return nil, nil
	}
	d := difference{seed: maphash.MakeSeed(), packages: map[Touch]uint64{}, ratings: map[string]uint64{}}
	err := r.Changes(ctx, after, upto, func(row Row) error {
		if row.From > after && row.To != 0 && row.To <= upto {
			return nil // came and went in between
		}
		return d.add(&row)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the changes of advisories from snapshot %d to %d: %w", after, upto, err)
	}
	return d.touches(x), nil
}

// difference sums up, by exclusive or, hashes of what rows say. A row that
// went and one that came cancel each other where they say the same, so that
// what is not zero in the end has changed.
type difference struct {
	seed     maphash.Seed
	packages map[Touch]uint64
	ratings  map[string]uint64 // by CVE: other records' findings may use the rating
}

func (d *difference) add(row *Row) error {
	rec, err := Unpack(row.Packed)
	if err != nil {
		return fmt.Errorf("reading the row of %s in feed %s: %w", row.ID, row.Feed, err)
	}
	if !rec.Withdrawn.IsZero() {
		return nil
	}
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
		t := Touch{PackageKey{lookupEcosystem(BaseEcosystem(a.Ecosystem)).purl, a.Name}, a.Ecosystem}
		d.packages[t] ^= maphash.Bytes(d.seed, e.b)
		e = packer{seen: map[string]int{}}
		e.num(i)
		e.rating(a.Rating)
		rating ^= maphash.Bytes(d.seed, e.b)
	}
	if cves := rec.cves(); len(cves) == 1 && rec.rated() {
		d.ratings[cves[0]] ^= rating
	}
	return nil
}

// rated reports whether anything in the record rates the fault.
func (r *Record) rated() bool {
	rated := r.Rating.rated()
	for i := range r.Affected {
		rated = rated || r.Affected[i].Rating.rated()
	}
	return rated
}

func (d *difference) touches(x *Index) []Touch {
	var out []Touch
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
	slices.SortFunc(out, func(a, b Touch) int {
		return cmp.Or(cmp.Compare(a.Key.Type, b.Key.Type), cmp.Compare(a.Key.Name, b.Key.Name), cmp.Compare(a.Ecosystem, b.Ecosystem))
	})
	return slices.Compact(out)
}

// touches returns the packages that the record names.
func (r *Record) touches() []Touch {
	var out []Touch
	if !r.Withdrawn.IsZero() {
		return nil
	}
	for i := range r.Affected {
		a := &r.Affected[i]
		out = append(out, Touch{PackageKey{lookupEcosystem(BaseEcosystem(a.Ecosystem)).purl, a.Name}, a.Ecosystem})
	}
	return out
}

// Keys returns the packages that the record names, each once, sorted: where to
// look for images that it may concern.
func (r *Record) Keys() []PackageKey {
	var out []PackageKey
	for _, t := range r.touches() {
		out = append(out, t.Key)
	}
	slices.SortFunc(out, func(a, b PackageKey) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(out)
}
