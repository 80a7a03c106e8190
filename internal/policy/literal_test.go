package policy

import (
	"strings"
	"testing"
)

// TestLiterals: a text that a member never is is a fault of the gate, since a
// rule that waits for it would let everything in.
func TestLiterals(t *testing.T) {
	for text, want := range map[string]string{
		`findings.filter(f, f.severity == "critcal")`:                                `severity is never "critcal", only one of "critical", "high", `,
		`findings.filter(f, "High" == f.severity)`:                                   `severity is never "High"`,
		`findings.filter(f, f.severity in ["critical", "hgih"])`:                     `severity is never "hgih"`,
		`findings.filter(f, !(f.severity != "CRITICAL"))`:                            `severity is never "CRITICAL"`,
		`layers.filter(l, l.coverage == "some")`:                                     `coverage is never "some"`,
		`coverage.state == "complete"`:                                               `state is never "complete"`,
		`artifact.kind == "container"`:                                               `kind is never "container"`,
		`children.filter(c, c.outcome == "denied")`:                                  `outcome is never "denied"`,
		`children.filter(c, c.outcome == "")`:                                        "",
		`findings.filter(f, f.severity in ["critical", "high"] && f.package != "x")`: "",
		`"severity" in config.labels && config.labels.severity == "mine"`:            "",
		`packages.filter(p, p.type == "anything")`:                                   "",
	} {
		_, issues := compileIn(environment, text)
		switch {
		case want == "" && len(issues) > 0:
			t.Errorf("%s: %s", text, issues[0].text)
		case want != "" && (len(issues) != 1 || !strings.Contains(issues[0].text, want)):
			t.Errorf("%s: %v, want %q", text, issues, want)
		}
	}
}
