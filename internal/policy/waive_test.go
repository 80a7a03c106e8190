package policy_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

func suiteOf(t *testing.T, name string) (*policy.Gate, *policytest.Suite) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	g, err := policy.Parse(name, text)
	if err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile("testdata/" + name + ".gate.test")
	if err != nil {
		t.Fatal(err)
	}
	suite, err := policytest.Parse("testdata/"+name+".gate.test", text)
	if err != nil {
		t.Fatal(err)
	}
	return g, suite
}

// TestWaiverSuite runs what waivers do, and what they do not.
func TestWaiverSuite(t *testing.T) {
	g, suite := suiteOf(t, "waive")
	policytest.Run(t, g, suite)
}

// TestWaiverToTheEnd: a decision by a waiver says until when it holds, and asked
// at that moment the gate says what it says without; what it told meanwhile is
// acted on at once.
func TestWaiverToTheEnd(t *testing.T) {
	g, suite := suiteOf(t, "waive")
	for i := range suite.Cases {
		c := &suite.Cases[i]
		if c.Clause != policy.Stay || len(c.Given.Waivers) == 0 {
			continue
		}
		in := c.Input()
		d, err := g.Evaluate(context.Background(), policy.Stay, in)
		if err != nil {
			t.Fatal(err)
		}
		if d.Outcome != api.Allow {
			continue
		}
		in.Promised = policy.Promises(&d)
		for _, at := range []struct {
			now    time.Time
			stands bool
		}{{d.ValidUntil.Add(-time.Microsecond), true}, {d.ValidUntil, false}} {
			in.Now = at.now
			then, err := g.Evaluate(context.Background(), policy.Stay, in)
			if err != nil {
				t.Fatal(err)
			}
			if stands, _ := policy.Stands(&then, at.now); stands != at.stands {
				t.Errorf("%s: at %s it stands: %t, want %t: %s", c.Name, at.now, stands, at.stands, policy.Sentence(&then))
			}
		}
	}
}

// TestWaiverOrder: the order of waivers does not matter, nor those about others.
func TestWaiverOrder(t *testing.T) {
	g, suite := suiteOf(t, "waive")
	for i := range suite.Cases {
		c := &suite.Cases[i]
		in := c.Input()
		want := decide(t, g, c.Clause, in)
		for n, m := 0, len(in.Waivers)-1; n < m; n, m = n+1, m-1 {
			in.Waivers[n], in.Waivers[m] = in.Waivers[m], in.Waivers[n]
		}
		in.Waivers = append(in.Waivers, evidence.Waiver{ID: "z", Repositories: evidence.MustPattern("waive/elsewhere"), Rule: "no-severe", From: in.Now, Until: in.Now.Add(time.Hour)})
		if got := decide(t, g, c.Clause, in); got != want {
			t.Errorf("%s: decision is %s, want %s", c.Name, got, want)
		}
	}
}

// TestWaivable says by whom a rule can be waived.
func TestWaivable(t *testing.T) {
	g, _ := suiteOf(t, "waive")
	for rule, want := range map[string]string{
		"no-severe":           "whoever may waive here, for at most 72h0m0s",
		"not-root":            "ann or bob or group:security-leads, 2 of them, with a justification",
		"no-malware":          "nobody",
		"layers-match-config": "nobody",
		"no-such-rule":        "nobody",
	} {
		if got := g.Waivable(rule).String(); got != want {
			t.Errorf("%s can be waived by %s, want %s", rule, got, want)
		}
	}
}

// decide returns a decision as bytes.
func decide(t *testing.T, g *policy.Gate, c policy.Clause, in *policy.Input) string {
	t.Helper()
	d, err := g.Evaluate(t.Context(), c, in)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
