// Package policy holds gates: the text that says what may come into a zone and
// what becomes of what is in, and the judgement it gives about one placement.
//
// A Gate is YAML with rules in CEL (https://cel.dev), compiled once by Parse.
// Evaluate is a pure function: it does no I/O, has no clock, and gives the same
// Decision, byte for byte, for the same Input. Expressions see the variables
// documented in docs/gates.md and nothing else, and are bounded in cost.
//
// Each rule has one of three outcomes, and so has the gate: it denies when a
// rule denies, else it cannot tell when a rule cannot tell, else it allows.
// A rule that cannot be evaluated cannot tell; it never allows.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy/strictyaml"
)

// ErrGateInvalid matches errors of Parse.
var ErrGateInvalid = errors.New("not a valid gate")

// Limits of gates.
const (
	maxRules = 64  // per clause
	maxText  = 300 // bytes of a sentence
	maxName  = 63  // characters of a name
	// maxFaults is how many faults of a text Parse reports.
	maxFaults = 20
)

// version and kind are what a gate's text says to be.
const (
	version = "bonded.dev/v1"
	kind    = "Gate"
)

var (
	nameForm        = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	placeholderForm = regexp.MustCompile(`\{[^{}]*\}`)
)

// Gate is the policy of a zone. It is immutable and safe for concurrent use.
type Gate struct {
	name, describe string
	digest         oci.Digest
	text           []byte
	accepts        []oci.Kind
	acceptUnread   bool
	enter, stay    []rule
	signers        []evidence.Signer  // whom rules name
	data           []*Data            // that rules name, by name
	vex            []vexSource        // whose word counts about findings
	feeds          []string           // of these
	bases          []evidence.Pattern // repositories in which rules look for bases
}

// rule is one compiled rule.
type rule struct {
	name, says, denied, unclear, remedy string
	kinds                               []oci.Kind
	require, forbid, unknown            *expression // at least one; not both require and forbid; none with demand
	demand                              *demand     // of evidence
	check                               check       // ready-made, about the artifact itself
	recheck                             time.Duration
	then                                Act
	within                              map[evidence.Severity]time.Duration
	withinAny                           time.Duration // 0: what within does not name may stay
	waivable                            Waivable
	from, until                         time.Time // when it counts; zero is open
}

// expression is a compiled expression with its place in the text, for people.
type expression struct {
	*compiled
	key  string // "require"
	line int
}

// Parse reads a gate; name is that of its file, for errors. All expressions are
// checked: types, names, cost. data, with distinct names, is what rules may name.
// Errors match ErrGateInvalid and have one line per fault, "name:line:column: what
// is wrong".
func Parse(name string, text []byte, data ...*Data) (*Gate, error) {
	doc, f := decode(text)
	if f != nil {
		return nil, invalid(name, []*strictyaml.Fault{f})
	}
	p := gateParser{lines: strings.Split(string(text), "\n"), given: data}
	g := p.gate(doc)
	if len(p.faults) > 0 {
		return nil, invalid(name, p.faults)
	}
	g.digest, g.text = oci.FromBytes(text), bytes.Clone(text)
	slices.SortFunc(p.used, func(a, b *Data) int { return strings.Compare(a.name, b.name) })
	g.data = p.used
	return g, nil
}

func invalid(name string, faults []*strictyaml.Fault) error {
	return faulty(ErrGateInvalid, name, faults)
}

// faulty is an error with one line per fault.
func faulty(what error, name string, faults []*strictyaml.Fault) error {
	var b strings.Builder
	for i, f := range faults {
		if i == maxFaults {
			fmt.Fprintf(&b, "\n%s: and %d more", name, len(faults)-i)
			break
		}
		fmt.Fprintf(&b, "\n%s:%v", name, f)
	}
	return fmt.Errorf("%w: %s", what, strings.TrimPrefix(b.String(), "\n"))
}

// Name returns the gate's name.
func (g *Gate) Name() string { return g.name }

// Describe returns the sentence that says what the gate is for, "" when it has
// none.
func (g *Gate) Describe() string { return g.describe }

// Digest returns the SHA-256 of the gate's text.
func (g *Gate) Digest() oci.Digest { return g.digest }

// Text returns what the gate was read from.
func (g *Gate) Text() []byte { return bytes.Clone(g.text) }

