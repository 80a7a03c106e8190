package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Sentence says a decision in one line, the same for every face: what, which
// rule, which fact, what would change it, and where to read more. It holds no
// control characters, whatever the artifact's packages are called.
//
//	production refuses payments/api@sha256:9c1e…41f7: no-known-exploited: CVE-2026-31337 in openssl 3.0.11 (fixed in 3.0.15); update openssl to 3.0.15; see: bonded why production/payments/api@sha256:9c1e…
func Sentence(d *api.Decision) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", d.Zone, verb(d), subject(d))
	if d.Outcome == api.Allow {
		return Printable(b.String())
	}
	if text := why(d); text != "" {
		b.WriteString(": " + text)
	}
	if r := decisive(d); r != nil && r.Remedy != "" {
		b.WriteString("; " + r.Remedy)
	}
	fmt.Fprintf(&b, "; see: bonded why %s@%s", d.Repository, d.Digest)
	return Printable(b.String())
}

// verb says what the zone does, with the deadline where there is one.
func verb(d *api.Decision) string {
	stay := Clause(d.Clause) == Stay
	switch {
	case d.Outcome == api.Allow && stay:
		return "keeps"
	case d.Outcome == api.Allow:
		return "accepts"
	case d.Outcome == api.CannotTell && stay:
		return "keeps, in doubt,"
	case d.Outcome == api.CannotTell:
		return "holds"
	case !stay:
		return "refuses"
	}
	stands, until := Stands(d, d.DecidedAt)
	switch {
	case !stands:
		return "withdraws"
	case until.IsZero():
		return "keeps, with a warning,"
	}
	return "keeps until " + until.UTC().Format(time.RFC3339)
}

// subject is the placement without its zone, and its digest for eyes.
func subject(d *api.Decision) string {
	name := d.Repository
	if _, path, ok := strings.Cut(d.Repository, "/"); ok && strings.HasPrefix(d.Repository, d.Zone+"/") {
		name = path
	}
	digest, err := oci.ParseDigest(d.Digest)
	if err != nil {
		return name
	}
	return name + "@" + digest.Short()
}

// decisive is the first reason with the decision's own outcome, nil for allow.
func decisive(d *api.Decision) *api.Reason {
	if d.Outcome == api.Allow {
		return nil
	}
	for i := range d.Reasons {
		if d.Reasons[i].Outcome == d.Outcome {
			return &d.Reasons[i]
		}
	}
	return nil
}

// why says the decisive reason, and the names of others that say the same.
func why(d *api.Decision) string {
	first := decisive(d)
	if first == nil {
		return ""
	}
	text := first.Rule + ": " + first.Says
	var others []string
	for i := range d.Reasons {
		if r := &d.Reasons[i]; r != first && r.Outcome == d.Outcome {
			others = append(others, r.Rule)
		}
	}
	if len(others) > 0 {
		text += "; also " + strings.Join(others, ", ")
	}
	return text
}

// Lead is what a reason says before its facts, "" when it says nothing else:
// for who lists the facts beside it.
func Lead(r *api.Reason) string {
	if len(r.Facts) == 0 {
		return r.Says
	}
	facts := summarize(r.Facts[0], len(r.Facts)+r.More)
	return strings.TrimSuffix(strings.TrimSuffix(r.Says, facts), ": ")
}
