package policy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cel.dev/cel-go/common/types/ref"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// maxVEXSources bounds whose word a gate may take about findings.
const maxVEXSources = 32

// vexSource is whose VEX counts: of who signed it, or of a feed.
type vexSource struct {
	signers []evidence.Signer
	feed    string
}

// vexSources reads whose word counts about findings.
func (p *gateParser) vexSources(texts []vexText) []vexSource {
	if len(texts) > maxVEXSources {
		p.addf(texts[maxVEXSources].Feed.at, "vex has %d sources, at most %d", len(texts), maxVEXSources)
		return nil
	}
	var all []vexSource
	for i := range texts {
		t := &texts[i]
		switch {
		case t.SignedBy != nil && t.Feed.given(), t.SignedBy == nil && t.Feed.text == "":
			p.addf(t.Feed.at, "vex: each entry is signedBy or feed: whose word counts")
		case t.SignedBy != nil:
			rule := &ruleText{Rule: scalar{text: "vex", at: t.SignedBy.Anchor.at}}
			all = append(all, vexSource{signers: p.signers(rule, "signedBy", t.SignedBy)})
		default:
			all = append(all, vexSource{feed: t.Feed.text})
			p.feeds = append(p.feeds, t.Feed.text)
		}
	}
	return all
}

// VEXFeeds returns the feeds of VEX documents that the gate takes the word of. A
// server that does not have them all cannot use the gate.
func (g *Gate) VEXFeeds() []string { return slices.Clone(g.feeds) }

// ReadsVEX reports whether the gate takes anybody's word about findings.
func (g *Gate) ReadsVEX() bool { return len(g.vex) > 0 }

// BelievesSigners reports whether it takes that of somebody who signs, and not of
// feeds alone.
func (g *Gate) BelievesSigners() bool {
	return slices.ContainsFunc(g.vex, func(s vexSource) bool { return len(s.signers) > 0 })
}

// Assess returns the findings of in that count for the gate, with what is said of
// them, and those that do no harm by the word of somebody whom it believes.
func (g *Gate) Assess(in *Input) (findings, suppressed []evidence.Finding) {
	c := in.canonical(g)
	return c.Findings, c.suppressed
}

// assess sets what counts of VEX about each finding, and parts those that do no
// harm from the others. in is the caller's own, but for its lists.
func (g *Gate) assess(in *Input) {
	if len(g.vex) == 0 || len(in.Findings) == 0 {
		return
	}
	of := make([]*evidence.Assessment, len(in.Findings))
	said := false
	note := func(doc *evidence.VEX, by string, digest oci.Digest, attached bool) {
		for s := range doc.Statements {
			st := &doc.Statements[s]
			for i := range in.Findings {
				if !st.About(&in.Findings[i], in.Digest, attached) {
					continue
				}
				a := &evidence.Assessment{Status: st.Status, Justification: st.Justification, Impact: st.Impact, By: by, At: stamp(cmpTime(st.At, doc.At)), Document: digest}
				if a.Overrules(of[i]) {
					of[i], said = a, true
				}
			}
		}
	}
	for i := range in.Verified.Signatures {
		sig := &in.Verified.Signatures[i]
		if sig.Statement != nil && sig.Statement.VEX != nil && g.trustsVEX(sig) {
			note(sig.Statement.VEX, sig.Identity.String(), sig.Referrer, true)
		}
	}
	for _, doc := range in.VEX {
		if slices.Contains(g.feeds, doc.Feed) && doc.VEX != nil {
			note(doc.VEX, "feed "+doc.Feed, doc.Digest, false)
		}
	}
	if in.Supposed != nil && g.BelievesSigners() {
		note(in.Supposed.VEX, "this document", in.Supposed.Digest, true)
	}
	if said {
		in.part(of)
	}
}

// cmpTime is the first of two times that is given.
func cmpTime(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

func (g *Gate) trustsVEX(sig *evidence.Signature) bool {
	return slices.ContainsFunc(g.vex, func(s vexSource) bool {
		return slices.ContainsFunc(s.signers, func(who evidence.Signer) bool { return who.Mismatch(sig) == "" })
	})
}

// part puts the findings that do no harm aside.
func (in *Input) part(of []*evidence.Assessment) {
	var left []evidence.Finding
	for i, f := range in.Findings {
		f.VEX = of[i]
		if f.VEX != nil && f.VEX.Clears() {
			in.suppressed = append(in.suppressed, f)
			continue
		}
		left = append(left, f)
	}
	in.Findings = left
}

// assessed says what a rule would have found, had VEX not said that it does no
// harm: the same expression over those findings alone.
func (e *evaluation) assessed(ctx context.Context, r *rule) ([]api.Assessed, error) {
	if len(e.view.suppressed) == 0 || r.forbid == nil || !r.forbid.names["findings"] {
		return nil, nil
	}
	v, fault, err := e.valueIn(ctx, r.forbid, suppressedVars{e.vars, wrapAll(findingType, e.view.suppressed)})
	if fault != nil || err != nil {
		return nil, err
	}
	items, _ := e.view.items(v)
	var all []api.Assessed
	for i, it := range items {
		if it.finding == nil || it.finding.VEX == nil {
			continue
		}
		if i == maxFacts {
			all[len(all)-1].More = len(items) - maxFacts
			break
		}
		a := it.finding.VEX
		all = append(all, api.Assessed{Fact: it.fact, Status: a.Status, Justification: a.Justification, By: a.By, Document: a.Document.String()})
	}
	return all, nil
}

// tellAssessed adds to what an allowing rule says that it does so by somebody's
// word.
func tellAssessed(reason *api.Reason) {
	if reason.Outcome != api.Allow || len(reason.Assessed) == 0 {
		return
	}
	first := &reason.Assessed[0]
	why := first.Status
	if first.Justification != "" {
		why += ", " + first.Justification
	}
	reason.Says += fmt.Sprintf("; %s does no harm here (%s) says %s", Brief(first.Fact), cut(Printable(why), maxBriefText), cut(Printable(first.By), maxBriefText))
	if more := len(reason.Assessed) - 1 + reason.Assessed[len(reason.Assessed)-1].More; more > 0 {
		reason.Says += fmt.Sprintf(", and of %d more", more)
	}
}

// suppressedVars shows the findings that do no harm as if they were all.
type suppressedVars struct {
	*activation
	findings ref.Val
}

// ResolveName returns the value of a variable.
func (v suppressedVars) ResolveName(name string) (any, bool) {
	if name == "findings" {
		return v.findings, true
	}
	return v.activation.ResolveName(name)
}
