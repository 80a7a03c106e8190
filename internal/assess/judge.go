package assess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// conflicts bounds how often a judgement is made again because the placement
// changed while it was made.
const conflicts = 5

// Handle is the handler of JobJudge.
func (a *Assessor) Handle(ctx context.Context, j job.Job) error {
	r, d, err := parseJudgeKey(j.Key)
	if err != nil {
		return fmt.Errorf("reading job key %q: %v", j.Key, err)
	}
	return a.Judge(ctx, r, d)
}

// Judge decides the placement of d in r and acts on the outcome: it lets in
// what is allowed, refuses what is not, and does what "stay" says with what is
// in already. A placement that is gone or not to be judged is no error.
func (a *Assessor) Judge(ctx context.Context, r oci.Repository, d oci.Digest) error {
	for range conflicts {
		err := a.judge(ctx, r, d)
		if !errors.Is(err, repo.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("judging %s@%s: %w while it was judged, %d times", r, d, repo.ErrConflict, conflicts)
}

// standing is a placement as judge finds it.
type standing struct {
	at     repo.Placement
	notes  []repo.Note // tags that wait for it
	before *Recorded   // the decision in force, nil when there is none
}

// judged is what a gate has said about a placement.
type judged struct {
	verdict *Verdict
	// entry is what "enter" says of a placement that is in already, where tags
	// are to move to it: that is an entry of its own. Else nil.
	entry *Verdict
}

// enters reports whether tags that wait may point at the placement.
func (j judged) enters() bool {
	if j.entry != nil {
		return j.entry.Decision.Outcome == api.Allow
	}
	return j.verdict.Decision.Clause == string(policy.Enter) && j.verdict.Decision.Outcome == api.Allow
}

func (a *Assessor) judge(ctx context.Context, r oci.Repository, d oci.Digest) error {
	s, err := view(ctx, a.DB, func(tx Tx) (*standing, error) { return readStanding(ctx, tx, r, d) })
	if errors.Is(err, repo.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	q, ok, err := a.question(ctx, s)
	if err != nil || !ok {
		return ignoreGone(err)
	}
	if gate, err := a.gate(r); gate == nil {
		return ignoreGone(err)
	}
	if err := a.catchUp(ctx, r); err != nil {
		return err
	}
	var j judged
	if j.verdict, err = a.ask(ctx, q); err != nil {
		return err
	}
	if q.clause == policy.Stay && len(s.notes) > 0 {
		if j.entry, err = a.entry(ctx, s.at); err != nil {
			return err
		}
	}
	return a.DB.Update(ctx, func(tx Tx) error {
		now, err := readStanding(ctx, tx, r, d)
		if errors.Is(err, repo.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if now.at.Version != s.at.Version {
			return fmt.Errorf("%s@%s: %w", r, d, repo.ErrConflict)
		}
		for _, v := range []*Verdict{j.verdict, j.entry} {
			if v == nil {
				continue
			}
			if err := a.stillInForce(ctx, tx, r, v); err != nil {
				return err
			}
			if err := stillArrived(ctx, tx, r, d, v); err != nil {
				return err
			}
			if err := stillBased(ctx, tx, r, v); err != nil {
				return err
			}
		}
		if now.at.State == repo.Revoked && j.verdict.Decision.Outcome != api.Allow {
			if by, err := tx.Withdrawing(ctx, r, d); err != nil || by != nil {
				return err
			}
		}
		return a.apply(ctx, tx, now, j)
	})
}

// question is what the gate is asked about a placement; ok is false for what no
// gate is asked about.
func (a *Assessor) question(ctx context.Context, s *standing) (q asked, ok bool, err error) {
	q = asked{from: s.at.Repository, at: s.at, clause: policy.Enter, recorded: true}
	switch s.at.State {
	case repo.Held, repo.Denied:
		return q, true, nil
	case repo.Revoked:
		stays, err := view(ctx, a.DB, func(tx Tx) (bool, error) { return barred(ctx, tx, s.at.Repository, s.at.Digest) })
		return q, !stays, err
	case repo.Admitted:
		q.clause, q.promised = policy.Stay, s.promises()
		return q, true, nil
	default:
		return q, false, nil
	}
}

// entry asks "enter" about what is in already.
func (a *Assessor) entry(ctx context.Context, at repo.Placement) (*Verdict, error) {
	v, err := a.ask(ctx, asked{from: at.Repository, at: at, clause: policy.Enter, recorded: true})
	if err == nil {
		v.Decision.Inputs.AdmittedAt = at.AdmittedAt.UTC().Truncate(time.Microsecond)
	}
	return v, err
}

// ignoreGone: a placement whose zone is configured no more is out of reach,
// and one in a sandbox is not judged.
func ignoreGone(err error) error {
	if errors.Is(err, repo.ErrNotFound) {
		return nil
	}
	return err
}

// promises is what the decision in force has told about deadlines.
func (s *standing) promises() map[string]time.Time {
	if s.before == nil || s.before.Decision.Clause != string(policy.Stay) {
		return nil
	}
	return policy.Promises(&s.before.Decision)
}

func readStanding(ctx context.Context, tx Tx, r oci.Repository, d oci.Digest) (*standing, error) {
	placed, err := tx.Lookup(ctx, r, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
	if err != nil {
		return nil, err
	}
	s := &standing{at: placed.Placement}
	if s.notes, err = tx.NotesOf(ctx, r, d); err != nil {
		return nil, err
	}
	if s.at.Decision != 0 {
		if s.before, err = tx.Decision(ctx, s.at.Decision); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// apply records the decision and acts on it, in one transaction.
func (a *Assessor) apply(ctx context.Context, tx Tx, s *standing, j judged) error {
	d, at := &j.verdict.Decision, s.at
	id, changed, err := recordDecision(ctx, tx, s.before, j.verdict)
	if err != nil {
		return err
	}
	at.Decision = id
	a.settle(&at, d)
	if s.at.State == repo.Revoked {
		released(&s.at, &at, d.Outcome)
	}
	if j.entry != nil && at.State == repo.Admitted && !j.enters() {
		at.RecheckAt = earlier(at.RecheckAt, j.entry.Decision.ValidUntil)
	}
	if at != s.at {
		if err := tx.Place(ctx, &at); err != nil {
			return err
		}
	}
	if err := a.applyToTags(ctx, tx, at, s.notes, j); err != nil {
		return err
	}
	if err := a.stayAtOnce(ctx, tx, &at, d); err != nil {
		return err
	}
	if !changed && at.State == s.at.State {
		return nil
	}
	if err := a.askParents(ctx, tx, at); err != nil {
		return err
	}
	return a.tell(ctx, tx, s.at.State, at, d)
}

// recordDecision inserts a decision, or confirms the one before if they say the same. It
// returns the id of the one that is in force now.
func recordDecision(ctx context.Context, tx Tx, before *Recorded, v *Verdict) (id int64, changed bool, err error) {
	if before != nil && sameDecision(&before.Decision, &v.Decision) {
		return before.ID, false, tx.ConfirmDecision(ctx, before.ID, v.Decision.DecidedAt, v.Snapshot)
	}
	id, err = tx.PutDecision(ctx, &v.Decision, v.Snapshot)
	return id, true, err
}

// earlier is the earlier of two times, of which the zero one never comes.
func earlier(x, y time.Time) time.Time {
	if x.IsZero() || !y.IsZero() && y.Before(x) {
		return y
	}
	return x
}

// settle sets the placement to what the decision makes of it.
func (a *Assessor) settle(at *repo.Placement, d *api.Decision) {
	at.RecheckAt, at.StayUntil, at.Sentence = d.ValidUntil, time.Time{}, ""
	if d.Outcome != api.Allow {
		at.Sentence = policy.Sentence(d)
	}
	if d.Clause == string(policy.Enter) {
		switch d.Outcome {
		case api.Allow:
			at.State, at.AdmittedAt, at.StayUntil = repo.Admitted, d.DecidedAt, policy.WaivedUntil(d)
		case api.Deny:
			at.State = repo.Denied
		default:
			at.State = repo.Held
		}
		return
	}
	var stands bool
	if stands, at.StayUntil = policy.Stands(d, d.DecidedAt); !stands {
		at.State, at.RecheckAt, at.StayUntil = repo.Withdrawn, time.Time{}, time.Time{}
	}
}

// askParents has the indexes that name the placement judged again, on behalf of
// who brought them: an index of thousands is its own cost.
func (a *Assessor) askParents(ctx context.Context, tx Tx, at repo.Placement) error {
	parents, err := tx.Parents(ctx, at.Repository, at.Digest)
	if err != nil {
		return err
	}
	for _, p := range parents {
		if err := tx.EnqueueFor(ctx, p.BroughtBy, JobJudge, judgeKey(p.Repository, p.Digest), a.Clock()); err != nil {
			return err
		}
	}
	return nil
}

// tell appends the event of a changed decision.
func (a *Assessor) tell(ctx context.Context, tx Tx, before repo.State, at repo.Placement, d *api.Decision) error {
	kind := "placement.judged"
	switch {
	case at.State != before:
		kind = "placement." + string(at.State)
	case at.State == repo.Admitted && d.Outcome == api.Deny:
		kind = "placement.flagged" // it stays, and somebody has to do something
	}
	ev, err := a.event(kind)
	if err != nil {
		return err
	}
	return tx.Append(ctx, decided(ev.On(at.Repository, at.Digest), at, d))
}

func decided(ev audit.Event, at repo.Placement, d *api.Decision) audit.Event {
	ev = ev.With("outcome", string(d.Outcome)).With("clause", d.Clause).With("decision", fmt.Sprint(at.Decision)).With("gate", d.Inputs.Gate)
	if d.Inputs.Snapshot != "" {
		ev = ev.With("snapshot", d.Inputs.Snapshot)
	}
	var rules []string
	for _, r := range d.Reasons {
		if r.Outcome != api.Allow {
			rules = append(rules, r.Rule)
		}
	}
	if len(rules) > 0 {
		ev = ev.With("rules", strings.Join(rules, ","))
	}
	if !at.StayUntil.IsZero() {
		ev = ev.With("stay_until", at.StayUntil.UTC().Format(time.RFC3339))
	}
	return ev
}

// unscored is reasons without what changes of facts from day to day: a decision is
// not another because a score that crosses nothing is.
func unscored(reasons []api.Reason) []api.Reason {
	out := slices.Clone(reasons)
	for i := range out {
		r := &out[i]
		r.Facts = withoutScores(r.Facts)
		r.Waived, r.Assessed = slices.Clone(r.Waived), slices.Clone(r.Assessed)
		for j := range r.Waived {
			r.Waived[j].Facts = withoutScores(r.Waived[j].Facts)
		}
		for j := range r.Assessed {
			r.Assessed[j].Fact.EPSS = 0
		}
	}
	return out
}

func withoutScores(facts []api.Fact) []api.Fact {
	facts = slices.Clone(facts)
	for i := range facts {
		facts[i].EPSS = 0
	}
	return facts
}

// sameDecision reports whether two decisions say the same for the same
// reasons. Times and inputs may differ: the later one confirms the earlier.
func sameDecision(x, y *api.Decision) bool {
	if x.Outcome != y.Outcome || x.Clause != y.Clause || !x.StayUntil.Equal(y.StayUntil) {
		return false
	}
	a, errA := json.Marshal(unscored(x.Reasons))
	b, errB := json.Marshal(unscored(y.Reasons))
	return errA == nil && errB == nil && string(a) == string(b)
}
