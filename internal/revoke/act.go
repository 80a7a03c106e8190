package revoke

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// looks bounds how often an act looks for what came to stand while it looked.
const looks = 5

// act does what the survey says, and tells what it has done. Little is done as a
// whole, by a survey of the same transaction. Of much the survey is from before,
// and what it says is noted before, in parts, so that nobody waits for that; what
// came to stand meanwhile is looked for and withdrawn before the caller has an
// answer. After the commit nothing more can.
func (a *acting) act(ctx context.Context, s *survey) (*survey, error) {
	if s.size() <= a.AtOnce {
		err := a.update(ctx, func() (err error) {
			if s, err = a.survey(ctx); err != nil {
				return err
			}
			return a.whole(ctx, s)
		})
		return s, err
	}
	if err := a.prepare(ctx, s); err != nil {
		return nil, err
	}
	err := a.update(ctx, func() error {
		if err := a.enforce(ctx, s); err != nil {
			return err
		}
		return a.queue(ctx, tell)
	})
	if err != nil {
		return nil, err
	}
	for range looks {
		more, err := a.catchUp(ctx)
		if err != nil || len(more.hits) == 0 {
			return s, err
		}
		s.hits, s.barred = append(s.hits, more.hits...), append(s.barred, more.barred...)
	}
	return s, nil // the job looks again
}

// prepareTime is when what is still prepared was left behind by who prepared it.
const prepareTime = time.Hour

// prepare notes what the revocation will withdraw, many transactions long.
func (a *acting) prepare(ctx context.Context, s *survey) error {
	err := a.update(ctx, func() error {
		if err := a.tx.Prepare(ctx, &a.r); err != nil {
			return err
		}
		return a.tx.Enqueue(ctx, a.WorkJob, a.key(drop), a.Clock().Add(prepareTime))
	})
	for part := range slices.Chunk(s.barred, a.AtOnce) {
		if err == nil {
			err = a.update(ctx, func() error { return a.tx.Bar(ctx, a.r.ID, part) })
		}
	}
	for part := range slices.Chunk(s.hits, a.AtOnce) {
		if err == nil {
			err = a.update(ctx, func() error { return a.mark(ctx, part) })
		}
	}
	return err
}

// whole does all of a revocation.
func (a *acting) whole(ctx context.Context, s *survey) error {
	err := a.tx.Prepare(ctx, &a.r)
	if err == nil {
		err = a.tx.Bar(ctx, a.r.ID, s.barred)
	}
	if err == nil {
		err = a.mark(ctx, s.hits)
	}
	if err == nil {
		err = a.enforce(ctx, s)
	}
	if err != nil {
		return err
	}
	marks, err := a.tx.Marked(ctx, a.r.ID, Taken, len(s.hits))
	if err == nil {
		err = a.tell(ctx, marks)
	}
	if err == nil {
		err = a.rejudge(ctx, s.rest)
	}
	if err == nil {
		err = a.tx.Rejudging(ctx, a.r.ID, len(s.rest))
	}
	return err
}

// enforce puts in force what is prepared.
func (a *acting) enforce(ctx context.Context, s *survey) error {
	if err := a.tx.Enforce(ctx, &a.r); err != nil {
		return err
	}
	if err := a.take(ctx); err != nil {
		return err
	}
	ev, err := a.event(a.by, "revocation.made")
	if err != nil {
		return err
	}
	ev = ev.With("revocation", fmt.Sprint(a.r.ID)).With("what", a.r.What()).With("revokes", string(a.r.Kind)).With("reason", a.r.Reason).
		With("hits", fmt.Sprint(len(s.hits))).With("barred", fmt.Sprint(len(s.barred)))
	if !a.r.Digest.IsZero() {
		ev = ev.On(oci.Repository{}, a.r.Digest)
	}
	if err := a.tx.Append(ctx, ev); err != nil {
		return err
	}
	return a.judgeZones(ctx, s)
}

func (a *acting) mark(ctx context.Context, hits []hit) error {
	ws := make([]Withdrawal, len(hits))
	for i := range hits {
		ws[i] = Withdrawal{Repository: hits[i].at.Repository, Digest: hits[i].at.Digest, How: hits[i].how}
	}
	return a.tx.Mark(ctx, a.r.ID, ws)
}

// take takes what is marked out of everybody's reach, and says why until the
// decision of each does.
func (a *acting) take(ctx context.Context) error {
	return a.tx.Take(ctx, a.r.ID, policy.Printable("revoked: "+a.r.String()+"; see: bonded why "))
}

// judgeZones asks for whole zones to be judged again.
func (a *acting) judgeZones(ctx context.Context, s *survey) error {
	for _, zone := range s.zones {
		if err := a.tx.Enqueue(ctx, a.ZoneJob, zone, a.Clock()); err != nil {
			return err
		}
	}
	return nil
}

