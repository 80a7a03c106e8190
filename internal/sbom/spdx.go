package sbom

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Identifiers of elements that every document has.
const (
	spdxDocument = common.ElementID("DOCUMENT")
	spdxImage    = common.ElementID("Image")
	spdxSystem   = common.ElementID("OperatingSystem")
)

// maxPlaces is how many places of one package a document names.
const maxPlaces = 100

// SPDX renders the inventory of an image as an SPDX 2.3 document. An image of
// which something was not analysed contains NOASSERTION, which is how SPDX says
// that there may be more, and the document's comment says why.
func SPDX(im *inventory.Image, m Meta) ([]byte, error) {
	s, err := newSubject(im, m)
	if err != nil {
		return nil, fmt.Errorf("rendering SPDX of %s: %w", m.Name, err)
	}
	w := spdxWriter{subject: s, texts: map[string]string{}}
	doc := w.document()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("rendering SPDX of %s: %w", m.Name, err)
	}
	return b.Bytes(), nil
}

// spdxWriter makes one document.
type spdxWriter struct {
	*subject
	others []*v2_3.OtherLicense
	texts  map[string]string // declared text by LicenseRef
}

func (w *spdxWriter) document() *v2_3.Document {
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: spdxDocument, DocumentName: w.title(),
		DocumentNamespace: "https://bonded.dev/spdx/" + w.uuid("SPDX-2.3"),
		DocumentComment:   w.coverageText(),
		CreationInfo: &v2_3.CreationInfo{
			LicenseListVersion: licenseListVersion,
			Creators:           []common.Creator{{CreatorType: "Tool", Creator: "bonded-" + w.Engine}},
			Created:            w.AnalysedAt.Format(time.RFC3339),
			CreatorComment:     w.extractorsText(),
		},
	}
	doc.Packages = append(doc.Packages, w.imagePackage())
	w.relate(doc, spdxDocument, "DESCRIBES", spdxImage)
	if w.image.Distro.ID != "" {
		doc.Packages = append(doc.Packages, w.systemPackage())
		w.relate(doc, spdxImage, "CONTAINS", spdxSystem)
	}
	for i := range w.packages {
		p := w.onePackage(&w.packages[i])
		doc.Packages = append(doc.Packages, p)
		w.relate(doc, spdxImage, "CONTAINS", p.PackageSPDXIdentifier)
	}
	if !w.complete() {
		doc.Relationships = append(doc.Relationships, &v2_3.Relationship{
			RefA: common.MakeDocElementID("", string(spdxImage)), Relationship: "CONTAINS", RefB: common.MakeDocElementSpecial(noAssertion),
			RelationshipComment: "the image was not analysed in full and may contain more",
		})
	}
	doc.OtherLicenses = w.others
	return doc
}

func (w *spdxWriter) relate(doc *v2_3.Document, a common.ElementID, kind string, b common.ElementID) {
	doc.Relationships = append(doc.Relationships, &v2_3.Relationship{
		RefA: common.DocElementID{ElementRefID: a}, Relationship: kind, RefB: common.DocElementID{ElementRefID: b},
	})
}

// coverageText says how far the image was analysed, in the document itself.
func (w *spdxWriter) coverageText() string {
	if w.complete() {
		return "Coverage: full. Every layer was analysed."
	}
	return fmt.Sprintf("Coverage: %s, the worst of its layers. The list of packages may be incomplete:\n%s", w.image.Coverage(), strings.Join(w.gaps, "\n"))
}

func (w *spdxWriter) extractorsText() string {
	if w.ExtractorSet == "" {
		return ""
	}
	return "Extractors: " + w.ExtractorSet
}

func newPackage(id common.ElementID, name, version string) *v2_3.Package {
	return &v2_3.Package{
		PackageName: cut(name, maxText), PackageSPDXIdentifier: id, PackageVersion: cut(version, maxText), PackageDownloadLocation: noAssertion,
		PackageSupplier:         &common.Supplier{Supplier: noAssertion},
		PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
	}
}

