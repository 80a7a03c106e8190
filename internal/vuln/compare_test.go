package vuln

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

func TestCompare(t *testing.T) {
	x := affects("PyPI x 0 <2")
	tests := []struct {
		name          string
		before, after []string
		differ        string // versions of pypi x, of 1, 2 and 3
		releases      bool
	}{
		{"new", nil, []string{rec("A-1", x)}, "1", false},
		{"new, beside one that says the same", []string{rec("A-1", x)}, []string{rec("A-1", x), rec("A-2", x)}, "1", false},
		{"of other versions", nil, []string{rec("A-1", affects("PyPI x 5"))}, "", false},
		{"gone", []string{rec("A-1", x)}, nil, "1", false},
		{"withdrawn", []string{rec("A-1", x)}, []string{rec("A-1", x, `"withdrawn":"2026-01-01T00:00:00Z"`)}, "1", false},
		{"back", []string{rec("A-1", x, `"withdrawn":"2026-01-01T00:00:00Z"`)}, []string{rec("A-1", x)}, "1", false},
		{"fixed later", []string{rec("A-1", x)}, []string{rec("A-1", affects("PyPI x 0 <3"))}, "12", false},
		{"rated", []string{rec("A-1", x)}, []string{rec("A-1", x, cvss(cvss98))}, "1", false},
		{"an alias", []string{rec("A-1", x)}, []string{rec("A-1", x, aliases("CVE-2024-1"))}, "1", false},
		{"rated by another",
			[]string{rec("A-1", x, aliases("CVE-2024-1")), rec("B-1", aliases("CVE-2024-1"), cvss(cvss53), affects("npm y 0"))},
			[]string{rec("A-1", x, aliases("CVE-2024-1")), rec("B-1", aliases("CVE-2024-1"), cvss(cvss98), affects("npm y 0"))}, "1", false},
		{"a row that speaks of another version", // the announcement is about what has no row
			[]string{rec("DSA-1", upstream("CVE-2024-1", "CVE-2024-2"), x)},
			[]string{rec("DSA-1", upstream("CVE-2024-1", "CVE-2024-2"), x), rec("PYSEC-1", aliases("CVE-2024-1"), affects("PyPI x 7"))}, "1", false},
		{"a release", nil, []string{rec("A-1", affects("Debian:12 zlib 0"))}, "", true},
		{"a release no more", []string{rec("A-1", affects("Debian:12 zlib 0"))}, nil, "", true},
		{"a release as before", []string{rec("A-1", affects("Debian:12 zlib 0"))}, []string{rec("A-2", affects("Debian:12 y 0"))}, "", false},
		{"a distribution without releases", nil, []string{rec("A-1", affects("Wolfi zlib 0"))}, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMemory()
			publish(t, m, "f", tt.before...)
			c, err := Compare(t.Context(), m, 1, publish(t, m, "f", tt.after...))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, v := range []string{"1", "2", "3"} {
				if c.Differs(PackageKey{"pypi", "x"}, v) {
					got += v
				}
			}
			if got != tt.differ || c.Releases() != tt.releases {
				t.Errorf("versions %q differ, releases: %v; want %q, %v", got, c.Releases(), tt.differ, tt.releases)
			}
		})
	}
}

// What is too much to be compared differs.
func TestCompareTooMuch(t *testing.T) {
	m := NewMemory()
	publish(t, m, "f", rec("A-1", affects("npm x 5")))
	x := publish(t, m, "f", rec("A-1", affects("npm x 6")))
	c, err := Compare(t.Context(), m, 1, x)
	if err != nil || c.Differs(PackageKey{"npm", "x"}, "1") {
		t.Errorf("nothing is said of version 1, and it differs (%v)", err)
	}
	c.before = nil
	if !c.Differs(PackageKey{"npm", "x"}, "1") || c.Differs(PackageKey{"npm", "y"}, "1") {
		t.Error("without what was, not exactly the keys differ")
	}
	ch := changes{}
	for range 3 {
		ch.keep(Row{Packed: make([]byte, maxGone/2)})
	}
	if ch.size <= maxGone || ch.gone != nil {
		t.Errorf("%d bytes went, and %d rows are kept", ch.size, len(ch.gone))
	}
}

// chance makes up advisories and images of few words, so that they meet.
type chance struct{ *rand.Rand }

func (c chance) of(words ...string) string { return words[c.IntN(len(words))] }

func (c chance) version() string {
	return c.of("1", "2", "3", "4", "2-1+esm1", "3-1+fips2", "bad version")
}