// Accepts reports whether artifacts of the kind may be let in at all.
func (g *Gate) Accepts(k oci.Kind) bool { return slices.Contains(g.accepts, k) }

// Signers returns whom the gate's rules name, in their order. A server that has
// not all their anchors cannot use the gate.
func (g *Gate) Signers() []evidence.Signer { return slices.Clone(g.signers) }

// Rules returns the names of a clause's rules with what each demands, in order.
func (g *Gate) Rules(c Clause) []RuleText {
	var all []RuleText
	for _, r := range g.rules(c) {
		all = append(all, RuleText{r.name, r.says})
	}
	return all
}

// RuleText is a rule as people see it.
type RuleText struct {
	Name string
	Says string // what it demands, as a clause that can follow "whether"
}

func (g *Gate) rules(c Clause) []rule {
	if c == Stay {
		return g.stay
	}
	return g.enter
}

// gateParser turns a document into a Gate and collects what is wrong with it.
type gateParser struct {
	lines  []string
	faults []*strictyaml.Fault
	cost   uint64
	named  []evidence.Signer // so far
	feeds  []string          // likewise
	given  []*Data           // that rules may name
	used   []*Data           // that they do
	anyone Waivable          // of rules that do not say it themselves
	when   effectiveText     // likewise
}

func (p *gateParser) addf(at strictyaml.Position, format string, args ...any) {
	if at.Line == 0 {
		at = strictyaml.Position{Line: 1, Column: 1}
	}
	p.faults = append(p.faults, &strictyaml.Fault{At: at, Text: fmt.Sprintf(format, args...)})
}

func (p *gateParser) gate(doc *document) *Gate {
	if doc.APIVersion.text != version {
		p.addf(doc.APIVersion.at, "apiVersion is %s, want %s", oci.Quote(doc.APIVersion.text), version)
	}
	if doc.Kind.text != kind {
		p.addf(doc.Kind.at, "kind is %s, want %s", oci.Quote(doc.Kind.text), kind)
	}
	p.checkName(doc.Name, "name")
	p.checkText(doc.Name.at, "describe", doc.Describe)
	if len(doc.Accepts) == 0 {
		p.addf(strictyaml.Position{}, "accepts is missing: it lists the kinds of artifacts that may come in at all")
	}
	g := &Gate{name: doc.Name.text, describe: doc.Describe, accepts: p.kinds(doc.Accepts)}
	switch doc.UnreadLayers.text {
	case "accept":
		g.acceptUnread = true
	case "", "hold":
	default:
		p.addf(doc.UnreadLayers.at, "unreadLayers is %s, want hold or accept", oci.Quote(doc.UnreadLayers.text))
	}
	p.anyone = Waivable{People: 1}
	if doc.Waive != nil {
		p.anyone = p.waive(doc.Name.at, "", doc.Waive)
	}
	p.when = doc.Effective
	g.enter = p.clause(Enter, doc.Enter)
	g.stay = p.clause(Stay, doc.Stay)
	g.bases = append(readsBases(g.enter), readsBases(g.stay)...)
	g.vex = p.vexSources(doc.VEX)
	g.signers, g.feeds = p.named, p.feeds
	if p.cost > MaxGateCost {
		p.addf(doc.Name.at, "all expressions together may cost up to %s units on a large artifact, and %d are allowed", units(p.cost), MaxGateCost)
	}
	return g
}

func (p *gateParser) checkName(s scalar, key string) {
	if len(s.text) > maxName || !nameForm.MatchString(s.text) {
		p.addf(s.at, "%s is %s, want lower-case letters, digits and single hyphens, at most %d", key, oci.Quote(s.text), maxName)
	}
}

func (p *gateParser) checkText(at strictyaml.Position, key, text string) {
	if len(text) > maxText || strings.ContainsAny(text, "\n\r") {
		p.addf(at, "%s has %d bytes, want one line of at most %d", key, len(text), maxText)
	}
}

// allKinds are the kinds that a gate can name.
var allKinds = []oci.Kind{oci.KindImage, oci.KindIndex, oci.KindChart, oci.KindModel, oci.KindEvidence, oci.KindOther}

