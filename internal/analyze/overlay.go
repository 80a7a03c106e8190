package analyze

import (
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Stack is what an image is made of, as facts.
type Stack struct {
	Manifest oci.Digest
	// Layers in the manifest's order. One that was not analysed has Digest and
	// a Coverage of CoverageNone alone.
	Layers []inventory.Layer
	// Descriptors of the layers, as the manifest has them. Optional: none means
	// that they have no annotations.
	Descriptors []oci.Descriptor
	// Sets returns the set with that id, nil when it is not there. It must not
	// be changed.
	Sets func(id oci.Digest) *inventory.Set
	// Config of the image. Optional: nil means that no diff_id can be compared.
	Config *oci.ImageConfig
	// Searcher finds secrets in the configuration. Optional.
	Searcher Searcher
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
	noConfig = "the configuration cannot be read"
	notRead  = "it was not analysed"
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
			im.Layers = append(im.Layers, inventory.LayerCoverage{Digest: l.Digest, Uncompared: tooDeep, Coverage: c})
		}
		return im
	}
	s := newStack(in.Layers)
	im.Distro = s.distro()
	im.Secrets = configured(in.Searcher, in.Config)
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
	c := inventory.LayerCoverage{Digest: l.Digest, Coverage: l.Coverage}
	c.DiffIDOK, c.Uncompared = compareDiffID(in.Config, i, len(in.Layers), l)
	if c.Coverage.State == "" {
		c.Coverage.State = inventory.CoverageNone
	}
	if i < len(in.Descriptors) {
		if gap, ok := announced(&in.Descriptors[i], l); ok {
			c.Coverage = c.Coverage.Add(inventory.CoverageAmbiguous, gap)
		}
	}
	for _, reason := range s.odd[i] {
		c.Coverage = c.Coverage.Add(inventory.CoverageAmbiguous, inventory.Gap{Reason: reason})
	}
	s.secrets(im, i, &c)
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

// compareDiffID compares the computed diff_id of l, layer i of n, with what the
// configuration says. why is not empty when there is nothing to compare.
func compareDiffID(c *oci.ImageConfig, i, n int, l *inventory.Layer) (ok bool, why string) {
	switch {
	case l.DiffID.IsZero() && len(l.Coverage.Gaps) > 0:
		return false, l.Coverage.Gaps[0].Reason
	case l.DiffID.IsZero():
		return false, notRead
	case c == nil:
		return false, noConfig
	}
	return len(c.RootFS.DiffIDs) == n && c.RootFS.DiffIDs[i] == l.DiffID, ""
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
