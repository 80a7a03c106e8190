package waiver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// maxPreviewed bounds how many placements a preview judges, twice each.
const maxPreviewed = 100

// preview tells what would be judged otherwise if a waiver were honoured: those
// placements that its job would have judged, as they would be.
func (f *Flow) preview(ctx context.Context, rec *Record, p authz.Principal) (*api.WaiverDone, error) {
	out := f.done(rec)
	out.Preview = true
	var some []repo.Placement
	err := f.each(ctx, rec, f.View, func(_ Tx, batch []repo.Placement) (bool, error) {
		some = append(some, batch...)
		return len(some) > maxPreviewed, nil
	})
	if err != nil {
		return nil, err
	}
	if out.More = len(some) > maxPreviewed; out.More {
		some = some[:maxPreviewed]
	}
	with, err := f.asGranted(rec, p)
	if err != nil {
		return nil, err
	}
	change := func(ws []evidence.Waiver) []evidence.Waiver {
		ws = slices.DeleteFunc(slices.Clone(ws), func(w evidence.Waiver) bool { return w.ID == with.ID })
		return append(ws, with)
	}
	for i := range some {
		before, after, err := f.Judge.Suppose(ctx, some[i].Repository, some[i].Digest, change)
		if errors.Is(err, repo.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("previewing a waiver: %w", err)
		}
		if out.Looked++; before.Outcome != after.Outcome {
			out.Flips = append(out.Flips, api.WaiverFlip{
				Repository: some[i].Repository.String(), Digest: some[i].Digest.String(), State: string(some[i].State), Clause: before.Clause, Before: before.Outcome, After: after.Outcome,
			})
		}
	}
	if len(out.Flips) == 0 && !out.More {
		out.Warnings = append(out.Warnings, "nothing that stands there now would be judged otherwise: is the rule, the advisory and the package what bonded why names?")
	}
	return out, nil
}

// asGranted is a waiver with the yes of all whom its rules ask for: what is
// previewed is what it does once it is in force.
func (f *Flow) asGranted(rec *Record, p authz.Principal) (evidence.Waiver, error) {
	w := rec.Waiver
	g, err := f.gate(&w)
	if err != nil {
		return w, err
	}
	w.Granted = append(slices.Clone(w.Granted), f.grantor(p))
	for _, rule := range about(g, &w) {
		needs := g.Waivable(rule)
		var groups []string
		for _, name := range needs.By {
			if group, ok := policy.Group(name); ok {
				groups = append(groups, group)
			} else {
				w.Granted = append(w.Granted, evidence.Grantor{Name: name})
			}
		}
		for n := range needs.People {
			w.Granted = append(w.Granted, evidence.Grantor{Name: fmt.Sprintf("%s %d", rule, n+1), Groups: groups})
		}
	}
	return w, nil
}
