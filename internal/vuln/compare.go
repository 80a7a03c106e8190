package vuln

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// maxGone bounds how much of what went out of force is kept to compare with, in
// bytes of packed records: an ordinary load changes some hundred records.
const maxGone = 32 << 20

// Comparison tells what two snapshots say differently of package versions. It
// is used by one goroutine.
type Comparison struct {
	now *Index
	// before holds those records of the earlier snapshot that have a part in what
	// it says of the packages in ecosystems. It is nil where that is too much.
	before *Index
	// ecosystems are the packages of which the snapshots may say different
	// things, with the canonical ecosystems in which they may.
	ecosystems map[PackageKey][]string
	releases   bool
	// cves are those of which something else is known beside the records, and
	// threatened the packages that these are about, likewise.
	cves       map[string]bool
	threatened map[PackageKey][]string
}

// Compare compares the published snapshot after (0 for none) with the one of x.
func Compare(ctx context.Context, r Reader, after int64, x *Index) (*Comparison, error) {
	c := &Comparison{now: x, ecosystems: map[PackageKey][]string{}}
	upto := x.snapshot.Seq
	if upto <= after {
		return c, nil
	}
	ch := changes{after: after, difference: newDifference(), came: map[string]bool{}, went: map[string]bool{}}
	err := r.Changes(ctx, after, upto, func(row Row) error {
		if row.From > after && row.To != 0 && row.To <= upto {
			return nil // came and went in between
		}
		return ch.add(row)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the changes of advisories from snapshot %d to %d: %w", after, upto, err)
	}
	c.releases = ch.releases(x)
	c.ecosystems = x.packages(ch.touches(x))
	if ch.size <= maxGone {
		c.before, err = ch.earlier(x, c.ecosystems)
	}
	return c, err
}

// packages returns the packages that touches name, with the canonical ecosystems in
// which they do.
func (x *Index) packages(touches []touch) map[PackageKey][]string {
	all := map[PackageKey][]string{}
	for _, t := range touches {
		fulls := x.concerned(t.ecosystem)
		for _, k := range t.keys() {
			all[k] = append(all[k], fulls...)
		}
	}
	for k, fulls := range all {
		slices.Sort(fulls)
		all[k] = slices.Compact(fulls)
	}
	return all
}

// Also has the comparison take for different whatever has one of those CVEs, of
// which something else is known beside the records (threat.Known.Changed).
func (c *Comparison) Also(cves []string) {
	c.cves = make(map[string]bool, len(cves))
	seen := map[touch]bool{}
	var touches []touch
	for _, cve := range cves {
		c.cves[cve] = true
		for _, a := range c.now.Lookup(cve) {
			for _, t := range a.touches() {
				if !seen[t] {
					seen[t] = true
					touches = append(touches, t)
				}
			}
		}
	}
	c.threatened = c.now.packages(touches)
}

// Releases reports whether other releases of distributions have advisories than
// had: then packages can be checked that could not, or the other way round,
// whichever packages the advisories are about.
func (c *Comparison) Releases() bool { return c.releases }

// Keys returns the packages of which the snapshots may say different things,
// sorted, each once.
func (c *Comparison) Keys() []PackageKey {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(c.ecosystems)), maps.Keys(c.threatened))
	slices.SortFunc(keys, PackageKey.compare)
	return slices.Compact(keys)
}

// Differs reports whether the snapshots say anything else of a version of one
// of the Keys, in any ecosystem that an image may give the package. The version
// is that of VersionOf. All that matching gives is compared: a record that does
// not apply may still take a CVE from one that does.
func (c *Comparison) Differs(k PackageKey, version string) bool {
	if slices.ContainsFunc(c.threatened[k], func(full string) bool {
		return slices.ContainsFunc(c.now.matchAnew(full, k.Name, version).faults, c.also)
	}) {
		return true
	}
	return slices.ContainsFunc(c.ecosystems[k], func(full string) bool {
		return c.before == nil || !c.before.matchAnew(full, k.Name, version).equal(c.now.matchAnew(full, k.Name, version))
	})
}

// also reports whether a fault is one of the CVEs of Also.
func (c *Comparison) also(f fault) bool {
	return c.cves[f.id] || slices.ContainsFunc(f.aliases, func(id string) bool { return c.cves[id] })
}

