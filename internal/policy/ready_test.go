package policy_test

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

// TestReadySuite runs the ready-made rules in their three outcomes, and at the
// moments at which time changes them.
func TestReadySuite(t *testing.T) {
	for _, name := range []string{"ready", "tests"} {
		g, suite := suiteOf(t, name)
		policytest.Run(t, g, suite)
	}
}

// TestArrivalsSuite asks who pushed what on its way here.
func TestArrivalsSuite(t *testing.T) {
	g, suite := suiteOf(t, "arrivals")
	policytest.Run(t, g, suite)
}

// TestBasesSuite asks what it is built on.
func TestBasesSuite(t *testing.T) {
	g, suite := suiteOf(t, "bases")
	policytest.Run(t, g, suite)
	if !g.ReadsBases() || !g.AsksForBase(oci.MustRepository("dev/any")) {
		t.Error("an expression asks for all bases")
	}
	other, _ := suiteOf(t, "arrivals")
	if other.ReadsBases() || other.AsksForBase(oci.MustRepository("dev/any")) {
		t.Error("nothing asks for bases")
	}
}
