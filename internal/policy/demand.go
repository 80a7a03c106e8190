package policy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy/strictyaml"
)

// theStatement is the name under which where sees the statement in question.
const theStatement = "statement"

// demand is a ready-made rule about evidence: what somebody named must have
// signed, or stated.
type demand struct {
	what    string            // "signature", or what statement is wanted, for people
	signers []evidence.Signer // of one anchor; one of them must match
	count   int               // different identities

	statement           bool                   // a statement is wanted, and not a signature
	kind                evidence.StatementKind // "" for any
	typ                 evidence.Pattern       // of the predicate
	builder, source, at evidence.Pattern
	minLevel            int
	where               *expression

	missing api.Outcome
}

// demand reads the ready-made key of a rule; nil when there is none.
func (p *gateParser) demand(c Clause, t *ruleText) *demand {
	switch {
	case t.SignedBy != nil:
		s := t.SignedBy
		d := &demand{what: "signature", count: max(s.Count, 1), missing: p.missing(c, t, s.Missing)}
		if s.Count < 0 || s.Count > maxCount {
			p.addf(s.Anchor.at, "rule %s: count is %d, want 1 to %d", t.Rule.text, s.Count, maxCount)
		}
		d.signers = p.signers(t, "signedBy", s.signer())
		return d
	case t.Provenance != nil:
		s := t.Provenance
		d := &demand{what: "provenance", statement: true, kind: evidence.KindProvenance, count: 1, minLevel: s.MinLevel, missing: p.missing(c, t, s.Missing)}
		if s.MinLevel < 0 || s.MinLevel > 3 {
			p.addf(t.Rule.at, "rule %s: minLevel is %d, want 0 to 3", t.Rule.text, s.MinLevel)
		}
		d.builder, d.source, d.at = p.pattern(t, "builder", s.Builder), p.pattern(t, "source", s.Source), p.pattern(t, "ref", s.Ref)
		d.signers = p.signers(t, "provenance.signedBy", s.SignedBy)
		return d
	case t.TestsPassed != nil:
		return p.tests(c, t)
	case t.HasStatement != nil:
		return p.statement(c, t)
	}
	return nil
}

// maxCount bounds how many identities a rule may ask for.
const maxCount = 64

func (p *gateParser) statement(c Clause, t *ruleText) *demand {
	s := t.HasStatement
	d := &demand{statement: true, kind: evidence.StatementKind(s.Kind.text), count: 1, missing: p.missing(c, t, s.Missing)}
	d.typ = p.pattern(t, "type", s.Type)
	switch {
	case !s.Kind.given() && !s.Type.given():
		p.addf(t.Rule.at, "rule %s: hasStatement needs kind or type: what is to be stated", t.Rule.text)
	case s.Kind.given() && !slices.Contains(statementKinds, d.kind):
		p.addf(s.Kind.at, "rule %s: kind is %s, want one of %v", t.Rule.text, oci.Quote(s.Kind.text), statementKinds)
	}
	d.what = kindWord(cmp.Or(d.kind, evidence.KindUnknown))
	if d.kind == "" {
		d.what += " of type " + s.Type.text
	}
	d.signers = p.signers(t, "hasStatement.signedBy", s.SignedBy)
	if s.Where.given() {
		d.where = p.compiled(t, "where", s.Where, statementEnvironment)
		if d.where != nil && d.where.typ.Kind() != types.BoolKind {
			p.addf(s.Where.at, "rule %s: where gives %s, want bool", t.Rule.text, d.where.typ)
		}
	}
	return d
}

// tests reads testsPassed: a statement of kind test that says what is wanted.
func (p *gateParser) tests(c Clause, t *ruleText) *demand {
	s := t.TestsPassed
	d := &demand{what: kindWord(evidence.KindTest), statement: true, kind: evidence.KindTest, count: 1, missing: p.missing(c, t, s.Missing)}
	d.signers = p.signers(t, "testsPassed.signedBy", s.SignedBy)
	where := `statement.test.result == "passed"`
	if s.Warnings {
		where = `statement.test.result in ["passed", "warned"]`
	}
	for _, name := range s.Names {
		where += " && " + strconv.Quote(name.text) + " in statement.test.passed"
	}
	d.where = p.compiled(t, "testsPassed", scalar{text: where, at: t.Rule.at}, statementEnvironment)
	return d
}

