package policy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

// TestVEXSuite runs whose word counts about findings, and what of it.
func TestVEXSuite(t *testing.T) {
	g, suite := suiteOf(t, "vex")
	policytest.Run(t, g, suite)
	if diff := cmp.Diff([]string{"vendor"}, g.VEXFeeds()); diff != "" {
		t.Errorf("the feeds of the gate (-want +got):\n%s", diff)
	}
}

// TestVEXOrder: the order of documents does not matter.
func TestVEXOrder(t *testing.T) {
	g, suite := suiteOf(t, "vex")
	for i := range suite.Cases {
		in := suite.Cases[i].Input()
		want := decide(t, g, policy.Enter, in)
		slices.Reverse(in.VEX)
		slices.Reverse(in.Verified.Signatures)
		slices.Reverse(in.Findings)
		if got := decide(t, g, policy.Enter, in); got != want {
			t.Errorf("%s: decision is %s, want %s", suite.Cases[i].Name, got, want)
		}
	}
}
