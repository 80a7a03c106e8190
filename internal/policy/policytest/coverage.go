package policytest

import (
	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/policy"
)

// Coverage is how often a rule said what.
type Coverage struct {
	Clause     string `json:"clause"`
	Rule       string `json:"rule"`
	Allow      int    `json:"allow"`
	Deny       int    `json:"deny"`
	CannotTell int    `json:"cannot_tell"`
}

// Untried reports whether a rule was never seen to object: whatever it says, the
// cases would pass without it.
func (c *Coverage) Untried() bool { return c.Deny+c.CannotTell == 0 }

// Covered counts what each rule of a gate said in the results, in the order of
// the gate.
func Covered(g *policy.Gate, results []Result) []Coverage {
	all := []Coverage{}
	at := map[[2]string]int{}
	for _, clause := range []policy.Clause{policy.Enter, policy.Stay} {
		for _, r := range g.Rules(clause) {
			at[[2]string{string(clause), r.Name}] = len(all)
			all = append(all, Coverage{Clause: string(clause), Rule: r.Name})
		}
	}
	for i := range results {
		d := &results[i].Decision
		for _, r := range d.Reasons {
			n, ok := at[[2]string{d.Clause, r.Rule}]
			if !ok {
				continue // built in
			}
			switch r.Outcome {
			case api.Allow:
				all[n].Allow++
			case api.Deny:
				all[n].Deny++
			default:
				all[n].CannotTell++
			}
		}
	}
	return all
}
