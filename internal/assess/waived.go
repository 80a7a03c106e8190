package assess

import (
	"context"
	"fmt"
	"sync"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// waived is what is waived in a zone right after an act.
type waived struct {
	act  int64
	list []evidence.Waiver // whatever their times are; shared, never changed
}

// permissions are those of w; nil is nothing, as on a laptop.
func (w *waived) permissions() []evidence.Waiver {
	if w == nil {
		return nil
	}
	return w.list
}

// waivers keeps what was read last of each zone: acts are few, and judgements
// many. The zero value is ready.
type waivers struct {
	mu sync.Mutex
	of map[string]*waived
}

// waivedIn returns what is waived in a zone by now.
func (a *Assessor) waivedIn(ctx context.Context, zone string) (*waived, error) {
	return view(ctx, a.DB, func(tx Tx) (*waived, error) {
		act, err := tx.WaiverAct(ctx, zone)
		if err != nil || act == 0 {
			return &waived{}, err
		}
		a.waivers.mu.Lock()
		w := a.waivers.of[zone]
		a.waivers.mu.Unlock()
		if w != nil && w.act == act {
			return w, nil
		}
		list, err := tx.WaiversAt(ctx, zone, act)
		if err != nil {
			return nil, err
		}
		w = &waived{act: act, list: list}
		a.waivers.mu.Lock()
		defer a.waivers.mu.Unlock()
		if a.waivers.of == nil {
			a.waivers.of = map[string]*waived{}
		}
		a.waivers.of[zone] = w
		return w, nil
	})
}

// stayAtOnce has a placement judged under "stay" that "enter" has let in by
// permission: when that ends is known only then. Until it is, what was waived for
// the entry is over with the waiver.
func (a *Assessor) stayAtOnce(ctx context.Context, tx Tx, at *repo.Placement, d *api.Decision) error {
	if d.Clause != string(policy.Enter) || policy.WaivedUntil(d).IsZero() {
		return nil
	}
	return tx.EnqueueFor(ctx, at.BroughtBy, JobJudge, judgeKey(at.Repository, at.Digest), a.Clock())
}

// Suppose judges a placement by the clause that it is to be judged by next, as
// things are, and as they would be if change were made to what is waived in its
// zone. Nothing is recorded. Errors match repo.ErrNotFound.
func (a *Assessor) Suppose(ctx context.Context, r oci.Repository, d oci.Digest, change func([]evidence.Waiver) []evidence.Waiver) (before, after *api.Decision, err error) {
	s, err := view(ctx, a.DB, func(tx Tx) (*standing, error) { return readStanding(ctx, tx, r, d) })
	if err != nil {
		return nil, nil, err
	}
	w, err := a.waivedIn(ctx, r.Zone())
	if err != nil {
		return nil, nil, err
	}
	if before, err = a.next(ctx, s, w); err == nil {
		after, err = a.next(ctx, s, &waived{act: w.act, list: change(w.list)})
	}
	return before, after, err
}

// next is what the gate says of a placement by the clause that is to come.
func (a *Assessor) next(ctx context.Context, s *standing, w *waived) (*api.Decision, error) {
	q := asked{from: s.at.Repository, at: s.at, clause: policy.Enter, waived: w}
	if s.at.State == repo.Admitted {
		q.clause, q.promised = policy.Stay, s.promises()
	}
	v, err := a.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	return &v.Decision, nil
}

// over is what the gate says of a placement whose time is over, while nobody has
// recorded that.
func (a *Assessor) over(ctx context.Context, p *repo.Placement) (*api.Decision, error) {
	s, err := view(ctx, a.DB, func(tx Tx) (*standing, error) { return readStanding(ctx, tx, p.Repository, p.Digest) })
	if err != nil {
		return nil, err
	}
	return a.next(ctx, s, nil)
}

// Found returns what is wrong with an image, wherever it stands. Errors match
// repo.ErrNotFound.
func (a *Assessor) Found(ctx context.Context, d oci.Digest) ([]evidence.Finding, error) {
	x, err := a.examine(ctx, a.Advisories.Index(), nil, d)
	if err != nil {
		return nil, fmt.Errorf("looking for findings: %w", err)
	}
	return x.findings, nil
}

// waivable says by whom what does not allow can be waived.
func (a *Assessor) waivable(r oci.Repository, d *api.Decision) (hints []api.WaiverHint) {
	gate, err := a.gate(r)
	if err != nil || gate == nil {
		return nil
	}
	for i := range d.Reasons {
		if by := gate.Waivable(d.Reasons[i].Rule); d.Reasons[i].Outcome != api.Allow && by.People > 0 {
			hints = append(hints, api.WaiverHint{Rule: d.Reasons[i].Rule, By: by.String()})
		}
	}
	return hints
}
