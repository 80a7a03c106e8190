package revoke

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Lift ends a revocation: what it has withdrawn, and no other has, is given back
// to the gates of its zones, or put back where none judges. Until that is done it
// stays out of reach. act is one of revoke on the server. Errors match
// repo.ErrNotFound, repo.ErrConflict for one that was lifted before, and
// authz.ErrNotPermitted.
func (f *Flow) Lift(ctx context.Context, act authz.Act, id int64, reason string) (*api.Revoked, error) {
	if err := act.Permits(oci.Repository{}, authz.Revoke); err != nil {
		return nil, err
	}
	if strings.TrimSpace(reason) == "" {
		return nil, fmt.Errorf("%w: lifting one needs a reason", evidence.ErrRevocationInvalid)
	}
	a := &acting{Flow: f, by: act.Principal()}
	var rec *Record
	err := f.View(ctx, func(tx Tx) (err error) {
		rec, err = tx.Revocation(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.r = rec.Revocation
	s, err := a.look(ctx) // apart, so that nobody waits for it
	if err != nil {
		return nil, err
	}
	l := Lifted{By: act.Principal().Name(), At: f.Clock().UTC(), Reason: reason}
	done := &survey{}
	err = f.Update(ctx, func(tx Tx) error {
		a.tx = tx
		done, err = a.lift(ctx, l, s.size())
		return err
	})
	if err != nil {
		return nil, err
	}
	out, err := a.answer(ctx, done)
	if err == nil {
		out.Revocation = wire(Record{Revocation: a.r, Lifted: &l})
		out.More += done.more
	}
	return out, err
}

// lift ends the revocation and gives back what it has withdrawn, or leaves that
// to the job where it is much, or much is judged again. It returns what is given
// back.
func (a *acting) lift(ctx context.Context, l Lifted, size int) (*survey, error) {
	rec, err := a.tx.Revocation(ctx, a.r.ID)
	if err != nil {
		return nil, err
	}
	if rec.Lifted != nil {
		return nil, fmt.Errorf("revocation %d was lifted by %s on %s: %w", a.r.ID, rec.Lifted.By, rec.Lifted.At.Format(time.DateOnly), repo.ErrConflict)
	}
	if err := a.tx.LiftRevocation(ctx, a.r.ID, l); err != nil {
		return nil, err
	}
	ev, err := a.event(a.by, "revocation.lifted")
	if err != nil {
		return nil, err
	}
	if err := a.tx.Append(ctx, ev.With("revocation", fmt.Sprint(a.r.ID)).With("what", a.r.What()).With("reason", l.Reason)); err != nil {
		return nil, err
	}
	p, err := a.tx.Progress(ctx, a.r.ID, lane(a.r.ID))
	if err != nil {
		return nil, err
	}
	if whole := size <= a.AtOnce && p.Withdrawn <= a.AtOnce; !whole {
		return a.willGiveBack(ctx, p.Withdrawn-p.Back)
	}
	s := &survey{}
	for _, step := range []Step{Taken, Told} {
		marks, err := a.tx.Marked(ctx, a.r.ID, step, a.AtOnce)
		if err != nil {
			return nil, err
		}
		if err := a.giveBack(ctx, s, marks); err != nil {
			return nil, err
		}
	}
	return s, a.judgeRest(ctx, s)
}

// willGiveBack leaves all to the job, and returns what the caller is shown of it.
func (a *acting) willGiveBack(ctx context.Context, n int) (*survey, error) {
	s := &survey{}
	for _, step := range []Step{Told, Taken} {
		marks, err := a.tx.Marked(ctx, a.r.ID, step, maxHits-len(s.hits))
		if err != nil {
			return nil, err
		}
		for i := range marks {
			s.hits = append(s.hits, was(&marks[i]))
		}
		if len(s.hits) >= maxHits {
			break
		}
	}
	s.more = n - len(s.hits)
	return s, a.queue(ctx, back)
}

func was(m *Mark) hit { return hit{m.At, "was " + string(m.State)} }

// judgeRest asks for decisions on what the revocation was about and had not
// withdrawn.
func (a *acting) judgeRest(ctx context.Context, given *survey) error {
	s, err := a.survey(ctx)
	if err != nil {
		return err
	}
	seen := map[place]bool{}
	for _, h := range given.hits {
		seen[place{h.at.Repository, h.at.Digest}] = true
	}
	for _, h := range s.hits {
		if !seen[place{h.at.Repository, h.at.Digest}] {
			s.rest = append(s.rest, h.at)
		}
	}
	given.rest = s.rest
	if err := a.judgeZones(ctx, s); err != nil {
		return err
	}
	return a.rejudge(ctx, s.rest)
}

// giveBack lets placements go that no revocation withdraws any more, and notes
// them in s.
func (a *acting) giveBack(ctx context.Context, s *survey, marks []Mark) error {
	for i := range marks {
		m := &marks[i]
		var err error
		switch {
		case m.At.State == repo.Revoked && m.Standing == 0:
			s.hits = append(s.hits, was(m))
			err = a.giveBackOne(ctx, m)
		case m.At.State != repo.Revoked && m.At.State != repo.Removed: // its gate let it in without
			err = a.enqueue(ctx, &m.At)
		}
		if err != nil {
			return err
		}
		if err := a.tx.Step(ctx, a.r.ID, &m.At, Back); err != nil {
			return err
		}
	}
	return nil
}

// giveBackOne puts back what no gate judges. What one does judges waits for that,
// and stays out of reach until it has.
func (a *acting) giveBackOne(ctx context.Context, m *Mark) error {
	at := m.At
	at.Decision, at.Sentence = m.Decision, m.Sentence
	zone, err := a.Zones.Of(at.Repository)
	sandbox := err == nil && zone.Sandbox
	switch {
	case at.Kind == oci.KindEvidence:
		at.State = repo.Attached
		if err := a.rejudgeSubject(ctx, &at); err != nil {
			return err
		}
	case sandbox:
		at.State = repo.Admitted
	case m.State == repo.Withdrawn:
		at.State = repo.Withdrawn
	default:
		name := at.Repository.String() + "@" + at.Digest.String()
		at.Decision = 0
		at.Sentence = fmt.Sprintf("%s holds %s: revocation %d was lifted, and it is being judged again; see: bonded why %s", at.Repository.Zone(), name, a.r.ID, name)
		if err := a.enqueue(ctx, &at); err != nil {
			return err
		}
	}
	return a.tx.Place(ctx, &at)
}
