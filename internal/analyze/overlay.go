package analyze

import (
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Stack is what an image is made of, as facts.
type Stack struct {
	Manifest oci.Digest
	// Layers in the manifest's order. One that was not analysed has Digest and
	// a Coverage of CoverageNone alone.
	Layers []inventory.Layer
	// Sets returns the set with that id, nil when it is not there. It must not
	// be changed.
	Sets func(id oci.Digest) *inventory.Set
	// Config of the image. Optional: nil means that no diff_id can be compared.
	Config *oci.ImageConfig
}

// Limits of an image. Runtimes mount no more layers than maxLayers; real images
// have less than a tenth of maxImagePackages.
const (
	maxLayers        = 512
	maxImagePackages = 100_000
)

// Reasons of gaps that only an overlay has.
const (
	noSet    = "the packages of this file are not stored"
	tooDeep  = "more than 512 layers"
	tooLarge = "more packages in one image than are kept"
)

// Overlay merges the layers of an image into its inventory: for each path the
// topmost layer wins, whiteouts and opaque directories remove what is below.
// It is a pure function of the facts.
func Overlay(in Stack) *inventory.Image {
	im := &inventory.Image{Manifest: in.Manifest, Config: in.Config}
	if c := in.Config; c != nil {
		im.Platform = oci.Platform{Architecture: c.Architecture, OS: c.OS, Variant: c.Variant}
		im.Labels = c.Config.Labels
		if c.Created != nil {
			im.Created = c.Created.UTC()
		}
	}
	if len(in.Layers) > maxLayers {
		for _, l := range in.Layers {
			c := l.Coverage.Add(inventory.CoverageNone, inventory.Gap{Reason: tooDeep})
			im.Layers = append(im.Layers, inventory.LayerCoverage{Digest: l.Digest, Coverage: c})
		}
		return im
	}
	s := newStack(in.Layers)
	im.Distro = s.distro()
	for i := range in.Layers {
		im.Layers = append(im.Layers, s.layer(im, i, in))
	}
	sortLocated(im.Packages)
	return im
}

// layer adds the packages that layer i brought and that are still there, and
// returns its coverage.
func (s *stack) layer(im *inventory.Image, i int, in Stack) inventory.LayerCoverage {
	l := &s.layers[i]
	c := inventory.LayerCoverage{Digest: l.Digest, DiffIDOK: diffIDOK(in.Config, i, len(in.Layers), l.DiffID), Coverage: l.Coverage}
	if c.Coverage.State == "" {
		c.Coverage.State = inventory.CoverageNone
	}
	for _, reason := range s.odd[i] {
		c.Coverage = c.Coverage.Add(inventory.CoverageAmbiguous, inventory.Gap{Reason: reason})
	}
	for k := range l.Files {
		f := &l.Files[k]
		if f.Set.IsZero() {
			continue
		}
		path := s.real(i, f.Path)
		if !s.visible(i, path) {
			continue
		}
		set := in.Sets(f.Set)
		if set == nil {
			c.Coverage = c.Coverage.Add(inventory.CoverageNone, inventory.Gap{Path: path, Reason: noSet})
			continue
		}
		if len(im.Packages)+len(set.Packages) > maxImagePackages {
			c.Coverage = c.Coverage.Add(inventory.CoveragePartial, inventory.Gap{Path: path, Reason: tooLarge})
			continue
		}
		im.Packages = appendLocated(im.Packages, set, &im.Distro, inventory.Located{Path: path, Layer: i, Set: f.Set, Owned: f.Owned})
		c.PackageSum += len(set.Packages)
	}
	return c
}

// appendLocated adds the packages of a set, which are all where at is.
func appendLocated(to []inventory.Located, set *inventory.Set, d *inventory.Distro, at inventory.Located) []inventory.Located {
	to = slices.Grow(to, len(set.Packages))
	for k := range set.Packages {
		at.Package = set.Packages[k]
		at.PURL = PURL(&at.Package, d)
		if isOS(at.Type) {
			at.Ecosystem = d.Ecosystem
			at.Owned = false // it is the OS package
		}
		to = append(to, at)
	}
	return to
}

// isOS reports whether packages of a purl type belong to a distribution.
func isOS(purlType string) bool {
	return purlType == "deb" || purlType == "apk" || purlType == "rpm"
}

// sortLocated sorts by PURL and path. It moves indices, as the packages are
// large.
func sortLocated(all []inventory.Located) {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &all[i], &all[j]
		if c := strings.Compare(a.PURL, b.PURL); c != 0 {
			return c
		}
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return comparePackages(&a.Package, &b.Package)
	})
	sorted := make([]inventory.Located, len(all))
	for to, from := range order {
		sorted[to] = all[from]
	}
	copy(all, sorted)
}

// diffIDOK compares the computed diff_id of layer i of n with what the
// configuration says.
func diffIDOK(c *oci.ImageConfig, i, n int, computed oci.Digest) bool {
	return c != nil && !computed.IsZero() && len(c.RootFS.DiffIDs) == n && c.RootFS.DiffIDs[i] == computed
}

// distro returns the distribution that the merged tree says it is.
func (s *stack) distro() inventory.Distro {
	n := len(s.layers)
	for _, place := range releasePlaces {
		hops := 0
		path, ok := s.resolve(place, n, &hops)
		if !ok {
			continue
		}
		i, m := s.top(path, n)
		if m&inventory.MarkFile == 0 {
			continue
		}
		if d := s.releaseAt(i, path); d != nil {
			return *d
		}
	}
	return inventory.Distro{}
}

// releaseAt returns what layer i says in an os-release file at a real path.
func (s *stack) releaseAt(i int, path string) *inventory.Distro {
	for k := range s.layers[i].Files {
		if f := &s.layers[i].Files[k]; f.Distro != nil && s.real(i, f.Path) == path {
			return f.Distro
		}
	}
	return nil
}

// DigestOf names the content of an inventory: equal digests mean that a
// decision would see the same. The layout is in docs/format/facts.md.
func DigestOf(im *inventory.Image) oci.Digest {
	e := encoder{b: append([]byte(factsMagic), factsVersion, kindImage, packedNot)}
	e.digest(im.Manifest)
	e.texts(im.Platform.OS, im.Platform.Architecture, im.Platform.Variant, im.Platform.OSVersion)
	list(&e, im.Platform.OSFeatures, e.textAt)
	e.texts(im.Distro.ID, im.Distro.VersionID, im.Distro.Name, im.Distro.Ecosystem)
	list(&e, im.Packages, e.located)
	list(&e, im.Layers, e.layerCoverage)
	if !im.Created.IsZero() {
		e.text(im.Created.UTC().Format(time.RFC3339Nano))
	}
	return oci.FromBytes(e.b)
}

func (e *encoder) located(p *inventory.Located) {
	e.pkg(&p.Package)
	e.texts(p.PURL, p.Path)
	e.number(int64(p.Layer))
	e.digest(p.Set)
	e.bool(p.Owned)
}

func (e *encoder) layerCoverage(l *inventory.LayerCoverage) {
	e.digest(l.Digest)
	e.bool(l.DiffIDOK)
	e.coverage(&l.Coverage)
	e.number(int64(l.PackageSum))
}
