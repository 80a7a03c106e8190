package revoke

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// acting is one revocation in one transaction.
type acting struct {
	*Flow
	tx Tx
	r  evidence.Revocation
	by authz.Principal
}

// place is where a placement is.
type place struct {
	repository oci.Repository
	digest     oci.Digest
}

// hit is a placement that is withdrawn.
type hit struct {
	at  repo.Placement
	how string
}

// survey is what a revocation would do.
type survey struct {
	hits   []hit
	barred []oci.Digest     // may stand nowhere
	rest   []repo.Placement // judged again
	zones  []string         // judged again as a whole
	seen   map[place]bool   // that are among the hits
}

// survey finds out what the revocation does; it changes nothing.
func (a *acting) survey(ctx context.Context) (*survey, error) {
	s := &survey{seen: map[place]bool{}}
	touched, err := a.tx.Touched(ctx, &a.r)
	if err != nil {
		return nil, err
	}
	if a.r.Bars() {
		if touched, err = a.withChildren(ctx, touched); err != nil {
			return nil, err
		}
		for _, t := range touched {
			s.barred = append(s.barred, t.Digest)
		}
	}
	for _, t := range touched {
		placements, err := a.tx.Placements(ctx, t.Digest)
		if err != nil {
			return nil, err
		}
		for _, at := range placements {
			if err := a.surveyOne(ctx, s, at, t); err != nil {
				return nil, err
			}
		}
	}
	if a.r.Kind == evidence.RevokedFeed {
		for _, name := range a.Zones.Names() {
			if a.Zones[name].Gated() {
				s.zones = append(s.zones, name)
			}
		}
	}
	s.rest = slices.DeleteFunc(s.rest, func(p repo.Placement) bool { return s.seen[place{p.Repository, p.Digest}] })
	return s, nil
}

// surveyOne decides about one placement of what is touched. Where what was signed
// may stand by what others say, it is withdrawn if the decision that let it in
// was told of the signature, and else judged again.
func (a *acting) surveyOne(ctx context.Context, s *survey, at repo.Placement, t Touched) error {
	if !a.r.Bars() {
		d, err := a.tx.DecisionInForce(ctx, &at)
		if err != nil {
			return err
		}
		if d == nil || at.State != repo.Admitted || !reliesOn(d, t.Referrers) {
			s.rest = append(s.rest, at)
			return nil
		}
	}
	return a.hit(ctx, s, at, t.How)
}

// reliesOn reports whether a rule of the decision was told of one of these.
func reliesOn(d *api.Decision, referrers []oci.Digest) bool {
	for i := range d.Reasons {
		for _, r := range referrers {
			if slices.Contains(d.Reasons[i].Evidence, r.String()) {
				return true
			}
		}
	}
	return false
}

// hit takes a placement among the hits, and the indexes that name it there.
func (a *acting) hit(ctx context.Context, s *survey, at repo.Placement, how string) error {
	key := place{at.Repository, at.Digest}
	if s.seen[key] {
		return nil
	}
	s.seen[key] = true
	s.hits = append(s.hits, hit{at, how})
	parents, err := a.tx.Parents(ctx, at.Repository, at.Digest)
	if err != nil || at.Kind == oci.KindEvidence {
		return err
	}
	for _, p := range parents {
		if err := a.hit(ctx, s, p, "it names "+at.Digest.String()+", of which: "+how); err != nil {
			return err
		}
	}
	return nil
}

// withChildren adds what indexes name: who pulls a platform by its own digest
// pulls the same thing.
func (a *acting) withChildren(ctx context.Context, touched []Touched) ([]Touched, error) {
	seen := map[oci.Digest]bool{}
	for _, t := range touched {
		seen[t.Digest] = true
	}
	for i := 0; i < len(touched); i++ {
		m, err := a.tx.Stored(ctx, touched[i].Digest)
		if errors.Is(err, repo.ErrNotFound) {
			continue // a blob, or nothing that ever was here
		}
		if err != nil {
			return nil, err
		}
		for _, ref := range m.References {
			if ref.Role == repo.RoleChild && !seen[ref.Digest] {
				seen[ref.Digest] = true
				touched = append(touched, Touched{Digest: ref.Digest, How: "it is part of " + m.Digest.String() + ", of which: " + touched[i].How})
			}
		}
	}
	return touched, nil
}

