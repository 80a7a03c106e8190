package custody

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// telling is how a part of the story is told.
type telling struct {
	kinds  []string                         // of events
	says   func(*evidence.Statement) string // what a statement says about it, "" for nothing
	server bool                             // the statements are the server's own
}

// tellings are the parts that statements and events tell.
var tellings = map[string]telling{
	"source":     {says: saysSource},
	"build":      {says: saysBuild},
	"acquire":    {kinds: []string{"manifest.pushed"}},
	"analysis":   {says: saysAnalysis, server: true},
	"approvals":  {kinds: []string{"approval.given", "approval.withdrawn"}, says: saysApproval},
	"promotions": {kinds: []string{"placement.promoted", "promotion.stopped", "promotion.resumed", "tag.returned"}},
}

func saysSource(st *evidence.Statement) string {
	if st.Provenance == nil || st.Provenance.Source.URI == "" {
		return ""
	}
	text := st.Provenance.Source.URI
	if st.Provenance.Revision != "" {
		text += " at " + st.Provenance.Revision
	}
	if st.Provenance.Ref != "" {
		text += " (" + st.Provenance.Ref + ")"
	}
	return text
}

func saysBuild(st *evidence.Statement) string {
	if st.Provenance == nil {
		return ""
	}
	text := cmp.Or(st.Provenance.Builder, evidence.Nameless)
	if st.Provenance.EntryPoint != "" {
		text += ", " + st.Provenance.EntryPoint
	}
	if st.Provenance.Invocation != "" {
		text += ", " + st.Provenance.Invocation
	}
	return text
}

func saysAnalysis(st *evidence.Statement) string {
	switch {
	case st.SBOM != nil:
		return fmt.Sprintf("%s SBOM of %d packages", st.SBOM.Format, st.SBOM.Packages)
	case st.Scan != nil:
		n := 0
		for _, c := range st.Scan.Counts {
			n += c
		}
		return fmt.Sprintf("scan with %d findings", n)
	}
	return ""
}

func saysApproval(st *evidence.Statement) string {
	switch {
	case st.Approval != nil:
		return "approved by " + st.Approval.By + " for " + st.Approval.For
	case st.Review != nil && st.Review.Approved:
		return "reviewed by " + strings.Join(st.Review.Reviewers, ", ")
	case st.Release != nil:
		return "released as " + st.Release.PURL + " " + st.Release.Version
	}
	return ""
}

func (v *verifier) source()     { v.told("source", &v.file.Source) }
func (v *verifier) build()      { v.told("build", &v.file.Build) }
func (v *verifier) acquire()    { v.told("acquire", &v.file.Acquire) }
func (v *verifier) analysis()   { v.told("analysis", &v.file.Analysis) }
func (v *verifier) approvals()  { v.told("approvals", &v.file.Approvals) }
func (v *verifier) promotions() { v.told("promotions", &v.file.Promotions) }

// deployments are recorded by no version 1; a file that has some is not of one.
func (v *verifier) deployments() {
	p := v.part("deployments")
	p.Text = "not recorded: " + none
	if d := &v.file.Deployments; len(d.Statements)+len(d.Events) > 0 {
		p.fail("deployments", "version 1 of the file has none, and this has")
	}
}

// told holds a part against the evidence and the events that it names.
func (v *verifier) told(name string, c *api.CustodyPart) {
	p, how := rising{part: v.part(name), one: "event", all: "events"}, tellings[name]
	for _, s := range c.Statements {
		v.statement(p.part, how, s)
	}
	for _, seq := range c.Events {
		what, ok := p.next(seq)
		if !ok {
			continue
		}
		switch e := v.events[seq]; {
		case e == nil && v.head() == nil && v.file.Audit == 0:
			p.unsure(what, "no head of the audit log proves it")
		case e == nil:
			p.fail(what, "it is not among the events of the file that verify")
		case !slices.Contains(how.kinds, e.Kind):
			p.fail(what, "it is %s, which is nothing of this part", oci.Quote(e.Kind))
		default:
			p.ok(what, describe(e))
		}
	}
	for _, listed := range v.file.Events {
		seq, e := listed.Seq, v.events[listed.Seq]
		if e != nil && slices.Contains(how.kinds, e.Kind) && !slices.Contains(c.Events, seq) {
			p.fail(fmt.Sprintf("event %d", seq), "it is %s, and this part does not name it", e.Kind)
		}
	}
}

// deeds are the events that are told by what was done, because their part has
// several kinds.
var deeds = map[string]string{
	"approval.given": "approved for ", "approval.withdrawn": "no longer approved for ",
	"promotion.stopped": "stopped in ", "promotion.resumed": "let go on in ", "tag.returned": "named again in ",
}

// describe says an event for people.
func describe(e *event) string {
	text := fmt.Sprintf("%s%s by %s, %s", deeds[e.Kind], e.Repository, e.Principal, e.At.UTC().Format(time.RFC3339))
	if reason := e.Details["reason"]; reason != "" && deeds[e.Kind] != "" {
		text += ": " + reason
	}
	if from := e.Details["from"]; from != "" {
		text = "from " + from + " to " + text
	}
	return text
}

// statement holds what a part says of a statement against that statement.
func (v *verifier) statement(p *part, how telling, s api.CustodyStatement) {
	what := "referrer " + s.Referrer
	sig, ok := v.said[[2]string{s.Referrer, s.Envelope}]
	switch {
	case !ok && !v.referrers[s.Referrer]:
		p.fail(what, "it is not among the evidence of the file")
	case !ok && how.server:
		p.fail(what, "the server is to have signed it, and its signature does not verify")
	case !ok:
		p.unsure(what, "its signature verifies for no anchor that was given")
	case sig.Statement == nil || sig.Statement.Type != s.Type:
		p.fail(what, "it is no statement of type %s", oci.Quote(s.Type))
	case !sig.Index.IsZero() && !sig.Vouches():
		p.fail(what, "it is about the index %s, which says nothing of what that names", sig.Index)
	case how.server && !v.own(&sig):
		p.fail(what, "the server is to have signed it, and %s has", sig.Identity)
	case how.says == nil:
		p.fail(what, "statements are nothing of this part")
	case how.says(sig.Statement) != s.Says:
		p.fail(what, "the file has it say %s, and it says %s", oci.Quote(s.Says), oci.Quote(how.says(sig.Statement)))
	default:
		p.ok(what, s.Says)
	}
}
