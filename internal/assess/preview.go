package assess

import (
	"context"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Foreseen is what another gate would make of a placement.
type Foreseen struct {
	Before, After repo.Placement
	Was           *api.Decision // in force; nil when there is none
	Decision      api.Decision
}

// ErrGateUnfit: a gate that this server cannot put in force.
var ErrGateUnfit = errors.New("cannot be in force here")

// Preview judges what stands in a zone, or waits in its intake, by another gate as
// if that were in force, until nothing changes any more, and records nothing. tell is called for each placement,
// from one goroutine; its error ends the preview. Errors match repo.ErrNotFound
// for a zone that is not there or has no gate, and ErrGateUnfit.
func (a *Assessor) Preview(ctx context.Context, zone string, g *policy.Gate, tell func(*Foreseen) error) error {
	if z, ok := a.Zones[zone]; !ok || !z.Gated() {
		return fmt.Errorf("zone %s: %w, or has no gate; there are %v", oci.Quote(zone), repo.ErrNotFound, a.Zones.Names())
	}
	only := map[string]*policy.Gate{g.Name(): g}
	if err := errors.Join(checkGates(only, a.Kinds), checkFeeds(only, a.VEXFeeds)); err != nil {
		return fmt.Errorf("%w: %w", ErrGateUnfit, err)
	}
	if _, err := a.Advisories.Refresh(ctx); err != nil {
		return err
	}
	var last repo.Placement
	for {
		batch, err := view(ctx, a.DB, func(tx Tx) ([]repo.Placement, error) {
			return tx.Standing(ctx, zone, last.Repository, last.Digest, rejudgeBatch)
		})
		if err != nil || len(batch) == 0 {
			return err
		}
		for i := range batch {
			f, err := a.foresee(ctx, &batch[i], g)
			if err != nil {
				return err
			}
			if f == nil {
				continue
			}
			if err := tell(f); err != nil {
				return err
			}
		}
		last = batch[len(batch)-1]
	}
}

// foresee judges one placement by another gate; nil where no gate is asked.
func (a *Assessor) foresee(ctx context.Context, p *repo.Placement, g *policy.Gate) (*Foreseen, error) {
	s, err := view(ctx, a.DB, func(tx Tx) (*standing, error) { return readStanding(ctx, tx, p.Repository, p.Digest) })
	if errors.Is(err, repo.ErrNotFound) {
		return nil, nil // it went away meanwhile
	}
	if err != nil {
		return nil, err
	}
	q, ok, err := a.question(ctx, s)
	if err != nil || !ok {
		return nil, ignoreGone(err)
	}
	q.gate = g
	v, err := a.ask(ctx, q)
	if err != nil {
		return nil, ignoreGone(err)
	}
	f := &Foreseen{Before: s.at, After: s.at, Decision: v.Decision}
	if s.before != nil {
		f.Was = &s.before.Decision
	}
	a.settle(&f.After, &f.Decision)
	if s.at.State == repo.Revoked {
		released(&f.Before, &f.After, f.Decision.Outcome)
	}
	if q.clause == policy.Stay || f.After.State != repo.Admitted {
		return f, nil
	}
	// What comes in is judged by "stay" when next anything changes, and that is what
	// people have to live with.
	q.at, q.clause, q.known = f.After, policy.Stay, nil
	if v, err = a.ask(ctx, q); err != nil {
		return nil, ignoreGone(err)
	}
	f.Decision = v.Decision
	a.settle(&f.After, &f.Decision)
	return f, nil
}
