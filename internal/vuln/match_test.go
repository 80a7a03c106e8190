package vuln

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// zlib is fixed in two releases.
var zlib = rec("DEBIAN-CVE-2024-1", upstream("CVE-2024-1"), affects("Debian:11 zlib 0 <1:1.1", "Debian:12 zlib 0 <1:1.2-3+deb12u1"))

// findingCases holds one case per rule: records, packages, and what is said.
var findingCases = []struct {
	name     string
	records  []string
	packages []string
	want     []string
	gaps     []string
}{
	{name: "source package and release", records: []string{zlib}, packages: []string{"deb zlib1g 1:1.2-2 Debian:12 zlib"},
		want: []string{"zlib1g: DEBIAN-CVE-2024-1 (CVE-2024-1) unknown fixed 1:1.2-3+deb12u1"}},
	{name: "fixed in this release", records: []string{zlib}, packages: []string{"deb zlib1g 1:1.2-2 Debian:11 zlib"}},
	{name: "fixed version itself", records: []string{zlib}, packages: []string{"deb zlib1g 1:1.2-3+deb12u1 Debian:12 zlib"}},
	{name: "binary name is not a source name", records: []string{zlib}, packages: []string{"deb zlib 1:1.0 Debian:12 other"}},
	{name: "release nobody writes about", records: []string{zlib}, packages: []string{"deb zlib1g 1:1.0 Debian:99 zlib"},
		gaps: []string{"no advisories are loaded for its release: Debian:99, 1"}},
	{name: "release not told", records: []string{zlib}, packages: []string{"deb zlib1g 1:1.0 Debian zlib"},
		gaps: []string{"no advisories are loaded for its release: Debian, 1"}},
	{name: "distribution not told", records: []string{zlib}, packages: []string{"deb zlib1g 1:1.0"},
		gaps: []string{"its distribution or ecosystem is unknown: , 1"}},
	{name: "ecosystem not loaded", records: []string{zlib}, packages: []string{"npm left-pad 1.0 npm"},
		gaps: []string{"no advisories are loaded for its ecosystem: npm, 1"}},
	{name: "no version, named by an advisory", records: []string{zlib}, packages: []string{"deb zlib1g - Debian:12 zlib"},
		gaps: []string{"its version is missing or cannot be read, and advisories name it: Debian:12, 1 (DEBIAN-CVE-2024-1)"}},
	{name: "no version, and nobody names it", records: []string{zlib}, packages: []string{"deb bash - Debian:12"}},
	{name: "no version, but all have it", records: []string{rec("A-1", affects("Debian:12 zlib 0"))}, packages: []string{"deb zlib - Debian:12"},
		want: []string{"zlib: A-1 unknown"}},
	{name: "advisory version that cannot be read", records: []string{rec("A-1", affects("Go m 0 <nightly")), rec("A-2", affects("Go m 0 <2"))},
		packages: []string{"golang m v1 Go"}, want: []string{"m: A-2 unknown fixed 2"},
		gaps: []string{"advisories name it by versions that cannot be compared: Go, 1 (A-1)"}},
	{name: "doubtful record, but its alias is sure", records: []string{rec("A-1", aliases("B-1"), affects("Go m 0 <nightly")), rec("B-1", affects("Go m 0 <2"))},
		packages: []string{"golang m v1 Go"}, want: []string{"m: B-1 unknown fixed 2"}},
	{name: "withdrawn", records: []string{zlib[:len(zlib)-1] + `,"withdrawn":"2024-05-01T00:00:00Z"}`, rec("X-1", affects("Debian:12 x 0"))},
		packages: []string{"deb zlib1g 1:1.0 Debian:12 zlib"}},
	{name: "all releases at once", records: []string{rec("A-1", affects("Debian zlib 0 <2")), zlib}, packages: []string{"deb zlib 1 Debian:12"},
		want: []string{"zlib: A-1 unknown fixed 2", "zlib: DEBIAN-CVE-2024-1 (CVE-2024-1) unknown fixed 1:1.2-3+deb12u1"}},

	{name: "two branches", records: []string{rec("A-1", affects("npm x 1.0.0 <1.2.5 2.0.0 <2.1.0"))},
		packages: []string{"npm x 0.9.0 npm", "npm x 1.2.4 npm", "npm x 1.2.5 npm", "npm x 1.9.0 npm", "npm x 2.0.1 npm"},
		want:     []string{"x: A-1 unknown fixed 1.2.5", "x: A-1 unknown fixed 2.1.0"}},
	{name: "branches in separate entries", records: []string{rec("A-1", affects("npm x 1.0.0 <1.2.5", "npm x 1.2.0 <2.1.0"))},
		packages: []string{"npm x 1.1.0 npm"}, want: []string{"x: A-1 unknown fixed 2.1.0"}},
	{name: "last affected", records: []string{rec("A-1", affects("npm x 1.0.0 <=1.4.0"))},
		packages: []string{"npm x 1.4.0 npm", "npm x 1.4.1 npm"}, want: []string{"x: A-1 unknown"}},
	{name: "limit", records: []string{rec("A-1", affects("npm x 1.0.0 ^1.4.0"))}, packages: []string{"npm x 1.4.0 npm", "npm x 1.3.0 npm"},
		want: []string{"x: A-1 unknown"}},
	{name: "events in any order", records: []string{rec("A-1", affects("npm x <2.1.0 1.0.0 2.0.0 <1.2.5"))}, packages: []string{"npm x 1.5.0 npm", "npm x 2.0.5 npm"},
		want: []string{"x: A-1 unknown fixed 2.1.0"}},
	{name: "single versions", records: []string{rec("A-1", `"affected":[{"package":{"ecosystem":"npm","name":"x"},"versions":["1.0.0","1.0.3"]}]`)},
		packages: []string{"npm x 1.0.0 npm", "npm x 1.0.1 npm", "npm x v1.0.3 npm"}, want: []string{"x: A-1 unknown", "x: A-1 unknown"}},
	{name: "versions without an order", records: []string{rec("A-1", `"affected":[{"package":{"ecosystem":"opam","name":"x"},"versions":["1.0"],"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"2.0"}]}]}]`)},
		packages: []string{"opam x 1.0 opam", "opam x 1.1 opam"}, want: []string{"x: A-1 unknown"},
		gaps: []string{"advisories name it by versions that cannot be compared: opam, 1 (A-1)"}},
	{name: "semantic versions where there is no order", records: []string{rec("A-1", `"affected":[{"package":{"ecosystem":"VSCode","name":"x"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.2.0"}]}]}]`)},
		packages: []string{"vscode x 1.10.0 VSCode", "vscode x 1.1.0 VSCode"}, want: []string{"x: A-1 unknown fixed 1.2.0"}},

	{name: "names are folded", records: []string{rec("A-1", affects("PyPI Zope.Interface 0 <2")), rec("A-2", affects("Go github.com/Masterminds/goutils 0 <2"))},
		packages: []string{"pypi zope_interface 1 PyPI", "golang github.com/masterminds/goutils v1.0.0 Go"},
		want:     []string{"zope_interface: A-1 unknown fixed 2", "github.com/masterminds/goutils: A-2 unknown fixed 2"}},
	{name: "go releases", records: []string{rec("GO-1", affects("Go stdlib 0 <1.20.10 1.21.0-0 <1.21.3"))},
		packages: []string{"golang stdlib go1.21rc2 Go", "golang stdlib 1.21.2 Go", "golang go go1.20.9 Go", "golang stdlib go1.21.3 Go"},
		want:     []string{"go: GO-1 unknown fixed 1.20.10", "stdlib: GO-1 unknown fixed 1.21.3", "stdlib: GO-1 unknown fixed 1.21.3"}},
	{name: "go build without a version", records: []string{rec("GO-1", affects("Go m 0 <1.2"))}, packages: []string{"golang m (devel) Go"},
		gaps: []string{"its version is missing or cannot be read, and advisories name it: Go, 1 (GO-1)"}},
	{name: "registries of maven", records: []string{rec("A-1", affects("Maven:https://repo.example g:a 0 <2"))}, packages: []string{"maven g:a 1 Maven"},
		want: []string{"g:a: A-1 unknown fixed 2"}},
	{name: "unresolved maven version", records: []string{rec("A-1", affects("Maven g:a 0 <2"))}, packages: []string{"maven g:a ${project.version} Maven"},
		gaps: []string{"its version is missing or cannot be read, and advisories name it: Maven, 1 (A-1)"}},

	{name: "alpine branch", records: []string{rec("ALPINE-CVE-2024-2", upstream("CVE-2024-2"), affects("Alpine:v3.20 openssl 0 <3.3.1-r0"))},
		packages: []string{"apk libcrypto3 3.3.0-r2 Alpine:3.20.1 openssl"},
		want:     []string{"libcrypto3: ALPINE-CVE-2024-2 (CVE-2024-2) unknown fixed 3.3.1-r0"}},
	{name: "ubuntu long-term support", records: []string{rec("UBUNTU-CVE-2024-3", upstream("CVE-2024-3"), `"severity":[{"type":"Ubuntu","score":"low"}]`, affects("Ubuntu:22.04:LTS curl 0 <7.81-1ubuntu1.2"))},
		packages: []string{"deb curl 7.81-1ubuntu1 Ubuntu:22.04", "deb libcurl4 7.81-1ubuntu1 Ubuntu:22.04:LTS curl"},
		want: []string{"curl: UBUNTU-CVE-2024-3 (CVE-2024-3) low fixed 7.81-1ubuntu1.2",
			"libcurl4: UBUNTU-CVE-2024-3 (CVE-2024-3) low fixed 7.81-1ubuntu1.2"}},
	{name: "ubuntu pro", records: []string{
		rec("UBUNTU-CVE-2024-4", upstream("CVE-2024-4"), affects("Ubuntu:18.04:LTS curl 0", "Ubuntu:Pro:18.04:LTS curl 0 <7.58-2ubuntu3.24+esm2")),
		rec("UBUNTU-CVE-2024-5", upstream("CVE-2024-5"), affects("Ubuntu:18.04:LTS curl 0 <9"))},
		packages: []string{"deb curl 7.58-2ubuntu3.24 Ubuntu:18.04", "deb curl 7.58-2ubuntu3.24+esm2 Ubuntu:18.04"},
		want: []string{"curl: UBUNTU-CVE-2024-4 (CVE-2024-4) unknown", "curl: UBUNTU-CVE-2024-5 (CVE-2024-5) unknown fixed 9",
			"curl: UBUNTU-CVE-2024-5 (CVE-2024-5) unknown fixed 9"}},
	{name: "errata", records: []string{
		rec("ALSA-2024:1", `"summary":"Important: openssl security update"`, list("related", "CVE-2024-6", "CVE-2024-7", "RHSA-2024:1"), affects("AlmaLinux:9 openssl 0 <1:3.0.7-25.el9_3")),
		rec("ALBA-2024:2", `"summary":"openssl bug fix update"`, affects("AlmaLinux:9 openssl 0 <1:3.0.7-99.el9"))},
		packages: []string{"rpm openssl 1:3.0.7-24.el9 AlmaLinux:9.3"},
		want:     []string{"openssl: ALSA-2024:1 (CVE-2024-6 CVE-2024-7) high fixed 1:3.0.7-25.el9_3"}},
	{name: "rpm by either name", records: []string{rec("OESA-1", affects("openEuler:24.03-LTS openssl 0 <3.1")), rec("OESA-2", affects("openEuler:24.03-LTS openssl-libs 0 <3.1"))},
		packages: []string{"rpm openssl-libs 3.0 openEuler:24.03-LTS openssl"},
		want:     []string{"openssl-libs: OESA-1 unknown fixed 3.1", "openssl-libs: OESA-2 unknown fixed 3.1"}},

	{name: "aliases are one fault", records: []string{
		rec("GHSA-aaaa", aliases("CVE-2024-8"), `"database_specific":{"severity":"MODERATE"}`, affects("Go m 0 <1.2.0")),
		rec("GO-2024-1", aliases("CVE-2024-8", "GHSA-aaaa"), affects("Go m 0 <1.1.0"))},
		packages: []string{"golang m v1.0.0 Go"}, want: []string{"m: GO-2024-1 (CVE-2024-8 GHSA-aaaa) medium fixed 1.2.0"}},
	{name: "a chain of aliases", records: []string{
		rec("A-1", aliases("CVE-2024-8"), affects("npm x 0 <1.2")), rec("B-1", aliases("C-1"), affects("npm x 0 <1.2")),
		rec("C-1", aliases("CVE-2024-8"), affects("npm x 0 <1.2"))},
		packages: []string{"npm x 1.0 npm"}, want: []string{"x: A-1 (CVE-2024-8 B-1 C-1) unknown fixed 1.2"}},
	{name: "the same record in two feeds", records: []string{rec("GHSA-1", affects("npm x 0 <1.2")), rec("GHSA-1", affects("npm x 0 <1.2"))},
		packages: []string{"npm x 1.0 npm"}, want: []string{"x: GHSA-1 unknown fixed 1.2"}},
	{name: "an announcement of what has rows", records: []string{
		rec("DEBIAN-CVE-2024-11", upstream("CVE-2024-11"), affects("Debian:12 o 0 <2-1")), rec("DEBIAN-CVE-2024-12", upstream("CVE-2024-12"), affects("Debian:12 o 0 <0.5")),
		rec("DSA-1-1", upstream("CVE-2024-11", "CVE-2024-12"), affects("Debian:12 o 0 <2-1"))},
		packages: []string{"deb o 1-1 Debian:12"}, want: []string{"o: DEBIAN-CVE-2024-11 (CVE-2024-11 DSA-1-1) unknown fixed 2-1"}},
	{name: "an announcement of more than has rows", records: []string{
		rec("DEBIAN-CVE-2024-11", upstream("CVE-2024-11"), affects("Debian:12 o 0 <2-1")),
		rec("DSA-1-1", upstream("CVE-2024-11", "CVE-2024-12", "CVE-2024-13"), affects("Debian:12 o 0 <2-1"))},
		packages: []string{"deb o 1-1 Debian:12"},
		want:     []string{"o: DEBIAN-CVE-2024-11 (CVE-2024-11) unknown fixed 2-1", "o: DSA-1-1 (CVE-2024-12 CVE-2024-13) unknown fixed 2-1"}},
	{name: "an announcement of one", records: []string{
		rec("DSA-1-1", upstream("CVE-2024-11"), affects("Debian:12 o 0 <2-1")), rec("DLA-1-1", upstream("CVE-2024-11"), affects("Debian:12 o 0 <2-1"))},
		packages: []string{"deb o 1-1 Debian:12"}, want: []string{"o: DLA-1-1 (CVE-2024-11 DSA-1-1) unknown fixed 2-1"}},

	{name: "the vendor knows its package", records: []string{
		rec("DEBIAN-CVE-2024-1", upstream("CVE-2024-1"), cvss(cvss98), `"affected":[{"package":{"ecosystem":"Debian:12","name":"tar"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}],"ecosystem_specific":{"urgency":"unimportant"}}]`),
		rec("GO-1", aliases("CVE-2024-1"), affects("Go m 0"))},
		packages: []string{"deb tar 1 Debian:12", "golang m 1.0 Go"},
		want:     []string{"m: GO-1 (CVE-2024-1) critical", "tar: DEBIAN-CVE-2024-1 (CVE-2024-1) negligible"}},
	{name: "a rating from elsewhere", records: []string{
		rec("BIT-go-1", aliases("CVE-2024-1"), `"affected":[{"package":{"ecosystem":"Bitnami","name":"go"},"severity":[{"type":"CVSS_V3","score":"`+cvss75+`"}],"versions":["1"]}]`),
		rec("ALPINE-CVE-2024-1", upstream("CVE-2024-1"), cvss(cvss53), affects("Alpine:v3.20 go 0")),
		rec("X-1", aliases("CVE-2024-1", "CVE-2024-2"), cvss(cvss98), affects("npm y 0")), // rates several: none of them
		rec("GO-1", aliases("CVE-2024-1"), affects("Go m 0"))},
		packages: []string{"golang m 1.0 Go"}, want: []string{"m: GO-1 (CVE-2024-1) high"}},
	{name: "malicious", records: []string{rec("MAL-2024-1", aliases("GHSA-x"), affects("npm evil 0")), rec("GHSA-x", cvss(cvss53), affects("npm evil 0"))},
		packages: []string{"npm evil 1.0 npm"}, want: []string{"evil: MAL-2024-1 (GHSA-x) critical"}},
	{name: "worst first", records: []string{
		rec("A-1", cvss(cvss53), affects("npm x 0")), rec("A-2", cvss(cvss98), affects("npm x 0")), rec("A-3", affects("npm x 0")), rec("A-4", cvss(cvss75), affects("npm y 0"))},
		packages: []string{"npm x 1 npm", "npm y 1 npm"},
		want:     []string{"x: A-2 critical", "y: A-4 high", "x: A-1 medium", "x: A-3 unknown"}},
}

