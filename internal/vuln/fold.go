package vuln

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// matching is the work of turning the records that name one package version
// into its faults. Many records tell of one fault:
//
//   - aliases: records that share an id, such as GO-2023-2102, GHSA-4374-p667-p6c8
//     and CVE-2023-39325, are one fault;
//   - a row of a distribution about one CVE (DEBIAN-CVE-…, ALPINE-CVE-…) is
//     that CVE, although the schema calls it upstream;
//   - an announcement (DSA, DLA, USN, ALSA) speaks of several CVEs and often
//     earlier than the rows. For a CVE that has a row of its own for the same
//     package the row decides, and the announcement is an alias; what is left
//     of the announcement is one fault.
//
// The fault goes by the id of the ecosystem's own database where there is one.
type matching struct {
	x    *Index
	base string
	eco  *ecosystem
	cmp  *comparer
	hits []hit
}

// member is a record that applies, decoded.
type member struct {
	*hit
	header
	own       string   // its id
	aliases   []string // and upstream ids
	cves      []string // of all its ids
	announces bool
}

// group is a set of members that tell of one fault.
type group struct {
	members []*member
	ids     []string // all ids of the fault, the members' own included
}

func (m *matching) fold() *result {
	r := &result{unreadable: !m.cmp.readable()}
	var applying, doubtful []*member
	announced := false
	for i := range m.hits {
		switch h := &m.hits[i]; h.answer {
		case yes:
			applying = append(applying, m.member(h))
			announced = announced || applying[len(applying)-1].announces
		case unsure:
			doubtful = append(doubtful, m.member(h))
		}
	}
	var spoken map[string]bool
	if announced {
		spoken = m.spoken()
	}
	for _, g := range m.groups(applying, spoken) {
		r.faults = append(r.faults, m.fault(g))
	}
	slices.SortFunc(r.faults, func(a, b fault) int { return a.compare(&b) })
	r.unsure = unsettled(doubtful, r.faults)
	return r
}

func (m *matching) member(h *hit) *member {
	b := &member{hit: h, header: m.x.header(h.rec)}
	b.own = string(b.id)
	aliases, upstream := b.lists()
	b.aliases = append(aliases, upstream...)
	for _, id := range append([]string{b.own}, b.aliases...) {
		if isCVE(id) && !slices.Contains(b.cves, id) {
			b.cves = append(b.cves, id)
		}
	}
	b.announces = len(b.cves) > 0 && (len(b.cves) > 1 && len(upstream) > 1 || m.eco.distro && !strings.Contains(b.own, "CVE-"))
	return b
}

// spoken returns the CVEs that have a row of their own for this package,
// whatever the row says about the version.
func (m *matching) spoken() map[string]bool {
	set := map[string]bool{}
	for i := range m.hits {
		if b := m.member(&m.hits[i]); !b.announces {
			for _, c := range b.cves {
				set[c] = true
			}
		}
	}
	return set
}

// groups unites the members that tell of one fault.
func (m *matching) groups(members []*member, spoken map[string]bool) []*group {
	u := union{by: map[string]*group{}}
	var attached []*member
	for _, b := range members {
		if !b.announces {
			u.add(b, append(b.aliases, b.own))
			continue
		}
		var rest []string
		for _, c := range b.cves {
			if !spoken[c] {
				rest = append(rest, c)
			}
		}
		switch len(rest) {
		case 0:
			attached = append(attached, b)
		case 1:
			u.add(b, []string{b.own, rest[0]})
		default:
			g := u.add(b, []string{b.own})
			g.ids = append(g.ids, rest...)
		}
	}
	out := u.list()
	for _, b := range attached {
		for _, c := range b.cves {
			if g := u.by[c]; g != nil {
				g.ids = append(g.ids, b.own)
			}
		}
	}
	return out
}

// union keeps groups by the ids that they share.
type union struct {
	by  map[string]*group
	all []*group
}

// add puts b into the one group of all groups that have one of the ids.
func (u *union) add(b *member, ids []string) *group {
	var g *group
	for _, id := range ids {
		other := u.by[id]
		switch {
		case other == nil || other == g:
		case g == nil:
			g = other
		default:
			g.members = append(g.members, other.members...)
			g.ids = append(g.ids, other.ids...)
			for _, id := range other.ids {
				u.by[id] = g
			}
			other.members = nil
		}
	}
	if g == nil {
		g = &group{}
		u.all = append(u.all, g)
	}
	g.members = append(g.members, b)
	for _, id := range ids {
		if u.by[id] != g || !slices.Contains(g.ids, id) {
			u.by[id] = g
			g.ids = append(g.ids, id)
		}
	}
	return g
}

func (u *union) list() []*group {
	return slices.DeleteFunc(u.all, func(g *group) bool { return len(g.members) == 0 })
}

