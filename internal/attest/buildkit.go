package attest

import (
	"slices"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// BuildKit puts what it attests, unsigned, beside an image in its index, under an
// unknown platform (https://docs.docker.com/build/metadata/attestations/attestation-storage/).
const (
	annotationAbout = "vnd.docker.reference.digest"
	typeLayer       = "application/vnd.in-toto+json"
	maxUnsigned     = 16 << 20 // bytes of one statement
)

// Attached is a manifest with statements that BuildKit put beside an image.
type Attached struct {
	About    oci.Descriptor // the image, as the index names it
	Manifest oci.Descriptor
}

// AttachedIn returns those of an index, in its order. What is about nothing that
// the index names is not among them.
func AttachedIn(index *oci.Manifest) []Attached {
	var all []Attached
	for _, d := range index.Manifests {
		about := d.Annotations[annotationAbout]
		if about == "" || !d.Platform.IsUnknown() {
			continue
		}
		if i := slices.IndexFunc(index.Manifests, func(o oci.Descriptor) bool { return o.Digest.String() == about }); i >= 0 && index.Manifests[i].Digest != d.Digest {
			all = append(all, Attached{index.Manifests[i], d})
		}
	}
	return all
}

// IsUnsigned reports whether a layer is a statement that nobody signed, of a size
// that is read.
func IsUnsigned(layer oci.Descriptor) bool {
	return layer.MediaType == typeLayer && layer.Size <= maxUnsigned
}

// Unsigned reads such a layer: what it says of d, without the predicate. It is
// nil where it says nothing that can be read: nobody would count it. Whoever made
// the bytes may have written anything.
func Unsigned(raw []byte, d oci.Digest) *evidence.Statement {
	doc, err := Parse(raw)
	if err != nil || !doc.About(d) {
		return nil
	}
	st, err := doc.Statement(1)
	if err != nil {
		return nil
	}
	return st
}
