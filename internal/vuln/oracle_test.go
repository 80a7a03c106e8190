package vuln

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/osv-scalibr/semantic"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// The oracle is the pseudocode of https://ossf.github.io/osv-schema/#evaluation
// over the JSON, written down as it stands there: no packing, no cache, no
// order but by comparing. It knows two answers.
type oracle struct {
	Affected []struct {
		Package  struct{ Ecosystem, Name string }
		Versions []string
		Ranges   []struct {
			Type   string
			Events []map[string]string
		}
	}
}

func (o *oracle) isVulnerable(ecosystem, name, version string) bool {
	for _, a := range o.Affected {
		if a.Package.Ecosystem != ecosystem || a.Package.Name != name {
			continue
		}
		if slices.ContainsFunc(a.Versions, func(v string) bool { return v == version || oracleCompare(ecosystem, v, version) == 0 }) {
			return true
		}
		for _, r := range a.Ranges {
			if r.Type != "GIT" && beforeLimits(ecosystem, version, r.Events) && included(ecosystem, version, r.Events) {
				return true
			}
		}
	}
	return false
}

func beforeLimits(ecosystem, version string, events []map[string]string) bool {
	limited := false
	for _, e := range events {
		if l, ok := e["limit"]; ok {
			limited = true
			if oracleCompare(ecosystem, version, l) < 0 {
				return true
			}
		}
	}
	return !limited
}

func included(ecosystem, version string, events []map[string]string) bool {
	events = slices.Clone(events)
	at := func(e map[string]string) string {
		for _, v := range e {
			return v
		}
		return ""
	}
	slices.SortStableFunc(events, func(a, b map[string]string) int { return oracleCompare(ecosystem, at(a), at(b)) })
	vulnerable := false
	for _, e := range events {
		if v, ok := e["introduced"]; ok && oracleCompare(ecosystem, version, v) >= 0 {
			vulnerable = true
		}
		if v, ok := e["fixed"]; ok && oracleCompare(ecosystem, version, v) >= 0 {
			vulnerable = false
		}
		if v, ok := e["last_affected"]; ok && oracleCompare(ecosystem, version, v) > 0 {
			vulnerable = false
		}
	}
	return vulnerable
}

func oracleCompare(ecosystem, a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "0":
		return -1
	case b == "0":
		return 1
	}
	v, err := semantic.Parse(strings.TrimPrefix(a, "go"), ecosystem)
	if err != nil {
		panic(err)
	}
	sign, err := v.CompareStr(strings.TrimPrefix(b, "go"))
	if err != nil {
		panic(err)
	}
	return sign
}

// typeOf gives a package of the ecosystem its purl type.
func typeOf(ecosystem string) string { return lookupEcosystem(BaseEcosystem(ecosystem)).purl }

// agree compares what the oracle, the decoded and the packed record say of one
// version.
func agree(t *testing.T, o *oracle, r *Record, x *Index, ecosystem, name, version string) {
	t.Helper()
	want := o.isVulnerable(ecosystem, name, version)
	p := inventory.Package{Type: typeOf(ecosystem), Name: name, Version: version, Ecosystem: ecosystem}
	if got, known := r.Affects(&p, ecosystem); got != want || !known {
		t.Errorf("%s: %s %s %s is affected: %v (known %v), want %v", r.ID, ecosystem, name, version, got, known, want)
	}
	findings, checked := x.Findings(&inventory.Image{Packages: []inventory.Located{{Package: p, PURL: "p"}}})
	found := false
	for i := range findings {
		f := &findings[i]
		found = found || Names(f, r.ID)
		if Names(f, r.ID) && f.Fixed != "" {
			if o.isVulnerable(ecosystem, name, f.Fixed) || oracleCompare(ecosystem, f.Fixed, version) <= 0 {
				t.Errorf("%s: %s %s %s is said to be fixed in %s", r.ID, ecosystem, name, version, f.Fixed)
			}
		}
	}
	if found != want || !checked.Complete() {
		t.Errorf("%s: %s %s %s is found: %v, want %v; %v", r.ID, ecosystem, name, version, found, want, gapLines(checked))
	}
}

