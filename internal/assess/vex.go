package assess

import (
	"context"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// believe parts what was found at a placement as the gate of its zone does: what
// somebody whom it believes says by VEX is told, and what does no harm by that is
// put aside. Where no gate takes anybody's word all stays as it is.
func (a *Assessor) believe(ctx context.Context, at *repo.Placement, x *examined) error {
	gate, err := a.gate(at.Repository)
	if err != nil || gate == nil || !gate.ReadsVEX() {
		return ignoreGone(err)
	}
	if x.evidence, err = a.evidenceAbout(ctx, a.trusted(), describeManifest(x.stored), x.referrers); err != nil {
		return err
	}
	d, err := a.distrust(ctx)
	if err != nil {
		return err
	}
	d.refuse(x.evidence)
	x.findings, x.suppressed = gate.Assess(a.input(asked{at: *at, clause: policy.Enter}, x))
	return nil
}

// assessment is what counts about a finding, as people are told it.
func assessment(a *evidence.Assessment) *api.Assessment {
	if a == nil {
		return nil
	}
	return &api.Assessment{Status: a.Status, Justification: a.Justification, Impact: a.Impact, By: a.By, At: a.At, Document: a.Document.String()}
}
