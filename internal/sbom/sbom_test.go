package sbom_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/sbom"
)

var update = flag.Bool("update", false, "rewrite golden files")

type renderer func(*inventory.Image, sbom.Meta) ([]byte, error)

// formats are the renderers with the schema that admits what they write.
var formats = map[string]struct {
	render renderer
	schema []string
}{
	"spdx":      {sbom.SPDX, []string{"testdata/schema/spdx-2.3-profile.schema.json"}},
	"cyclonedx": {sbom.CycloneDX, []string{"testdata/schema/bom-1.6.schema.json", "testdata/schema/spdx.schema.json", "testdata/schema/jsf-0.82.schema.json"}},
}

func digest(name string) oci.Digest { return oci.FromBytes([]byte(name)) }

func meta() sbom.Meta {
	return sbom.Meta{
		Name: "production/payments/api:1.8", Digest: digest("manifest"), Inventory: digest("inventory"),
		AnalysedAt: time.Date(2026, 11, 22, 6, 0, 0, 500, time.FixedZone("CET", 3600)), Engine: "0.1.0", ExtractorSet: "os/dpkg/1 go/binary/2",
	}
}

// image has one of everything that is rendered in its own way.
func image() *inventory.Image {
	im := &inventory.Image{
		Manifest: digest("manifest"), Platform: oci.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"},
		Distro: inventory.Distro{ID: "debian", VersionID: "12", Name: "Debian GNU/Linux 12 (bookworm)", Ecosystem: "Debian:12"},
	}
	for i := range 2 {
		im.Layers = append(im.Layers, inventory.LayerCoverage{Digest: digest(fmt.Sprint("layer", i)), DiffIDOK: true, Coverage: inventory.Coverage{State: inventory.CoverageFull}})
	}
	add := func(p inventory.Package, purl, path string, layer int) {
		im.Packages = append(im.Packages, inventory.Located{Package: p, PURL: purl, Path: path, Layer: layer})
	}
	add(inventory.Package{Type: "deb", Name: "libssl3", Version: "3.0.11-1~deb12u2", Source: "openssl", SourceVer: "3.0.11-1~deb12u2", Licenses: []string{"Apache-2.0"}, Ecosystem: "Debian:12"},
		"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=arm64&distro=debian-12", "var/lib/dpkg/status", 0)
	add(inventory.Package{Type: "deb", Name: "base-files", Version: "12.4", Licenses: []string{"GPL-2+", "  ", "NOASSERTION"}, Ecosystem: "Debian:12"}, "pkg:deb/debian/base-files@12.4", "var/lib/dpkg/status", 0)
	add(inventory.Package{Type: "golang", Name: "golang.org/x/net", Version: "v0.30.0", Ecosystem: "Go"}, "pkg:golang/golang.org/x/net@v0.30.0", "usr/bin/b", 1)
	add(inventory.Package{Type: "golang", Name: "golang.org/x/net", Version: "v0.30.0", Ecosystem: "Go"}, "pkg:golang/golang.org/x/net@v0.30.0", "usr/bin/a", 1)
	add(inventory.Package{Type: "npm", Namespace: "@acme", Name: "ui", Version: "1.0.0", Licenses: []string{"(mit OR apache-2.0)", "BSD-3-Clause"}, Ecosystem: "npm"}, "pkg:npm/%40acme/ui@1.0.0", "app/node_modules/@acme/ui/package.json", 1)
	add(inventory.Package{Type: "pypi", Name: "idna", Licenses: []string{"MIT", "see LICENSE file", "GPL-2.0-only WITH Classpath-exception-2.0"}, Ecosystem: "PyPI"}, "pkg:pypi/idna", "usr/lib/python3/idna/METADATA", 1)
	add(inventory.Package{Type: "generic", Name: "odd <&> \"name\"", Version: "1", Ecosystem: "x"}, "", "opt/odd", 1)
	return im
}

// partial is image with something that was not looked at.
func partial() *inventory.Image {
	im := image()
	im.Layers[1].Coverage = inventory.Coverage{State: inventory.CoveragePartial, Gaps: []inventory.Gap{{Extractor: "go/binary", Path: "usr/bin/huge", Reason: "file larger than 64 MiB"}}}
	im.Layers = append(im.Layers, inventory.LayerCoverage{Digest: digest("secret"), Coverage: inventory.Coverage{State: inventory.CoverageNone}})
	im.Packages[0].Ecosystem = ""
	return im
}

