package sbom

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Identifiers of components that every document has. No package URL looks like
// them.
const (
	refImage  = "image"
	refSystem = "operating-system"
)

// CycloneDX renders the inventory of an image as a CycloneDX 1.6 document. Its
// composition says "incomplete" when something was not analysed, and properties
// of the image say why.
func CycloneDX(im *inventory.Image, m Meta) ([]byte, error) {
	s, err := newSubject(im, m)
	if err != nil {
		return nil, fmt.Errorf("rendering CycloneDX of %s: %w", m.Name, err)
	}
	var b bytes.Buffer
	e := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON)
	e.SetEscapeHTML(false)
	if err := e.Encode(s.bom()); err != nil {
		return nil, fmt.Errorf("rendering CycloneDX of %s: %w", m.Name, err)
	}
	return b.Bytes(), nil
}

func (s *subject) bom() *cdx.BOM {
	b := cdx.NewBOM()
	b.SpecVersion, b.JSONSchema = cdx.SpecVersion1_6, "http://cyclonedx.org/schema/bom-1.6.schema.json"
	b.SerialNumber = "urn:uuid:" + s.uuid("CycloneDX-1.6")
	b.Metadata = &cdx.Metadata{
		Timestamp: s.AnalysedAt.Format(time.RFC3339),
		Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "bonded", Version: s.Engine}}},
		Component: s.imageComponent(),
	}
	components := make([]cdx.Component, 0, len(s.packages)+1)
	if s.image.Distro.ID != "" {
		components = append(components, s.systemComponent())
	}
	for i := range s.packages {
		components = append(components, s.component(&s.packages[i]))
	}
	b.Components = &components
	b.Compositions = &[]cdx.Composition{
		{Aggregate: s.aggregate(), Assemblies: &[]cdx.BOMReference{refImage}},
		// What depends on what is not looked at.
		{Aggregate: cdx.CompositionAggregateUnknown, Dependencies: &[]cdx.BOMReference{refImage}},
	}
	return b
}

func (s *subject) aggregate() cdx.CompositionAggregate {
	if s.complete() {
		return cdx.CompositionAggregateComplete
	}
	return cdx.CompositionAggregateIncomplete
}

func (s *subject) imageComponent() *cdx.Component {
	c := &cdx.Component{
		BOMRef: refImage, Type: cdx.ComponentTypeContainer, Name: s.Name, Version: s.Digest.String(), PackageURL: s.purl(),
		Hashes: &[]cdx.Hash{{Algorithm: cdxAlgorithm(s.Digest), Value: s.Digest.Hex()}},
	}
	props := []cdx.Property{{Name: "bonded:coverage", Value: string(s.image.Coverage())}}
	for _, g := range s.gaps {
		props = append(props, cdx.Property{Name: "bonded:coverage:gap", Value: g})
	}
	for i := range s.image.Layers {
		l := &s.image.Layers[i]
		props = append(props, cdx.Property{Name: "bonded:layer:" + strconv.Itoa(i), Value: l.Digest.String()},
			cdx.Property{Name: "bonded:layer:" + strconv.Itoa(i) + ":coverage", Value: string(l.Coverage.State)})
	}
	if p := s.image.Platform; p.OS != "" {
		props = append(props, cdx.Property{Name: "bonded:platform", Value: p.String()})
	}
	if !s.Inventory.IsZero() {
		props = append(props, cdx.Property{Name: "bonded:inventory", Value: s.Inventory.String()})
	}
	if s.ExtractorSet != "" {
		props = append(props, cdx.Property{Name: "bonded:extractors", Value: s.ExtractorSet})
	}
	c.Properties = &props
	return c
}

func cdxAlgorithm(d oci.Digest) cdx.HashAlgorithm {
	if d.Algorithm() == oci.SHA512 {
		return cdx.HashAlgoSHA512
	}
	return cdx.HashAlgoSHA256
}

func (s *subject) systemComponent() cdx.Component {
	d := &s.image.Distro
	return cdx.Component{BOMRef: refSystem, Type: cdx.ComponentTypeOS, Name: d.ID, Version: d.VersionID, Description: d.Name}
}

func (s *subject) component(p *pkg) cdx.Component {
	c := cdx.Component{
		BOMRef: p.id, Type: cdx.ComponentTypeLibrary, Group: cut(p.Namespace, maxText), Name: cut(p.Name, maxText), Version: cut(p.Version, maxText),
		PackageURL: p.PURL, Licenses: s.licensesOf(p.licenses),
		Evidence: &cdx.Evidence{Occurrences: s.occurrences(p)},
	}
	var props []cdx.Property
	if p.Source != "" {
		props = append(props, cdx.Property{Name: "bonded:source", Value: strings.TrimSpace(p.Source + " " + p.SourceVer)})
	}
	if p.Owned {
		props = append(props, cdx.Property{Name: "bonded:part-of-os-package", Value: "true"})
	}
	if extra := len(p.places) - maxPlaces; extra > 0 {
		props = append(props, cdx.Property{Name: "bonded:further-places", Value: strconv.Itoa(extra)})
	}
	if len(props) > 0 {
		c.Properties = &props
	}
	return c
}

// occurrences says where a package was found: a path and a layer each.
func (s *subject) occurrences(p *pkg) *[]cdx.EvidenceOccurrence {
	n := min(len(p.places), maxPlaces)
	all := make([]cdx.EvidenceOccurrence, n)
	for i, place := range p.places[:n] {
		all[i] = cdx.EvidenceOccurrence{Location: cut(place.Path, maxPath), AdditionalContext: s.layerOf(place)}
	}
	return &all
}

// licensesOf renders declared licences: as a list of identifiers and names, or
// as one expression where all are expressions and some are no identifiers. The
// format has no way for both.
func (s *subject) licensesOf(declared []string) *cdx.Licenses {
	licenses := s.readAll(declared)
	if len(licenses) == 0 {
		return nil
	}
	plain, valid := true, true
	for _, l := range licenses {
		plain = plain && (l.simple || l.expression == "")
		valid = valid && l.expression != ""
	}
	if !plain && valid {
		return expressionOf(licenses)
	}
	list := make(cdx.Licenses, len(licenses))
	for i, l := range licenses {
		choice := &cdx.License{Name: l.declared, Acknowledgement: cdx.LicenseAcknowledgementDeclared}
		if l.simple {
			choice.ID, choice.Name = l.expression, ""
		}
		list[i] = cdx.LicenseChoice{License: choice}
	}
	return &list
}

func expressionOf(licenses []license) *cdx.Licenses {
	text := licenses[0].expression
	if len(licenses) > 1 {
		parts := make([]string, len(licenses))
		for i := range licenses {
			parts[i] = licenses[i].operand()
		}
		text = strings.Join(parts, " AND ")
	}
	ack := cdx.LicenseAcknowledgementDeclared
	return &cdx.Licenses{{Expression: text, Acknowledgement: &ack}}
}
