package verify

import (
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Media types and annotations of the forms.
const (
	typeBundlePrefix  = "application/vnd.dev.sigstore.bundle"
	typeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	typeDSSE          = "application/vnd.dsse.envelope.v1+json"
	typeNotation      = "application/vnd.cncf.notary.signature"
	typeJWS           = "application/jose+json"
	typeCOSE          = "application/cose"
	typeInToto        = "application/vnd.in-toto+json"

	annotationSignature = "dev.cosignproject.cosign/signature"
	annotationCert      = "dev.sigstore.cosign/certificate"
	annotationRekor     = "dev.sigstore.cosign/bundle"
	annotationTimestamp = "dev.sigstore.cosign/rfc3161timestamp"
)

// IsEnvelope reports whether m carries something that this package can check.
// It is decided by media types alone; what is in it may still be anything.
func IsEnvelope(m *oci.Manifest) bool {
	for _, layer := range m.Layers {
		if formOf(m, layer) != "" {
			return true
		}
	}
	return false
}

// formOf tells how a layer of m is signed, "" when it is no envelope.
func formOf(m *oci.Manifest, layer oci.Descriptor) evidence.Form {
	switch mt := layer.MediaType; {
	case strings.HasPrefix(mt, typeBundlePrefix):
		return evidence.FormBundle
	case mt == typeSimpleSigning, mt == typeDSSE:
		return evidence.FormLegacy
	case (mt == typeJWS || mt == typeCOSE) && m.EffectiveArtifactType() == typeNotation:
		return evidence.FormNotation
	}
	return ""
}