// alone is an index of one record.
func alone(t *testing.T, r *Record) *Index {
	t.Helper()
	b := NewBuilder()
	if err := b.Add(Row{ID: r.ID, Packed: r.Pack()}); err != nil {
		t.Fatal(err)
	}
	x := b.Index(snapshotOf(r))
	return x
}

// TestOracleExcerpt asks about every version that real records mention, and
// some beside.
func TestOracleExcerpt(t *testing.T) {
	asked := 0
	excerpt(t, func(_, _ string, raw []byte) {
		var o oracle
		if err := json.Unmarshal(raw, &o); err != nil {
			t.Fatal(err)
		}
		r := mustParse(t, string(raw))
		if !r.Withdrawn.IsZero() || r.notSecurity() {
			return
		}
		x := alone(t, r)
		for _, a := range o.Affected {
			versions := slices.Clone(a.Versions[:min(len(a.Versions), 30)])
			for _, rng := range a.Ranges {
				for _, e := range rng.Events {
					for _, v := range e {
						if rng.Type != "GIT" && v != "0" { // no version, but "from the beginning"
							versions = append(versions, v, v+".1", v+"0")
						}
					}
				}
			}
			for _, v := range versions {
				asked++
				agree(t, &o, r, x, a.Package.Ecosystem, a.Package.Name, v)
			}
		}
	})
	t.Logf("%d versions", asked)
}

// TestOracleRandom asks about random ranges in random order.
func TestOracleRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 11))
	version := map[string]func() string{
		"npm": func() string {
			v := fmt.Sprintf("%d.%d.%d", rnd.IntN(3), rnd.IntN(3), rnd.IntN(3))
			return v + []string{"", "", "", "-rc.1", "-beta"}[rnd.IntN(5)]
		},
		"Debian:12": func() string {
			return []string{"", "", "1:"}[rnd.IntN(3)] + fmt.Sprintf("%d.%d", rnd.IntN(3), rnd.IntN(3)) + []string{"", "-1", "-1~bpo1", "-1+deb12u1", "+dfsg-2"}[rnd.IntN(5)]
		},
		"PyPI": func() string {
			return fmt.Sprintf("%d.%d", rnd.IntN(3), rnd.IntN(3)) + []string{"", "", ".post1", "rc1", ".dev3", "a1"}[rnd.IntN(6)]
		},
		"Alpine:v3.20": func() string {
			return fmt.Sprintf("%d.%d", rnd.IntN(3), rnd.IntN(3)) + []string{"", "-r0", "-r1", "_rc1-r0", "_p1-r2"}[rnd.IntN(5)]
		},
		"Maven": func() string {
			return fmt.Sprintf("%d.%d", rnd.IntN(3), rnd.IntN(3)) + []string{"", ".0", "-SNAPSHOT", "-rc1", ".Final"}[rnd.IntN(5)]
		},
	}
	kinds := []string{"introduced", "introduced", "fixed", "fixed", "last_affected", "limit"}
	for ecosystem, next := range version {
		for range 300 {
			var ranges []string
			for range 1 + rnd.IntN(2) {
				events := []string{fmt.Sprintf(`{"introduced":%q}`, []string{"0", next()}[rnd.IntN(2)])}
				for range rnd.IntN(5) {
					events = append(events, fmt.Sprintf(`{%q:%q}`, kinds[rnd.IntN(len(kinds))], next()))
				}
				rnd.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
				ranges = append(ranges, `{"type":"ECOSYSTEM","events":[`+strings.Join(events, ",")+`]}`)
			}
			raw := rec("A-1", fmt.Sprintf(`"affected":[{"package":{"ecosystem":%q,"name":"x"},"versions":[%q,%q],"ranges":[%s]}]`,
				ecosystem, next(), next(), strings.Join(ranges, ",")))
			var o oracle
			if err := json.Unmarshal([]byte(raw), &o); err != nil {
				t.Fatal(err)
			}
			r := mustParse(t, raw)
			x := alone(t, r)
			for range 20 {
				agree(t, &o, r, x, ecosystem, "x", next())
			}
			if t.Failed() {
				t.Fatal(raw)
			}
		}
	}
}
