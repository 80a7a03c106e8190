package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// evaluation is one judgement under way.
type evaluation struct {
	gate   *Gate
	clause Clause
	view   *view
	vars   *activation
	// validUntil is the earliest moment, of those found so far, at which time
	// alone may change an outcome; zero when there is none.
	validUntil time.Time
	spent      uint64 // cost of all expressions asked so far
	// said is what children contributed that do not allow, and childrenUntil when
	// time alone may change what one does.
	said          []api.ChildSaid
	childrenUntil time.Time
}

// Evaluate judges one placement by one clause. The error is never about the
// placement: it matches the context's when that ended, and otherwise says what
// is missing from in. Whatever cannot be told about the placement is in the
// decision, as a rule that cannot tell.
func (g *Gate) Evaluate(ctx context.Context, c Clause, in *Input) (api.Decision, error) {
	if err := checkInput(c, in); err != nil {
		return api.Decision{}, fmt.Errorf("judging %s@%s by gate %s: %w", in.Repository, in.Digest, g.name, err)
	}
	v := newView(in.canonical(g))
	e := &evaluation{gate: g, clause: c, view: v, vars: newActivation(v, variableTable, g.data)}
	d := api.Decision{
		Repository: v.Repository.String(), Digest: v.Digest.String(), Zone: v.Zone, Clause: string(c),
		DecidedAt: v.Now, Inputs: e.inputs(), Reasons: []api.Reason{},
	}
	reasons, err := e.reasons(ctx)
	if err != nil {
		return api.Decision{}, fmt.Errorf("judging %s@%s by gate %s: %w", in.Repository, in.Digest, g.name, err)
	}
	d.Reasons = append(d.Reasons, reasons...)
	d.Inputs.Said, d.Inputs.ChildrenUntil = e.said, e.childrenUntil
	d.Outcome = combine(d.Reasons)
	if d.StayUntil = stayUntil(d.Reasons); d.StayUntil.After(v.Now) {
		e.changesAt(d.StayUntil)
	}
	d.ValidUntil = e.validUntil
	return d, nil
}

// variableTable is variables by name.
var variableTable = func() map[string]variable {
	m := make(map[string]variable, len(variables))
	for _, v := range variables {
		m[v.name] = v
	}
	return m
}()

func checkInput(c Clause, in *Input) error {
	switch {
	case c != Enter && c != Stay:
		return fmt.Errorf("no clause %q", c)
	case in.Now.IsZero():
		return errors.New("the input has no time")
	case in.Manifest == nil:
		return errors.New("the input has no manifest")
	case in.Repository.IsZero() || in.Digest.IsZero() || in.Zone == "":
		return errors.New("the input names no placement")
	case in.Image != nil && !in.Image.Manifest.IsZero() && in.Image.Manifest != in.Digest:
		return fmt.Errorf("the inventory is that of %s", in.Image.Manifest)
	}
	return nil
}

// combine: a deny beats all, cannot-tell beats allow.
func combine(reasons []api.Reason) api.Outcome {
	worst := api.Allow
	for _, r := range reasons {
		switch {
		case r.Outcome == api.Deny:
			return api.Deny
		case r.Outcome != api.Allow:
			worst = api.CannotTell
		}
	}
	return worst
}

// reasons asks the built-in rules, then those of the clause.
func (e *evaluation) reasons(ctx context.Context) ([]api.Reason, error) {
	if !e.gate.Accepts(e.view.Kind) {
		return []api.Reason{e.kindRefused()}, nil
	}
	var reasons []api.Reason
	switch e.view.Kind {
	case oci.KindImage:
		reasons = append(reasons, e.layersMatch())
	case oci.KindIndex:
		reasons = append(reasons, e.platforms())
	}
	rules := e.gate.rules(e.clause)
	for i := range rules {
		r := &rules[i]
		if !slices.Contains(r.kinds, e.view.Kind) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e.over(r) {
			continue
		}
		reason, err := e.judge(ctx, r)
		if err != nil {
			return nil, err
		}
		reasons = append(reasons, e.forewarned(r, reason))
	}
	return reasons, nil
}

// over reports whether a rule counts no more, and notes when that will be.
func (e *evaluation) over(r *rule) bool {
	if r.until.IsZero() {
		return false
	}
	if !r.until.After(e.view.Now) {
		return true
	}
	e.changesAt(r.until)
	return false
}

// forewarned makes a warning of what a rule says that does not count yet.
func (e *evaluation) forewarned(r *rule, reason api.Reason) api.Reason {
	if !r.from.After(e.view.Now) {
		return reason
	}
	e.changesAt(r.from)
	told := api.Reason{Rule: r.name, Outcome: api.Allow, Says: fmt.Sprintf("it does not count before %s", r.from.Format(time.RFC3339)), Evidence: reason.Evidence}
	if reason.Outcome == api.Allow {
		return told
	}
	told.Says += ", and would say: " + reason.Says
	told.Warning, told.Facts, told.More, told.Remedy = reason.Outcome, reason.Facts, reason.More, reason.Remedy
	return told
}

