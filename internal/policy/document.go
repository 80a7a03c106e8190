package policy

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/bonded-dev/bonded/internal/policy/strictyaml"
)

// MaxGate is the most bytes that the text of a gate may have.
const MaxGate = 64 << 10

// document is the text of a gate, as YAML. docs/schema/gate.json is generated
// from it.
type document struct {
	// "bonded.dev/v1".
	APIVersion scalar `yaml:"apiVersion" jsonschema:"enum=bonded.dev/v1"`
	// "Gate".
	Kind scalar `yaml:"kind" jsonschema:"enum=Gate"`
	// Name of the gate, by which zones refer to it: lower-case letters, digits and hyphens.
	Name scalar `yaml:"name" jsonschema:"pattern=^[a-z][a-z0-9]*(-[a-z0-9]+)*$,maxLength=63"`
	// One sentence for people: what the gate is for.
	Describe string `yaml:"describe,omitempty" jsonschema:"maxLength=300"`
	// Kinds of artifacts that may be let in at all; anything else is denied.
	Accepts []kindText `yaml:"accepts" jsonschema:"minItems=1,uniqueItems=true"`
	// What becomes of an image with layers that could not be read, so that nobody can say whether they are what its configuration says: "hold" (the default) or "accept".
	UnreadLayers scalar `yaml:"unreadLayers,omitempty" jsonschema:"enum=hold,enum=accept"`
	// Whose word counts about findings, by VEX: what they say does no harm is no finding.
	VEX []vexText `yaml:"vex,omitempty" jsonschema:"maxItems=32"`
	// Who may waive a rule, and for how long, where the rule does not say so itself. Missing: whoever may waive in the repository.
	Waive *waiveText `yaml:"waive,omitempty"`
	// When the rules count that do not say it themselves.
	Effective effectiveText `yaml:"effective,omitempty"`
	// Rules for what wants to come in. All must allow.
	Enter []ruleText `yaml:"enter,omitempty" jsonschema:"maxItems=64"`
	// Rules for what is in already.
	Stay []ruleText `yaml:"stay,omitempty" jsonschema:"maxItems=64"`
}

