package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Limits of manifests. MaxManifest and MaxConfig are bytes; MaxDescriptors
// bounds layers or index children, MaxIndexDepth indexes inside indexes.
const (
	MaxManifest    = 4 << 20
	MaxConfig      = 8 << 20
	MaxDescriptors = 10_000
	MaxIndexDepth  = 4
)

// Errors of reading manifests. Callers map them to OCI code MANIFEST_INVALID;
// ErrSchema1 is answered with 415.
var (
	ErrManifestInvalid = errors.New("not a valid manifest")
	ErrSchema1         = errors.New("Docker image manifest version 2, schema 1 is not accepted: it has no content addresses for layers; convert it with: skopeo copy --format v2s2")
)

// Kind is what an artifact is, as gates see it.
type Kind string

// The kinds. Each has shipped gates; KindOther is denied unless a gate names it.
const (
	KindImage    Kind = "image"    // a runnable image: config and tar layers
	KindIndex    Kind = "index"    // an index or manifest list
	KindChart    Kind = "chart"    // a Helm chart
	KindModel    Kind = "model"    // a machine-learning model
	KindEvidence Kind = "evidence" // says something about another digest; never runnable
	KindOther    Kind = "other"
)

// Manifest is an image manifest, an index or one of their Docker twins, read
// once. Which fields are set depends on the kind of document: an index has
// Manifests, all others Config and Layers.
type Manifest struct {
	Raw          []byte            // the bytes as they came; never changed
	Digest       Digest            // under the algorithm the caller asked for
	MediaType    string            // what it was declared and says to be
	ArtifactType string            // "" when it has none
	Config       Descriptor        // zero for an index
	Layers       []Descriptor      // nil for an index
	Manifests    []Descriptor      // nil unless an index
	Subject      *Descriptor       // nil unless a referrer
	Annotations  map[string]string // nil when none
}

// document is the union of all accepted manifest formats on the wire.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *Descriptor       `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Manifests     []Descriptor      `json:"manifests"`
	Subject       *Descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
	FSLayers      json.RawMessage   `json:"fsLayers"`
}

// ParseManifest reads raw, whose Content-Type is declared ("" means: take what
// the document says). The document must be one JSON value with no duplicate
// keys and no key in another case than the specification's, so that no other
// reader can understand it differently. Errors match ErrManifestInvalid or
// ErrSchema1.
func ParseManifest(raw []byte, declared string, alg Algorithm) (*Manifest, error) {
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrManifestInvalid, len(raw), MaxManifest)
	}
	if declared == MediaTypeDockerSchema1 || declared == MediaTypeDockerSigned1 {
		return nil, ErrSchema1
	}
	var doc document
	if err := unmarshalStrict(raw, manifestKeys, &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifestInvalid, err)
	}
	if doc.SchemaVersion == 1 || doc.FSLayers != nil {
		return nil, ErrSchema1
	}
	m := &Manifest{
		Raw: raw, Digest: alg.DigestOf(raw), ArtifactType: doc.ArtifactType,
		Layers: doc.Layers, Manifests: doc.Manifests, Subject: doc.Subject, Annotations: doc.Annotations,
	}
	if doc.Config != nil {
		m.Config = *doc.Config
	}
	var err error
	if m.MediaType, err = mediaTypeOf(&doc, declared); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifestInvalid, err)
	}
	if err := m.check(&doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifestInvalid, err)
	}
	return m, nil
}

// mediaTypeOf settles what the document is: declared and stated must agree,
// and the content must fit.
func mediaTypeOf(doc *document, declared string) (string, error) {
	mt := declared
	switch {
	case mt == "":
		mt = doc.MediaType
	case doc.MediaType != "" && doc.MediaType != declared:
		return "", fmt.Errorf("Content-Type is %s but mediaType says %s", Quote(declared), Quote(doc.MediaType))
	case doc.MediaType == "" && (declared == MediaTypeDockerManifest || declared == MediaTypeDockerList):
		// Docker's formats require the field. Without it the same bytes could be
		// two things, and whoever sends them first would say which.
		return "", fmt.Errorf("Content-Type is %s, and the document has no mediaType", Quote(declared))
	}
	if mt == "" && doc.Manifests != nil {
		mt = MediaTypeIndex
	} else if mt == "" {
		mt = MediaTypeManifest
	}
	switch mt {
	case MediaTypeManifest, MediaTypeDockerManifest, MediaTypeIndex, MediaTypeDockerList:
		return mt, nil
	}
	return "", fmt.Errorf("media type %s is no manifest type: want %s or %s (or Docker's schema 2 twins)", Quote(mt), MediaTypeManifest, MediaTypeIndex)
}

