// Package policytest holds a small language in which gates are tested, and the
// corpus that comes with the shipped gates.
//
// A suite is a YAML file, by habit with the extension .gate.test:
//
//	gate: production
//	given:                       # what all cases begin with; Given has the keys
//	  snapshot: {age: 1h}
//	cases:
//	  - case: a critical fault with a fix is refused
//	    given:
//	      findings: [{id: CVE-2026-1, severity: critical, package: openssl, version: 3.0.11, fixed: 3.0.15}]
//	    expect:                  # Expect has the keys
//	      outcome: deny
//	      rules: {no-severe-with-fix: deny}
//
// What a case does not give is that of a clean, freshly analysed Debian image.
package policytest

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/goccy/go-yaml/ast"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/strictyaml"
)

// ErrSuiteInvalid matches errors of Parse.
var ErrSuiteInvalid = errors.New("not a valid gate test")

// Limits of suites.
const (
	MaxSuite = 1 << 20 // bytes
	maxCases = 10_000
)

// Suite is a file of tests for one gate.
type Suite struct {
	File  string // its name, for people
	Gate  string // name of the gate it is about
	Cases []Case
}

// Case is one test.
type Case struct {
	Name   string
	Clause policy.Clause
	Given  Given
	Expect Expect
}

// suiteText is a suite as YAML.
type suiteText struct {
	Gate  string     `yaml:"gate"`
	Given node       `yaml:"given"`
	Cases []caseText `yaml:"cases"`
}

// caseText is a case as YAML.
type caseText struct {
	Case   string `yaml:"case"`
	Clause string `yaml:"clause"`
	Given  node   `yaml:"given"`
	Expect Expect `yaml:"expect"`
}

// node is YAML to be decoded later.
type node struct{ ast.Node }

// UnmarshalYAML keeps the node.
func (n *node) UnmarshalYAML(v ast.Node) error {
	n.Node = v
	return nil
}

// Parse reads a suite; name is that of its file. Unknown keys are refused.
// Errors match ErrSuiteInvalid.
func Parse(name string, text []byte) (*Suite, error) {
	if len(text) > MaxSuite {
		return nil, fmt.Errorf("%w: %s: %d bytes, at most %d", ErrSuiteInvalid, name, len(text), MaxSuite)
	}
	doc, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrSuiteInvalid, name, err)
	}
	s := &Suite{File: name, Gate: doc.Gate}
	for i := range doc.Cases {
		c, err := newCase(doc, &doc.Cases[i])
		if err != nil {
			return nil, fmt.Errorf("%w: %s: case %d (%s): %v", ErrSuiteInvalid, name, i+1, doc.Cases[i].Case, err)
		}
		s.Cases = append(s.Cases, c)
	}
	return s, nil
}

func decode(text []byte) (*suiteText, error) {
	root, f := strictyaml.Parse(text, MaxSuite)
	if f != nil {
		return nil, f
	}
	doc := &suiteText{}
	if f := strictyaml.Decode(root, doc); f != nil {
		return nil, f
	}
	switch {
	case doc.Gate == "":
		return nil, errors.New("gate is missing: the name of the gate that it is about")
	case len(doc.Cases) > maxCases:
		return nil, fmt.Errorf("%d cases, at most %d", len(doc.Cases), maxCases)
	}
	return doc, nil
}

func newCase(doc *suiteText, t *caseText) (Case, error) {
	c := Case{Name: t.Case, Clause: policy.Enter, Expect: t.Expect, Given: clean()}
	switch {
	case t.Case == "":
		return c, errors.New("case is missing: what it shows, in a few words")
	case t.Clause == string(policy.Stay):
		c.Clause = policy.Stay
	case t.Clause != "" && t.Clause != string(policy.Enter):
		return c, fmt.Errorf("clause is %q, want enter or stay", t.Clause)
	}
	for _, n := range []node{doc.Given, t.Given} {
		if n.Node == nil {
			continue
		}
		if f := strictyaml.Decode(n.Node, &c.Given); f != nil {
			return c, f
		}
	}
	if c.Given.Repository == "" {
		c.Given.Repository = doc.Gate + "/app"
	}
	if err := c.Given.check(); err != nil {
		return c, err
	}
	return c, t.Expect.check()
}

// Result is what came of one case.
type Result struct {
	Case     string
	Problems []string // what was expected and is not so; empty when the case passes
	Decision api.Decision
}

// Run runs all cases against the gate. The error is the context's, or that of
// a case that describes no input.
func (s *Suite) Run(ctx context.Context, g *policy.Gate) ([]Result, error) {
	var results []Result
	for i := range s.Cases {
		c := &s.Cases[i]
		in := c.Input()
		for _, who := range g.Signers() {
			in.Verified.Anchors = c.Given.anchor(in.Verified.Anchors, who.Anchor)
		}
		d, err := g.Evaluate(ctx, c.Clause, in)
		if err != nil {
			return results, fmt.Errorf("running case %q of %s: %w", c.Name, s.File, err)
		}
		results = append(results, Result{c.Name, c.Expect.problems(&d), d})
	}
	return results, nil
}

// Reporter is what Run needs of a testing.T.
type Reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// Run reports every case that does not pass.
func Run(t Reporter, g *policy.Gate, s *Suite) {
	t.Helper()
	results, err := s.Run(context.Background(), g)
	if err != nil {
		t.Errorf("%v", err)
	}
	for _, r := range results {
		for _, p := range r.Problems {
			t.Errorf("%s: %s: %s\n  %s", s.File, r.Case, p, policy.Sentence(&r.Decision))
		}
	}
}

//go:embed corpus/*.gate.test
var corpus embed.FS

// Corpus returns the suites that come with the shipped gates.
func Corpus() ([]*Suite, error) {
	names, err := fs.Glob(corpus, "corpus/*.gate.test")
	if err != nil {
		return nil, err
	}
	var suites []*Suite
	for _, name := range names {
		text, err := corpus.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s, err := Parse(name, text)
		if err != nil {
			return nil, err
		}
		suites = append(suites, s)
	}
	return suites, nil
}
