package policytest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

// TestCorpus runs the corpus, and looks that every shipped gate has a suite.
func TestCorpus(t *testing.T) {
	suites, err := policytest.Corpus()
	if err != nil {
		t.Fatal(err)
	}
	var covered []string
	for _, s := range suites {
		t.Run(s.File, func(t *testing.T) {
			g, err := policy.ShippedGate(s.Gate)
			if err != nil {
				t.Fatal(err)
			}
			policytest.Run(t, g, s)
		})
		covered = append(covered, s.Gate)
	}
	for _, name := range policy.Shipped() {
		if !slices.Contains(covered, name) {
			t.Errorf("gate %s has no suite in the corpus", name)
		}
	}
}

// failures collects what Run reports.
type failures struct{ lines []string }

func (f *failures) Helper() {}

func (f *failures) Errorf(format string, args ...any) {
	f.lines = append(f.lines, fmt.Sprintf(format, args...))
}

// TestProblems: each thing that can be expected is looked at.
func TestProblems(t *testing.T) {
	for _, tc := range []struct{ name, expect, want string }{
		{"outcome", "outcome: allow", "outcome is deny, want allow"},
		{"rule", "outcome: deny, rules: {fully-analysed: deny}", "rule fully-analysed says allow"},
		{"rule that is not there", "outcome: deny, rules: {nope: deny}", "rule nope was not asked, want deny"},
		{"only", "outcome: deny, only: true", "rule no-severe-with-fix says deny"},
		{"facts", "outcome: deny, facts: {no-severe-with-fix: [CVE-2]}", "are [CVE-1], want [CVE-2]"},
		{"says", "outcome: deny, says: hello", `the sentence does not say "hello"`},
		{"validFor", "outcome: deny, validFor: 1h", "it is valid for 71h0m0s, want 1h"},
		{"never valid", "outcome: deny, validFor: never", "it is valid for 71h0m0s, want never"},
		{"staysFor", "outcome: deny, staysFor: 1h", "it stays for never, want 1h"},
		{"stands", "outcome: deny, stands: true", "it may stay: false, want true"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := policytest.Parse("f", fmt.Appendf(nil, "gate: production\ncases: [{case: a, given: {findings: [{id: CVE-1, severity: high, package: a, version: '1', fixed: '2'}]}, expect: {%s}}]", tc.expect))
			if err != nil {
				t.Fatal(err)
			}
			g, err := policy.ShippedGate(s.Gate)
			if err != nil {
				t.Fatal(err)
			}
			var f failures
			policytest.Run(&f, g, s)
			if len(f.lines) != 1 || !strings.Contains(f.lines[0], "f: a: ") || !strings.Contains(f.lines[0], tc.want) {
				t.Errorf("Run reports %q, want one line with %q", f.lines, tc.want)
			}
		})
	}
}

// TestParseFaults: a suite that would test something else than it says is
// refused.
func TestParseFaults(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"cases: []", "gate is missing"},
		{"gate: a\ncase: []", `2:1: unknown field "case"`},
		{"gate: a\ncases: [{expect: {outcome: allow}}]", "case 1 (): case is missing"},
		{"gate: a\ncases: [{case: a}]", `case 1 (a): expect.outcome is ""`},
		{"gate: a\ncases: [{case: a, clause: leave, expect: {outcome: allow}}]", `clause is "leave", want enter or stay`},
		{"gate: a\ncases: [{case: a, given: {kin: image}, expect: {outcome: allow}}]", `unknown field "kin"`},
		{"gate: a\ncases: [{case: a, given: {admitted: 3 days}, expect: {outcome: allow}}]", `"3 days" is no span of time`},
		{"gate: a\ncases: [{case: a, given: {admitted: 3}, expect: {outcome: allow}}]", `3 is no span of time`},
		{"gate: a\ncases: [{case: a, given: {findings: [{id: A, severity: bad}]}, expect: {outcome: allow}}]", `finding A: severity is "bad"`},
		{"gate: a\ncases: [{case: a, given: {layers: [{coverage: total}]}, expect: {outcome: allow}}]", `coverage of a layer is "total"`},
		{"gate: a\ncases: [{case: a, given: {layers: [{diffId: fine}]}, expect: {outcome: allow}}]", `diffId of a layer is "fine", want ok, wrong or none`},
		{"gate: a\ncases: [{case: a, given: {repository: A}, expect: {outcome: allow}}]", "not a valid repository name"},
		{"gate: a\ncases: [{case: a, expect: {outcome: yes}}]", `expect.outcome is "yes"`},
		{"gate: a\ncases: [{case: a, expect: {outcome: allow, rules: {b: no}}}]", `expected outcome of rule b is "no"`},
	} {
		if _, err := policytest.Parse("f", []byte(tc.text)); !errors.Is(err, policytest.ErrSuiteInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Parse(%q): %v, want %q", tc.text, err, tc.want)
		}
	}
}

// FuzzParse: whatever the text, Parse gives a suite that can be run, or an
// error that matches ErrSuiteInvalid.
func FuzzParse(f *testing.F) {
	f.Add([]byte("gate: quarantine\ngiven: {kind: index}\ncases: [{case: a, clause: stay, given: {children: [{platform: a/b, outcome: deny, until: 3h}], promised: {a: 1h}}, expect: {outcome: allow}}]"))
	f.Add([]byte("gate: dev\ncases: [{case: a, given: {layers: [{coverage: none}], config: {labels: {a: b}}, findings: [{id: a, known: 3h}], unchecked: [{name: a}]}, expect: {outcome: allow, facts: {a: [b]}}}]"))
	g, err := policy.ShippedGate("production")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := policytest.Parse("fuzz", text)
		if err != nil {
			if !errors.Is(err, policytest.ErrSuiteInvalid) {
				t.Fatalf("Parse: %v", err)
			}
			return
		}
		policytest.Run(&failures{}, g, s)
	})
}

// TestCorpusTriesEveryRule: each rule of the gates that come with the program is
// made to object by a case that comes with it.
func TestCorpusTriesEveryRule(t *testing.T) {
	suites, err := policytest.Corpus()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range suites {
		g, err := policy.ShippedGate(s.Gate)
		if err != nil {
			t.Fatal(err)
		}
		results, err := s.Run(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range policytest.Covered(g, results) {
			if c.Untried() {
				t.Errorf("gate %s: no case makes %s of %s object", s.Gate, c.Rule, c.Clause)
			}
		}
	}
}
