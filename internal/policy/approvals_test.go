package policy_test

import (
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

// TestApprovalsSuite runs who counts, and who does not.
func TestApprovalsSuite(t *testing.T) {
	g, suite := suiteOf(t, "approvals")
	policytest.Run(t, g, suite)
	if !g.ReadsApprovals() {
		t.Error("a gate with such a rule does not look at approvals")
	}
	if other, _ := suiteOf(t, "waive"); other.ReadsApprovals() {
		t.Error("a gate without such a rule does")
	}
}

// TestApprovalsFaults: rules that nobody could meet, or that name nobody.
func TestApprovalsFaults(t *testing.T) {
	for rule, want := range map[string]string{
		`{count: 17}`:                         "count is 17, want 1 to 16",
		`{count: 2, by: ann}`:                 "2 people have to approve, and by names 1",
		`{by: [""]}`:                          `by has ""`,
		`{by: ["group:"]}`:                    `by has "group:"`,
		`{by: ["*"]}`:                         `by has "*"`,
		`{people: 2}`:                         "people",
		`{count: 2, by: [ann, "group:some"]}`: "",
	} {
		text := "apiVersion: bonded.dev/v1\nkind: Gate\nname: x\naccepts: [image]\nenter:\n  - rule: a\n    approvals: " + rule + "\n"
		_, err := policy.Parse("x", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", rule, err, want)
		}
	}
}