// missing reads what it means that nothing came: under enter it may still come.
func (p *gateParser) missing(c Clause, t *ruleText, s scalar) api.Outcome {
	switch {
	case s.text == "hold", !s.given() && c == Enter:
		return api.CannotTell
	case s.text == "deny", !s.given():
		return api.Deny
	}
	p.addf(s.at, "rule %s: missing is %s, want hold or deny", t.Rule.text, oci.Quote(s.text))
	return api.CannotTell
}

// pattern reads a pattern; the zero one, which asks nothing, when it is not given.
func (p *gateParser) pattern(t *ruleText, key string, s scalar) evidence.Pattern {
	if !s.given() {
		return evidence.Pattern{}
	}
	pattern, err := evidence.ParsePattern(s.text)
	switch {
	case err != nil:
		p.addf(s.at, "rule %s: %s: %v", t.Rule.text, key, err)
	case pattern.IsZero():
		p.addf(s.at, "rule %s: %s is empty, which matches nothing", t.Rule.text, key)
	}
	return pattern
}

// signers reads who counts: one Signer for each subject.
func (p *gateParser) signers(t *ruleText, key string, s *signerText) []evidence.Signer {
	if s == nil {
		p.addf(t.Rule.at, "rule %s: %s is missing: a statement counts for who signed it", t.Rule.text, key)
		return nil
	}
	one := evidence.Signer{Anchor: s.Anchor.text, Key: s.Key.text, Issuer: p.pattern(t, "issuer", s.Issuer)}
	for _, name := range slices.Sorted(maps.Keys(s.Claims)) {
		if one.Claims == nil {
			one.Claims = map[string]evidence.Pattern{}
		}
		one.Claims[name] = p.pattern(t, "claims."+name, s.Claims[name])
	}
	all := []evidence.Signer{one}
	if len(s.Subject) > 0 {
		all = nil
	}
	for _, subject := range s.Subject {
		who := one
		who.Subject = p.pattern(t, "subject", subject)
		all = append(all, who)
	}
	p.named = append(p.named, all...)
	at := s.Anchor.at
	if at.Line == 0 {
		at = t.Rule.at
	}
	p.checkSigner(t, key, at, all[0])
	return all
}

// checkSigner refuses who could be anybody.
func (p *gateParser) checkSigner(t *ruleText, key string, at strictyaml.Position, who evidence.Signer) {
	if err := who.Validate(); err != nil {
		p.addf(at, "rule %s: %s: %v", t.Rule.text, key, err)
	}
}

// who names the signers that are wanted, for people.
func (d *demand) who() string {
	first := d.signers[0]
	var name string
	switch {
	case !first.Subject.IsZero() && !first.Issuer.IsZero():
		name = first.Subject.String() + " (" + first.Issuer.String() + ")"
	case !first.Subject.IsZero():
		name = first.Subject.String()
	case first.Key != "":
		name = "key " + first.Key
	default:
		name = "a key"
	}
	if len(d.signers) > 1 {
		name += fmt.Sprintf(" or %d others", len(d.signers)-1)
	}
	return name + " of anchor " + first.Anchor
}

// mismatch is why sig is by none of the signers; "" means that it is by one.
func (d *demand) mismatch(sig *evidence.Signature) string {
	why := ""
	for _, s := range d.signers {
		m := s.Mismatch(sig)
		if m == "" {
			return ""
		}
		why = cmp.Or(why, m)
	}
	return why
}

