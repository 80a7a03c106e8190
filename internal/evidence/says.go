package evidence

import (
	"cmp"
	"fmt"
	"strings"
)

// Says is the statement in a few words, for people. It is as foreign as the
// statement is.
func (s *Statement) Says() string {
	switch {
	case s.Provenance != nil:
		return s.Provenance.says()
	case s.Summary != nil:
		result := "FAILED"
		if s.Summary.Passed {
			result = "PASSED"
		}
		return joined(result+" for "+s.Summary.Verifier, strings.Join(s.Summary.Levels, " "))
	case s.SBOM != nil:
		return joined(fmt.Sprintf("%s %s with %d packages", s.SBOM.Format, s.SBOM.Version, s.SBOM.Packages), s.SBOM.Tool)
	case s.Scan != nil:
		return joined(fmt.Sprintf("%d critical, %d high", s.Scan.Counts[string(Critical)], s.Scan.Counts[string(High)]), s.Scan.Scanner)
	case s.Test != nil:
		return joined(s.Test.Result, s.Test.URL)
	case s.Review != nil:
		verb := "not approved by "
		if s.Review.Approved {
			verb = "approved by "
		}
		return verb + strings.Join(s.Review.Reviewers, ", ")
	case s.VEX != nil:
		return fmt.Sprintf("%s about %d faults", s.VEX.Format, len(s.VEX.Statements))
	case s.Approval != nil:
		return joined("for "+s.Approval.For+", by "+s.Approval.By, s.Approval.Reason)
	case s.Release != nil:
		return s.Release.PURL
	}
	return s.Type
}

func (p *Provenance) says() string {
	text := fmt.Sprintf("SLSA build level %d", p.Level)
	if p.Source.URI != "" {
		text += ", of " + p.Source.URI
	}
	if p.Revision != "" {
		text += " at " + p.Revision[:min(12, len(p.Revision))]
	}
	return text + ", by " + cmp.Or(p.Builder, Nameless)
}

// Nameless stands for the name of a builder that has none.
const Nameless = "a builder without a name"

func joined(first, second string) string {
	return strings.TrimSuffix(first+", "+second, ", ")
}
