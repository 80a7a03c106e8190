package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// toldEach is after how many judgements it is told how far a preview is.
const toldEach = 50

// Preview implements httpapi.Zones.
func (z zoneTeller) Preview(ctx context.Context, act authz.Act, req api.PreviewRequest, tell func(api.PreviewProgress)) (*api.Preview, error) {
	if err := act.Permits(noRepository, authz.Administer); err != nil {
		return nil, err
	}
	g, err := policy.Parse("gate", []byte(req.Text), z.gates.data...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", authz.ErrInvalid, err)
	}
	counts, err := z.db.CountPlacements(ctx)
	if err != nil {
		return nil, err
	}
	in := counts[req.Zone]
	total := in[repo.Admitted] + in[repo.Held] + in[repo.Denied] + in[repo.Revoked]
	out := &api.Preview{Zone: req.Zone, Gate: g.Digest().String(), Rules: map[string]int{}}
	err = z.assess.Preview(ctx, req.Zone, g, func(f *assess.Foreseen) error {
		out.Judged++
		p := api.PreviewProgress{Judged: out.Judged, Total: max(total, out.Judged), Flip: flip(f)}
		if p.Flip != nil {
			count(out, p.Flip)
		}
		if p.Flip != nil || out.Judged%toldEach == 0 {
			tell(p)
		}
		return ctx.Err()
	})
	if errors.Is(err, assess.ErrGateUnfit) {
		err = fmt.Errorf("%w: %w", authz.ErrInvalid, err)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// count adds a flip to what a preview sums up.
func count(out *api.Preview, f *api.Flip) {
	if f.Worse {
		out.Worse++
	} else {
		out.Better++
	}
	for _, rule := range f.Rules {
		out.Rules[rule]++
	}
}

// flip is what people are told of a placement that would not stand as it does; nil
// for one that would.
func flip(f *assess.Foreseen) *api.Flip {
	out := &api.Flip{
		Repository: f.After.Repository.String(), Digest: f.After.Digest.String(), Kind: string(f.After.Kind),
		Before: string(f.Before.State), After: string(f.After.State), StayUntil: f.After.StayUntil, Sentence: policy.Sentence(&f.Decision),
		FlaggedBefore: f.Before.State == repo.Admitted && f.Was != nil && f.Was.Clause == string(policy.Stay) && f.Was.Outcome == api.Deny,
		Flagged:       f.After.State == repo.Admitted && f.Decision.Outcome == api.Deny,
	}
	if out.Before == out.After && out.Flagged == out.FlaggedBefore {
		return nil
	}
	in := func(s repo.State) bool { return s == repo.Admitted }
	out.Worse = in(f.Before.State) && !in(f.After.State) || out.Flagged && !out.FlaggedBefore || f.Before.State == repo.Held && f.After.State == repo.Denied
	for _, r := range f.Decision.Reasons {
		if r.Outcome != api.Allow {
			out.Rules = append(out.Rules, r.Rule)
		}
	}
	return out
}
