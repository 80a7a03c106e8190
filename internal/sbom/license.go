package sbom

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
)

// The short identifiers of the SPDX License List 3.17, one a line. Later lists
// only add to it, so what is valid by this one is valid by any.
//
//go:embed licenses.txt
var licenseIDs string

//go:embed exceptions.txt
var exceptionIDs string

const licenseListVersion = "3.17"

// Limits of declared licences, which are foreign text.
const (
	maxLicense      = 4096 // bytes that are kept of one
	maxExpression   = 1024 // bytes of what is read as an expression
	maxLicenses     = 100  // per package
	maxParentheses  = 32
	noAssertion     = "NOASSERTION"
	licenseRefStart = "LicenseRef-"
)

// known maps lower-case identifiers to how they are written.
type known struct{ licenses, exceptions map[string]string }

var knownIDs = sync.OnceValue(func() known {
	return known{byLower(licenseIDs), byLower(exceptionIDs)}
})

func byLower(lines string) map[string]string {
	m := map[string]string{}
	for id := range strings.FieldsSeq(lines) {
		m[strings.ToLower(id)] = id
	}
	return m
}

// declared puts declared licences in order, each once, without what says
// nothing.
func declared(texts []string) []string {
	var out []string
	for _, t := range texts {
		t = strings.TrimSpace(cut(t, maxLicense))
		if t != "" && t != noAssertion && t != "NONE" {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxLicenses)]
}

// license is one declared licence as far as it is understood.
type license struct {
	declared string
	// expression is the text as an SPDX license expression with identifiers as
	// they are written; "" when it is none.
	expression string
	simple     bool // expression is one identifier of the list
}

// read understands a declared licence. Identifiers are those of the list
// alone: a LicenseRef of somebody else's document refers to nothing in ours.
func read(text string) license {
	l := license{declared: text}
	if len(text) > maxExpression {
		return l
	}
	p := expressionParser{tokens: tokens(text), ids: knownIDs()}
	expression, ok := p.or()
	if !ok || len(p.tokens) > 0 {
		return l
	}
	l.expression = unwrap(expression)
	_, l.simple = p.ids.licenses[strings.ToLower(l.expression)]
	return l
}

// unwrap takes away parentheses around a whole expression.
func unwrap(expression string) string {
	for strings.HasPrefix(expression, "(") {
		depth := 0
		for i, c := range expression {
			switch c {
			case '(':
				depth++
			case ')':
				depth--
			}
			if depth == 0 && i < len(expression)-1 {
				return expression
			}
		}
		expression = expression[1 : len(expression)-1]
	}
	return expression
}

// readAll understands declared licences. An image's packages share few of
// them, so the subject remembers what each means.
func (s *subject) readAll(declared []string) []license {
	all := make([]license, len(declared))
	for i, text := range declared {
		l, ok := s.read[text]
		if !ok {
			l = read(text)
			s.read[text] = l
		}
		all[i] = l
	}
	return all
}

// operand returns the expression as a part of a longer one joined with AND.
func (l *license) operand() string {
	if strings.Contains(l.expression, " OR ") {
		return "(" + l.expression + ")"
	}
	return l.expression
}

// ref is the identifier, local to a document, of a licence that is no
// expression.
func (l *license) ref() string {
	sum := sha256.Sum256([]byte(l.declared))
	return licenseRefStart + hex.EncodeToString(sum[:8])
}

// tokens splits an expression at spaces and parentheses.
func tokens(text string) []string {
	text = strings.ReplaceAll(text, "(", " ( ")
	return strings.Fields(strings.ReplaceAll(text, ")", " ) "))
}

// expressionParser reads license expressions (SPDX 2.3, annex D). Operators
// are upper case; identifiers match in any case.
type expressionParser struct {
	tokens []string
	ids    known
	depth  int
}

func (p *expressionParser) next(want string) bool {
	if len(p.tokens) > 0 && p.tokens[0] == want {
		p.tokens = p.tokens[1:]
		return true
	}
	return false
}

func (p *expressionParser) or() (string, bool)  { return p.chain("OR", p.and) }
func (p *expressionParser) and() (string, bool) { return p.chain("AND", p.with) }

// chain reads one or more operands with an operator between them.
func (p *expressionParser) chain(operator string, operand func() (string, bool)) (string, bool) {
	text, ok := operand()
	for ok && p.next(operator) {
		var right string
		right, ok = operand()
		text += " " + operator + " " + right
	}
	return text, ok
}

func (p *expressionParser) with() (string, bool) {
	if p.next("(") {
		if p.depth++; p.depth > maxParentheses {
			return "", false
		}
		text, ok := p.or()
		return "(" + text + ")", ok && p.next(")")
	}
	text, ok := p.license()
	if !ok || !p.next("WITH") {
		return text, ok
	}
	if len(p.tokens) == 0 {
		return "", false
	}
	exception, ok := p.ids.exceptions[strings.ToLower(p.tokens[0])]
	p.tokens = p.tokens[1:]
	return text + " WITH " + exception, ok
}

// license reads one identifier, with "+" for "or later" where it is written.
func (p *expressionParser) license() (string, bool) {
	if len(p.tokens) == 0 {
		return "", false
	}
	id := p.tokens[0]
	p.tokens = p.tokens[1:]
	if written, ok := p.ids.licenses[strings.ToLower(id)]; ok {
		return written, true
	}
	base, later := strings.CutSuffix(id, "+")
	written, ok := p.ids.licenses[strings.ToLower(base)]
	return written + "+", ok && later
}
