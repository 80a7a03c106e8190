package policy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

// TestDocsExamples: what docs/gates.md shows can be used as it stands.
func TestDocsExamples(t *testing.T) {
	docs, err := os.ReadFile("../../docs/gates.md")
	if err != nil {
		t.Fatal(err)
	}
	gates, suites := 0, 0
	for _, part := range strings.Split(string(docs), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		if strings.Contains(text, "apiVersion:") {
			gates++
			parse(t, text)
			continue
		}
		suites++
		s, err := policytest.Parse("docs/gates.md", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		g, err := policy.ShippedGate(s.Gate)
		if err != nil {
			t.Fatal(err)
		}
		policytest.Run(t, g, s)
	}
	if gates != 5 || suites != 1 {
		t.Errorf("the page shows %d gates and %d suites, want five and one", gates, suites)
	}
}
