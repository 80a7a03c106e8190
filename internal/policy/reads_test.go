package policy_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/policy"
)

// TestScores: a gate tells which changes of scores it can see.
func TestScores(t *testing.T) {
	above := func(x float64) float64 { return math.Nextafter(x, 2) }
	for rule, want := range map[string]policy.Scores{
		`forbid: findings.filter(f, f.severity == "critical")`:                                      {},
		`forbid: findings.filter(f, f.exploited)`:                                                   {},
		`forbid: findings.filter(f, f.epss >= 0.1)`:                                                 {Thresholds: []float64{0.1, above(0.1)}},
		`forbid: findings.filter(f, 0.5 < f.epss || f.epss > 0.1)`:                                  {Thresholds: []float64{0.1, above(0.1), 0.5, above(0.5)}},
		`forbid: findings.filter(f, f.scored)`:                                                      {Thresholds: []float64{math.SmallestNonzeroFloat64}},
		`forbid: findings.filter(f, f.epss == 0.1)`:                                                 {All: true},
		`forbid: findings.filter(f, f.epss * 2.0 > 0.1)`:                                            {All: true},
		`forbid: findings.filter(f, f.percentile > 0.9)`:                                            {All: true},
		`forbid: findings.filter(f, f.epss > 0.1 && f.epss < f.score)`:                              {All: true, Thresholds: []float64{0.1, above(0.1)}},
		`maxSeverity: {severity: low, epss: "0.2"}`:                                                 {Thresholds: []float64{0.2}},
		`maxSeverity: {severity: low, exploited: true}`:                                             {},
		`unknown: 'findings.exists(f, f.epss > 0.3)'` + "\n    require: 'size(packages) > 0'":       {Thresholds: []float64{0.3, above(0.3)}},
		`hasStatement: {signedBy: {anchor: a}, kind: test, where: 'findings.all(f, f.epss < 0.4)'}`: {Thresholds: []float64{0.4, above(0.4)}},
	} {
		for _, clause := range []string{"enter", "stay"} {
			text := fmt.Sprintf("apiVersion: bonded.dev/v1\nkind: Gate\nname: g\naccepts: [image]\n%s:\n  - rule: r\n    says: it is so\n    %s\n", clause, rule)
			g, err := policy.Parse("g.yaml", []byte(text))
			if err != nil {
				t.Errorf("%s: %v", rule, err)
				continue
			}
			if d := cmp.Diff(want, g.Scores()); d != "" {
				t.Errorf("%s: %s", rule, d)
			}
		}
	}
}