func TestFindings(t *testing.T) {
	for _, tt := range findingCases {
		t.Run(tt.name, func(t *testing.T) {
			x := index(t, tt.records...)
			for range 2 { // the second time by heart
				findings, checked := x.Findings(image(tt.packages...))
				if d := cmp.Diff(append([]string{}, tt.want...), lines(findings)); d != "" {
					t.Errorf("findings (-want +got):\n%s", d)
				}
				if d := cmp.Diff(append([]string{}, tt.gaps...), gapLines(checked)); d != "" {
					t.Errorf("gaps (-want +got):\n%s", d)
				}
			}
		})
	}
}

func TestFindingSaysAll(t *testing.T) {
	x := index(t,
		rec("GHSA-1", aliases("CVE-2024-1"), cvss(cvss75), `"published":"2024-05-06T07:08:09Z","summary":"It   falls\nover"`, affects("npm @s/x 0 <1.2.0")),
		rec("B-1", aliases("CVE-2024-1"), `"published":"2024-05-05T00:00:00Z"`, affects("npm @s/x 0 <1.2.0")))
	p := inventory.Located{
		Package: inventory.Package{Type: "npm", Namespace: "@s", Name: "x", Version: "1.0.0", Ecosystem: "npm"},
		PURL:    "pkg:npm/%40s/x@1.0.0", Path: "app/a/package.json", Layer: 2,
	}
	q := p
	q.Path, q.Layer = "app/b/package.json", 3
	got, checked := x.Findings(&inventory.Image{Packages: []inventory.Located{p, q}})
	want := []evidence.Finding{{
		ID: "GHSA-1", Aliases: []string{"CVE-2024-1", "B-1"}, Severity: evidence.High, Score: 7.5, Vector: cvss75, Summary: "It falls over",
		Package: "@s/x", PURL: p.PURL, Version: "1.0.0", Ecosystem: "npm", Path: "app/a/package.json", Places: 2, Layer: 2, Fixed: "1.2.0",
		Published: time.Date(2024, 5, 5, 0, 0, 0, 0, time.UTC), Known: day(1), Since: time.Time{},
	}}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b oci.Digest) bool { return a == b })); d != "" {
		t.Errorf("finding (-want +got):\n%s", d)
	}
	if !checked.Complete() || checked.Packages != 1 {
		t.Errorf("checked %+v", checked)
	}
}
