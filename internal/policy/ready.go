package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// check is a ready-made rule about what the artifact is. It says in facts what
// an expression would, and knows the moments at which time changes them.
type check interface {
	// look returns what denies and what leaves it open, and notes when either
	// changes by time alone.
	look(e *evaluation) (found, open []item)
	// texts is what people read where the rule does not say it itself.
	texts() readyTexts
}

// readyTexts are the texts of a rule.
type readyTexts struct{ says, denied, unclear, remedy string }

// named fills in what the rule does not say itself.
func (r *rule) named(t readyTexts) {
	r.says, r.denied = cmp.Or(r.says, t.says), cmp.Or(r.denied, t.denied)
	r.unclear, r.remedy = cmp.Or(r.unclear, t.unclear), cmp.Or(r.remedy, t.remedy)
}

// checked asks a ready-made rule.
func (e *evaluation) checked(r *rule) api.Reason {
	found, open := r.check.look(e)
	found, waived := e.excused(r, byRank(found), api.Deny)
	if len(found) > 0 {
		reason := e.denied(r, found)
		reason.Waived = waived
		return reason
	}
	left, excused := e.excused(r, open, api.CannotTell)
	reason := api.Reason{Rule: r.name, Outcome: api.Allow, Says: r.says}
	if len(left) > 0 {
		reason = r.unclearWith(left)
	}
	reason.Waived = append(waived, excused...)
	return reason
}

// byRank puts the worst first.
func byRank(items []item) []item {
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(b.rank(), a.rank()) })
	return items
}

// textItem is a fact that is a sentence.
func textItem(format string, args ...any) item {
	return item{fact: clipFact(api.Fact{ID: fmt.Sprintf(format, args...)})}
}

// notAnalysed is what leaves any rule about the contents open.
func (v *view) notAnalysed() []item {
	if v.Image == nil {
		return []item{textItem("it is not analysed yet")}
	}
	return nil
}

// noAdvisories is what leaves any rule about findings open.
func (v *view) noAdvisories() []item {
	if v.Snapshot.Advisories == 0 {
		return []item{textItem("no advisories were ever loaded")}
	}
	return nil
}

// check reads the ready-made key of a rule that is about the artifact itself;
// nil when there is none.
func (p *gateParser) check(t *ruleText) check {
	switch {
	case t.MaxSeverity != nil:
		return p.maxSeverity(t)
	case t.Cooldown != nil:
		return p.cooldown(t)
	case t.FreshScan != nil:
		if t.FreshScan.Within.Duration == 0 {
			p.addf(t.Rule.at, "rule %s: freshScan needs within: how old the advisories may be", t.Rule.text)
		}
		return freshScan(t.FreshScan.Within.Duration)
	case t.NotRoot != nil:
		return notRoot{}
	case t.SBOMComplete != nil:
		return sbomComplete{except: t.SBOMComplete.Except}
	case t.Lifecycle != nil:
		return maintained{ahead: t.Lifecycle.For.Duration, extended: t.Lifecycle.Extended}
	case t.NoMalware != nil:
		return noMalware{}
	case t.NoSecrets != nil:
		return p.noSecrets(t)
	case t.PushedBy != nil:
		return p.pushedBy(t)
	case t.Approvals != nil:
		return p.approvals(t)
	case t.BaseFrom != nil:
		return p.baseFrom(t)
	}
	return nil
}

// maxSeverity: no finding is worse than a severity, but for what has grace.
type maxSeverity struct {
	worst     evidence.Severity // that is let in; "" for none
	fixable   bool              // only what has a fix counts
	unrated   api.Outcome       // what a finding without severity does
	exploited bool              // what is known to be exploited denies whatever its severity
	epss      float64           // so does what is as likely to be; 0: not asked
	grace     map[evidence.Severity]time.Duration
	graceAny  time.Duration
}

