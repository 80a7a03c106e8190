// Package sbom renders the inventory of an image as a software bill of
// materials: SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/) and CycloneDX
// 1.6 (https://cyclonedx.org/docs/1.6/json/), both as JSON.
//
// Rendering is a pure function: the same inventory and Meta give the same
// bytes, whenever and wherever they are rendered, so that the digest of a
// document says something. Both formats state how far the image was analysed;
// a document about an image that was not analysed in full says so itself.
package sbom

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Meta is what a document says beside the inventory. It is part of the
// document's identity: another Meta gives another document.
type Meta struct {
	// Name is what people call the image: its repository, with or without a tag.
	Name string
	// Digest of the image's manifest; zero means Image.Manifest.
	Digest oci.Digest
	// Inventory is the digest of the merged inventory. Required.
	Inventory oci.Digest
	// AnalysedAt is when the image was analysed: the time of the document.
	// Seconds count. Required.
	AnalysedAt time.Time
	// Engine is the build of the engine that analysed it. Required.
	Engine string
	// ExtractorSet names the extractors, as inventory.Layer.ExtractorSet does.
	ExtractorSet string
}

// Limits of foreign text in documents, in bytes. CycloneDX allows 1024
// characters for a version.
const (
	maxText = 1024
	maxPath = 4096
)

// check reports what is missing for a valid document.
func (m *Meta) check() error {
	switch {
	case m.Name == "":
		return errors.New("the document has no name")
	case m.Digest.IsZero():
		return errors.New("the image has no digest")
	case m.Inventory.IsZero():
		return errors.New("the inventory has no digest")
	case m.AnalysedAt.IsZero():
		return errors.New("the document has no time of analysis")
	case m.Engine == "":
		return errors.New("the document has no engine")
	}
	return nil
}

// subject is an inventory ready to be rendered.
type subject struct {
	Meta
	image    *inventory.Image
	packages []pkg
	gaps     []string // why the inventory may lack something, for people
	layers   []string // what each layer is called
	read     map[string]license
}

// pkg is one package of the image, wherever it is in it.
type pkg struct {
	id                 string // its package URL, or what stands for one that has none
	*inventory.Located        // the first of places
	places             []*inventory.Located
	licenses           []string // as declared at any place, sorted
}

func newSubject(im *inventory.Image, m Meta) (*subject, error) {
	if m.Digest.IsZero() {
		m.Digest = im.Manifest
	}
	m.AnalysedAt = m.AnalysedAt.UTC().Truncate(time.Second)
	if err := m.check(); err != nil {
		return nil, err
	}
	s := &subject{Meta: m, image: im, packages: merge(im.Packages), gaps: gapsOf(im), read: map[string]license{}}
	for i := range im.Layers {
		s.layers = append(s.layers, where(im, i))
	}
	return s, nil
}

// merge folds packages with one package URL into one, in order of URL, places
// in order of path and layer.
func merge(located []inventory.Located) []pkg {
	ls := make([]*inventory.Located, len(located))
	for i := range located {
		ls[i] = &located[i]
	}
	slices.SortStableFunc(ls, func(a, b *inventory.Located) int {
		if c := cmp.Compare(a.PURL, b.PURL); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(idOf(a), idOf(b)), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Layer, b.Layer),
			cmp.Compare(a.Set.String(), b.Set.String()), slices.Compare(a.Licenses, b.Licenses))
	})
	var pkgs []pkg
	for _, l := range ls {
		if id := idOf(l); len(pkgs) == 0 || pkgs[len(pkgs)-1].id != id {
			pkgs = append(pkgs, pkg{id: id, Located: l})
		}
		p := &pkgs[len(pkgs)-1]
		p.places = append(p.places, l)
		p.licenses = append(p.licenses, l.Licenses...)
	}
	for i := range pkgs {
		pkgs[i].licenses = declared(pkgs[i].licenses)
	}
	return pkgs
}

// idOf identifies a package within the document.
func idOf(l *inventory.Located) string {
	if l.PURL != "" {
		return l.PURL
	}
	return strings.Join([]string{l.Type, l.Namespace, l.Name, l.Version, l.Arch}, "/")
}

// gapsOf says why the inventory may lack something; nothing when it was
// analysed in full.
func gapsOf(im *inventory.Image) []string {
	var gaps []string
	for i := range im.Layers {
		c := &im.Layers[i].Coverage
		if c.State == inventory.CoverageFull {
			continue
		}
		if len(c.Gaps) == 0 {
			gaps = append(gaps, fmt.Sprintf("%s: %s", where(im, i), stateText[c.State]))
		}
		for _, g := range c.Gaps {
			parts := []string{where(im, i), stateText[c.State], g.Extractor, g.Path, g.Reason}
			gaps = append(gaps, strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": "))
		}
	}
	if im.UnknownDistro() {
		gaps = append(gaps, "the distribution of its packages is unknown: their package URLs lack it")
	}
	return gaps
}

var stateText = map[inventory.CoverageState]string{
	inventory.CoveragePartial: "analysed in part", inventory.CoverageAmbiguous: "can be read in more than one way", inventory.CoverageNone: "not analysed",
}

// where says "layer 1 of 7 (sha256:…)".
func where(im *inventory.Image, layer int) string {
	return fmt.Sprintf("layer %d of %d (%s)", layer+1, len(im.Layers), im.Layers[layer].Digest)
}

// layerOf is where for a place, which may name a layer that is not there.
func (s *subject) layerOf(l *inventory.Located) string {
	if l.Layer < 0 || l.Layer >= len(s.layers) {
		return "an unknown layer"
	}
	return s.layers[l.Layer]
}

// complete reports whether nothing is known to be missing.
func (s *subject) complete() bool { return len(s.gaps) == 0 }

// title is what people call the image, with its digest.
func (s *subject) title() string { return s.Name + "@" + s.Digest.String() }

// purl is the image's own package URL (type oci).
func (s *subject) purl() string {
	name, _, _ := strings.Cut(s.Name, ":")
	last := name[strings.LastIndexByte(name, '/')+1:]
	purl := "pkg:oci/" + escape(strings.ToLower(last)) + "@" + escape(s.Digest.String())
	if arch := s.image.Platform.Architecture; arch != "" {
		return purl + "?arch=" + escape(arch) + "&repository_url=" + escape(name)
	}
	return purl + "?repository_url=" + escape(name)
}

// escape percent-encodes all but unreserved characters and the slash.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c == '/' || c == '.' || c == '-' || c == '_' || c == '~' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// uuid derives the identity of the document in a format: a UUID of version 8
// (RFC 9562) over all that the document is made of.
func (s *subject) uuid(format string) string {
	h := sha256.New()
	for _, part := range []string{format, s.Name, s.Digest.String(), s.Inventory.String(), s.Engine, s.ExtractorSet, s.AnalysedAt.Format(time.RFC3339)} {
		fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// cut shortens foreign text to max bytes of valid UTF-8.
func cut(text string, max int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= max {
		return text
	}
	for !utf8.RuneStart(text[max]) {
		max--
	}
	return text[:max]
}