func (m *Manifest) check(doc *document) error {
	switch {
	case doc.SchemaVersion != 2:
		return fmt.Errorf("schemaVersion is %d, want 2", doc.SchemaVersion)
	case m.IsIndex() && (doc.Config != nil || doc.Layers != nil):
		return errors.New("an index has no config and no layers; this document could be read as two things")
	case !m.IsIndex() && doc.Manifests != nil:
		return errors.New("an image manifest has no manifests; this document could be read as two things")
	case !m.IsIndex() && doc.Config == nil:
		return errors.New("config is missing")
	case len(m.Layers) > MaxDescriptors || len(m.Manifests) > MaxDescriptors:
		return fmt.Errorf("more than %d descriptors", MaxDescriptors)
	}
	for _, d := range m.References() {
		if err := checkDescriptor(d); err != nil {
			return err
		}
	}
	if m.Subject != nil {
		if err := checkDescriptor(*m.Subject); err != nil {
			return fmt.Errorf("subject: %w", err)
		}
	}
	return nil
}

func checkDescriptor(d Descriptor) error {
	switch {
	case d.Digest.IsZero():
		return errors.New("a descriptor has no digest")
	case d.Size < 0:
		return fmt.Errorf("descriptor %s has negative size %d", d.Digest, d.Size)
	}
	return nil
}

// IsIndex reports whether m is an index or a Docker manifest list.
func (m *Manifest) IsIndex() bool {
	return m.MediaType == MediaTypeIndex || m.MediaType == MediaTypeDockerList
}

// References returns all descriptors that m is made of: config and layers in
// order, or the children of an index. The subject is not among them.
func (m *Manifest) References() []Descriptor {
	if m.IsIndex() {
		return m.Manifests
	}
	return append([]Descriptor{m.Config}, m.Layers...)
}

// HasImageConfig reports whether the config claims to be that of a container
// image.
func (m *Manifest) HasImageConfig() bool {
	return m.Config.MediaType == MediaTypeConfig || m.Config.MediaType == MediaTypeDockerConfig
}

// EffectiveArtifactType is what referrers are listed and filtered by:
// artifactType, else the config's media type (distribution specification 1.1,
// "Listing Referrers"). For an index without artifactType it is "".
func (m *Manifest) EffectiveArtifactType() string {
	if m.ArtifactType != "" || m.IsIndex() {
		return m.ArtifactType
	}
	return m.Config.MediaType
}

// Kind tells what m is from its media types alone. An image configuration with
// at least one layer that a runtime would unpack, or with no layers at all,
// makes an image, whatever else the document claims; only a document that no
// runtime would run is evidence. Whoever stores evidence with an image
// configuration must also look that its layers are no tar streams.
func (m *Manifest) Kind() Kind {
	switch {
	case m.IsIndex():
		return KindIndex
	case m.HasImageConfig():
		if m.onlyEvidenceLayers() {
			return KindEvidence
		}
		return KindImage
	case m.Config.MediaType == MediaTypeHelmConfig:
		return KindChart
	case isModelType(m.Config.MediaType) || isModelType(m.ArtifactType):
		return KindModel
	case m.Subject != nil:
		return KindEvidence
	}
	return KindOther
}

// onlyEvidenceLayers: cosign's old form (tag sha256-….sig, .att, .sbom) and
// BuildKit's attestation manifests carry an image configuration over layers of
// these types.
func (m *Manifest) onlyEvidenceLayers() bool {
	for _, l := range m.Layers {
		switch l.MediaType {
		case "application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dsse.envelope.v1+json",
			"application/vnd.in-toto+json", "text/spdx", "text/spdx+json", "spdx+json", "application/vnd.cyclonedx+json", "application/vnd.cyclonedx+xml":
		default:
			return false
		}
	}
	return len(m.Layers) > 0
}

func isModelType(mt string) bool {
	for _, p := range []string{"application/vnd.cncf.model.", "application/vnd.docker.ai.", "application/vnd.ollama.", "application/vnd.kitops."} {
		if strings.HasPrefix(mt, p) {
			return true
		}
	}
	return false
}

// IsForeignLayer reports whether a layer's content is not kept in registries
// (OCI "nondistributable", Docker "foreign"). Such a layer may be absent and is
// never analysed.
func IsForeignLayer(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.v1.") ||
		mediaType == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
}

// IsEncryptedLayer reports whether a layer is encrypted (ocicrypt); it is
// stored and never analysed.
func IsEncryptedLayer(mediaType string) bool { return strings.HasSuffix(mediaType, "+encrypted") }
