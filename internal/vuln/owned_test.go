package vuln

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// TestOwned: a file of a package of the distribution is judged by the
// distribution's advisories, if there are any, unless it does harm.
func TestOwned(t *testing.T) {
	b := NewBuilder()
	for _, raw := range []string{
		`{"id":"GHSA-1","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"PyPI","name":"lib"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2"}]}]}]}`,
		`{"id":"MAL-1","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"PyPI","name":"evil"},"versions":["1"]}]}`,
		`{"id":"DEBIAN-CVE-1","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Debian:12","name":"other"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}]}`,
	} {
		r, err := ParseRecord([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Add(Row{Feed: "test", ID: r.ID, Format: PackFormat, Packed: r.Pack()}); err != nil {
			t.Fatal(err)
		}
	}
	x := b.Index(evidence.Snapshot{Seq: 1, Advisories: 3, Ecosystems: []string{"Debian", "PyPI"}})
	python := func(name string, owned bool) inventory.Located {
		return inventory.Located{Package: inventory.Package{Type: "pypi", Name: name, Version: "1", Ecosystem: "PyPI"}, PURL: "pkg:pypi/" + name + "@1", Path: "usr/lib/x", Owned: owned}
	}
	debian := inventory.Distro{ID: "debian", VersionID: "12", Ecosystem: "Debian:12"}
	for _, tt := range []struct {
		name   string
		distro inventory.Distro
		pkgs   []inventory.Located
		want   int
	}{
		{"owned", debian, []inventory.Located{python("lib", true)}, 0},
		{"not owned", debian, []inventory.Located{python("lib", false)}, 1},
		{"owned at one of two places", debian, []inventory.Located{python("lib", true), python("lib", false)}, 1},
		{"owned, and does harm", debian, []inventory.Located{python("evil", true)}, 1},
		{"owned by a distribution without advisories", inventory.Distro{ID: "x", Ecosystem: "Mageia:9"}, []inventory.Located{python("lib", true)}, 1},
		{"owned by an unknown distribution", inventory.Distro{}, []inventory.Located{python("lib", true)}, 1},
	} {
		found, _ := x.Findings(&inventory.Image{Distro: tt.distro, Packages: tt.pkgs})
		if len(found) != tt.want {
			t.Errorf("%s: %d findings, want %d: %+v", tt.name, len(found), tt.want, found)
		}
	}
}
