package inventory

import (
	"cmp"
	"strings"
)

// Secret is a place where a file holds what looks like a credential. The
// credential itself is nowhere but in the file.
type Secret struct {
	Rule string `json:"rule"` // what it looks like: "private-key", "aws-secret-key"
	Path string `json:"path"` // clean, relative; of what stands in the configuration as Configuration says
	Line int    `json:"line"` // of the file, or item of the list, from 1
	// Fingerprint tells one secret from another, wherever it stands: the first 8
	// bytes of its SHA-256, in hex. It is empty for what people choose, such as a
	// password, as that could be guessed by it.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// LocatedSecret is a secret of an image.
type LocatedSecret struct {
	Secret
	// Layer is the index of the layer that has it, or NoLayer.
	Layer int `json:"layer"`
	// Removed says that an upper layer removes or replaces the file. Whoever has
	// the image has the secret nevertheless.
	Removed bool `json:"removed,omitempty"`
}

// NoLayer is the layer of what stands in the configuration of the image, and
// Configuration begins its path: "config:Env", "config:History".
const (
	NoLayer       = -1
	Configuration = "config:"
)

// CompareSecrets is the order in which the secrets of a layer are listed.
func CompareSecrets(a, b Secret) int {
	return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Fingerprint, b.Fingerprint))
}

// purlEscapes are the characters that would end the name in a purl.
var purlEscapes = strings.NewReplacer("%", "%25", "@", "%40", "?", "%3F", "#", "%23")

// PURL names the file as a package of its own whose version is the secret, for
// a waiver: with the version it is about this secret, without about all in the
// file. "pkg:generic/app/.env@0123456789abcdef".
func (s *Secret) PURL() string {
	purl := "pkg:generic/" + purlEscapes.Replace(s.Path)
	if s.Fingerprint != "" {
		purl += "@" + s.Fingerprint
	}
	return purl
}

// Searched is the worst of how far the layers were searched for secrets; Full
// for an image without layers.
func (im *Image) Searched() CoverageState {
	worst := CoverageFull
	for i := range im.Layers {
		worst = worst.Worse(im.Layers[i].Searched.State)
	}
	return worst
}
