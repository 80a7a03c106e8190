package policy

import (
	"fmt"
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
	// Rules for what wants to come in. All must allow.
	Enter []ruleText `yaml:"enter,omitempty" jsonschema:"maxItems=64"`
	// Rules for what is in already.
	Stay []ruleText `yaml:"stay,omitempty" jsonschema:"maxItems=64"`
}

// ruleText is one rule of a gate, as YAML.
type ruleText struct {
	// Name of the rule, unique in its clause: lower-case letters, digits and hyphens.
	Rule scalar `yaml:"rule" jsonschema:"pattern=^[a-z][a-z0-9]*(-[a-z0-9]+)*$,maxLength=63"`
	// What the rule demands, as a clause that can follow "whether".
	Says string `yaml:"says" jsonschema:"minLength=1,maxLength=300"`
	// Kinds of artifacts that the rule is about; [image] when it is missing.
	Kinds []kindText `yaml:"kinds,omitempty" jsonschema:"uniqueItems=true"`
	// CEL, bool: false denies. Not together with forbid.
	Require scalar `yaml:"require,omitempty"`
	// CEL, list: whatever is in it denies, and is listed as fact. Not together with require.
	Forbid scalar `yaml:"forbid,omitempty"`
	// CEL, bool or list: when true or not empty the rule cannot tell, unless forbid found something.
	Unknown scalar `yaml:"unknown,omitempty"`
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