func (w *spdxWriter) imagePackage() *v2_3.Package {
	p := newPackage(spdxImage, w.Name, w.Digest.String())
	p.PrimaryPackagePurpose = "CONTAINER"
	p.PackageChecksums = []common.Checksum{{Algorithm: spdxAlgorithm(w.Digest), Value: w.Digest.Hex()}}
	p.PackageExternalReferences = purlReference(w.purl())
	for i := range w.image.Layers {
		p.Annotations = append(p.Annotations, w.annotation(spdxImage, w.layers[i]+": coverage "+string(w.image.Layers[i].Coverage.State)))
	}
	return p
}

func spdxAlgorithm(d oci.Digest) common.ChecksumAlgorithm {
	if d.Algorithm() == oci.SHA512 {
		return common.SHA512
	}
	return common.SHA256
}

func (w *spdxWriter) systemPackage() *v2_3.Package {
	d := &w.image.Distro
	p := newPackage(spdxSystem, d.ID, d.VersionID)
	p.PrimaryPackagePurpose = "OPERATING_SYSTEM" // as the JSON schema spells it; the text has a hyphen
	p.PackageDescription = d.Name
	return p
}

func (w *spdxWriter) onePackage(l *pkg) *v2_3.Package {
	sum := sha256.Sum256([]byte(l.id))
	p := newPackage(common.ElementID("Package-"+hex.EncodeToString(sum[:12])), l.Name, l.Version)
	p.PackageLicenseDeclared = w.licenseOf(l.licenses)
	p.PackageSourceInfo = w.placesText(l)
	p.PackageExternalReferences = purlReference(l.PURL)
	if l.Source != "" {
		p.PackageComment = "Source package: " + strings.TrimSpace(l.Source+" "+l.SourceVer)
	}
	return p
}

func purlReference(purl string) []*v2_3.PackageExternalReference {
	if purl == "" {
		return nil
	}
	return []*v2_3.PackageExternalReference{{Category: "PACKAGE-MANAGER", RefType: "purl", Locator: purl}}
}

// placesText says where a package was found: a path and a layer each.
func (w *spdxWriter) placesText(l *pkg) string {
	var b strings.Builder
	for i, place := range l.places {
		if i == maxPlaces {
			fmt.Fprintf(&b, "; and %d more", len(l.places)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(cut(place.Path, maxPath) + " in " + w.layerOf(place))
	}
	return b.String()
}

// licenseOf joins declared licences: all of them apply as far as is known.
// What is no license expression becomes a LicenseRef with its text.
func (w *spdxWriter) licenseOf(declared []string) string {
	licenses := w.readAll(declared)
	switch len(licenses) {
	case 0:
		return noAssertion
	case 1:
		if licenses[0].expression != "" {
			return licenses[0].expression
		}
	}
	parts := make([]string, len(licenses))
	for i := range licenses {
		if parts[i] = licenses[i].operand(); parts[i] == "" {
			parts[i] = w.other(&licenses[i])
		}
	}
	return strings.Join(parts, " AND ")
}

// other returns the LicenseRef of a declared text, adding it to the document.
func (w *spdxWriter) other(l *license) string {
	ref := l.ref()
	if _, ok := w.texts[ref]; !ok {
		w.texts[ref] = l.declared
		w.others = append(w.others, &v2_3.OtherLicense{LicenseIdentifier: ref, ExtractedText: l.declared, LicenseComment: "as the package declares it"})
	}
	return ref
}

func (w *spdxWriter) annotation(of common.ElementID, text string) v2_3.Annotation {
	return v2_3.Annotation{
		Annotator: common.Annotator{AnnotatorType: "Tool", Annotator: "bonded-" + w.Engine}, AnnotationDate: w.AnalysedAt.Format(time.RFC3339),
		AnnotationType: "OTHER", AnnotationSPDXIdentifier: common.DocElementID{ElementRefID: of}, AnnotationComment: text,
	}
}
