package analyze

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// image analyses layers and merges them.
func image(t testing.TB, layers ...[]entry) *inventory.Image {
	t.Helper()
	s := stackOf(t, newTestAnalyzer(t, newWords()), layers...)
	return Overlay(s)
}

func stackOf(t testing.TB, a *Analyzer, layers ...[]entry) Stack {
	t.Helper()
	var s Stack
	sets := map[oci.Digest]*inventory.Set{}
	for _, l := range layers {
		blob := pack(t, l...)
		res := analyse(t, a, blob)
		res.Layer.Digest = oci.FromBytes(blob)
		s.Layers = append(s.Layers, res.Layer)
		for i := range res.Sets {
			sets[res.Sets[i].ID] = &res.Sets[i]
		}
	}
	s.Sets = func(id oci.Digest) *inventory.Set { return sets[id] }
	return s
}

// located lists "layer path: package".
func located(im *inventory.Image) (all []string) {
	for _, p := range im.Packages {
		all = append(all, fmt.Sprintf("%d %s: %s", p.Layer, p.Path, p.Name))
	}
	slices.Sort(all)
	return all
}

func f(name, body string) entry { return entry{name: name, body: body} }

func l(name, target string) entry { return entry{name: name, link: target} }

func d(name string) entry { return entry{name: name + "/"} }

// TestOverlay: one rule each. That the rules together are unpacking is
// TestOverlayIsUnpacking's business.
func TestOverlay(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]entry
		want   []string
		state  inventory.CoverageState
	}{
		{"topmost wins", [][]entry{{f("a.words", "old"), f("b.words", "b")}, {f("a.words", "new")}}, []string{"0 b.words: b", "1 a.words: new"}, "full"},
		{"replaced by something uninteresting", [][]entry{{f("a.words", "x")}, {l("a.words", "/dev/null")}}, nil, "full"},
		{"replaced by an empty file", [][]entry{{f("a.words", "x")}, {f("a.words", "")}}, nil, "full"},
		{"whiteout", [][]entry{{d("d"), f("d/a.words", "x")}, {d("d"), f("d/.wh.a.words", "")}}, nil, "full"},
		{"whiteout of a directory", [][]entry{{f("d/e/a.words", "x")}, {f(".wh.d", "")}}, nil, "full"},
		{"whiteout and new content", [][]entry{{f("d/a.words", "x")}, {f(".wh.d", ""), d("d"), f("d/b.words", "y")}}, []string{"1 d/b.words: y"}, "full"},
		{"whiteout concerns lower layers", [][]entry{{f("a.words", "x")}, {f(".wh.a.words", "")}, {f("a.words", "y")}}, []string{"2 a.words: y"}, "full"},
		{"opaque", [][]entry{{f("d/a.words", "x"), f("e.words", "e")}, {d("d"), f("d/.wh..wh..opq", ""), f("d/b.words", "y")}}, []string{"0 e.words: e", "1 d/b.words: y"}, "full"},
		{"opaque root", [][]entry{{f("a.words", "x")}, {f(".wh..wh..opq", ""), f("b.words", "y")}}, []string{"1 b.words: y"}, "full"},
		{"directories merge", [][]entry{{d("d"), f("d/a.words", "x")}, {d("d"), f("d/b.words", "y")}}, []string{"0 d/a.words: x", "1 d/b.words: y"}, "full"},
		{"directory over a file", [][]entry{{f("a.words", "x")}, {d("a.words")}}, nil, "full"},
		{"file over a directory", [][]entry{{f("d/a.words", "x")}, {f("d", "")}}, nil, "full"},
		{"link over a directory", [][]entry{{f("d/a.words", "x")}, {l("d", "e")}}, nil, "full"},
		{"directory over a link", [][]entry{{l("d", "e"), f("e/a.words", "x")}, {d("d"), f("d/a.words", "y")}}, []string{"0 e/a.words: x", "1 d/a.words: y"}, "full"},
		{"through a link", [][]entry{{l("lib", "usr/lib"), f("usr/lib/apk/a.words", "old")}, {f("lib/apk/a.words", "new")}}, []string{"1 usr/lib/apk/a.words: new"}, "ambiguous"},
		{"whiteout through a link", [][]entry{{l("lib", "usr/lib"), f("usr/lib/a.words", "old")}, {f("lib/.wh.a.words", "")}}, nil, "ambiguous"},
		{"through a link to nowhere", [][]entry{{l("lib", "/usr/lib")}, {f("lib/a.words", "x")}}, []string{"1 usr/lib/a.words: x"}, "ambiguous"},
		{"through a link that a layer replaced", [][]entry{{l("lib", "usr/lib")}, {d("lib")}, {f("lib/a.words", "x")}}, []string{"2 lib/a.words: x"}, "full"},
		{"through a circle", [][]entry{{l("a", "b"), l("b", "a")}, {f("a/x.words", "x")}}, []string{"1 a/x.words: x"}, "ambiguous"},
		{"below a file", [][]entry{{f("a.words", "x")}, {f("a.words/b.words", "y")}}, []string{"1 a.words/b.words: y"}, "ambiguous"},
		{"ambiguous layer", [][]entry{{f("a.words", "x"), f("a.words", "y")}}, []string{"0 a.words: y"}, "ambiguous"},
		{"partial layer", [][]entry{{f("a.words", "x\nfail!")}}, []string{"0 a.words: x"}, "partial"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			im := image(t, tt.layers...)
			if diff := cmp.Diff(tt.want, located(im)); diff != "" {
				t.Error(diff)
			}
			for i := range im.Packages {
				im.Packages[i].Ecosystem = "known" // not what this is about
			}
			if got := im.Coverage(); got != tt.state {
				t.Errorf("coverage is %s, want %s: %+v", got, tt.state, im.Layers)
			}
		})
	}
}

