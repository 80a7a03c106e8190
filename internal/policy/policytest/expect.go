package policytest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/policy"
)

// Expect says what must be so of a decision. What is not said is not looked at.
type Expect struct {
	Outcome string            `yaml:"outcome"` // allow, deny or cannot-tell; required
	Rules   map[string]string `yaml:"rules"`   // outcome by rule
	// Only: no other rules than those under rules deny or cannot tell.
	Only  bool                `yaml:"only"`
	Facts map[string][]string `yaml:"facts"` // ids of all facts listed, by rule, in order
	// Waived lists the waivers, by rule, that took something out, those that end
	// last first.
	Waived map[string][]string `yaml:"waived"`
	// Warns is what rules will say once they count, by rule; empty for nothing.
	Warns map[string]string `yaml:"warns"`
	// Assessed lists the ids of what else a rule would have found, by rule.
	Assessed map[string][]string `yaml:"assessed"`
	Says     string              `yaml:"says"` // part of the sentence that people read
	// ValidFor and StaysFor count from now; "never" means that there is no such
	// moment.
	ValidFor string `yaml:"validFor"`
	StaysFor string `yaml:"staysFor"`
	Stands   *bool  `yaml:"stands"` // under stay: whether it may stay now
}

func (e *Expect) check() error {
	outcomes := []string{string(api.Allow), string(api.Deny), string(api.CannotTell)}
	if !slices.Contains(outcomes, e.Outcome) {
		return fmt.Errorf("expect.outcome is %q, want one of %v", e.Outcome, outcomes)
	}
	for rule, o := range e.Rules {
		if !slices.Contains(outcomes, o) {
			return fmt.Errorf("expected outcome of rule %s is %q, want one of %v", rule, o, outcomes)
		}
	}
	return nil
}

// problems compares a decision with what is expected.
func (e *Expect) problems(d *api.Decision) []string {
	var ps []string
	addf := func(format string, args ...any) { ps = append(ps, fmt.Sprintf(format, args...)) }
	if string(d.Outcome) != e.Outcome {
		addf("outcome is %s, want %s", d.Outcome, e.Outcome)
	}
	got := map[string]*api.Reason{}
	for i := range d.Reasons {
		got[d.Reasons[i].Rule] = &d.Reasons[i]
	}
	for rule, want := range e.Rules {
		if r := got[rule]; r == nil {
			addf("rule %s was not asked, want %s", rule, want)
		} else if string(r.Outcome) != want {
			addf("rule %s says %s (%s), want %s", rule, r.Outcome, r.Says, want)
		}
	}
	for rule, r := range got {
		if _, named := e.Rules[rule]; e.Only && !named && r.Outcome != api.Allow {
			addf("rule %s says %s (%s), want no other than those named", rule, r.Outcome, r.Says)
		}
	}
	for rule, want := range e.Facts {
		if ids := factIDs(got[rule]); !slices.Equal(ids, want) {
			addf("facts of rule %s are %v, want %v", rule, ids, want)
		}
	}
	for rule, want := range e.Waived {
		if ids := waiverIDs(got[rule]); !slices.Equal(ids, want) {
			addf("waivers of rule %s are %v, want %v", rule, ids, want)
		}
	}
	for rule, want := range e.Warns {
		if r := got[rule]; r == nil || string(r.Warning) != want {
			addf("rule %s does not warn of %q", rule, want)
		}
	}
	for rule, want := range e.Assessed {
		if ids := assessedIDs(got[rule]); !slices.Equal(ids, want) {
			addf("what rule %s did not find is %v, want %v", rule, ids, want)
		}
	}
	if s := policy.Sentence(d); !strings.Contains(s, e.Says) {
		addf("the sentence does not say %q", e.Says)
	}
	e.addTimes(d, addf)
	slices.Sort(ps)
	return ps
}

func (e *Expect) addTimes(d *api.Decision, addf func(string, ...any)) {
	valid, stays := "never", "never"
	if !d.ValidUntil.IsZero() {
		valid = d.ValidUntil.Sub(d.DecidedAt).String()
	}
	if !d.StayUntil.IsZero() {
		stays = d.StayUntil.Sub(d.DecidedAt).String()
	}
	if e.ValidFor != "" && normal(e.ValidFor) != valid {
		addf("it is valid for %s, want %s", valid, e.ValidFor)
	}
	if e.StaysFor != "" && normal(e.StaysFor) != stays {
		addf("it stays for %s, want %s", stays, e.StaysFor)
	}
	if stands, _ := policy.Stands(d, d.DecidedAt); e.Stands != nil && *e.Stands != stands {
		addf("it may stay: %t, want %t", stands, *e.Stands)
	}
}

// normal writes a span as time.Duration does: "72h" is "72h0m0s".
func normal(s string) string {
	var v Span
	if err := v.parse(s); err != nil {
		return s
	}
	return v.String()
}

func factIDs(r *api.Reason) []string {
	if r == nil {
		return nil
	}
	var ids []string
	for _, f := range r.Facts {
		ids = append(ids, f.ID)
	}
	return ids
}

func waiverIDs(r *api.Reason) []string {
	if r == nil {
		return nil
	}
	var ids []string
	for _, w := range r.Waived {
		ids = append(ids, w.Waiver)
	}
	return ids
}

func assessedIDs(r *api.Reason) []string {
	if r == nil {
		return nil
	}
	var ids []string
	for _, a := range r.Assessed {
		ids = append(ids, a.Fact.ID)
	}
	return ids
}