// ruleText is one rule of a gate, as YAML.
type ruleText struct {
	// Name of the rule, unique in its clause: lower-case letters, digits and hyphens.
	Rule scalar `yaml:"rule" jsonschema:"pattern=^[a-z][a-z0-9]*(-[a-z0-9]+)*$,maxLength=63"`
	// What the rule demands, as a clause that can follow "whether". A ready-made rule about the artifact itself says it if this is missing.
	Says string `yaml:"says,omitempty" jsonschema:"minLength=1,maxLength=300"`
	// Kinds of artifacts that the rule is about; [image] when it is missing.
	Kinds []kindText `yaml:"kinds,omitempty" jsonschema:"uniqueItems=true"`
	// CEL, bool: false denies. Not together with forbid.
	Require scalar `yaml:"require,omitempty"`
	// CEL, list: whatever is in it denies, and is listed as fact. Not together with require.
	Forbid scalar `yaml:"forbid,omitempty"`
	// CEL, bool or list: when true or not empty the rule cannot tell, unless forbid found something.
	Unknown scalar `yaml:"unknown,omitempty"`
	// Ready-made: who must have signed it. Alone, without expressions.
	SignedBy *signedByText `yaml:"signedBy,omitempty"`
	// Ready-made: how it must have been built, by SLSA provenance that somebody named signed. Alone, without expressions.
	Provenance *provenanceText `yaml:"provenance,omitempty"`
	// Ready-made: what somebody named must have stated about it. Alone, without expressions.
	HasStatement *statementText `yaml:"hasStatement,omitempty"`
	// Ready-made: its tests passed, as somebody named has signed. Alone, without expressions.
	TestsPassed *testsText `yaml:"testsPassed,omitempty"`
	// Ready-made: no fault is worse than that. Alone, without expressions.
	MaxSeverity *maxSeverityText `yaml:"maxSeverity,omitempty"`
	// Ready-made: it is old enough. Alone, without expressions.
	Cooldown *cooldownText `yaml:"cooldown,omitempty"`
	// Ready-made: what is known about its packages is fresh. Alone, without expressions.
	FreshScan *freshScanText `yaml:"freshScan,omitempty"`
	// Ready-made: it does not run as root. Alone, without expressions.
	NotRoot *nothingText `yaml:"notRoot,omitempty"`
	// Ready-made: everything in it is known, and was held against advisories. Alone, without expressions.
	SBOMComplete *sbomText `yaml:"sbomComplete,omitempty"`
	// Ready-made: nothing in it was made to do harm. Alone, without expressions.
	NoMalware *nothingText `yaml:"noMalware,omitempty"`
	// Ready-made: it holds no secrets. Alone, without expressions.
	NoSecrets *secretsText `yaml:"noSecrets,omitempty"`
	// How long the release of its operating system, and of what it runs on, must be maintained.
	Lifecycle *lifecycleText `yaml:"lifecycle,omitempty"`
	// Ready-made: who pushed it, here or on its way here. Alone, without expressions.
	PushedBy *pushedByText `yaml:"pushedBy,omitempty"`
	// Ready-made: people approved it. Alone, without expressions.
	Approvals *approvalsText `yaml:"approvals,omitempty"`
	// Ready-made: which image it is built on. Alone, without expressions.
	BaseFrom *baseFromText `yaml:"baseFrom,omitempty"`
	// What people read when the rule denies, before the facts.
	Denied string `yaml:"denied,omitempty" jsonschema:"maxLength=300"`
	// What people read when the rule cannot tell, before the facts.
	Unclear string `yaml:"unclear,omitempty" jsonschema:"maxLength=300"`
	// What would change a no. With forbid, {id} {severity} {package} {version} {fixed} and {where} stand for the worst fact's, {fixed} for the latest fix that any fact about the same package names; a remedy with one that is empty is left out.
	Remedy scalar `yaml:"remedy,omitempty" jsonschema:"maxLength=300"`
	// How soon to ask again, where an expression looks at the time in a way whose next change cannot be computed: "24h".
	Recheck duration `yaml:"recheck,omitempty"`
	// What a deny does to what is in already, under stay: "keep" (the default), "deadline" or "withdraw".
	Then scalar `yaml:"then,omitempty" jsonschema:"enum=keep,enum=deadline,enum=withdraw"`
	// With "then: deadline", how long it may stay.
	Within withinText `yaml:"within,omitempty"`
	// Who may waive the rule, and for how long; the gate's own waive when it is missing.
	Waive *waiveText `yaml:"waive,omitempty"`
	// When the rule counts; the gate's own effective when it is missing.
	Effective effectiveText `yaml:"effective,omitempty"`
}

// effectiveText says when rules count, as YAML.
type effectiveText struct {
	// From when on, "2026-12-01" or "2026-12-01T08:00:00Z". Before, what a rule would say is told as a warning and changes nothing.
	From moment `yaml:"from,omitempty"`
	// Until when; from then on a rule is not asked any more.
	Until moment `yaml:"until,omitempty"`
}

// vexText says whose word counts about findings, as YAML: one of its keys.
type vexText struct {
	// Who has signed it. It comes attached to the artifact.
	SignedBy *signerText `yaml:"signedBy,omitempty"`
	// Name of a feed of VEX documents, as in the server's configuration.
	Feed scalar `yaml:"feed,omitempty"`
}

// waiveText says who may waive, as YAML.
type waiveText struct {
	// Whether nobody can waive it. Alone.
	Never bool `yaml:"never,omitempty"`
	// How many different people have to grant it; 1 when it is missing.
	People int `yaml:"people,omitempty" jsonschema:"minimum=1,maximum=16"`
	// Whose yes counts: names of principals, and "group:NAME". Missing: of all who may waive in the repository.
	By texts `yaml:"by,omitempty"`
	// The longest time that a waiver may hold: "72h".
	AtMost duration `yaml:"atMost,omitempty"`
	// "required" asks for a justification as VEX has them.
	Justification scalar `yaml:"justification,omitempty" jsonschema:"enum=required"`
}

// testsText demands a test result (in-toto test-result), as YAML.
type testsText struct {
	// Whose word counts.
	SignedBy *signerText `yaml:"signedBy"`
	// Names of tests that must be among those that passed.
	Names []scalar `yaml:"names,omitempty"`
	// Whether a result with warnings counts.
	Warnings bool `yaml:"warnings,omitempty"`
	// What it means that there is none: "hold" (the default under enter: it may still arrive) or "deny" (the default under stay).
	Missing scalar `yaml:"missing,omitempty" jsonschema:"enum=hold,enum=deny"`
}

