package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy/strictyaml"
)

// groupPrefix begins a name that stands for all of a group.
const groupPrefix = "group:"

// Waivable says by whom a rule can be waived, and for how long. The zero value
// is that of a rule that nobody can waive.
type Waivable struct {
	People int      // how many have to grant it; 0: it cannot be waived
	By     []string // names of principals, and "group:NAME"; empty for all who may waive there
	// AtMost is the longest time from its beginning; 0 for any.
	AtMost time.Duration
	// Justify: it needs a justification, as VEX has them.
	Justify bool
}

// maxPeople bounds how many people a gate may ask for.
const maxPeople = 16

// String says it for people: "security-leads or alice, 2 of them, for at most
// 72h".
func (w Waivable) String() string {
	if w.People == 0 {
		return "nobody"
	}
	who := "whoever may waive here"
	if len(w.By) > 0 {
		who = strings.Join(w.By, " or ")
	}
	if w.People > 1 {
		who += fmt.Sprintf(", %d of them", w.People)
	}
	if w.AtMost > 0 {
		who += ", for at most " + w.AtMost.String()
	}
	if w.Justify {
		who += ", with a justification"
	}
	return who
}

// Waivable returns how the named rule of either clause can be waived. A rule
// that is built in, or that the gate does not have, cannot be.
func (g *Gate) Waivable(name string) Waivable {
	for _, rules := range [][]rule{g.enter, g.stay} {
		for i := range rules {
			if rules[i].name == name {
				return rules[i].waivable
			}
		}
	}
	return Waivable{}
}

// Honours reports until when a waiver holds for what it is honoured by: until
// its own end, or sooner where that is too long. Otherwise it says why it is not
// honoured.
func (w Waivable) Honours(of *evidence.Waiver) (until time.Time, why string) {
	if w.People == 0 {
		return time.Time{}, "the gate lets nobody waive this"
	}
	if w.Justify && of.Justification == "" {
		return time.Time{}, "the gate asks for a justification"
	}
	granted := map[string]bool{}
	for i := range of.Granted {
		if w.Counts(&of.Granted[i]) && (w.People == 1 || of.Granted[i].Name != of.AskedBy) {
			granted[of.Granted[i].Name] = true
		}
	}
	if len(granted) < w.People {
		return time.Time{}, fmt.Sprintf("%d of %d who have to grant it have", len(granted), w.People)
	}
	until = of.Until
	if w.AtMost > 0 {
		until = earliest(until, of.From.Add(w.AtMost))
	}
	return stamp(until), ""
}

// Counts reports whether the gate asks for this person's yes.
func (w Waivable) Counts(by *evidence.Grantor) bool {
	return len(w.By) == 0 || slices.Contains(w.By, by.Name) ||
		slices.ContainsFunc(by.Groups, func(g string) bool { return slices.Contains(w.By, groupPrefix+g) })
}

// permission is a waiver about the placement under judgement, for one rule.
type permission struct {
	*evidence.Waiver
	until time.Time
}

// permissions returns the waivers that the rule honours now, those that end last
// first, and notes when any of them begins or ends.
func (e *evaluation) permissions(r *rule) []permission {
	var ps []permission
	for i := range e.view.Waivers {
		w := &e.view.Waivers[i]
		if w.Rule != "" && w.Rule != r.name {
			continue
		}
		until, why := r.waivable.Honours(w)
		switch {
		case why != "" || !until.After(e.view.Now):
		case w.From.After(e.view.Now):
			e.changesAt(w.From)
		default:
			ps = append(ps, permission{w, until})
		}
	}
	slices.SortStableFunc(ps, func(a, b permission) int { return b.until.Compare(a.until) })
	return ps
}

// excused takes out of what a rule found that which is waived, and says by what.
func (e *evaluation) excused(r *rule, found []item, without api.Outcome) (left []item, waived []api.Waived) {
	ps := e.permissions(r)
	if len(ps) == 0 || len(found) == 0 {
		return found, nil
	}
	by := make([][]item, len(ps))
	for _, it := range found {
		n := slices.IndexFunc(ps, func(p permission) bool { return !p.Whole() && it.waivedBy(p.Waiver, e.view.Digest) })
		if n < 0 {
			left = append(left, it)
			continue
		}
		by[n] = append(by[n], it)
	}
	for n, items := range by {
		if len(items) > 0 {
			waived = append(waived, e.waived(r, ps[n], items, without))
		}
	}
	return left, waived
}

// waivedBy reports whether a waiver that names an advisory or a package is about
// the item, which is in d.
func (i *item) waivedBy(w *evidence.Waiver, d oci.Digest) bool {
	if i.finding != nil {
		return w.OfFinding(i.finding) && (w.Digest.IsZero() || w.Digest == d || w.Follows(i.finding) == "")
	}
	return w.Advisory == "" && i.purl != "" && w.OfPackage(i.purl) && !w.Follow
}