func (c chance) cve() string { return fmt.Sprint("CVE-2024-", c.IntN(4)) }

// entry is one entry of an advisory, as affects takes it.
func (c chance) entry() string {
	eco := c.of("PyPI", "PyPI", "npm", "Debian:12", "Debian:12", "Debian:13", "Debian", "Ubuntu:22.04:LTS", "Ubuntu:Pro:22.04:LTS", "Ubuntu:Pro:FIPS:22.04:LTS",
		"Rocky+Linux:9", "Wolfi", "Echo", "Alpine:v3.20")
	events := c.of("0", "0", "2") + " "
	if c.IntN(4) > 0 {
		events += c.of("<", "<", "<=", "^") + c.of("2", "3", "4", "5")
	}
	return eco + " " + c.of("x", "y") + " " + events
}

func (c chance) record(id string) string {
	var entries, fields []string
	for range 1 + c.IntN(2) {
		entries = append(entries, c.entry())
	}
	fields = append(fields, affects(entries...))
	if c.IntN(3) == 0 {
		fields = append(fields, aliases(c.cve()))
	}
	if c.IntN(4) == 0 {
		fields = append(fields, upstream(c.cve(), c.cve()))
	}
	if c.IntN(3) == 0 {
		fields = append(fields, cvss(c.of(cvss98, cvss75, cvss53)))
	}
	if c.IntN(8) == 0 {
		fields = append(fields, `"withdrawn":"2026-01-01T00:00:00Z"`)
	}
	return rec(id, fields...)
}

// feed is some records, of which some are as they were.
func (c chance) feed(before []string) []string {
	var out []string
	for i, id := range []string{"DSA-1", "GHSA-1", "PYSEC-1", "DEBIAN-CVE-2024-1", "CVE-2024-2", "USN-1", "MAL-1", "ALSA-1"} {
		switch {
		case before != nil && c.IntN(5) > 0:
			if before[i] != "" {
				out = append(out, before[i])
				continue
			}
			fallthrough
		case c.IntN(3) == 0:
			out = append(out, "")
		default:
			out = append(out, c.record(id))
		}
	}
	if len(before) > len(out) {
		out = append(out, before[len(out):]...)
	}
	return out
}

func (c chance) image() *inventory.Image {
	im := &inventory.Image{Distro: inventory.Distro{Ecosystem: c.of("Debian:12", "Debian:13", "Ubuntu:22.04:LTS", "Ubuntu:22.04:LTS", "Rocky Linux:9.3", "Wolfi", "Echo", "Alpine:v3.20", "")}}
	for i := range 1 + c.IntN(3) {
		p := inventory.Package{Type: c.of("deb", "deb", "rpm", "apk", "pypi", "npm"), Name: c.of("x", "y", "z"), Version: c.version()}
		switch p.Type {
		case "pypi", "npm":
			p.Ecosystem = byPURL[p.Type]
		default:
			p.Ecosystem, p.Source, p.SourceVer = im.Distro.Ecosystem, c.of("", "x", "y"), c.of("", c.version())
		}
		im.Packages = append(im.Packages, inventory.Located{Package: p, PURL: fmt.Sprint("pkg:", i), Owned: c.IntN(4) == 0 && p.Type == "pypi"})
	}
	return im
}