// maxSeverityText says what faults are let in, as YAML.
type maxSeverityText struct {
	// The worst that is let in: none, negligible, low, medium or high.
	Severity scalar `yaml:"severity" jsonschema:"enum=none,enum=negligible,enum=low,enum=medium,enum=high"`
	// Whether only faults count that have a fix. What is malicious counts always.
	Fixable bool `yaml:"fixable,omitempty"`
	// What a fault does that nobody has rated: "hold" (the default), "allow" or "deny".
	Unrated scalar `yaml:"unrated,omitempty" jsonschema:"enum=hold,enum=allow,enum=deny"`
	// Whether what is known to be exploited (CISA KEV) denies whatever its severity, with a fix or without, and has no grace.
	Exploited bool `yaml:"exploited,omitempty"`
	// The probability of being exploited (EPSS) from which on a fault denies likewise: "0.1".
	EPSS scalar `yaml:"epss,omitempty"`
	// How long worse faults are let in after they became known here, by severity.
	Grace withinText `yaml:"grace,omitempty"`
}

// cooldownText says how old an artifact must be, as YAML. It needs one of them.
type cooldownText struct {
	// Since its content first came here: "72h".
	Known duration `yaml:"known,omitempty"`
	// Since it was made, as its configuration claims.
	Built duration `yaml:"built,omitempty"`
}

// freshScanText says how fresh knowledge must be, as YAML.
type freshScanText struct {
	// How old the advisories may be: "72h".
	Within duration `yaml:"within"`
}

// sbomText says how far contents must be known, as YAML.
type sbomText struct {
	// Types of packages (of purls) that may go unchecked: [opam].
	Except []string `yaml:"except,omitempty"`
}

// secretsText says which secrets do not count, as YAML.
type secretsText struct {
	// Patterns of paths whose secrets do not count, such as app/test/**.
	Except []scalar `yaml:"except,omitempty"`
}

// pushedByText says who may have pushed an artifact, as YAML.
type pushedByText struct {
	// What whoever pushed it has to be, or a list of which one: human, machine, internal (the server itself) or anonymous.
	Kind texts `yaml:"kind"`
}

// approvalsText says who must approve, as YAML.
type approvalsText struct {
	// How many different people; 1 when it is missing.
	Count int `yaml:"count,omitempty" jsonschema:"minimum=1,maximum=16"`
	// Whose yes counts: names of principals, and "group:NAME". Missing: of all who may approve in the repository.
	By texts `yaml:"by,omitempty"`
	// Whether the yes of who pushed it does not count.
	NotTheOneWhoPushed bool `yaml:"notTheOneWhoPushed,omitempty"`
}

// baseFromText says what an image may be built on, as YAML.
type baseFromText struct {
	// Pattern, or a list of which one must match: repositories, zone first, in one of which its base is admitted now: "catalog/**".
	Repositories texts `yaml:"repositories"`
	// Whether a tag must still name the base there, if one ever did.
	Current bool `yaml:"current,omitempty"`
}

// nothingText is a ready-made rule without anything to set, as YAML: {}.
type nothingText struct{}

// ready returns the ready-made keys that a rule has.
func (t *ruleText) ready() int {
	n := 0
	v := reflect.ValueOf(t).Elem()
	for i := range v.NumField() {
		if isReady(v.Type().Field(i)) && !v.Field(i).IsNil() {
			n++
		}
	}
	return n
}

// isReady: all that a rule can have by pointer is ready-made, but for who may
// waive it.
func isReady(f reflect.StructField) bool {
	return f.Type.Kind() == reflect.Pointer && f.Type != reflect.TypeFor[*waiveText]()
}

// readyKeys are the names of the ready-made rules, in the order of the
// documentation.
func readyKeys() []string {
	var keys []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[ruleText]()) {
		if isReady(f) {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			keys = append(keys, name)
		}
	}
	return keys
}

// withinText says how long something may stay, by severity: "72h". What has no
// entry may stay.
type withinText struct {
	Critical   duration `yaml:"critical,omitempty"`
	High       duration `yaml:"high,omitempty"`
	Medium     duration `yaml:"medium,omitempty"`
	Low        duration `yaml:"low,omitempty"`
	Negligible duration `yaml:"negligible,omitempty"`
	Unknown    duration `yaml:"unknown,omitempty"`
	// For every severity without an entry, and for facts that have none.
	Any duration `yaml:"any,omitempty"`
}