func (p *gateParser) maxSeverity(t *ruleText) check {
	s := t.MaxSeverity
	c := maxSeverity{worst: evidence.Severity(s.Severity.text), fixable: s.Fixable, exploited: s.Exploited, unrated: api.CannotTell, grace: s.Grace.spans(), graceAny: s.Grace.Any.Duration}
	if !slices.Contains([]evidence.Severity{"none", evidence.Negligible, evidence.Low, evidence.Medium, evidence.High}, c.worst) {
		p.addf(cmp.Or(s.Severity.at, t.Rule.at), "rule %s: maxSeverity: severity is %s, want none, negligible, low, medium or high: the worst that is let in", t.Rule.text, oci.Quote(s.Severity.text))
	}
	switch s.Unrated.text {
	case "", "hold":
	case "allow":
		c.unrated = api.Allow
	case "deny":
		c.unrated = api.Deny
	default:
		p.addf(s.Unrated.at, "rule %s: maxSeverity: unrated is %s, want hold, allow or deny", t.Rule.text, oci.Quote(s.Unrated.text))
	}
	if s.EPSS.given() {
		c.epss = p.probability(t, s.EPSS)
	}
	return c
}

// probability reads a number between 0 and 1.
func (p *gateParser) probability(t *ruleText, s scalar) float64 {
	v, err := strconv.ParseFloat(s.text, 64)
	if err != nil || !(v > 0 && v <= 1) {
		p.addf(s.at, "rule %s: epss is %s, want a probability such as \"0.1\", above 0 and at most 1", t.Rule.text, oci.Quote(s.text))
	}
	return v
}

func (c maxSeverity) look(e *evaluation) (found, open []item) {
	v := e.view
	for i := range v.Findings {
		f := &v.Findings[i]
		switch c.of(e, f) {
		case api.Deny:
			found = append(found, item{fact: clipFact(v.findingFact(f)), finding: f})
		case api.CannotTell:
			open = append(open, item{fact: clipFact(v.findingFact(f)), finding: f})
		}
	}
	open = append(append(v.notAnalysed(), v.noAdvisories()...), open...)
	if c.exploited && v.Snapshot.Exploited.IsZero() {
		open = append(open, textItem("no list of what is known to be exploited was ever loaded"))
	}
	if c.epss > 0 && v.Snapshot.Scores.IsZero() {
		open = append(open, textItem("no scores of what is likely to be exploited were ever loaded"))
	}
	return found, open
}

// of says what one finding does.
func (c maxSeverity) of(e *evaluation, f *evidence.Finding) api.Outcome {
	if c.exploited && !f.Exploited.IsZero() || c.epss > 0 && f.EPSS >= c.epss {
		return api.Deny
	}
	if c.fixable && f.Fixed == "" && !f.Malicious {
		return api.Allow
	}
	rank := f.Severity.Rank()
	if rank == 0 && !f.Malicious {
		return c.unrated
	}
	if !f.Malicious && rank <= c.worst.Rank() {
		return api.Allow
	}
	grace, ok := c.grace[f.Severity]
	if !ok {
		grace = c.graceAny
	}
	since := stamp(latest(f.Known, f.Since))
	if grace == 0 || f.Malicious || since.IsZero() {
		return api.Deny
	}
	if end := since.Add(grace); end.After(e.view.Now) {
		e.changesAt(end)
		return api.Allow
	}
	return api.Deny
}

func (c maxSeverity) texts() readyTexts {
	says := "no fault is worse than " + string(c.worst)
	if c.worst == "none" {
		says = "it has no known fault"
	}
	if c.fixable {
		says += " and has a fix"
	}
	return readyTexts{says: says, unclear: "nobody can say how severe all of its faults are", remedy: "update {package} to {fixed}"}
}

// cooldown: it has been known here for some time, so that others had time to
// find what is wrong with it.
type cooldown struct{ known, built time.Duration }

func (p *gateParser) cooldown(t *ruleText) check {
	c := cooldown{t.Cooldown.Known.Duration, t.Cooldown.Built.Duration}
	if c.known == 0 && c.built == 0 {
		p.addf(t.Rule.at, "rule %s: cooldown needs known (since it first came here) or built (since its configuration says that it was made), as in known: 72h", t.Rule.text)
	}
	return c
}

