package vuln

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
)

// threats are a catalog and scores in which each of 12 CVEs is by chance.
func (c chance) threats(t *testing.T) threat.Known {
	t.Helper()
	listed, rows := []string{`{"cveID":"CVE-1999-1000","dateAdded":"2026-01-01"}`}, []string{"cve,epss,percentile", "CVE-1999-1000,0.5,0.5"}
	for i := range 12 {
		if c.IntN(3) == 0 {
			listed = append(listed, fmt.Sprintf(`{"cveID":"CVE-2024-%d","dateAdded":"2026-01-0%d"}`, 1000+i, 1+c.IntN(3)))
		}
		if c.IntN(4) > 0 {
			rows = append(rows, fmt.Sprintf("CVE-2024-%d,0.%02d,0.5", 1000+i, 1+c.IntN(40)))
		}
	}
	x, _, err := threat.ParseKEV(strings.NewReader(`{"vulnerabilities":[` + strings.Join(listed, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := threat.ParseEPSS(strings.NewReader(strings.Join(rows, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return threat.Known{Exploits: x, Scores: s}
}

// TestAlsoFindsAll: whatever changes of what is known beside the records, each
// package version of which it makes another finding is told to differ, where
// somebody looks at what changed.
func TestAlsoFindsAll(t *testing.T) {
	changed, kept := 0, 0
	for seed := range uint64(200) {
		c := chance{rand.New(rand.NewPCG(seed, 7))}
		cve := func() string { return fmt.Sprint("CVE-2024-", 1000+c.IntN(12)) }
		var raws []string
		for i := range 12 {
			fields := []string{affects(fmt.Sprintf("%s %s 0 <%d", c.of("PyPI", "Debian:12"), c.of("a", "b"), 1+c.IntN(4)))}
			if c.IntN(2) == 0 {
				fields = append(fields, c.of(aliases(cve()), upstream(cve()), upstream(cve(), cve()), aliases(cve(), cve())))
			}
			raws = append(raws, rec(c.of(cve()+fmt.Sprint("-", i), fmt.Sprint("GHSA-", i), fmt.Sprint("DSA-", i), fmt.Sprint("CVE-2024-", 1000+i)), fields...))
		}
		x := index(t, raws...)
		was, is := c.threats(t), c.threats(t)
		limit := 0.05 + 0.1*float64(c.IntN(4))
		looks := threat.Attention{All: c.IntN(4) == 0, Thresholds: []float64{limit}}
		cmpn := &Comparison{now: x}
		cmpn.Also(is.Changed(was, looks))
		keys := cmpn.Keys()
		before, after := x.Beside(x.snapshot, was), x.Beside(x.snapshot, is)
		for v := range 5 {
			im := &inventory.Image{Distro: inventory.Distro{Ecosystem: "Debian:12"}}
			for _, name := range []string{"a", "b"} {
				for _, p := range []inventory.Package{{Type: "pypi", Name: name, Ecosystem: "PyPI"}, {Type: "deb", Name: name, Ecosystem: "Debian:12"}} {
					p.Version = fmt.Sprint(v)
					im.Packages = append(im.Packages, inventory.Located{Package: p, PURL: fmt.Sprintf("pkg:%s/%s@%d", p.Type, name, v)})
				}
			}
			found, _ := before.Findings(im)
			now, _ := after.Findings(im)
			for i := range im.Packages {
				p, purl := &im.Packages[i].Package, im.Packages[i].PURL
				differs := false
				for _, k := range KeysOf(p) {
					differs = differs || slices.Contains(keys, k) && cmpn.Differs(k, VersionOf(p, k))
				}
				switch other := seenOtherwise(purl, found, now, looks); {
				case other && !differs:
					t.Fatalf("seed %d: of %s was found\n%+v\nand is\n%+v", seed, purl, found, now)
				case other:
					changed++
				case !differs:
					kept++
				}
			}
		}
	}
	if t.Logf("%d changed, %d did not", changed, kept); changed < 200 || kept < 200 {
		t.Error("too little was seen")
	}
}

// seenOtherwise reports whether somebody who looks sees other findings of a package.
func seenOtherwise(purl string, x, y []evidence.Finding, looks threat.Attention) bool {
	see := func(f *evidence.Finding) string {
		text := fmt.Sprint(f.ID, f.Exploited, f.ExploitDue, f.Ransomware, f.EPSS >= looks.Thresholds[0])
		if looks.All {
			text += fmt.Sprint(f.EPSS, f.Percentile)
		}
		return text
	}
	seen := func(fs []evidence.Finding) (all []string) {
		for i := range fs {
			if fs[i].PURL == purl {
				all = append(all, see(&fs[i]))
			}
		}
		slices.Sort(all)
		return all
	}
	return !slices.Equal(seen(x), seen(y))
}

// counting is a Reader that counts how often all rows are read.
type counting struct {
	*Memory
	rows *int
}

func (c counting) Rows(ctx context.Context, seq int64, fn func(Row) error) error {
	*c.rows++
	return c.Memory.Rows(ctx, seq, fn)
}

// TestLiveBeside: what changes beside the records is in use without reading them again.
func TestLiveBeside(t *testing.T) {
	m, rows := NewMemory(), 0
	publish(t, m, "f", rec("CVE-2024-1000", affects("PyPI a 0")))
	live := NewLive(counting{m, &rows})
	refresh := func(want int) {
		t.Helper()
		if fresh, err := live.Refresh(t.Context()); err != nil || !fresh || rows != want {
			t.Fatalf("read %d times, want %d; %v, %v", rows, want, fresh, err)
		}
	}
	refresh(1)
	s, err := m.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	im := &inventory.Image{Packages: []inventory.Located{{Package: inventory.Package{Type: "pypi", Name: "a", Version: "1", Ecosystem: "PyPI"}, PURL: "pkg:pypi/a@1"}}}
	for i, exploited := range []bool{true, false} {
		d := threat.Document{}
		if exploited {
			x, _, err := threat.ParseKEV(strings.NewReader(`{"vulnerabilities":[{"cveID":"CVE-2024-1000","dateAdded":"2026-01-01"}]}`))
			if err != nil {
				t.Fatal(err)
			}
			d = x.Document()
		}
		load, err := m.Begin(t.Context(), fmt.Sprint("token", i))
		if err != nil {
			t.Fatal(err)
		}
		next := s
		next.Seq, next.Exploited = load.Seq, d.Digest
		err = m.Update(t.Context(), func(p Publisher) error {
			if exploited {
				if err := p.Keep(t.Context(), d.Digest, d.Content); err != nil {
					return err
				}
			}
			return p.Publish(t.Context(), load, next, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		refresh(1)
		x := live.Index()
		if found, _ := x.Findings(im); x.Snapshot().Exploited != d.Digest || len(found) != 1 || found[0].Exploited.IsZero() == exploited {
			t.Errorf("%+v under %+v", found, x.Snapshot())
		}
	}
	publish(t, m, "f", rec("CVE-2024-1000", affects("PyPI a 0 <9")))
	refresh(2)
	if s, err = m.Current(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Exploited = oci.FromBytes([]byte("lost"))
	if _, err := LoadAt(t.Context(), m, s); err == nil {
		t.Error("a document that is not there is taken for nothing")
	}
}