// signerText says whose signatures count, as YAML. Patterns match the whole of a
// name; "*" stands for a part of one path segment and "**" for any number of
// segments, and neither takes look-alikes of a host.
type signerText struct {
	// Name of the anchor it must verify for, as in the server's configuration; "bonded" is the server's own.
	Anchor scalar `yaml:"anchor" jsonschema:"minLength=1"`
	// Pattern: who vouched for the identity, such as "https://token.actions.githubusercontent.com". Its host is written out.
	Issuer scalar `yaml:"issuer,omitempty"`
	// Pattern, or a list of which one must match: mail address, URL or X.509 name of who signs. Needed unless the anchor holds bare keys.
	Subject texts `yaml:"subject,omitempty"`
	// SHA-256 of the public key, hex, where the anchor holds several.
	Key scalar `yaml:"key,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"`
	// Patterns for what the certificate says beyond that, by Fulcio's names: sourceRepositoryURI, runnerEnvironment.
	Claims map[string]scalar `yaml:"claims,omitempty"`
}

// signedByText demands signatures, as YAML.
type signedByText struct {
	// Name of the anchor it must verify for, as in the server's configuration; "bonded" is the server's own.
	Anchor scalar `yaml:"anchor" jsonschema:"minLength=1"`
	// Pattern: who vouched for the identity, such as "https://token.actions.githubusercontent.com". Its host is written out.
	Issuer scalar `yaml:"issuer,omitempty"`
	// Pattern, or a list of which one must match: mail address, URL or X.509 name of who signs. Needed unless the anchor holds bare keys.
	Subject texts `yaml:"subject,omitempty"`
	// SHA-256 of the public key, hex, where the anchor holds several.
	Key scalar `yaml:"key,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"`
	// Patterns for what the certificate says beyond that, by Fulcio's names: sourceRepositoryURI, runnerEnvironment.
	Claims map[string]scalar `yaml:"claims,omitempty"`
	// How many different identities must have signed; 1 when it is missing.
	Count int `yaml:"count,omitempty" jsonschema:"minimum=1,maximum=64"`
	// What it means that there is none: "hold" (the default under enter: it may still arrive) or "deny" (the default under stay).
	Missing scalar `yaml:"missing,omitempty" jsonschema:"enum=hold,enum=deny"`
}

// signer is who must have signed.
func (t *signedByText) signer() *signerText {
	return &signerText{Anchor: t.Anchor, Issuer: t.Issuer, Subject: t.Subject, Key: t.Key, Claims: t.Claims}
}

// provenanceText demands SLSA provenance, as YAML.
type provenanceText struct {
	// Whose word counts.
	SignedBy *signerText `yaml:"signedBy"`
	// Pattern for the builder that the provenance names.
	Builder scalar `yaml:"builder,omitempty"`
	// Pattern for the repository it was built from, without "git+" and ".git": "https://github.com/acme/*".
	Source scalar `yaml:"source,omitempty"`
	// Pattern for the branch or tag it was built from: "refs/heads/main".
	Ref scalar `yaml:"ref,omitempty"`
	// Least SLSA build level, as the server's table of builders grants it; never what the provenance claims.
	MinLevel int `yaml:"minLevel,omitempty" jsonschema:"minimum=0,maximum=3"`
	// What it means that there is none: "hold" (the default under enter: it may still arrive) or "deny" (the default under stay).
	Missing scalar `yaml:"missing,omitempty" jsonschema:"enum=hold,enum=deny"`
}

// statementText demands an in-toto statement, as YAML.
type statementText struct {
	// Whose word counts.
	SignedBy *signerText `yaml:"signedBy"`
	// Pattern for the type URI of the predicate. This or kind is needed.
	Type scalar `yaml:"type,omitempty"`
	// What it must be: provenance, summary, sbom, scan, test, review, vex, approval or release.
	Kind scalar `yaml:"kind,omitempty" jsonschema:"enum=provenance,enum=summary,enum=sbom,enum=scan,enum=test,enum=review,enum=vex,enum=approval,enum=release"`
	// CEL, bool, over the statement as "statement": what it must say. One that says so is enough.
	Where scalar `yaml:"where,omitempty"`
	// What it means that there is none: "hold" (the default under enter: it may still arrive) or "deny" (the default under stay).
	Missing scalar `yaml:"missing,omitempty" jsonschema:"enum=hold,enum=deny"`
}