// lookAround is look without what is withdrawn.
func (a *acting) lookAround(ctx context.Context) (*survey, error) {
	s, err := a.look(ctx)
	if err != nil {
		return nil, err
	}
	taken := map[place]bool{}
	err = a.View(ctx, func(tx Tx) error {
		return tx.Withdrawn(ctx, a.r.ID, func(r oci.Repository, d oci.Digest) { taken[place{r, d}] = true })
	})
	s.hits = slices.DeleteFunc(s.hits, func(h hit) bool { return taken[place{h.at.Repository, h.at.Digest}] })
	s.rest = slices.DeleteFunc(s.rest, func(p repo.Placement) bool { return taken[place{p.Repository, p.Digest}] })
	return s, err
}

// catchUp withdraws what a survey finds that is not withdrawn, and returns that
// with the rest to judge again. A revocation that was lifted withdraws nothing.
func (a *acting) catchUp(ctx context.Context) (*survey, error) {
	s, err := a.lookAround(ctx)
	if err != nil {
		return nil, err
	}
	if len(s.hits) == 0 {
		return s, nil
	}
	err = a.Update(ctx, func(tx Tx) error {
		a.tx = tx
		rec, err := tx.Revocation(ctx, a.r.ID)
		if err != nil || rec.Lifted != nil {
			return err
		}
		err = a.tx.Bar(ctx, a.r.ID, s.barred)
		if err == nil {
			err = a.mark(ctx, s.hits)
		}
		if err == nil {
			err = a.take(ctx)
		}
		if err != nil {
			return err
		}
		return a.queue(ctx, tell)
	})
	return s, err
}

// tell records what has become of placements that are withdrawn.
func (a *acting) tell(ctx context.Context, marks []Mark) error {
	for i := range marks {
		if err := a.tellOne(ctx, &marks[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a *acting) tellOne(ctx context.Context, m *Mark) error {
	d := a.decision(&m.At, m.How)
	id, err := a.tx.PutDecision(ctx, d, 0)
	if err != nil {
		return err
	}
	at := m.At
	if at.State == repo.Revoked { // else it was given back, or is gone
		at.Decision, at.Sentence = id, policy.Sentence(d)
		if err := a.tx.Place(ctx, &at); err != nil {
			return err
		}
	}
	ev, err := a.event(a.by, "placement.revoked")
	if err != nil {
		return err
	}
	ev = ev.On(at.Repository, at.Digest).With("revocation", fmt.Sprint(a.r.ID)).With("state", string(m.State)).
		With("decision", fmt.Sprint(id)).With("why", m.How)
	if err := a.tx.Append(ctx, ev); err != nil {
		return err
	}
	if !a.r.Bars() { // it may stand by what others say of it
		if err := a.enqueue(ctx, &at); err != nil {
			return err
		}
	}
	if at.Kind == oci.KindEvidence {
		if err := a.rejudgeSubject(ctx, &at); err != nil {
			return err
		}
	}
	return a.tx.Step(ctx, a.r.ID, &at, Told)
}

// decision is what is in force about a placement that is hit.
func (a *acting) decision(at *repo.Placement, how string) *api.Decision {
	d := policy.Revoked(at.Repository, at.Digest, &a.r)
	d.Reasons[0].Facts = []api.Fact{{ID: fmt.Sprintf("revocation %d", a.r.ID), Text: how}}
	d.Inputs = api.Inputs{BroughtBy: at.BroughtBy, Engine: a.Engine}
	return d
}

// rejudge asks for decisions.
func (a *acting) rejudge(ctx context.Context, rest []repo.Placement) error {
	for i := range rest {
		if err := a.enqueue(ctx, &rest[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a *acting) enqueue(ctx context.Context, p *repo.Placement) error {
	return a.tx.EnqueueFor(ctx, lane(a.r.ID), a.JudgeJob, p.Repository.String()+"@"+p.Digest.String(), a.Clock())
}

// rejudgeSubject asks for decisions on what evidence is about, and on what that
// names: a signature of an index vouches for those.
func (a *acting) rejudgeSubject(ctx context.Context, at *repo.Placement) error {
	m, err := a.tx.Stored(ctx, at.Digest)
	if err != nil || m.Subject.IsZero() {
		return err
	}
	all, err := repo.WithChildren(ctx, a.tx, m.Subject)
	if err != nil {
		return err
	}
	for _, d := range all {
		placements, err := a.tx.Placements(ctx, d)
		if err != nil {
			return err
		}
		if err := a.rejudge(ctx, placements); err != nil {
			return err
		}
	}
	return nil
}
