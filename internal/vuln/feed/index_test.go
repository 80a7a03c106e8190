package feed

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bonded-dev/bonded/internal/cputest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// imageOf is an image with these packages, as the overlay orders them.
func imageOf(pkgs ...inventory.Package) *inventory.Image {
	im := &inventory.Image{}
	for _, p := range pkgs {
		im.Packages = append(im.Packages, inventory.Located{Package: p, PURL: fmt.Sprintf("pkg:%s/%s@%s?%s", p.Type, p.Name, p.Version, p.Ecosystem)})
	}
	slices.SortFunc(im.Packages, func(a, b inventory.Located) int { return strings.Compare(a.PURL, b.PURL) })
	return im
}

func (b *bench) indexFor(im *inventory.Image) *vuln.Index {
	b.Helper()
	x, err := IndexFor(b.Context(), FolderOptions{Dir: b.root, Now: b.now}, im)
	if err != nil {
		b.Fatal(err)
	}
	return x
}

// whole is the index of everything, as a server has it.
func (b *bench) whole() *vuln.Index {
	b.Helper()
	x, err := vuln.Load(b.Context(), b.store)
	if err != nil {
		b.Fatal(err)
	}
	return x
}

// same compares what two indexes say of an image.
func (b *bench) same(im *inventory.Image, got, want *vuln.Index) []evidence.Finding {
	b.Helper()
	g, gc := got.Findings(im)
	w, wc := want.Findings(im)
	if diff := cmp.Diff(w, g, cmpopts.EquateComparable(oci.Digest{})); diff != "" {
		b.Errorf("findings differ (-whole +part):\n%s", diff)
	}
	if diff := cmp.Diff(wc, gc); diff != "" {
		b.Errorf("what was checked differs (-whole +part):\n%s", diff)
	}
	return g
}

// rates is a record of another ecosystem that rates a CVE.
func rates(id, cve, severity string) string {
	return fmt.Sprintf(`{"id":%q,"modified":"2026-01-01T00:00:00Z","aliases":[%q],"affected":[{"package":{"ecosystem":"Bitnami","name":"x"},`+
		`"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],"database_specific":{"severity":%q}}]}`, id, cve, severity)
}

func TestIndexForFindsWhatTheWholeFinds(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", map[string]string{
		"P-1.json": record("P-1", "2.0", `,"aliases":["CVE-2026-0001"]`), "P-2.json": record("P-2", "2.0", `,"aliases":["CVE-2026-00010"]`),
		"P-3.json": record("P-3", "2.0", withdrawn), "P-4.json": "{", "odd.txt": "x",
	})
	b.put("Bitnami", map[string]string{
		"BIT-1.json": rates("BIT-1", "CVE-2026-0001", "HIGH"), "BIT-2.json": rates("BIT-2", "CVE-2026-9999", "LOW"),
	})
	b.put("Go", map[string]string{"GO-1.json": record("GO-1", "2.0")})
	b.load()
	im := imageOf(
		inventory.Package{Type: "pypi", Name: "pkg-p-1", Version: "1.0", Ecosystem: "PyPI"}, inventory.Package{Type: "pypi", Name: "pkg-p-2", Version: "1.0", Ecosystem: "PyPI"},
		inventory.Package{Type: "pypi", Name: "pkg-p-3", Version: "1.0", Ecosystem: "PyPI"}, inventory.Package{Type: "npm", Name: "x", Version: "1.0", Ecosystem: "npm"},
		inventory.Package{Type: "deb", Name: "y", Version: "1.0"},
	)
	var seen []string
	x, err := IndexFor(t.Context(), FolderOptions{Dir: b.root, Now: b.now, Progress: func(p Progress) { seen = append(seen, p.Feed) }}, im)
	if err != nil {
		t.Fatal(err)
	}
	found := b.same(im, x, b.whole())
	if len(found) != 2 || found[0].Severity != evidence.High || found[1].Severity != evidence.Unknown {
		t.Errorf("found %+v", found)
	}
	b.want("read first", seen[0], "osv/PyPI")
	slices.Sort(seen)
	b.want("read", slices.Compact(seen), []string{"osv/Bitnami", "osv/Go", "osv/PyPI"})
	s := x.Snapshot()
	b.want("advisories", s.Advisories, 6) // 3 that can be read, 3 that were counted
	b.want("ecosystems", s.Ecosystems, []string{"Bitnami", "Go", "PyPI"})
	b.want("BIT-2 is left out", len(x.Lookup("BIT-2")), 0)
}

// An image that every ecosystem concerns takes all, and the digest tells so.
func TestIndexForAllHasTheDigestOfALoad(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", records(5))
	b.put("Bitnami", map[string]string{"BIT-1.json": rates("BIT-1", "CVE-2026-0001", "HIGH")})
	r := b.load()
	x := b.indexFor(imageOf(inventory.Package{Type: "pypi", Name: "a", Ecosystem: "PyPI"}, inventory.Package{Type: "bitnami", Name: "b", Ecosystem: "Bitnami"}))
	if x.Snapshot().Digest != r.Snapshot.Digest || x.Snapshot().Advisories != r.Snapshot.Advisories {
		t.Errorf("snapshot %+v, loaded %+v", x.Snapshot(), r.Snapshot)
	}
}