// waived says what a waiver takes out. Under "stay" it says too when that is
// acted on: at the waiver's end or at the deadline that it has without, whichever
// is later, and without further notice, as this is notice.
func (e *evaluation) waived(r *rule, p permission, items []item, without api.Outcome) api.Waived {
	e.changesAt(p.until)
	w := api.Waived{Waiver: p.ID, Owner: p.Owner, Reason: p.Reason, Until: p.until, Outcome: without}
	for i := range p.Granted {
		w.By = append(w.By, p.Granted[i].Name)
	}
	for i, it := range items {
		if i == maxFacts {
			w.More = len(items) - maxFacts
			break
		}
		w.Facts = append(w.Facts, it.fact)
	}
	if e.clause != Stay || without != api.Deny {
		return w
	}
	if r.then == Withdraw {
		w.Deadline = p.until
	}
	for i := range items {
		if r.then != Deadline {
			break
		}
		if since, within := r.span(&items[i]); within > 0 && !since.IsZero() {
			w.Deadline = earliest(w.Deadline, latest(latest(stamp(since), e.view.AdmittedAt).Add(within), p.until))
		}
	}
	return w
}

// excuse makes a rule allow that is waived as a whole.
func (e *evaluation) excuse(r *rule, reason api.Reason) api.Reason {
	if reason.Outcome == api.Allow {
		return reason
	}
	ps := e.permissions(r)
	n := slices.IndexFunc(ps, func(p permission) bool { return p.Whole() })
	if n < 0 {
		return reason
	}
	w := e.waived(r, ps[n], nil, reason.Outcome)
	w.Facts, w.More = reason.Facts, reason.More
	if !reason.Until.IsZero() {
		w.Deadline = latest(reason.Until, w.Until)
	}
	return api.Reason{Rule: r.name, Outcome: api.Allow, Says: r.says, Evidence: reason.Evidence, Waived: append(reason.Waived, w)}
}

// tellWaived adds to what an allowing rule says that it does so by permission.
func tellWaived(reason *api.Reason) {
	if reason.Outcome != api.Allow || len(reason.Waived) == 0 {
		return
	}
	first := &reason.Waived[0]
	what := "the rule"
	if len(first.Facts) > 0 {
		what = summarize(first.Facts[0], len(first.Facts)+first.More)
	}
	reason.Says += fmt.Sprintf(", but for what is waived: %s, until %s by %s", what, first.Until.Format(time.RFC3339), strings.Join(first.By, " and "))
	if more := len(reason.Waived) - 1; more > 0 {
		reason.Says += fmt.Sprintf(", and %d more", more)
	}
}

// compareWaivers orders by id, which is unique.
func compareWaivers(a, b *evidence.Waiver) int { return cmp.Compare(a.ID, b.ID) }

// concerning returns the waivers about a placement that have not ended.
func concerning(ws []evidence.Waiver, r oci.Repository, d oci.Digest, now time.Time) []evidence.Waiver {
	keep := func(w *evidence.Waiver) bool { return w.About(r, d) && w.Until.After(now) }
	n := 0
	for i := range ws {
		if keep(&ws[i]) {
			n++
		}
	}
	if n == len(ws) {
		return ws
	}
	kept := make([]evidence.Waiver, 0, n)
	for i := range ws {
		if keep(&ws[i]) {
			kept = append(kept, ws[i])
		}
	}
	return kept
}

// waive reads who may waive a rule; an empty rule stands for the gate.
func (p *gateParser) waive(where strictyaml.Position, rule string, t *waiveText) Waivable {
	at := "waive"
	if rule != "" {
		at = "rule " + rule + ": waive"
	}
	w := Waivable{People: max(t.People, 1), AtMost: t.AtMost.Duration, Justify: t.Justification.given()}
	if t.People < 0 || t.People > maxPeople {
		p.addf(where, "%s: people is %d, want 1 to %d", at, t.People, maxPeople)
	}
	if t.Justification.given() && t.Justification.text != "required" {
		p.addf(t.Justification.at, "%s: justification is %s, want required", at, oci.Quote(t.Justification.text))
	}
	for _, by := range t.By {
		name := strings.TrimPrefix(by.text, groupPrefix)
		if name == "" || strings.ContainsAny(name, "* ") {
			p.addf(by.at, "%s: by has %s, want the name of a principal, or group:NAME", at, oci.Quote(by.text))
		}
		w.By = append(w.By, by.text)
	}
	if named := len(w.By); named > 0 && !slices.ContainsFunc(w.By, isGroup) && named < w.People {
		p.addf(t.By[0].at, "%s: %d people have to grant it, and by names %d", at, w.People, named)
	}
	if t.Never {
		if t.People != 0 || len(w.By) > 0 || w.AtMost > 0 || w.Justify {
			p.addf(where, "%s: never says that nobody can, and the rest who can: leave out one", at)
		}
		return Waivable{}
	}
	return w
}

func isGroup(name string) bool { return strings.HasPrefix(name, groupPrefix) }

// Group returns the group that a name of Waivable.By stands for; ok is false for
// one person.
func Group(name string) (group string, ok bool) { return strings.CutPrefix(name, groupPrefix) }