// texts is a text, or a list of texts.
type texts []scalar

// UnmarshalYAML takes one text or several.
func (t *texts) UnmarshalYAML(n ast.Node) error {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		*t = make(texts, 1)
		return (*t)[0].UnmarshalYAML(n)
	}
	*t = make(texts, len(list.Values))
	for i, v := range list.Values {
		if err := (*t)[i].UnmarshalYAML(v); err != nil {
			return err
		}
	}
	return nil
}

// scalar is a text that knows where it stands.
type scalar struct {
	text  string
	at    strictyaml.Position
	style token.Type
}

// UnmarshalYAML takes a text; numbers and the like are none.
func (s *scalar) UnmarshalYAML(n ast.Node) error {
	s.at = strictyaml.PositionOf(n)
	switch v := n.(type) {
	case *ast.StringNode:
		s.text, s.style = v.Value, v.Token.Type
	case *ast.LiteralNode:
		s.text, s.style = v.Value.Value, v.Start.Type
	default:
		return &strictyaml.Fault{At: s.at, Text: fmt.Sprintf("want a text, found %s; put it in quotes", strings.ToLower(n.Type().String()))}
	}
	return nil
}

func (s *scalar) given() bool { return s.at.Line > 0 }

// place returns where the character at (line, column) of the scalar's text
// stands in the file. For folded and escaped texts it is where the scalar begins.
func (s *scalar) place(file []string, line, column int) strictyaml.Position {
	if s.at.Line > len(file) {
		return s.at
	}
	switch s.style {
	case token.LiteralType:
		if at := s.at.Line + line; at <= len(file) {
			first := file[s.at.Line] // the line after the "|"
			return strictyaml.Position{Line: at, Column: len(first) - len(strings.TrimLeft(first, " ")) + column}
		}
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType:
		begin := s.at.Column - 1
		if s.style != token.StringType {
			begin++ // the quote
		}
		if r := []rune(file[s.at.Line-1]); begin < len(r) && strings.HasPrefix(string(r[begin:]), s.text) {
			return strictyaml.Position{Line: s.at.Line, Column: begin + column}
		}
	}
	return s.at
}

// kindText is the name of a kind of artifact.
type kindText struct{ scalar }

// duration is a span such as "72h" or "90m", at least one minute.
type duration struct {
	time.Duration
	at strictyaml.Position
}

// UnmarshalYAML takes a positive span in Go's notation.
func (d *duration) UnmarshalYAML(n ast.Node) error {
	var s scalar
	if err := s.UnmarshalYAML(n); err != nil {
		return err
	}
	v, err := time.ParseDuration(s.text)
	if err != nil || v < time.Minute {
		return &strictyaml.Fault{At: s.at, Text: fmt.Sprintf("%q is no span of time: want hours and minutes, as in 72h or 1h30m", s.text)}
	}
	d.Duration, d.at = v, s.at
	return nil
}

// moment is a day, which begins at midnight UTC, or a time with its zone.
type moment struct {
	time.Time
	at strictyaml.Position
}

// UnmarshalYAML takes a date or a time in the notation of RFC 3339.
func (m *moment) UnmarshalYAML(n ast.Node) error {
	var s scalar
	if err := s.UnmarshalYAML(n); err != nil {
		return err
	}
	t, err := time.Parse(time.DateOnly, s.text)
	if err != nil {
		t, err = time.Parse(time.RFC3339, s.text)
	}
	if err != nil || t.Year() < 1970 {
		return &strictyaml.Fault{At: s.at, Text: fmt.Sprintf("%q is no moment: want a day such as 2026-12-01, or a time such as 2026-12-01T08:00:00Z", s.text)}
	}
	m.Time, m.at = stamp(t), s.at
	return nil
}

// decode reads the text of a gate.
func decode(text []byte) (*document, *strictyaml.Fault) {
	root, f := strictyaml.Parse(text, MaxGate)
	if f != nil {
		return nil, f
	}
	doc := &document{}
	if f := strictyaml.Decode(root, doc); f != nil {
		f.Text = hint(f.Text)
		return nil, f
	}
	return doc, nil
}