// carryOut does what the survey says.
func (a *acting) carryOut(ctx context.Context, s *survey) error {
	if err := a.tx.PutRevocation(ctx, &a.r); err != nil {
		return err
	}
	if err := a.tx.Bar(ctx, a.r.ID, s.barred); err != nil {
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
	for i := range s.hits {
		if err := a.withdraw(ctx, &s.hits[i]); err != nil {
			return err
		}
	}
	return a.rejudge(ctx, s)
}

// withdraw takes a placement out of everybody's reach.
func (a *acting) withdraw(ctx context.Context, h *hit) error {
	d := a.decision(h)
	id, err := a.tx.PutDecision(ctx, d, 0)
	if err != nil {
		return err
	}
	if err := a.tx.Mark(ctx, a.r.ID, &h.at); err != nil {
		return err
	}
	at := h.at
	at.State, at.Decision, at.Sentence = repo.Revoked, id, policy.Sentence(d)
	at.RecheckAt, at.StayUntil = time.Time{}, time.Time{}
	if err := a.tx.Place(ctx, &at); err != nil {
		return err
	}
	ev, err := a.event(a.by, "placement.revoked")
	if err != nil {
		return err
	}
	return a.tx.Append(ctx, ev.On(at.Repository, at.Digest).With("revocation", fmt.Sprint(a.r.ID)).With("state", string(h.at.State)).
		With("decision", fmt.Sprint(id)).With("why", h.how))
}

// Rule is the name under which decisions tell of a revocation, and Clause the
// half of a gate that none of its rules is in.
const (
	Rule   = "revoked"
	Clause = "revocation"
)

// decision is what is in force about a placement that is hit.
func (a *acting) decision(h *hit) *api.Decision {
	return &api.Decision{
		Repository: h.at.Repository.String(), Digest: h.at.Digest.String(), Zone: h.at.Repository.Zone(), Clause: Clause, Outcome: api.Deny,
		DecidedAt: a.r.At.Truncate(time.Microsecond),
		Reasons: []api.Reason{{
			Rule: Rule, Outcome: api.Deny, Says: a.r.String(),
			Facts: []api.Fact{{ID: fmt.Sprintf("revocation %d", a.r.ID), Text: h.how}},
		}},
		Inputs: api.Inputs{BroughtBy: h.at.BroughtBy, Engine: a.Engine},
	}
}

// rejudge asks for decisions on the rest, and on what may stand by what others
// say of it.
func (a *acting) rejudge(ctx context.Context, s *survey) error {
	rest := s.rest
	for i := range s.hits {
		at := &s.hits[i].at
		if !a.r.Bars() {
			rest = append(rest, *at)
		}
		if at.Kind == oci.KindEvidence {
			if err := a.rejudgeSubject(ctx, at); err != nil {
				return err
			}
		}
	}
	for i := range rest {
		if err := a.enqueue(ctx, &rest[i]); err != nil {
			return err
		}
	}
	for _, zone := range s.zones {
		if err := a.tx.Enqueue(ctx, a.ZoneJob, zone, a.Clock()); err != nil {
			return err
		}
	}
	return nil
}

func (a *acting) enqueue(ctx context.Context, p *repo.Placement) error {
	return a.tx.Enqueue(ctx, a.JudgeJob, p.Repository.String()+"@"+p.Digest.String(), a.Clock())
}

// Lift ends a revocation: what it has withdrawn, and no other has, is given back
// to the gates of its zones, or put back where none judges. act is one of revoke
// on the server. Errors match repo.ErrNotFound, repo.ErrConflict for one that was
// lifted before, and authz.ErrNotPermitted.
func (f *Flow) Lift(ctx context.Context, act authz.Act, id int64, reason string) (*api.Revoked, error) {
	if err := act.Permits(oci.Repository{}, authz.Revoke); err != nil {
		return nil, err
	}
	if strings.TrimSpace(reason) == "" {
		return nil, fmt.Errorf("%w: lifting one needs a reason", evidence.ErrRevocationInvalid)
	}
	l := Lifted{By: act.Principal().Name(), At: f.Clock().UTC(), Reason: reason}
	var out *api.Revoked
	err := f.Update(ctx, func(tx Tx) (err error) {
		out, err = f.lift(ctx, tx, act.Principal(), id, l)
		return err
	})
	return out, err
}

func (f *Flow) lift(ctx context.Context, tx Tx, by authz.Principal, id int64, l Lifted) (*api.Revoked, error) {
	rec, err := tx.Revocation(ctx, id)
	if err != nil {
		return nil, err
	}
	if rec.Lifted != nil {
		return nil, fmt.Errorf("revocation %d was lifted by %s on %s: %w", id, rec.Lifted.By, rec.Lifted.At.Format(time.DateOnly), repo.ErrConflict)
	}
	if err := tx.LiftRevocation(ctx, id, l); err != nil {
		return nil, err
	}
	rec.Lifted = &l
	marks, err := tx.Marked(ctx, id)
	if err != nil {
		return nil, err
	}
	ev, err := f.event(by, "revocation.lifted")
	if err != nil {
		return nil, err
	}
	ev = ev.With("revocation", fmt.Sprint(id)).With("what", rec.What()).With("reason", l.Reason)
	if err := tx.Append(ctx, ev); err != nil {
		return nil, err
	}
	a := &acting{Flow: f, tx: tx, r: rec.Revocation, by: by}
	s := &survey{seen: map[place]bool{}}
	for i := range marks {
		if err := a.giveBack(ctx, s, &marks[i]); err != nil {
			return nil, err
		}
	}
	rest, err := a.survey(ctx)
	if err != nil {
		return nil, err
	}
	s.rest, s.zones = rest.rest, rest.zones
	for _, h := range rest.hits {
		if key := (place{h.at.Repository, h.at.Digest}); !s.seen[key] {
			s.rest = append(s.rest, h.at)
		}
	}
	if err := a.rejudge(ctx, &survey{rest: s.rest, zones: s.zones}); err != nil {
		return nil, err
	}
	out, err := a.answer(ctx, s)
	if err == nil {
		out.Revocation = wire(*rec)
	}
	return out, err
}

// giveBack lets a placement go that no revocation withdraws any more. What a gate
// judges waits for that, and stays out of reach until it has.
func (a *acting) giveBack(ctx context.Context, s *survey, m *Mark) error {
	at := m.At
	if at.State != repo.Revoked || m.Standing > 0 {
		return nil
	}
	s.seen[place{at.Repository, at.Digest}] = true
	s.hits = append(s.hits, hit{at, "was " + string(m.State)})
	zone, err := a.Zones.Of(at.Repository)
	sandbox := err == nil && zone.Sandbox
	switch {
	case at.Kind == oci.KindEvidence:
		at.State = repo.Attached
	case sandbox:
		at.State = repo.Admitted
	case m.State == repo.Withdrawn:
		at.State = repo.Withdrawn
	default:
		return a.enqueue(ctx, &at)
	}
	at.Decision, at.Sentence = m.Decision, m.Sentence
	if at.Kind == oci.KindEvidence {
		if err := a.rejudgeSubject(ctx, &at); err != nil {
			return err
		}
	}
	return a.tx.Place(ctx, &at)
}

// rejudgeSubject asks for decisions on what evidence is about.
func (a *acting) rejudgeSubject(ctx context.Context, at *repo.Placement) error {
	m, err := a.tx.Stored(ctx, at.Digest)
	if err != nil || m.Subject.IsZero() {
		return err
	}
	placements, err := a.tx.Placements(ctx, m.Subject)
	for i := range placements {
		if err == nil {
			err = a.enqueue(ctx, &placements[i])
		}
	}
	return err
}