// concerned returns the ecosystems that a package may be of for which
// ecosystemsOf names e.
func (x *Index) concerned(e string) []string {
	out := []string{e}
	if base := BaseEcosystem(e); base == e { // for all releases; what no entry names looks up base alone
		for full := range x.releases {
			if BaseEcosystem(full) == base {
				out = append(out, full)
			}
		}
	}
	if strings.HasPrefix(e, "Ubuntu:Pro:") {
		out = append(out, "Ubuntu:"+e[strings.LastIndexByte(e, ':')+1:])
	}
	return out
}

// lookedUp returns all ecosystems in which match looks for advisories about
// packages of one.
func lookedUp(full string) []string {
	return slices.Concat(ecosystemsOf(BaseEcosystem(full), full, "fips")...) // for no version are there more
}

// changes are the rows that came into force or went out of force after a
// snapshot.
type changes struct {
	*difference
	after      int64
	came, went map[string]bool // ecosystems, with release, that entries name
	gone       []Row           // what went, but for withdrawn records; empty when size is above maxGone
	size       int             // bytes of gone
}

func (ch *changes) add(row Row) error {
	rec, err := Unpack(row.Packed)
	if err != nil {
		return fmt.Errorf("reading the row of %s in feed %s: %w", row.ID, row.Feed, err)
	}
	if !rec.Withdrawn.IsZero() {
		return nil
	}
	ch.difference.add(&row, rec)
	named := ch.came
	if row.From <= ch.after {
		named = ch.went
		ch.keep(row)
	}
	for i := range rec.Affected {
		named[rec.Affected[i].Ecosystem] = true
	}
	return nil
}

func (ch *changes) keep(row Row) {
	if ch.size += len(row.Packed); ch.size > maxGone {
		ch.gone = nil
		return
	}
	row.Packed = slices.Clone(row.Packed)
	ch.gone = append(ch.gone, row)
}

// releases reports whether the later snapshot, of x, names releases that the
// earlier one did not, or the other way round, where that matters.
func (ch *changes) releases(x *Index) bool {
	matters := func(full string) bool {
		base := BaseEcosystem(full)
		return full != base && ecosystems[base].releases
	}
	for full := range ch.came {
		if matters(full) && !ch.went[full] && int64(x.releases[full]) > ch.after {
			return true
		}
	}
	for full := range ch.went {
		if _, ok := x.releases[full]; !ok && matters(full) {
			return true
		}
	}
	return false
}

// earlier returns what had a part, under the earlier snapshot, in matching the
// packages: all records that name them, and all that rate their CVEs. It is made
// of what went and of what is in x, the index of the later snapshot, since then.
func (ch *changes) earlier(x *Index, packages map[PackageKey][]string) (*Index, error) {
	kept, cves := map[uint32]bool{}, map[string]bool{}
	keep := func(rec uint32) {
		if int64(x.recs[rec].from) <= ch.after {
			kept[rec] = true
		}
	}
	for k, fulls := range packages {
		for _, full := range fulls {
			for _, e := range lookedUp(full) {
				for _, p := range x.posted(e, k.Name) {
					keep(p.rec)
				}
			}
		}
	}
	rows := slices.Clone(ch.gone)
	for rec := range kept {
		addCVEs(cves, x.packed(rec))
	}
	for i := range rows {
		addCVEs(cves, rows[i].Packed)
	}
	for cve := range cves {
		x.find(x.ratings, []byte(cve), keep)
	}
	for rec := range kept {
		rows = append(rows, x.row(rec))
	}
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Or(cmp.Compare(a.Feed, b.Feed), cmp.Compare(a.ID, b.ID)) })
	b := NewBuilder()
	for i := range rows {
		if err := b.Add(rows[i]); err != nil {
			return nil, err
		}
	}
	return b.Index(evidence.Snapshot{}), nil
}

// addCVEs adds those of the ids of a packed record that are CVEs.
func addCVEs(to map[string]bool, packed []byte) {
	c := cursor{rec: packed}
	h := c.header()
	add := func(id []byte) {
		if isCVE(string(id)) {
			to[string(id)] = true
		}
	}
	add(h.id)
	h.ids(add)
}

// row returns what the index knows of a record's row.
func (x *Index) row(rec uint32) Row {
	h := x.header(rec)
	return Row{Feed: x.feed(rec), ID: string(h.id), From: int64(x.recs[rec].from), Known: x.known(rec), Packed: x.packed(rec)}
}