func (p *gateParser) kinds(texts []kindText) []oci.Kind {
	var ks []oci.Kind
	for _, s := range texts {
		k := oci.Kind(s.text)
		switch {
		case !slices.Contains(allKinds, k):
			p.addf(s.at, "%s is no kind of artifact, want one of %v", oci.Quote(s.text), allKinds)
		case slices.Contains(ks, k):
			p.addf(s.at, "%s is named twice", k)
		}
		ks = append(ks, k)
	}
	return ks
}

func (p *gateParser) clause(c Clause, texts []ruleText) []rule {
	if len(texts) > maxRules {
		p.addf(texts[maxRules].Rule.at, "%s has %d rules, at most %d", c, len(texts), maxRules)
		return nil
	}
	var rules []rule
	for i := range texts {
		t := &texts[i]
		switch {
		case slices.ContainsFunc(rules, func(r rule) bool { return r.name == t.Rule.text }):
			p.addf(t.Rule.at, "%s has two rules called %s", c, t.Rule.text)
		case slices.Contains(builtIn, t.Rule.text):
			p.addf(t.Rule.at, "%s is the name of a built-in rule", t.Rule.text)
		}
		rules = append(rules, p.rule(c, t))
	}
	return rules
}

func (p *gateParser) rule(c Clause, t *ruleText) rule {
	p.checkName(t.Rule, "rule")
	ready := p.check(t)
	if t.TestsPassed != nil && t.Says == "" {
		t.Says = "its tests passed"
	}
	if t.Says == "" && ready == nil {
		p.addf(t.Rule.at, "rule %s: says is missing: what the rule demands, so that it can follow \"whether\"", t.Rule.text)
	}
	p.checkText(t.Rule.at, "says", t.Says)
	p.checkText(t.Rule.at, "denied", t.Denied)
	p.checkText(t.Rule.at, "unclear", t.Unclear)
	p.checkText(t.Remedy.at, "remedy", t.Remedy.text)
	r := rule{
		name: t.Rule.text, says: t.Says, denied: t.Denied, unclear: t.Unclear, remedy: t.Remedy.text,
		kinds: []oci.Kind{oci.KindImage}, recheck: t.Recheck.Duration, then: Act(t.Then.text),
	}
	if len(t.Kinds) > 0 {
		r.kinds = p.kinds(t.Kinds)
	}
	r.require = p.expression(t, "require", t.Require)
	r.forbid = p.expression(t, "forbid", t.Forbid)
	r.unknown = p.expression(t, "unknown", t.Unknown)
	r.demand = p.demand(c, t)
	if r.check = ready; ready != nil {
		r.named(ready.texts())
	}
	p.checkExpressions(t, &r)
	p.checkRemedy(t, ready != nil)
	p.setAct(c, t, &r)
	p.setTimes(t, &r)
	r.waivable = p.anyone
	if t.Waive != nil {
		r.waivable = p.waive(t.Rule.at, t.Rule.text, t.Waive)
	}
	return r
}

// expression compiles one key of a rule; nil when it is not given or wrong.
func (p *gateParser) expression(t *ruleText, key string, s scalar) *expression {
	return p.compiled(t, key, s, environment)
}

func (p *gateParser) compiled(t *ruleText, key string, s scalar, in func() (*cel.Env, error)) *expression {
	if !s.given() {
		return nil
	}
	c, issues := compileIn(withData(in, p.given), s.text)
	for _, i := range issues {
		if near := dataNear(i.text, p.given); near != "" {
			i.text += " (" + near + ")"
		}
		p.addf(s.place(p.lines, i.line, i.column), "rule %s: %s, line %d, column %d: %s", t.Rule.text, key, i.line, i.column, i.text)
	}
	if c == nil {
		return nil
	}
	p.cost += c.cost
	p.use(c)
	p.named = append(p.named, c.signers...)
	if c.changes.unknown && t.Recheck.Duration == 0 {
		p.addf(s.at, "rule %s: %s looks at the time in a way whose next change cannot be computed: compare now or snapshot.age with a literal, or say how soon to ask again, as in recheck: 24h", t.Rule.text, key)
	}
	return &expression{c, key, s.at.Line}
}