// fault describes the group by its best member.
func (m *matching) fault(g *group) fault {
	slices.SortFunc(g.members, func(a, b *member) int {
		return cmp.Or(cmp.Compare(m.rank(a.own), m.rank(b.own)), strings.Compare(a.own, b.own), cmp.Compare(a.hit.rec, b.hit.rec))
	})
	f := fault{id: g.members[0].own}
	var entries []Affected
	var said []time.Time // since when, one for each of entries
	var vendor, general Rating
	var rated time.Time
	for _, b := range g.members {
		known := m.x.known(b.hit.rec)
		for _, a := range m.x.affected(b.hit) {
			since := later(a.Since, known)
			r := a.Rating.or(b.rating())
			if r.Vendor && !vendor.rated() {
				vendor, rated = r, since
			}
			if r = r.general(); r.worse(general) {
				general = r
				if !vendor.rated() {
					rated = since
				}
			}
			entries, said = append(entries, a), append(said, since)
		}
		f.malicious = f.malicious || b.malicious
		if f.summary == "" {
			f.summary = string(b.summary)
		}
		f.published = earlier(f.published, b.published)
		f.known = earlier(f.known, known)
	}
	f.aliases = sortIDs(g.ids, f.id)
	if !general.rated() {
		r, since := m.borrow(g.ids)
		general = r
		if r.rated() && !vendor.rated() {
			rated = since
		}
	}
	f.rating = vendor.or(general)
	if f.malicious && f.rating.Level.Rank() < evidence.Critical.Rank() {
		f.rating.Level = evidence.Critical
	}
	if !f.rating.rated() {
		f.rating.Level = evidence.Unknown
	}
	f.fixed = m.fixed(entries)
	if since := later(rated, fixedSince(entries, said, f.fixed)); since.After(f.known) {
		f.since = since
	}
	return f
}

// borrow rates a fault that none of its records rates by other records of the
// same CVEs, whatever package they are about.
func (m *matching) borrow(ids []string) (worst Rating, since time.Time) {
	for _, id := range ids {
		if !isCVE(id) {
			continue
		}
		if r, t := m.x.generalRating(id); r.worse(worst) {
			worst, since = r, t
		}
	}
	return worst, since
}

// fixedSince returns when the first of the entries began to name the fix.
func fixedSince(entries []Affected, said []time.Time, fixed string) (since time.Time) {
	for i := range entries {
		for _, r := range entries[i].Ranges {
			if fixed != "" && slices.Contains(r.Events, Event{Fixed, fixed}) {
				since = earlier(since, said[i])
			}
		}
	}
	return since
}

// rank orders ids by how much they say about this ecosystem.
func (m *matching) rank(id string) int {
	switch {
	case strings.HasPrefix(id, "MAL-"):
		return 0
	case m.eco.native != "" && strings.HasPrefix(id, m.eco.native):
		return 1
	case strings.HasPrefix(id, "GHSA-"):
		return 2
	}
	return 3
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sortIDs returns the ids but own, each once, CVE first.
func sortIDs(ids []string, own string) []string {
	out := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == own })
	slices.SortFunc(out, func(a, b string) int {
		if isCVE(a) != isCVE(b) {
			if isCVE(a) {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(out)
}

// fixed returns the lowest version above the package's that is a fix by one
// entry and without the fault by all.
func (m *matching) fixed(entries []Affected) string {
	if len(entries) == 1 && len(entries[0].Versions) == 0 && len(entries[0].Ranges) == 1 && entries[0].Ranges[0].simple() {
		return entries[0].Ranges[0].Events[1].Version // applies, so it is above
	}
	var candidates []*comparer
	for i := range entries {
		for _, r := range entries[i].Ranges {
			for _, e := range r.Events {
				if e.Kind != Fixed || r.Unordered {
					continue
				}
				if sign, ok := m.cmp.compare([]byte(e.Version), r.Semver); ok && sign < 0 {
					candidates = append(candidates, newComparer(m.eco, e.Version))
				}
			}
		}
	}
	slices.SortStableFunc(candidates, func(a, b *comparer) int {
		sign, _ := a.compare([]byte(b.version), true)
		return sign
	})
	for _, c := range candidates {
		clean := true
		for i := range entries {
			clean = clean && entries[i].evaluate(c) == no
		}
		if clean {
			return c.version
		}
	}
	return ""
}

// unsettled returns the ids of doubtful records whose fault was not found by
// another record anyway.
func unsettled(doubtful []*member, faults []fault) []string {
	if len(doubtful) == 0 {
		return nil
	}
	found := map[string]bool{}
	for _, f := range faults {
		found[f.id] = true
		for _, a := range f.aliases {
			found[a] = true
		}
	}
	var out []string
	for _, b := range doubtful {
		settled := found[b.own]
		for _, id := range b.aliases {
			settled = settled || found[id] && !b.announces
		}
		if !settled {
			out = append(out, b.own)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