// Demands asks the ready-made rules of "enter" that are about evidence, and no
// others: what they say of in, in their order, and what that amounts to; allow
// where the gate has none. The error is the context's, or says what is missing
// from in.
func (g *Gate) Demands(ctx context.Context, in *Input) ([]api.Reason, api.Outcome, error) {
	if err := checkInput(Enter, in); err != nil {
		return nil, "", fmt.Errorf("asking gate %s about evidence: %w", g.name, err)
	}
	v := newView(in.canonical(g))
	e := &evaluation{gate: g, clause: Enter, view: v, vars: newActivation(v, variableTable, g.data)}
	var reasons []api.Reason
	for i := range g.enter {
		r := &g.enter[i]
		if r.demand == nil || !slices.Contains(r.kinds, v.Kind) {
			continue
		}
		if e.over(r) {
			continue
		}
		reason, err := e.judge(ctx, r)
		if err != nil {
			return nil, "", err
		}
		reasons = append(reasons, e.forewarned(r, reason))
	}
	return reasons, combine(reasons), nil
}

// demanded asks a ready-made rule.
func (e *evaluation) demanded(ctx context.Context, r *rule) (api.Reason, error) {
	found, err := e.search(ctx, r)
	switch {
	case err != nil:
		return api.Reason{}, err
	case len(found.identities) >= r.demand.count:
		return api.Reason{Rule: r.name, Outcome: api.Allow, Says: r.says, Level: found.level}, nil
	case len(found.identities) == 0 && len(found.wrong) > 0:
		return e.denied(r, found.wrong), nil
	case found.fault != nil:
		return r.failed(found.fault), nil
	}
	return e.lacking(r, found), nil
}

// evidenceFound is what there is for a demand.
type evidenceFound struct {
	identities map[string]bool
	wrong      []item // by who is wanted, and saying something else
	near       []item // by others
	level      *int   // highest of the provenance that counts; nil where it is not about that
	fault      *evalFault
}

// search looks through the evidence for what r demands.
func (e *evaluation) search(ctx context.Context, r *rule) (*evidenceFound, error) {
	d := r.demand
	found := &evidenceFound{identities: map[string]bool{}}
	e.noteWhere(r)
	e.view.rely()
	if !d.statement {
		for i := range e.view.signatures.all {
			sig := &e.view.signatures.all[i]
			if why := d.mismatch(sig); why != "" {
				found.near = append(found.near, about(sig, why))
				continue
			}
			e.count(found, sig)
		}
		return found, nil
	}
	for i := range e.view.statements.all {
		st := &e.view.statements.all[i]
		if !d.wants(st) {
			continue
		}
		if why := d.mismatch(st.signature); why != "" {
			found.near = append(found.near, about(st.signature, why))
			continue
		}
		why, fault, err := e.objection(ctx, d, st)
		switch {
		case err != nil:
			return nil, err
		case fault != nil:
			found.fault = firstFault(found.fault, fault)
		case why != "":
			found.wrong = append(found.wrong, about(st.signature, why))
			e.view.rely(st.signature.Referrer)
		default:
			e.count(found, st.signature)
			if p := st.Provenance; p != nil && d.kind == evidence.KindProvenance && (found.level == nil || *found.level < p.Level) {
				found.level = new(p.Level)
			}
		}
	}
	return found, nil
}

// wants reports whether a statement is of the kind and type in question.
func (d *demand) wants(st *statementView) bool {
	return (d.kind == "" || d.kind == st.Kind) && (d.typ.IsZero() || d.typ.Match(st.Statement.Type))
}

// count notes a signature by who is wanted.
func (e *evaluation) count(found *evidenceFound, sig *evidence.Signature) {
	found.identities[sig.Identity.Issuer+"\x00"+sig.Identity.Subject+"\x00"+sig.Identity.Key] = true
	e.view.rely(sig.Referrer)
}

// about is a signature as a fact, with what is to be said of it.
func about(sig *evidence.Signature, text string) item {
	return item{fact: clipFact(api.Fact{ID: sig.Referrer.String(), Text: text})}
}

// noteWhere keeps until when a where cannot change by time.
func (e *evaluation) noteWhere(r *rule) {
	if x := r.demand.where; x != nil {
		e.changesAt(x.changes.next(e.view))
		if x.changes.unknown {
			e.changesAt(e.view.Now.Add(r.recheck))
		}
	}
}