func (p *gateParser) checkExpressions(t *ruleText, r *rule) {
	switch {
	case t.Require.given() && t.Forbid.given():
		p.addf(t.Forbid.at, "rule %s has both require and forbid: make it two rules", r.name)
	case t.ready() > 1 || t.ready() > 0 && (t.Require.given() || t.Forbid.given() || t.Unknown.given()):
		p.addf(t.Rule.at, "rule %s: a ready-made rule stands alone: make it several rules, all of which must allow", r.name)
	case t.ready() == 0 && !t.Require.given() && !t.Forbid.given() && !t.Unknown.given():
		p.addf(t.Rule.at, "rule %s demands nothing: it needs require, forbid, unknown, or one of the ready-made %s", r.name, strings.Join(readyKeys(), ", "))
	}
	if r.require != nil && r.require.typ.Kind() != types.BoolKind {
		p.addf(t.Require.at, "rule %s: require gives %s, want bool", r.name, r.require.typ)
	}
	if r.forbid != nil && !isFactList(r.forbid.typ) {
		p.addf(t.Forbid.at, "rule %s: forbid gives %s, want a list of %s", r.name, r.forbid.typ, factTypes())
	}
	if r.unknown != nil && r.unknown.typ.Kind() != types.BoolKind && !isFactList(r.unknown.typ) {
		p.addf(t.Unknown.at, "rule %s: unknown gives %s, want bool or a list of %s", r.name, r.unknown.typ, factTypes())
	}
}

func (p *gateParser) checkRemedy(t *ruleText, lists bool) {
	for _, ph := range placeholderForm.FindAllString(t.Remedy.text, -1) {
		if !slices.Contains(placeholders, strings.Trim(ph, "{}")) {
			p.addf(t.Remedy.at, "rule %s: remedy has %s, want one of {%s}", t.Rule.text, ph, strings.Join(placeholders, "} {"))
		} else if !t.Forbid.given() && !lists {
			p.addf(t.Remedy.at, "rule %s: remedy has %s, but only forbid yields facts to fill it in", t.Rule.text, ph)
		}
	}
}

// setTimes settles when the rule counts.
func (p *gateParser) setTimes(t *ruleText, r *rule) {
	when := t.Effective
	if when == (effectiveText{}) {
		when = p.when
	}
	r.from, r.until = when.From.Time, when.Until.Time
	if !r.until.IsZero() && !r.from.Before(r.until) {
		p.addf(when.Until.at, "rule %s: it counts from %s until %s, which is never", r.name, r.from.Format(time.RFC3339), r.until.Format(time.RFC3339))
	}
}

// setAct settles what a deny does under stay.
func (p *gateParser) setAct(c Clause, t *ruleText, r *rule) {
	r.within, r.withinAny = t.Within.spans(), t.Within.Any.Duration
	given := len(r.within) > 0 || r.withinAny > 0
	switch {
	case c == Enter && (t.Then.given() || given):
		p.addf(t.Rule.at, "rule %s: then and within are for rules under stay: what may not come in has nothing to lose", r.name)
	case c == Enter:
		r.then = ""
	case r.then == "":
		r.then = Keep
	}
	switch r.then {
	case "":
	case Keep, Withdraw:
		if given {
			p.addf(t.Rule.at, "rule %s: within is for then: deadline", r.name)
		}
	case Deadline:
		if !given {
			p.addf(t.Then.at, "rule %s: then: deadline needs within, as in within: {critical: 72h}", r.name)
		}
		if t.Forbid.given() && r.forbid == nil {
			return // reported already
		}
		if isFindings := r.forbid != nil && r.forbid.typ.Parameters()[0] == findingType.typ; !isFindings && r.withinAny == 0 {
			p.addf(t.Then.at, "rule %s: within needs any: what it denies has no severity", r.name)
		}
	default:
		if c == Stay {
			p.addf(t.Then.at, "rule %s: then is %s, want keep, deadline or withdraw", r.name, oci.Quote(t.Then.text))
		}
	}
}

// spans returns the entries that are given, by severity.
func (w *withinText) spans() map[evidence.Severity]time.Duration {
	all := map[evidence.Severity]duration{
		evidence.Critical: w.Critical, evidence.High: w.High, evidence.Medium: w.Medium,
		evidence.Low: w.Low, evidence.Negligible: w.Negligible, evidence.Unknown: w.Unknown,
	}
	m := map[evidence.Severity]time.Duration{}
	for s, d := range all {
		if d.Duration > 0 {
			m[s] = d.Duration
		}
	}
	return m
}
