package feed

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/cputest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// TestMirror loads a real mirror, whole, and asks what is known of packages
// whose faults are known.
func TestMirror(t *testing.T) {
	root := testparts.OSV(t)
	b := newBench(t)
	b.source.Location = root
	var peak uint64
	b.opts.Progress = func(p Progress) {
		if p.Step == "read" && p.Done%4096 == 0 {
			peak = max(peak, heap())
		}
	}
	b.loader = NewLoader(b.opts)
	cpu := cputest.Used(t)
	r := b.load()
	t.Logf("first load: %d records of %d feeds in %.1f CPU s", r.Snapshot.Advisories, len(r.Feeds), (cputest.Used(t) - cpu).Seconds())
	for _, f := range r.Feeds {
		if f.Err != nil || f.Skipped*1000 > f.Records+999 {
			t.Errorf("feed %s: %d of %d skipped, %v; error %v", f.Name, f.Skipped, f.Records, f.Reasons, f.Err)
		}
	}
	b.opts.Progress = nil
	t.Logf("live heap at most %d MiB while loading, %d MiB afterwards", peak>>20, heap()>>20)
	b.loader = NewLoader(b.opts) // one that remembers nothing
	cpu = cputest.Used(t)
	if r := b.load(); r.Changed {
		t.Errorf("loading the same mirror again made snapshot %d: %v", r.Snapshot.Seq, summary(r))
	}
	t.Logf("second load: %.2f CPU s", (cputest.Used(t) - cpu).Seconds())

	before := heap()
	cpu = cputest.Used(t)
	x, err := vuln.Load(t.Context(), b.store)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("index: %d KiB of heap, built in %.2f CPU s", (heap()-before)>>10, (cputest.Used(t) - cpu).Seconds())
	if grown := int64(heap() - before); grown > 60<<20 {
		t.Errorf("the index takes %d MiB", grown>>20)
	}
	for _, tt := range known {
		t.Run(tt.pkg.Name+" "+tt.pkg.Version, func(t *testing.T) { tt.check(t, x) })
	}
	runtime.KeepAlive(b)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// knownFaults is a package and what the databases say about it.
type knownFaults struct {
	pkg  inventory.Package
	has  []string // "ID fixed level", by CVE or any other id
	not  []string // ids that do not concern this version
	gaps []vuln.Reason
}

var known = []knownFaults{
	{
		pkg: inventory.Package{Type: "golang", Name: "golang.org/x/net", Version: "v0.16.0", Ecosystem: "Go"},
		has: []string{"CVE-2023-39325 fixed 0.17.0 high", "CVE-2023-45288 fixed 0.23.0 high", "GHSA-4374-p667-p6c8 fixed 0.17.0 high"},
		not: []string{"CVE-2022-41723"},
	},
	{
		pkg: inventory.Package{Type: "golang", Name: "stdlib", Version: "go1.21.2", Ecosystem: "Go"},
		has: []string{"CVE-2023-39325 fixed 1.21.3 high", "CVE-2024-24790 fixed 1.21.11 critical"},
		not: []string{"CVE-2023-39323"},
	},
	{pkg: inventory.Package{Type: "golang", Name: "stdlib", Version: "go1.22rc1", Ecosystem: "Go"}, has: []string{"CVE-2024-24790 fixed 1.22.4 critical"}, not: []string{"CVE-2023-45284"}},
	{pkg: inventory.Package{Type: "golang", Name: "golang.org/x/text", Version: "(devel)", Ecosystem: "Go"}, gaps: []vuln.Reason{vuln.BadVersion}},
	{pkg: inventory.Package{Type: "pypi", Name: "Jinja2", Version: "2.10", Ecosystem: "PyPI"}, has: []string{"CVE-2019-10906 fixed 2.10.1 unknown"}, not: []string{"CVE-2016-10745"}},
	{pkg: inventory.Package{Type: "pypi", Name: "django", Version: "4.2", Ecosystem: "PyPI"}, has: []string{"CVE-2023-31047 fixed 4.2.1 critical"}},
	{
		pkg: inventory.Package{Type: "deb", Name: "zlib1g", Version: "1:1.2.13.dfsg-1", Source: "zlib", Ecosystem: "Debian:12"},
		has: []string{"CVE-2023-45853 fixed  high"}, // Debian 12 has no fix
	},
	{
		pkg: inventory.Package{Type: "deb", Name: "libssl3", Version: "3.0.9-1", Source: "openssl", Ecosystem: "Debian:12"},
		has: []string{"CVE-2023-5363 fixed 3.0.11-1~deb12u2 high"},
		not: []string{"CVE-2022-0778"},
	},
	{pkg: inventory.Package{Type: "deb", Name: "tar", Version: "1.34+dfsg-1.2", Ecosystem: "Debian:12"}, has: []string{"CVE-2005-2541 fixed  negligible"}},
	{pkg: inventory.Package{Type: "apk", Name: "libcrypto3", Version: "3.1.2-r0", Source: "openssl", Ecosystem: "Alpine:v3.19"}, has: []string{"CVE-2023-5363 fixed 3.1.4-r0 high"}},
	{pkg: inventory.Package{Type: "apk", Name: "musl", Version: "1.2.5-r0", Ecosystem: "Alpine:v3.99"}, gaps: []vuln.Reason{vuln.NoRelease}},
	{pkg: inventory.Package{Type: "alpm", Name: "zlib", Version: "1", Ecosystem: "Arch"}, gaps: []vuln.Reason{vuln.NotCovered}},
}

func (k *knownFaults) check(t *testing.T, x *vuln.Index) {
	im := &inventory.Image{Packages: []inventory.Located{{Package: k.pkg, PURL: "pkg:" + k.pkg.Type + "/" + k.pkg.Name}}}
	findings, checked := x.Findings(im)
	for _, want := range k.has {
		id, _, _ := strings.Cut(want, " ")
		i := slices.IndexFunc(findings, func(f evidence.Finding) bool { return vuln.Names(&f, id) })
		if i < 0 {
			t.Errorf("not found: %s", want)
			continue
		}
		f := findings[i]
		if got := fmt.Sprintf("%s fixed %s %s", id, f.Fixed, f.Severity); got != want {
			t.Errorf("got %s, want %s (%s, %g %s)", got, want, f.ID, f.Score, f.Vector)
		}
	}
	for _, id := range k.not {
		if i := slices.IndexFunc(findings, func(f evidence.Finding) bool { return vuln.Names(&f, id) }); i >= 0 {
			t.Errorf("found: %+v", findings[i])
		}
	}
	var gaps []vuln.Reason
	for _, g := range checked.Gaps {
		gaps = append(gaps, g.Reason)
	}
	if !slices.Equal(gaps, k.gaps) {
		t.Errorf("gaps %q, want %q", gaps, k.gaps)
	}
}
