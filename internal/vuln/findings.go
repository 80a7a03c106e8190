package vuln

import (
	"cmp"
	"slices"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// Reason says why a package was not checked. The text is stable and for
// people.
type Reason string

// The reasons.
const (
	NoEcosystem  Reason = "its distribution or ecosystem is unknown"
	NotCovered   Reason = "no advisories are loaded for its ecosystem"
	NoRelease    Reason = "no advisories are loaded for its release"
	BadVersion   Reason = "its version is missing or cannot be read, and advisories name it"
	Incomparable Reason = "advisories name it by versions that cannot be compared"
)

// maxExamples bounds Gap.Examples.
const maxExamples = 5

// Gap is a number of packages that were not checked for one reason.
type Gap struct {
	Reason    Reason   `json:"reason"`
	Ecosystem string   `json:"ecosystem,omitempty"` // with release
	Packages  int      `json:"packages"`            // distinct package URLs
	Examples  []string `json:"examples"`            // package URLs, the first 5
	// Advisories that could not be compared, of those examples, the first 5.
	Advisories []string `json:"advisories,omitempty"`
}

// Checked says what a list of findings is about. Without gaps, a package
// without a finding has none that any advisory in force knows.
type Checked struct {
	Packages int   `json:"packages"` // distinct package URLs looked at
	Gaps     []Gap `json:"gaps,omitempty"`
}

// Complete reports whether every package was checked.
func (c *Checked) Complete() bool { return len(c.Gaps) == 0 }

// Findings matches every package of the image. The findings are sorted: worst
// first, then by score, id and package URL; equal inputs give equal results.
func (x *Index) Findings(im *inventory.Image) ([]evidence.Finding, Checked) {
	w := walk{x: x}
	_, unknown := x.checkable(im.Distro.Ecosystem)
	distro := im.Distro.Ecosystem != "" && unknown == ""
	pkgs := im.Packages
	for len(pkgs) > 0 {
		n := 1
		for n < len(pkgs) && pkgs[n].PURL == pkgs[0].PURL {
			n++
		}
		w.add(&pkgs[0], n, distro && allOwned(pkgs[:n]))
		pkgs = pkgs[n:]
	}
	slices.SortFunc(w.found, func(a, b placed) int {
		return cmp.Or(a.fault.compare(b.fault), cmp.Compare(a.at.PURL, b.at.PURL))
	})
	findings := make([]evidence.Finding, len(w.found))
	for i, f := range w.found {
		findings[i] = f.finding()
		threatened(&findings[i], x.threats)
	}
	slices.SortFunc(w.checked.Gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Ecosystem, b.Ecosystem))
	})
	return findings, w.checked
}

// walk is one pass over the packages of an image.
type walk struct {
	x       *Index
	found   []placed
	checked Checked
}

// placed is a fault in a package of the image.
type placed struct {
	*fault
	at     *inventory.Located // the first place
	places int
}

// allOwned reports whether each place belongs to a package of the distribution.
func allOwned(places []inventory.Located) bool {
	for i := range places {
		if !places[i].Owned {
			return false
		}
	}
	return true
}

// add matches a package that is at n places, the first of which is p. What is
// owned is part of a package of the distribution, whose own advisories count:
// it mends faults without changing the version that upstream's go by. Only that
// it does harm counts all the same.
func (w *walk) add(p *inventory.Located, n int, owned bool) {
	w.checked.Packages++
	full, reason := w.x.checkable(p.Ecosystem)
	if reason != "" {
		w.gap(p, reason, nil)
		return
	}
	first := len(w.found)
	for i, name := range advisoryNames(&p.Package, lookupEcosystem(BaseEcosystem(full)).fold) {
		r := w.x.match(full, name, advisoryVersion(&p.Package, name))
		for j := range r.faults {
			f := &r.faults[j]
			if owned && !f.malicious {
				continue
			}
			if i == 0 || !w.has(first, f.id) {
				w.found = append(w.found, placed{f, p, n})
			}
		}
		switch {
		case len(r.unsure) == 0:
		case r.unreadable:
			w.gap(p, BadVersion, r.unsure)
		default:
			w.gap(p, Incomparable, r.unsure)
		}
	}
}

// has reports whether what was found from first on includes the id: an RPM is
// matched by two names.
func (w *walk) has(first int, id string) bool {
	return slices.ContainsFunc(w.found[first:], func(f placed) bool { return f.id == id })
}

// checkable returns the canonical ecosystem of a package, or why advisories
// cannot be matched to it.
func (x *Index) checkable(ecosystem string) (full string, reason Reason) {
	base, full := canonicalEcosystem(ecosystem)
	switch {
	case base == "":
		return "", NoEcosystem
	case !x.covered[base]:
		return "", NotCovered
	case ecosystems[base].releases:
		if _, named := x.releases[full]; full == base || !named {
			return "", NoRelease
		}
	}
	return full, ""
}

func (w *walk) gap(p *inventory.Located, reason Reason, advisories []string) {
	gaps := w.checked.Gaps
	i := slices.IndexFunc(gaps, func(g Gap) bool { return g.Reason == reason && g.Ecosystem == p.Ecosystem })
	if i < 0 {
		i = len(gaps)
		gaps = append(gaps, Gap{Reason: reason, Ecosystem: p.Ecosystem})
		w.checked.Gaps = gaps
	}
	g := &gaps[i]
	g.Packages++
	if len(g.Examples) < maxExamples {
		g.Examples = append(g.Examples, p.PURL)
		g.Advisories = append(g.Advisories, advisories[:min(len(advisories), maxExamples-len(g.Advisories))]...)
	}
}

func (f placed) finding() evidence.Finding {
	p := f.at
	return evidence.Finding{
		ID: f.id, Aliases: f.aliases, Severity: f.rating.Level, Score: f.rating.Score, Vector: f.rating.Vector,
		Summary: f.summary, Fixed: f.fixed, Malicious: f.malicious, Published: f.published, Known: f.known, Since: f.since,
		Package: FullName(&p.Package), PURL: p.PURL, Version: p.Version, Ecosystem: p.Ecosystem,
		Path: p.Path, Layer: p.Layer, Places: f.places, Set: p.Set,
		Source: p.Source, SourceVersion: p.SourceVer,
	}
}