// objection is why a statement by who is wanted is not what is wanted, "" when it
// is. The error is the context's.
func (e *evaluation) objection(ctx context.Context, d *demand, st *statementView) (string, *evalFault, error) {
	p := orEmpty(st.Provenance)
	for _, of := range []struct {
		name, got string
		want      evidence.Pattern
	}{{"builder", p.Builder, d.builder}, {"source", p.Source.URI, d.source}, {"ref", p.Ref, d.at}} {
		if !of.want.IsZero() && !of.want.Match(of.got) {
			return fmt.Sprintf("its %s is %s, wanted is %s", of.name, oci.Quote(of.got), oci.Quote(of.want.String())), nil, nil
		}
	}
	if p.Level < d.minLevel {
		return fmt.Sprintf("its builder %s has SLSA build level %d here, wanted is %d", oci.Quote(p.Builder), p.Level, d.minLevel), nil, nil
	}
	if d.where == nil {
		return "", nil, nil
	}
	v, fault, err := e.valueIn(ctx, d.where, whereVars{e.vars, statementType.wrap(st)})
	if fault != nil || err != nil || v == types.True {
		return "", fault, err
	}
	return "it does not say what is wanted", nil, nil
}

// whereVars are the variables of a where.
type whereVars struct {
	*activation
	statement ref.Val
}

// ResolveName returns the value of a variable.
func (w whereVars) ResolveName(name string) (any, bool) {
	if name == theStatement {
		return w.statement, true
	}
	return w.activation.ResolveName(name)
}

// lacking makes the reason of a demand that nothing meets: a check that could
// not be made is no proof that nothing is there.
func (e *evaluation) lacking(r *rule, found *evidenceFound) api.Reason {
	d := r.demand
	anchor := d.signers[0].Anchor
	away := e.away(anchor)
	// Under stay, what anybody can attach must not keep what nobody signed.
	doubts := e.clause == Enter && len(e.view.Verified.Unsure) > 0
	if d.missing == api.Deny && away == "" && !doubts {
		reason := e.denied(r, nil)
		reason.Says = cmp.Or(r.denied, d.absence(found))
		addFacts(&reason, found.near)
		return reason
	}
	reason := api.Reason{Rule: r.name, Outcome: api.CannotTell, Says: cmp.Or(r.unclear, d.absence(found)), Remedy: r.remedy}
	switch {
	case away != "":
		reason.Says = cmp.Or(r.unclear, "cannot tell whether "+r.says) + ": anchor " + anchor + " " + away
		return reason
	case doubts:
		for _, u := range e.view.Verified.Unsure {
			text := "it could not be checked"
			if len(u.Reasons) > 0 {
				text += ": " + u.Reasons[0]
			}
			found.near = append(found.near, item{fact: clipFact(api.Fact{ID: u.Referrer.String(), Text: text})})
		}
	}
	if reason.Remedy == "" {
		reason.Remedy = "attach a " + d.what + " by " + d.who()
	}
	addFacts(&reason, found.near)
	return reason
}

// absence says what has not come.
func (d *demand) absence(found *evidenceFound) string {
	if n := len(found.identities); n > 0 {
		return fmt.Sprintf("%d of %d identities have signed it, of %s", n, d.count, d.who())
	}
	return "there is no " + d.what + " by " + d.who()
}

// away tells which anchors that the gate names cannot be asked, and why; nil for
// none.
func (g *Gate) away(anchors []Anchor) map[string]string {
	var all map[string]string
	for _, a := range anchors {
		if a.Away == "" || !slices.ContainsFunc(g.signers, func(s evidence.Signer) bool { return s.Anchor == a.Name }) {
			continue
		}
		if all == nil {
			all = map[string]string{}
		}
		all[a.Name] = a.Away
	}
	return all
}

// away says why an anchor cannot be asked, "" when it can.
func (e *evaluation) away(name string) string {
	for _, a := range e.view.Verified.Anchors {
		if a.Name != name {
			continue
		}
		if a.Away == "" {
			return ""
		}
		return "cannot be asked: " + a.Away
	}
	return "is not configured here"
}