func TestIndexForSaysHowOldItIs(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", records(1))
	b.put("Go", records(1))
	b.put("npm", records(1))
	written := map[string]time.Duration{"PyPI": -100 * time.Hour, "Go": -time.Hour, "npm": time.Hour}
	for folder, ago := range written {
		at := b.now.Add(ago)
		if err := os.Chtimes(filepath.Join(b.root, folder, "all.zip"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		ecosystems []string
		want       time.Duration
	}{
		"the oldest that concerns it":          {[]string{"Go", "PyPI"}, -100 * time.Hour},
		"one":                                  {[]string{"Go"}, -time.Hour},
		"none: the newest, not later than now": {nil, 0},
		"the future":                           {[]string{"npm"}, 0},
	} {
		im := imageOf()
		for _, e := range tt.ecosystems {
			im.Packages = append(im.Packages, inventory.Located{Package: inventory.Package{Ecosystem: e}})
		}
		b.want(name, b.indexFor(im).Snapshot().At, b.now.Add(tt.want))
	}
	if n := b.indexFor(imageOf()).Snapshot().Advisories; n != 3 {
		t.Errorf("an image without packages: %d advisories, want those of the folder", n)
	}
}

func TestIndexForBadFolders(t *testing.T) {
	pypi := imageOf(inventory.Package{Type: "pypi", Name: "pkg-p-000", Version: "1.0", Ecosystem: "PyPI"})
	for name, tt := range map[string]struct {
		fill func(b *bench)
		want string
	}{
		"empty":       {func(*bench) {}, "holds no ECOSYSTEM/all.zip"},
		"absent":      {func(b *bench) { b.root = filepath.Join(b.root, "x") }, "reading the folder"},
		"loose files": {func(b *bench) { b.write("P-1.json", record("P-1", "1")) }, "put those of an ecosystem into a folder of its name"},
		"cut short":   {func(b *bench) { b.putRaw("PyPI", zipped(b, records(9))[:300]) }, "PyPI: the archive is cut short"},
		"damaged": {func(b *bench) {
			raw := zipped(b, records(9))
			raw[60] ^= 0xff
			b.putRaw("PyPI", raw)
		}, "PyPI: reading"},
		"something else": {func(b *bench) { b.put("data", map[string]string{"settings.json": "{}"}) }, "no file of "},
		"damaged elsewhere": {func(b *bench) {
			b.put("PyPI", map[string]string{"P-000.json": record("P-000", "2.0", `,"aliases":["CVE-2026-0001"]`)})
			b.putRaw("Go", zipped(b, records(9))[:300])
		}, "Go: the archive is cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			tt.fill(b)
			_, err := IndexFor(t.Context(), FolderOptions{Dir: b.root, Now: b.now}, pypi)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func (b *bench) write(name, text string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.root, name), []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

func TestIndexForFoldersOfRecords(t *testing.T) {
	b := newBench(t)
	if err := os.MkdirAll(filepath.Join(b.root, "PyPI"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range records(3) {
		b.write("PyPI/"+name, text)
	}
	b.load()
	im := imageOf(inventory.Package{Type: "pypi", Name: "pkg-p-001", Version: "1.0", Ecosystem: "PyPI"})
	if found := b.same(im, b.indexFor(im), b.whole()); len(found) != 1 {
		t.Errorf("found %+v", found)
	}
}

func TestMentions(t *testing.T) {
	cves := map[string]bool{"CVE-2026-0001": true}
	for text, want := range map[string]bool{
		`["CVE-2026-0001"]`: true, `CVE-2026-0001`: true, `CVE-1 CVE-2026-0001,`: true, `CVE-CVE-2026-0001`: true,
		`CVE-2026-00010`: false, `CVE-2026-000`: false, `CVE-`: false, ``: false, `cve-2026-0001`: false,
	} {
		if mentions([]byte(text), cves) != want {
			t.Errorf("%s: want %t", text, want)
		}
	}
}

// The real thing: whatever packages an image has, the part finds in it what
// the whole finds.
func TestIndexForOnAMirror(t *testing.T) {
	root := testparts.OSV(t)
	b := newBench(t)
	b.source.Location = root
	b.load()
	b.root = root
	whole := b.whole()
	for _, ecosystems := range [][]string{{"Debian:12", "Go"}, {"Alpine:v3.20", "npm", "PyPI"}} {
		im := imageOf(named(b, ecosystems)...)
		cpu := cputest.Used(t)
		x := b.indexFor(im)
		spent := cputest.Used(t) - cpu
		found := b.same(im, x, whole)
		t.Logf("%v: %d packages, %d findings, %.2f CPU s", ecosystems, len(im.Packages), len(found), spent.Seconds())
	}
}

// named returns packages that the records of a store name, in versions that
// most of them are about.
func named(b *bench, ecosystems []string) []inventory.Package {
	b.Helper()
	names := map[string]inventory.Package{}
	s, err := b.store.Current(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	err = b.store.Rows(b.Context(), s.Seq, func(row vuln.Row) error {
		rec, err := vuln.Unpack(row.Packed)
		if err != nil {
			return err
		}
		for _, a := range rec.Affected {
			if !slices.Contains(ecosystems, a.Ecosystem) {
				continue
			}
			version := "1.0"
			for _, r := range a.Ranges {
				for _, e := range r.Events {
					if e.Kind == vuln.Introduced && e.Version != "0" {
						version = e.Version
					}
				}
			}
			names[a.Ecosystem+" "+a.Name+" "+version] = inventory.Package{Type: purlType[vuln.BaseEcosystem(a.Ecosystem)], Name: a.Name, Version: version, Ecosystem: a.Ecosystem}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	var list []inventory.Package
	for i, key := range slices.Sorted(maps.Keys(names)) {
		if i%40 == 0 { // an image has some hundreds, not all there are
			list = append(list, names[key])
		}
	}
	return list
}

var purlType = map[string]string{
	"Debian": "deb", "Go": "golang", "Alpine": "apk", "npm": "npm", "PyPI": "pypi", "AlmaLinux": "rpm", "Maven": "maven", "RubyGems": "gem", "crates.io": "cargo",
}