// dpkgLike finds one OS package.
type dpkgLike struct{ words }

func (dpkgLike) Extract(_ context.Context, f *File) ([]inventory.Package, error) {
	b, err := f.Bytes()
	return []inventory.Package{{Type: "deb", Name: string(b), Version: "1:2", Arch: "amd64"}}, err
}

func TestOverlayDistro(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]entry
		want   string // purl
		eco    string
	}{
		{"none", [][]entry{{f("a.words", "x")}}, "pkg:deb/x@1:2?arch=amd64", ""},
		{"in etc", [][]entry{{f("etc/os-release", "ID=debian\nVERSION_ID=12"), f("a.words", "x")}}, "pkg:deb/debian/x@1:2?arch=amd64&distro=debian-12", "Debian:12"},
		{"behind a link", [][]entry{{l("etc/os-release", "../usr/lib/os-release"), f("usr/lib/os-release", "ID=ubuntu\nVERSION_ID=22.04"), f("a.words", "x")}}, "pkg:deb/ubuntu/x@1:2?arch=amd64&distro=ubuntu-22.04", "Ubuntu:22.04:LTS"},
		{"behind two links", [][]entry{{l("etc/os-release", "/usr/lib/os-release"), l("usr/lib/os-release", "os.release.d/os-release-x"), f("usr/lib/os.release.d/os-release-x", "ID=debian\nVERSION_ID=12"), f("a.words", "x")}}, "pkg:deb/debian/x@1:2?arch=amd64&distro=debian-12", "Debian:12"},
		{"replaced", [][]entry{{f("etc/os-release", "ID=debian\nVERSION_ID=11"), f("a.words", "x")}, {f("etc/os-release", "ID=debian\nVERSION_ID=12")}}, "pkg:deb/debian/x@1:2?arch=amd64&distro=debian-12", "Debian:12"},
		{"in usr when etc has none", [][]entry{{f("etc/os-release", "ID=debian"), f("usr/lib/os-release", "ID=debian\nVERSION_ID=12"), f("a.words", "x")}, {d("etc"), f("etc/.wh.os-release", "")}}, "pkg:deb/debian/x@1:2?arch=amd64&distro=debian-12", "Debian:12"},
		{"link in a circle", [][]entry{{l("etc/os-release", "os-release"), f("a.words", "x")}}, "pkg:deb/x@1:2?arch=amd64", ""},
		{"without a release", [][]entry{{f("etc/os-release", "ID=debian"), f("a.words", "x")}}, "pkg:deb/debian/x@1:2?arch=amd64&distro=debian", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			im := Overlay(stackOf(t, newTestAnalyzer(t, dpkgLike{newWords()}), tt.layers...))
			if len(im.Packages) != 1 {
				t.Fatalf("got %+v", im.Packages)
			}
			if p := im.Packages[0]; p.PURL != tt.want || p.Ecosystem != tt.eco || im.UnknownDistro() != (tt.eco == "") {
				t.Errorf("got %s of %q", p.PURL, p.Ecosystem)
			}
		})
	}
}