func TestGolden(t *testing.T) {
	for format, f := range formats {
		for name, im := range map[string]*inventory.Image{"full": image(), "partial": partial(), "empty": {Manifest: digest("manifest")}} {
			t.Run(format+"/"+name, func(t *testing.T) {
				doc, err := f.render(im, meta())
				if err != nil {
					t.Fatal(err)
				}
				validate(t, doc, f.schema)
				if path := os.Getenv("BONDED_TEST_SPDX_SCHEMA"); path != "" && format == "spdx" {
					validate(t, doc, []string{path})
				}
				var pretty bytes.Buffer
				if err := json.Indent(&pretty, doc, "", "  "); err != nil {
					t.Fatal(err)
				}
				checkGolden(t, "testdata/"+name+"."+format+".golden.json", pretty.Bytes())
			})
		}
	}
}

// validate checks a document against the first schema; the others are what it
// refers to.
func validate(t *testing.T, doc []byte, schemas []string) {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	var first string
	for i, path := range schemas {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		id := s.(map[string]any)["$id"].(string)
		if err := c.AddResource(id, s); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = id
		}
	}
	schema, err := c.Compile(first)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Errorf("the document is not valid: %v", err)
	}
}

func checkGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what it was; go test -update ./internal/sbom rewrites it (-want +got):\n%s", path, diff)
	}
}

// TestReadersAgree: the formats' own libraries read what we write, and find
// every identifier that is referred to.
func TestReadersAgree(t *testing.T) {
	doc, err := sbom.SPDX(partial(), meta())
	if err != nil {
		t.Fatal(err)
	}
	s, err := spdxjson.Read(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	// The library takes NOASSERTION for a package that is not there.
	s.Relationships = slices.DeleteFunc(s.Relationships, func(r *spdx.Relationship) bool { return r.RefB.SpecialID != "" })
	if err := spdxlib.ValidateDocument(s); err != nil {
		t.Errorf("SPDX: %v", err)
	}
	if len(s.Packages) != 8 { // image, system, 6 packages of 7 places
		t.Errorf("SPDX has %d packages, want 8", len(s.Packages))
	}
	if doc, err = sbom.CycloneDX(partial(), meta()); err != nil {
		t.Fatal(err)
	}
	var b cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(doc), cdx.BOMFileFormatJSON).Decode(&b); err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{b.Metadata.Component.BOMRef: true}
	for _, c := range *b.Components {
		if refs[c.BOMRef] {
			t.Errorf("CycloneDX has two components %s", c.BOMRef)
		}
		refs[c.BOMRef] = true
	}
	for _, c := range *b.Compositions {
		if c.Assemblies != nil && !refs[string((*c.Assemblies)[0])] {
			t.Errorf("CycloneDX refers to %s, which is not there", (*c.Assemblies)[0])
		}
	}
	if len(refs) != 8 {
		t.Errorf("CycloneDX has %d components, want 8", len(refs))
	}
}

// TestSaysWhatIsMissing: a document about an image that was not analysed in
// full says so, and one that was does not.
func TestSaysWhatIsMissing(t *testing.T) {
	ambiguous := image()
	ambiguous.Layers[0].Coverage.State = inventory.CoverageAmbiguous
	for _, tc := range []struct {
		name string
		im   *inventory.Image
		full bool
	}{{"full", image(), true}, {"partial", partial(), false}, {"ambiguous", ambiguous, false}} {
		for format, marks := range map[string][2]string{
			"spdx":      {`"comment":"Coverage: full.`, `"relatedSpdxElement":"NOASSERTION"`},
			"cyclonedx": {`"aggregate":"complete"`, `"aggregate":"incomplete"`},
		} {
			doc, err := formats[format].render(tc.im, meta())
			if err != nil {
				t.Fatal(err)
			}
			saysFull, saysPartial := bytes.Contains(doc, []byte(marks[0])), bytes.Contains(doc, []byte(marks[1]))
			if saysFull != tc.full || saysPartial == tc.full {
				t.Errorf("%s of an image with %s coverage: says full %t, says incomplete %t", format, tc.name, saysFull, saysPartial)
			}
		}
	}
}

