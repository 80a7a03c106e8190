package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
)

// Names of the rules that every gate has and none can switch off.
const (
	ruleKind      = "kind"                // the gate accepts this kind of artifact
	ruleLayers    = "layers-match-config" // of an image: its layers are what its configuration says
	rulePlatforms = "platforms"           // of an index: the decisions of its images
)

var builtIn = []string{ruleKind, ruleLayers, rulePlatforms}

// kindRefused is the only reason for an artifact of a kind that the gate does
// not accept.
func (e *evaluation) kindRefused() api.Reason {
	var names []string
	for _, k := range e.gate.accepts {
		names = append(names, string(k))
	}
	r := api.Reason{
		Rule: ruleKind, Outcome: api.Deny,
		Says:   fmt.Sprintf("gate %s accepts %s, and this is of kind %s", e.gate.name, strings.Join(names, ", "), e.view.Kind),
		Remedy: fmt.Sprintf("name %s under accepts in the gate, if it belongs here", e.view.Kind),
	}
	if e.clause == Stay {
		r.Act = string(Keep)
	}
	return r
}

// layersMatch: a layer whose content is not what the configuration says
// (diff_id) is a deny; one that was not read to its end has no diff_id and
// leaves it open, unless the gate accepts that.
func (e *evaluation) layersMatch() api.Reason {
	v := e.view
	r := api.Reason{Rule: ruleLayers}
	if v.Image == nil || len(v.Image.Layers) != len(v.layers) {
		r.Outcome, r.Says = api.CannotTell, "its layers are not analysed yet"
		return r
	}
	if v.Config != nil && len(v.Config.RootFS.DiffIDs) > len(v.layers) {
		r.Outcome = api.Deny
		r.Says = fmt.Sprintf("the configuration names %d layers and the manifest %d", len(v.Config.RootFS.DiffIDs), len(v.layers))
		return e.structural(r)
	}
	wrong, unread := v.mismatches()
	switch {
	case v.Config == nil && !e.gate.acceptUnread:
		r.Outcome, r.Says = api.CannotTell, "its configuration cannot be read"
	case len(wrong) > 0:
		r.Outcome, r.Says = api.Deny, "content is not what the configuration says (diff_id)"
		addFacts(&r, wrong)
		r = e.structural(r)
	case len(unread) > 0 && !e.gate.acceptUnread:
		r.Outcome, r.Says = api.CannotTell, "cannot tell whether every layer is what the configuration says"
		addFacts(&r, unread)
		r.Remedy = "push layers that can be read to their end; for one that is larger than the budget, raise analysis in the server's configuration"
	case len(unread) > 0:
		r.Outcome, r.Says = api.Allow, fmt.Sprintf("%d of %d layers could not be compared with the configuration, which this gate accepts", len(unread), len(v.layers))
	default:
		r.Outcome, r.Says = api.Allow, "every layer is what the configuration says"
	}
	return r
}

// mismatches returns the layers that are not what the configuration says, and
// those of which nobody knows.
func (v *view) mismatches() (wrong, unread []item) {
	for i := range v.layers {
		l := &v.layers[i]
		f := v.layerFact(l)
		switch {
		case l.DiffIDOK:
		case v.Config == nil:
			unread = append(unread, item{fact: clipFact(f)})
		case l.Uncompared != "":
			f.Text = "no diff_id to compare: " + l.Uncompared
			unread = append(unread, item{fact: clipFact(f)})
		default:
			wrong = append(wrong, item{fact: clipFact(f)})
		}
	}
	return wrong, unread
}

// structural adds what becomes of a placement that is in and should never have
// been: nobody could run it as it was meant, so it goes, with notice.
func (e *evaluation) structural(r api.Reason) api.Reason {
	r.Remedy = "build and push it again: this image was put together wrongly, or changed on its way"
	if e.clause == Stay {
		r.Act, r.Until = string(Deadline), e.deadline(r.Rule, e.view.AdmittedAt, minNotice)
	}
	return r
}