// judge asks one rule. What forbid finds is proof and denies; otherwise
// unknown says whether the rest can be trusted. The error is the context's.
func (e *evaluation) judge(ctx context.Context, r *rule) (api.Reason, error) {
	e.view.relied = nil
	reason, err := e.outcome(ctx, r)
	if e.view.relied != nil {
		e.changesAt(e.view.Verified.Until)
	}
	for d := range e.view.relied {
		reason.Evidence = append(reason.Evidence, d.String())
	}
	slices.Sort(reason.Evidence)
	if err != nil {
		return reason, err
	}
	reason = e.excuse(r, reason)
	tellWaived(&reason)
	if reason.Assessed, err = e.assessed(ctx, r); err != nil {
		return reason, err
	}
	tellAssessed(&reason)
	return reason, nil
}

func (e *evaluation) outcome(ctx context.Context, r *rule) (api.Reason, error) {
	if r.demand != nil {
		return e.demanded(ctx, r)
	}
	if r.check != nil {
		return e.checked(r), nil
	}
	e.noteTiming(r)
	found, fault, err := e.list(ctx, r.forbid)
	if err != nil {
		return api.Reason{}, err
	}
	found, waived := e.excused(r, found, api.Deny)
	if len(found) > 0 {
		reason := e.denied(r, found)
		reason.Waived = waived
		return reason, nil
	}
	open, openFault, err := e.doubt(ctx, r.unknown)
	if err != nil {
		return api.Reason{}, err
	}
	reason, err := e.unfound(ctx, r, open, firstFault(fault, openFault))
	reason.Waived = append(waived, reason.Waived...)
	return reason, err
}

// unfound asks the rest of a rule whose forbid found nothing that counts. open
// is what unknown gave, fault why an expression so far gave nothing.
func (e *evaluation) unfound(ctx context.Context, r *rule, open []item, fault *evalFault) (api.Reason, error) {
	if fault != nil {
		return r.failed(fault), nil
	}
	left, waived := e.excused(r, open, api.CannotTell)
	if open != nil && (len(left) > 0 || len(waived) == 0) {
		reason := r.unclearWith(left)
		reason.Waived = waived
		return reason, nil
	}
	holds, fault, err := e.truth(ctx, r.require)
	reason := api.Reason{Rule: r.name, Outcome: api.Allow, Says: r.says}
	switch {
	case err != nil:
		return api.Reason{}, err
	case fault != nil:
		reason = r.failed(fault)
	case !holds:
		reason = e.denied(r, nil)
	}
	reason.Waived = waived
	return reason, nil
}

// noteTiming keeps until when the rule's expressions cannot change by time.
func (e *evaluation) noteTiming(r *rule) {
	for _, x := range []*expression{r.require, r.forbid, r.unknown} {
		if x == nil {
			continue
		}
		e.changesAt(x.changes.next(e.view))
		if x.changes.unknown {
			e.changesAt(e.view.Now.Add(r.recheck))
		}
	}
}

func (e *evaluation) changesAt(t time.Time) { e.validUntil = earliest(e.validUntil, t) }

// evalFault is why an expression gave no value: a fault of the rule on this
// input, never of the context.
type evalFault struct {
	expression *expression
	text       string
}

func firstFault(a, b *evalFault) *evalFault {
	if a != nil {
		return a
	}
	return b
}

// value asks an expression. The error is the context's.
func (e *evaluation) value(ctx context.Context, x *expression) (ref.Val, *evalFault, error) {
	return e.valueIn(ctx, x, e.vars)
}

// valueIn asks an expression that sees vars.
func (e *evaluation) valueIn(ctx context.Context, x *expression, vars cel.Activation) (ref.Val, *evalFault, error) {
	if e.spent > MaxGateCost {
		return nil, &evalFault{x, fmt.Sprintf("the rules before it cost more than %d units on this artifact", MaxGateCost)}, nil
	}
	v, details, err := x.program.ContextEval(ctx, vars)
	if details != nil && details.ActualCost() != nil {
		e.spent += *details.ActualCost()
	}
	if err == nil {
		return v, nil, nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return nil, nil, ctxErr
	}
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		return nil, &evalFault{x, fmt.Sprintf("it costs more than %d units on this artifact", MaxCost)}, nil
	}
	return nil, &evalFault{x, clip(Printable(err.Error()))}, nil
}

// truth asks a bool expression; a missing one is true.
func (e *evaluation) truth(ctx context.Context, x *expression) (bool, *evalFault, error) {
	if x == nil {
		return true, nil, nil
	}
	v, fault, err := e.value(ctx, x)
	return v == types.True, fault, err
}

