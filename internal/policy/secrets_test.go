package policy_test

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

// TestSecretsSuite asks about secrets, found, removed, excepted, waived and not
// looked for.
func TestSecretsSuite(t *testing.T) {
	g, suite := suiteOf(t, "secrets")
	policytest.Run(t, g, suite)
}