// TestSameBytes: neither the order of the inventory nor the time of rendering
// changes a document, and whatever identifies it does.
func TestSameBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for format, f := range formats {
		first, err := f.render(partial(), meta())
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			im := partial()
			r.Shuffle(len(im.Packages), func(i, j int) { im.Packages[i], im.Packages[j] = im.Packages[j], im.Packages[i] })
			again, err := f.render(im, meta())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first, again) {
				t.Fatalf("%s: the order of packages changes the document:\n%s", format, cmp.Diff(string(first), string(again)))
			}
		}
		for name, change := range map[string]func(*sbom.Meta){
			"name": func(m *sbom.Meta) { m.Name += "x" }, "digest": func(m *sbom.Meta) { m.Digest = digest("x") }, "inventory": func(m *sbom.Meta) { m.Inventory = digest("x") },
			"time": func(m *sbom.Meta) { m.AnalysedAt = m.AnalysedAt.Add(time.Second) }, "engine": func(m *sbom.Meta) { m.Engine += "x" }, "extractors": func(m *sbom.Meta) { m.ExtractorSet += "x" },
		} {
			m := meta()
			change(&m)
			other, err := f.render(partial(), m)
			if err != nil {
				t.Fatal(err)
			}
			if identity(t, first) == identity(t, other) {
				t.Errorf("%s: another %s gives the same identity", format, name)
			}
		}
	}
}

// identity is what makes a document unique.
func identity(t *testing.T, doc []byte) string {
	t.Helper()
	var ids struct{ SerialNumber, DocumentNamespace string }
	if err := json.Unmarshal(doc, &ids); err != nil {
		t.Fatal(err)
	}
	return ids.SerialNumber + ids.DocumentNamespace
}

func TestMetaIsRequired(t *testing.T) {
	for name, change := range map[string]func(*sbom.Meta){
		"no name": func(m *sbom.Meta) { m.Name = "" }, "image has no digest": func(m *sbom.Meta) { m.Digest = oci.Digest{} }, "inventory has no digest": func(m *sbom.Meta) { m.Inventory = oci.Digest{} },
		"no time": func(m *sbom.Meta) { m.AnalysedAt = time.Time{} }, "no engine": func(m *sbom.Meta) { m.Engine = "" },
	} {
		m := meta()
		change(&m)
		for format, f := range formats {
			if _, err := f.render(&inventory.Image{}, m); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: error %v, want %q", format, err, name)
			}
		}
	}
}

// TestForeignText: whatever packages are called, both documents stay valid.
func TestForeignText(t *testing.T) {
	im := image()
	for _, name := range []string{"\x00\x1b[2J", "\xff\xfe", strings.Repeat("x", 100_000), "\u202e", "</script>", "SPDXRef-DOCUMENT", "LicenseRef-x"} {
		im.Packages = append(im.Packages, inventory.Located{Package: inventory.Package{Type: "npm", Name: name, Version: name, Licenses: []string{name}, Ecosystem: "npm"}, Path: name, Layer: 99})
	}
	for format, f := range formats {
		doc, err := f.render(im, meta())
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		validate(t, doc, f.schema)
	}
}

// TestManyPlaces: a package that is everywhere does not make the document
// endless.
func TestManyPlaces(t *testing.T) {
	im := image()
	for i := range 5_000 {
		p := im.Packages[2]
		p.Path = fmt.Sprintf("srv/%d", i)
		im.Packages = append(im.Packages, p)
	}
	for format, want := range map[string]string{"spdx": "; and 4902 more", "cyclonedx": `"bonded:further-places","value":"4902"`} {
		doc, err := formats[format].render(im, meta())
		if err != nil {
			t.Fatal(err)
		}
		if len(doc) > 60_000 || !bytes.Contains(doc, []byte(want)) {
			t.Errorf("%s has %d bytes and says %q: %t", format, len(doc), want, bytes.Contains(doc, []byte(want)))
		}
	}
}

// BenchmarkRender takes an image of 2 000 packages.
func BenchmarkRender(b *testing.B) {
	im := image()
	licenses := []string{"MIT", "Apache-2.0 OR MIT", "GPL-2+", "BSD-3-Clause"}
	for i := range 2_000 {
		im.Packages = append(im.Packages, inventory.Located{
			Package: inventory.Package{Type: "deb", Name: fmt.Sprint("package-", i), Version: "1.2.3-4", Source: "source", Licenses: licenses[i%4 : i%4+1], Ecosystem: "Debian:12"},
			PURL:    fmt.Sprintf("pkg:deb/debian/package-%d@1.2.3-4?arch=amd64&distro=debian-12", i), Path: "var/lib/dpkg/status", Layer: i % 2,
		})
	}
	slices.SortFunc(im.Packages, func(x, y inventory.Located) int { return strings.Compare(x.PURL, y.PURL) })
	for format, f := range formats {
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				doc, err := f.render(im, meta())
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(doc)))
			}
		})
	}
}