// list asks a list expression; a missing one is empty.
func (e *evaluation) list(ctx context.Context, x *expression) ([]item, *evalFault, error) {
	if x == nil {
		return nil, nil, nil
	}
	v, fault, err := e.value(ctx, x)
	if fault != nil || err != nil {
		return nil, fault, err
	}
	items, wrong := e.view.items(v)
	if wrong != "" {
		return nil, &evalFault{x, wrong}, nil
	}
	return items, nil, nil
}

// doubt asks unknown, a bool or a list: nil when there is no doubt, empty when
// there is one without facts.
func (e *evaluation) doubt(ctx context.Context, x *expression) ([]item, *evalFault, error) {
	if x == nil {
		return nil, nil, nil
	}
	if x.typ.Kind() == types.ListKind {
		items, fault, err := e.list(ctx, x)
		if len(items) == 0 {
			items = nil
		}
		return items, fault, err
	}
	open, fault, err := e.truth(ctx, x)
	if fault != nil || err != nil || !open {
		return nil, fault, err
	}
	return []item{}, nil, nil
}

// denied makes the reason of a rule that denies, for what it found.
func (e *evaluation) denied(r *rule, found []item) api.Reason {
	reason := api.Reason{Rule: r.name, Outcome: api.Deny, Says: r.denied, Remedy: r.remedy}
	if e.clause == Stay {
		e.setStay(&reason, r, found)
	}
	if len(found) > 0 {
		reason.Remedy = remedyFor(r.remedy, found)
	}
	if reason.Says == "" && len(found) == 0 {
		reason.Says = "it is not so that " + r.says
	}
	addFacts(&reason, found)
	return reason
}

// unclearWith makes the reason of a rule that cannot tell, because of open.
func (r *rule) unclearWith(open []item) api.Reason {
	reason := api.Reason{Rule: r.name, Outcome: api.CannotTell, Says: r.unclear}
	if reason.Says == "" {
		reason.Says = "cannot tell whether " + r.says
	}
	if len(placeholderForm.FindAllString(r.remedy, -1)) == 0 {
		reason.Remedy = r.remedy
	}
	addFacts(&reason, open)
	return reason
}

// failed makes the reason of a rule that could not be evaluated.
func (r *rule) failed(f *evalFault) api.Reason {
	return api.Reason{
		Rule: r.name, Outcome: api.CannotTell,
		Says: fmt.Sprintf("cannot tell whether %s: %s (line %d of the gate) has no value: %s", r.says, f.expression.key, f.expression.line, f.text),
	}
}

// addFacts lists the items in the reason, and says the worst of them.
func addFacts(reason *api.Reason, items []item) {
	if len(items) == 0 {
		return
	}
	if reason.Says != "" {
		reason.Says += ": "
	}
	reason.Says += summarize(items[0].fact, len(items))
	for i, it := range items {
		if i == maxFacts {
			reason.More = len(items) - maxFacts
			break
		}
		reason.Facts = append(reason.Facts, it.fact)
	}
}

// inputs names everything that the decision looks at.
func (e *evaluation) inputs() api.Inputs {
	in := e.view.Input
	names := api.Inputs{
		Gate: e.gate.digest.String(), Snapshot: in.Snapshot.Digest.String(), Inventory: in.InventoryDigest.String(),
		ExtractorSet: in.ExtractorSet, BroughtBy: in.BroughtBy, Engine: in.Engine, AdmittedAt: in.AdmittedAt,
	}
	names.Exploited, names.Scores, names.Lifecycles = in.Snapshot.Exploited.String(), in.Snapshot.Scores.String(), in.Snapshot.Lifecycles.String()
	names.Anchors, names.SnapshotAt, names.Away = in.Verified.Digest, in.Snapshot.At, e.gate.away(in.Verified.Anchors)
	names.Arrivals, names.FirstSeen, names.Bases = Arrived(in.Arrivals), in.FirstSeen, Based(in.Bases)
	for _, d := range in.Evidence {
		names.Evidence = append(names.Evidence, d.String())
	}
	for i := range in.Children {
		if c := &in.Children[i]; c.Present && !c.isEvidence() {
			names.Children = append(names.Children, c.Digest.String())
		}
	}
	if e.clause == Stay && len(in.Promised) > 0 {
		names.Promised = in.Promised
	}
	for i := range in.VEX {
		names.VEX = append(names.VEX, in.VEX[i].Digest.String())
	}
	slices.Sort(names.VEX)
	if len(e.gate.feeds) > 0 {
		names.VEXList = in.Snapshot.VEX.String()
	}
	for _, d := range e.gate.data {
		names.Data = append(names.Data, d.digest.String())
	}
	for i := range in.Waivers {
		names.Waivers = append(names.Waivers, in.Waivers[i].ID)
	}
	names.Approvals = evidence.WordIDs(in.Approvals)
	return names
}