// TestCompareFindsAll: every image of which findings or gaps differ holds a
// package version that differs, and versions of which nothing differs are told.
func TestCompareFindsAll(t *testing.T) {
	const rounds = 500
	changed, told, kept := 0, 0, 0
	for seed := range uint64(rounds) {
		c := chance{rand.New(rand.NewPCG(seed, 1))}
		m := NewMemory()
		feeds := map[string][]string{"f": c.feed(nil), "g": c.feed(nil)}
		if c.IntN(10) > 0 { // mostly, no release is new
			feeds["f"] = append(feeds["f"], rec("ALL-1", affects("Debian:12 none 0", "Debian:13 none 0", "Ubuntu:22.04:LTS none 0",
				"Ubuntu:Pro:22.04:LTS none 0", "Ubuntu:Pro:FIPS:22.04:LTS none 0", "Rocky+Linux:9 none 0", "Alpine:v3.20 none 0")))
		}
		for _, f := range []string{"f", "g"} {
			publish(t, m, f, some(feeds[f])...)
		}
		// One ecosystem is covered by both or none: that is another matter.
		all := []string{"PyPI", "npm", "Debian", "Ubuntu", "Rocky Linux", "Wolfi", "Echo", "Alpine"}
		before := covering(t, m, all)
		for range 1 + c.IntN(2) {
			f := c.of("f", "g")
			feeds[f] = c.feed(feeds[f])
			publish(t, m, f, some(feeds[f])...)
		}
		after := covering(t, m, all)
		cmpn, err := Compare(t.Context(), m, 2, after)
		if err != nil {
			t.Fatal(err)
		}
		exact(t, seed, cmpn, before, after)
		for range 10 {
			im := c.image()
			differ := cmpn.Releases()
			for i := range im.Packages {
				p := &im.Packages[i].Package
				for _, k := range KeysOf(p) {
					differ = differ || cmpn.Differs(k, VersionOf(p, k))
				}
			}
			x, gx := before.Findings(im)
			y, gy := after.Findings(im)
			d := cmp.Diff(x, y, digests) + cmp.Diff(gx, gy)
			switch {
			case d != "" && !differ:
				t.Fatalf("seed %d: nothing differs, and of %+v:\n%s", seed, im, d)
			case d != "":
				changed++
			case differ:
				told++
			default:
				kept++
			}
		}
	}
	t.Logf("of %d images %d changed, %d others were named", rounds*10, changed, told)
	if changed < rounds || kept < rounds {
		t.Errorf("too little was seen: %d changed, %d did not", changed, kept)
	}
}

var digests = cmp.Comparer(func(a, b oci.Digest) bool { return a == b })

// exact fails the test unless the comparison knows what was as well as the
// whole index of it does.
func exact(t *testing.T, seed uint64, c *Comparison, before, after *Index) {
	t.Helper()
	for _, k := range c.Keys() {
		for _, full := range c.ecosystems[k] {
			for _, v := range []string{"1", "3", "2-1+esm1", "3-1+fips2", "bad version"} {
				if want, got := before.match(full, k.Name, v), c.before.matchAnew(full, k.Name, v); !want.equal(got) {
					t.Fatalf("seed %d: of %s %s %s was said\n%+v\nand is remembered\n%+v", seed, full, k.Name, v, want, got)
				}
			}
		}
	}
}

func some(records []string) []string {
	return slices.DeleteFunc(slices.Clone(records), func(r string) bool { return r == "" })
}

// covering is the current index, as if feeds for all those were loaded.
func covering(t *testing.T, m *Memory, ecosystems []string) *Index {
	t.Helper()
	s, err := m.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Ecosystems = ecosystems
	x, err := LoadAt(t.Context(), m, s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestConcerned: what match looks up is concerned by it.
func TestConcerned(t *testing.T) {
	x := index(t, rec("A-1", affects("Debian:12 x 0", "Ubuntu:22.04:LTS x 0", "Ubuntu:Pro:FIPS-updates:22.04:LTS x 0", "Wolfi x 0", "npm x 0", "Alpine:v3.20 x 0")))
	for _, full := range []string{"Debian:12", "Ubuntu:22.04", "Wolfi", "npm", "Alpine:v3.20", "Echo"} {
		for _, version := range []string{"1", "1-1+esm2", "1+fips1"} {
			for _, e := range slices.Concat(ecosystemsOf(BaseEcosystem(full), full, version)...) {
				if !slices.Contains(x.concerned(e), full) {
					t.Errorf("%s is looked up for %s %s, which it does not concern: %s", e, full, version, strings.Join(x.concerned(e), ", "))
				}
				if !slices.Contains(lookedUp(full), e) {
					t.Errorf("%s is looked up for %s %s, and not always", e, full, version)
				}
			}
		}
	}
}

// changed is a Reader of rows that all changed with snapshot 2.
type changed struct {
	Reader
	rows []Row
}

func (c changed) Changes(_ context.Context, _, _ int64, fn func(Row) error) error {
	for _, row := range c.rows {
		old := row
		old.From, old.To, row.From = 1, 2, 2
		if err := fn(old); err != nil {
			return err
		}
		rec, err := Unpack(row.Packed)
		if err != nil {
			return err
		}
		rec.Malicious = true
		row.Packed = rec.Pack()
		if err := fn(row); err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkCompare(b *testing.B) {
	for _, n := range sizes {
		rows := synthetic(n)
		x := build(b, rows)
		x.snapshot.Seq = 2
		m := changed{rows: rows[:200]}
		for i := range x.recs[:200] {
			x.recs[i].from = 2
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compare(b.Context(), m, 1, x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