func TestOverlayImage(t *testing.T) {
	s := stackOf(t, newTestAnalyzer(t, newWords()), []entry{f("a.words", "x\ny")}, []entry{f("b.words", "z")})
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	s.Manifest = oci.FromBytes([]byte("manifest"))
	s.Config = &oci.ImageConfig{Architecture: "arm64", OS: "linux", Variant: "v8", Created: &created}
	s.Config.Config.Labels = map[string]string{"a": "b"}
	s.Config.RootFS.DiffIDs = []oci.Digest{s.Layers[0].DiffID, oci.FromBytes(nil)}
	im := Overlay(s)
	want := []inventory.LayerCoverage{
		{Digest: s.Layers[0].Digest, DiffIDOK: true, Coverage: inventory.Coverage{State: "full"}, PackageSum: 2, Searched: unsearched},
		{Digest: s.Layers[1].Digest, DiffIDOK: false, Coverage: inventory.Coverage{State: "full"}, PackageSum: 1, Searched: unsearched},
	}
	if diff := cmp.Diff(want, im.Layers, cmp.Comparer(func(a, b oci.Digest) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if im.Manifest != s.Manifest || im.Platform.String() != "linux/arm64/v8" || !im.Created.Equal(created) || im.Labels["a"] != "b" {
		t.Errorf("got %+v", im)
	}
}

// TestDiffIDs: right, wrong, and not known.
func TestDiffIDs(t *testing.T) {
	s := stackOf(t, newTestAnalyzer(t, newWords()), []entry{f("a.words", "x")})
	right := s.Layers[0]
	over := right
	over.DiffID = oci.Digest{}
	over.Coverage = inventory.Coverage{State: inventory.CoveragePartial, Gaps: []inventory.Gap{{Reason: "over"}, {Path: "a", Reason: "b"}}}
	config := func(ids ...oci.Digest) *oci.ImageConfig {
		c := &oci.ImageConfig{}
		c.RootFS.DiffIDs = ids
		return c
	}
	for name, test := range map[string]struct {
		layer  inventory.Layer
		config *oci.ImageConfig
		ok     bool
		why    string
	}{
		"right":             {right, config(right.DiffID), true, ""},
		"wrong":             {right, config(oci.FromBytes(nil)), false, ""},
		"not said":          {right, config(), false, ""},
		"said once more":    {right, config(right.DiffID, right.DiffID), false, ""},
		"no configuration":  {right, nil, false, noConfig},
		"over its budget":   {over, config(right.DiffID), false, "over"},
		"nothing is known":  {inventory.Layer{Digest: right.Digest}, config(right.DiffID), false, notRead},
		"neither is there":  {over, nil, false, "over"},
		"over and not said": {over, config(), false, "over"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Layers, s.Config = []inventory.Layer{test.layer}, test.config
			if l := Overlay(s).Layers[0]; l.DiffIDOK != test.ok || l.Uncompared != test.why {
				t.Errorf("got %v, %q", l.DiffIDOK, l.Uncompared)
			}
		})
	}
}

// TestOverlayOfUnknown: layers without facts and sets that are lost.
func TestOverlayOfUnknown(t *testing.T) {
	s := stackOf(t, newTestAnalyzer(t, newWords()), []entry{f("a.words", "x")})
	s.Layers = append(s.Layers, inventory.Layer{Digest: oci.FromBytes(nil)})
	im := Overlay(s)
	if im.Layers[1].Coverage.State != inventory.CoverageNone || im.Coverage() != inventory.CoverageNone {
		t.Errorf("got %+v", im.Layers)
	}
	before := s.Layers[0].Coverage
	s.Layers, s.Sets = s.Layers[:1], func(oci.Digest) *inventory.Set { return nil }
	im = Overlay(s)
	if c := im.Layers[0].Coverage; c.State != inventory.CoverageNone || len(c.Gaps) != 1 || c.Gaps[0].Path != "a.words" {
		t.Errorf("got %+v", c)
	}
	if diff := cmp.Diff(before, s.Layers[0].Coverage); diff != "" {
		t.Errorf("the facts were changed: %s", diff)
	}
}

// BenchmarkOverlay merges 8 layers with 700 packages, 4000 paths at the bottom.
func BenchmarkOverlay(b *testing.B) {
	base := []entry{f("etc/os-release", "ID=debian\nVERSION_ID=12"), l("lib", "usr/lib")}
	for i := range 4000 {
		base = append(base, f(fmt.Sprintf("usr/share/doc/%d/%d/copyright", i%40, i), ""))
	}
	names := ""
	for i := range 600 {
		names += fmt.Sprintf("package-number-%d\n", i)
	}
	layers := [][]entry{append(base, f("var/lib/dpkg/status.words", names))}
	for i := range 7 {
		up := []entry{d("app")}
		for k := range 15 {
			up = append(up, f(fmt.Sprintf("app/node_modules/module-%d-%d/package.words", i, k), fmt.Sprintf("module-%d-%d", i, k)))
		}
		layers = append(layers, up)
	}
	s := stackOf(b, newTestAnalyzer(b, newWords()), layers...)
	var stored [][]byte
	for i := range s.Layers {
		stored = append(stored, MarshalLayer(&s.Layers[i]))
	}
	b.Run("overlay", func(b *testing.B) {
		for b.Loop() {
			if im := Overlay(s); len(im.Packages) != 705 {
				b.Fatal(len(im.Packages))
			}
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		for b.Loop() {
			for _, l := range stored {
				if _, err := UnmarshalLayer(l); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("walk", func(b *testing.B) {
		blob := pack(b, layers[0]...)
		a := newTestAnalyzer(b, newWords())
		b.SetBytes(int64(len(blob)))
		for b.Loop() {
			if _, err := a.Layer(context.Background(), bytes.NewReader(blob)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestLimits: what no real image reaches is a gap, not a crash.
func TestLimits(t *testing.T) {
	s := Stack{Layers: make([]inventory.Layer, maxLayers+1)}
	for i := range s.Layers {
		s.Layers[i].Coverage.State = inventory.CoverageFull
	}
	im := Overlay(s)
	if len(im.Layers) != maxLayers+1 || im.Coverage() != inventory.CoverageNone || im.Layers[0].Coverage.Gaps[0].Reason != tooDeep {
		t.Errorf("got %d layers, %s", len(im.Layers), im.Coverage())
	}

	set := &inventory.Set{ID: oci.FromBytes([]byte("set")), Packages: make([]inventory.Package, maxImagePackages/2+1)}
	file := inventory.File{Path: "a", Set: set.ID}
	layer := inventory.Layer{Files: []inventory.File{file}, Coverage: inventory.Coverage{State: inventory.CoverageFull}}
	s = Stack{Layers: []inventory.Layer{layer, layer}, Sets: func(oci.Digest) *inventory.Set { return set }}
	s.Layers[1].Files = []inventory.File{{Path: "b", Set: set.ID}}
	im = Overlay(s)
	if len(im.Packages) != len(set.Packages) || im.Layers[0].Coverage.State != inventory.CoverageFull || im.Layers[1].Coverage.State != inventory.CoveragePartial {
		t.Errorf("got %d packages, %+v", len(im.Packages), im.Layers)
	}

	var entries []entry
	for i := range 5 {
		var b strings.Builder
		for k := range 50_000 {
			fmt.Fprintf(&b, "%d\n", k)
		}
		entries = append(entries, f(fmt.Sprint(i, ".words"), b.String()))
	}
	res := analyse(t, newTestAnalyzer(t, newWords()), pack(t, entries...))
	if len(res.Layer.Files) != 4 || res.Layer.Coverage.State != inventory.CoveragePartial {
		t.Errorf("got %d files, %+v", len(res.Layer.Files), res.Layer.Coverage)
	}
}