func (c cooldown) look(e *evaluation) (found, open []item) {
	v := e.view
	ask := func(span time.Duration, since time.Time, what string) {
		switch end := stamp(since).Add(span); {
		case span == 0:
		case since.IsZero():
			open = append(open, textItem("nobody knows when it %s", what))
		case since.After(v.Now):
			open = append(open, textItem("it %s on %s, which is not yet", what, since.UTC().Format(time.RFC3339)))
			e.changesAt(stamp(since))
		case end.After(v.Now):
			open = append(open, textItem("it %s on %s, and has to be %s old: until %s", what, since.UTC().Format(time.RFC3339), span, end.Format(time.RFC3339)))
			e.changesAt(end)
		}
	}
	ask(c.known, v.FirstSeen, "first came here")
	ask(c.built, (&configView{v.Config}).created(), "was made")
	return nil, open
}

func (c cooldown) texts() readyTexts {
	return readyTexts{says: "it is old enough for others to have found what is wrong with it", unclear: "it is too young", remedy: "wait, or ask for a waiver"}
}

// freshScan: the advisories are not older than this.
type freshScan time.Duration

func (c freshScan) look(e *evaluation) (found, open []item) {
	v, within := e.view, time.Duration(c)
	open = append(v.notAnalysed(), v.noAdvisories()...)
	if v.Snapshot.At.IsZero() {
		return nil, open
	}
	e.changesAt(timing{ages: []time.Duration{within}}.next(v))
	if age := v.age(); age > within {
		open = append(open, textItem("the advisories are of %s, and may be %s old", v.Snapshot.At.Format(time.RFC3339), within))
	}
	return nil, open
}

func (c freshScan) texts() readyTexts {
	return readyTexts{says: fmt.Sprintf("advisories were loaded within the last %s", time.Duration(c)), unclear: "what is known about its packages is too old", remedy: "bonded feed update"}
}

// notRoot: its configuration names a user that is not root.
type notRoot struct{}

func (notRoot) look(e *evaluation) (found, open []item) {
	c := &configView{e.view.Config}
	switch {
	case c.ImageConfig == nil:
		open = []item{textItem("its configuration cannot be read")}
	case isRoot(c.run().User):
		user := "it names no user, which is root"
		if c.run().User != "" {
			user = "its user is " + oci.Quote(c.run().User)
		}
		found = []item{textItem("%s", user)}
	}
	return found, open
}

func (notRoot) texts() readyTexts {
	return readyTexts{says: "it does not run as root", remedy: "set USER to a number other than 0 in its build"}
}

// sbomComplete: everything in it is known, and was held against advisories.
type sbomComplete struct{ except []string }

func (c sbomComplete) look(e *evaluation) (found, open []item) {
	v := e.view
	open = append(v.notAnalysed(), v.noAdvisories()...)
	for i := range v.layers {
		l := &v.layers[i]
		switch l.Coverage.State {
		case inventory.CoverageFull:
		case inventory.CoverageAmbiguous:
			found = append(found, item{fact: clipFact(v.layerFact(l))})
		default:
			open = append(open, item{fact: clipFact(v.layerFact(l))})
		}
	}
	if v.Image != nil && v.Image.UnknownDistro() {
		open = append(open, textItem("it has packages of an operating system that no advisories can be matched to"))
	}
	for i := range v.Unchecked {
		u := &v.Unchecked[i]
		if slices.Contains(c.except, u.Package.Type) {
			continue
		}
		it, _ := v.item(uncheckedType.wrap(u))
		it.fact = clipFact(it.fact)
		open = append(open, it)
	}
	return found, open
}

func (sbomComplete) texts() readyTexts {
	return readyTexts{
		says: "everything in it is known, and was held against advisories", denied: "another unpacker could read it differently",
		unclear: "not all of it is known", remedy: "see what was left out: bonded inventory",
	}
}

// noMalware: nothing in it was made to do harm, as far as anybody looked.
type noMalware struct{}

func (noMalware) look(e *evaluation) (found, open []item) {
	v := e.view
	for i := range v.Findings {
		if f := &v.Findings[i]; f.Malicious {
			found = append(found, item{fact: clipFact(v.findingFact(f)), finding: f})
		}
	}
	return found, append(v.notAnalysed(), v.noAdvisories()...)
}

func (noMalware) texts() readyTexts {
	return readyTexts{says: "nothing in it was made to do harm", unclear: "nobody has looked", remedy: "remove {package} {version}; treat whatever ran it as compromised"}
}