// platforms is the and over the images of an index that are stored here.
// Evidence about them does not count, and platforms that are absent are told
// but do not matter: nobody can pull them.
func (e *evaluation) platforms() api.Reason {
	r := api.Reason{Rule: rulePlatforms, Outcome: api.Allow}
	var denied, open []item
	counted, absent := 0, 0
	e.childrenUntil = e.view.ChildrenUntil
	for i := range e.view.Children {
		c := &e.view.Children[i]
		switch {
		case c.isEvidence():
			continue
		case !c.Present:
			absent++
			continue
		}
		counted++
		said := e.childSaid(c)
		it := item{fact: clipFact(api.Fact{ID: c.Digest.String(), Where: c.platform(), Text: said.Why})}
		switch said.Outcome {
		case api.Deny:
			denied = append(denied, it)
			addChildStay(&r, &said)
		case api.CannotTell:
			open = append(open, it)
		}
	}
	e.changesAt(e.childrenUntil)
	switch {
	case len(denied) > 0:
		r.Outcome = api.Deny
		addFacts(&r, denied)
	case len(open) > 0:
		r.Outcome = api.CannotTell
		addFacts(&r, open)
	case counted == 0:
		r.Outcome, r.Says = api.CannotTell, fmt.Sprintf("none of its %d images is stored here", absent)
		r.Remedy = "push at least one of its images to this repository first"
	default:
		r.Says = allowedPlatforms(counted, absent)
	}
	return r
}

func allowedPlatforms(counted, absent int) string {
	s := fmt.Sprintf("all %d images are allowed", counted)
	if counted == 1 {
		s = "its image is allowed"
	}
	if absent > 0 {
		s += fmt.Sprintf("; %d more are not stored here", absent)
	}
	return s
}

// outcome returns the child's own, "" when it has no decision yet.
func (c *Child) outcome() string {
	if c.Decision == nil {
		return ""
	}
	return string(c.Decision.Outcome)
}

// childOutcome returns what a child contributes and, unless it allows, why. A
// decision about something else, or one that has run out, tells nothing.
func (e *evaluation) childOutcome(c *Child) (api.Outcome, string) {
	d := c.Decision
	switch {
	case d == nil:
		return api.CannotTell, "not decided yet"
	case d.Digest != c.Digest.String() || d.Zone != e.view.Zone || d.Clause != string(e.clause):
		return api.CannotTell, fmt.Sprintf("not decided for clause %s of %s yet", e.clause, e.view.Zone)
	case !d.ValidUntil.IsZero() && !d.ValidUntil.After(e.view.Now):
		return api.CannotTell, "its decision has run out"
	}
	if !d.ValidUntil.IsZero() {
		e.childrenUntil = earliest(e.childrenUntil, stamp(d.ValidUntil))
	}
	switch d.Outcome {
	case api.Allow:
		return api.Allow, ""
	case api.Deny:
		return api.Deny, why(d)
	}
	return api.CannotTell, why(d)
}

// childSaid is childOutcome with what becomes of a denied child under Stay. What
// does not allow is noted among the inputs.
func (e *evaluation) childSaid(c *Child) api.ChildSaid {
	said := api.ChildSaid{Digest: c.Digest.String()}
	if c.Said != nil {
		said = *c.Said
	} else if said.Outcome, said.Why = e.childOutcome(c); said.Outcome == api.Deny && e.clause == Stay {
		stands, until := Stands(c.Decision, e.view.Now)
		switch {
		case !until.IsZero():
			said.Act, said.Until = string(Deadline), until
		case stands:
			said.Act = string(Keep)
		default:
			said.Act = string(Withdraw)
		}
	}
	if said.Outcome != api.Allow {
		e.said = append(e.said, said)
	}
	return said
}

// addChildStay folds what becomes of a denied child into the index's reason: the
// strictest act, the earliest deadline.
func addChildStay(r *api.Reason, said *api.ChildSaid) {
	switch {
	case said.Act == "": // under Enter there is nothing to lose
	case Act(said.Act) == Withdraw || Act(r.Act) == Withdraw:
		r.Act, r.Until = string(Withdraw), time.Time{}
	case Act(said.Act) == Deadline:
		r.Act, r.Until = string(Deadline), earliest(r.Until, said.Until)
	case r.Act == "":
		r.Act = said.Act
	}
}
