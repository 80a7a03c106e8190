package evidence

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// The statuses of VEX, in OpenVEX's words.
const (
	NotAffected        = "not_affected"
	Affected           = "affected"
	Fixed              = "fixed"
	UnderInvestigation = "under_investigation"
)

// harm orders statuses by what to be prepared for.
var harm = []string{NotAffected, Fixed, UnderInvestigation, Affected}

// Assessment is what somebody whose word counts says of a finding, by VEX.
type Assessment struct {
	Status        string     `json:"status"`
	Justification string     `json:"justification,omitempty"`
	Impact        string     `json:"impact,omitempty"`
	By            string     `json:"by"` // the identity that signed it, or the name of the feed
	At            time.Time  `json:"at,omitzero"`
	Document      oci.Digest `json:"document"` // the referrer, or the feed's document
}

// Clears reports whether the finding does no harm.
func (a *Assessment) Clears() bool { return a.Status == NotAffected || a.Status == Fixed }

// Overrules reports whether a counts before b, which is about the same finding:
// the newer one does, and of the same age the worse one.
func (a *Assessment) Overrules(b *Assessment) bool {
	return b == nil || cmp.Or(
		a.At.Compare(b.At), cmp.Compare(slices.Index(harm, a.Status), slices.Index(harm, b.Status)),
		strings.Compare(b.By, a.By), strings.Compare(b.Document.String(), a.Document.String()), strings.Compare(b.Justification, a.Justification),
	) > 0
}

// VEXDocument is a VEX document that came from a feed.
type VEXDocument struct {
	Feed   string
	Digest oci.Digest // of the document
	*VEX
}

// About reports whether a statement is about a finding in the artifact with the
// digest. attached: it came with the artifact, as a signed statement about it,
// and may mean the artifact without naming it.
//
// Products are packages of the artifact, or the artifact itself as an OCI purl
// (pkg:oci/name@sha256:…) or by its digest. What is fixed is so in a version: a
// package without one is not what is meant.
func (s *VEXStatement) About(f *Finding, artifact oci.Digest, attached bool) bool {
	if !s.Names(f) {
		return false
	}
	if s.Within != "" && !isArtifact(s.Within, artifact, attached) {
		return false
	}
	if len(s.Products) == 0 {
		return attached
	}
	return slices.ContainsFunc(s.Products, func(p string) bool {
		return isArtifact(p, artifact, attached) || isPackage(p, f, s.Status)
	})
}

// Names reports whether a statement is about the fault, wherever that is.
func (s *VEXStatement) Names(f *Finding) bool {
	is := func(id string) bool { return id != "" && (id == f.ID || slices.Contains(f.Aliases, id)) }
	return is(s.Vulnerability) || slices.ContainsFunc(s.Aliases, is)
}

// isArtifact reports whether a product is the artifact: by its digest, or where
// the document came with it as an OCI purl that names no other digest.
func isArtifact(product string, d oci.Digest, attached bool) bool {
	if product == d.String() {
		return true
	}
	name, version := splitPURL(product)
	if !strings.HasPrefix(name, "pkg:oci/") {
		return false
	}
	return unescape(version) == d.String() || version == "" && attached
}

// unescape undoes what purls write for the characters of versions.
func unescape(s string) string {
	return strings.NewReplacer("%3A", ":", "%3a", ":", "%2B", "+", "%2b", "+", "%7E", "~", "%7e", "~").Replace(s)
}
