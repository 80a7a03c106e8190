package vuln

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/bonded-dev/bonded/internal/cputest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// sizes are the small mirror, the one the bars speak of, and all of osv.dev
// without malicious packages.
var sizes = []int{10_000, 57_000, 300_000}

// synthetic returns the rows of n advisories in the proportions of Debian: two
// releases each, a few packages with very many, versions that repeat.
func synthetic(n int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		name := fmt.Sprintf("pkg-%d", i%97*i%(n/20+1))
		fixed := fmt.Sprintf("%d.%d.%d-%d+deb12u%d", i%5, i%17, i%7, i%3, i%2+1)
		r := Record{
			ID: fmt.Sprintf("DEBIAN-CVE-20%02d-%d", i%25, i), Upstream: []string{fmt.Sprintf("CVE-20%02d-%d", i%25, i)},
			Summary: "An advisory with a summary of ordinary length, as they have",
		}
		if i%5 == 0 {
			r.Rating = Rating{Level: evidence.Critical, Score: 9.8, Vector: cvss98}
		}
		for _, release := range []string{"Debian:11", "Debian:12"} {
			r.Affected = append(r.Affected, Affected{Ecosystem: release, Name: name, Ranges: []Range{{Events: []Event{{Introduced, "0"}, {Fixed, fixed}}}}})
		}
		rows[i] = Row{Feed: "osv/Debian", ID: r.ID, Known: day(1), Packed: r.Pack()}
	}
	return rows
}

func build(tb testing.TB, rows []Row) *Index {
	tb.Helper()
	b := NewBuilder()
	for _, r := range rows {
		if err := b.Add(r); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Index(evidence.Snapshot{Seq: 1, Ecosystems: []string{"Debian"}})
}

// debian is an image of 650 packages, most of which advisories name.
func debian(x *Index) *inventory.Image {
	im := &inventory.Image{}
	for i := range 650 {
		p := inventory.Package{Type: "deb", Name: fmt.Sprintf("pkg-%d", i), Version: fmt.Sprintf("4.%d.1-1", i%13), Ecosystem: "Debian:12"}
		im.Packages = append(im.Packages, inventory.Located{Package: p, PURL: fmt.Sprintf("pkg:deb/debian/%s@%s", p.Name, p.Version)})
	}
	return im
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rows := synthetic(n)
			b.ReportAllocs()
			for b.Loop() {
				build(b, rows)
			}
			b.StopTimer()
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			x := build(b, rows)
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "heap-B/record")
			runtime.KeepAlive(x)
			runtime.KeepAlive(rows)
		})
	}
}

func BenchmarkFindings(b *testing.B) {
	for _, n := range sizes {
		x := build(b, synthetic(n))
		im := debian(x)
		findings, _ := x.Findings(im)
		b.Run(fmt.Sprintf("cold/%d", n), func(b *testing.B) {
			start := cputest.Used(b)
			for b.Loop() {
				x.memo = newMemo(memoCost)
				x.Findings(im)
			}
			b.ReportMetric(float64(cputest.Used(b)-start)/1e6/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(len(findings)), "findings")
		})
		b.Run(fmt.Sprintf("warm/%d", n), func(b *testing.B) {
			start := cputest.Used(b)
			for b.Loop() {
				x.Findings(im)
			}
			b.ReportMetric(float64(cputest.Used(b)-start)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range sizes {
		x := build(b, synthetic(n))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				i %= n
				if len(x.Lookup(fmt.Sprintf("CVE-20%02d-%d", i%25, i))) != 1 {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkParseAndPack(b *testing.B) {
	var raws [][]byte
	bytes := 0
	excerpt(b, func(_, _ string, raw []byte) { raws, bytes = append(raws, raw), bytes+len(raw) })
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		for _, raw := range raws {
			r, err := ParseRecord(raw)
			if err != nil {
				b.Fatal(err)
			}
			r.Pack()
		}
	}
}
