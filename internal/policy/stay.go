package policy

import (
	"time"

	"github.com/bonded-dev/bonded/api"
)

// Act is what a deny under Stay does to a placement.
type Act string

// The acts.
const (
	Keep     Act = "keep"     // it stays, and people are told
	Deadline Act = "deadline" // it stays until a deadline
	Withdraw Act = "withdraw" // it is taken out at once
)

// minNotice is the least time between telling a deadline for the first time
// and acting on it, where what the rule gives is not shorter. It counts when a
// finding is seen here long after it was known: because the engine reads more
// than before, or a rule is new.
const minNotice = 24 * time.Hour

// Stands reports whether a placement may stand in its zone at now, and when that
// ends by itself (zero: it does not). Under clause Enter only allow lets it in.
// Under Stay what cannot be told stays: only a deny takes out, and only with act
// withdraw, or with act deadline once that has passed. What stays by a waiver
// does so until that ends, or the deadline after it.
func Stands(d *api.Decision, now time.Time) (stands bool, until time.Time) {
	if Clause(d.Clause) != Stay {
		return d.Outcome == api.Allow, time.Time{}
	}
	until = d.StayUntil
	for i := range d.Reasons {
		r := &d.Reasons[i]
		if r.Outcome == api.Deny && Act(r.Act) == Withdraw {
			return false, time.Time{}
		}
		until = earliest(until, waivedUntil(r))
	}
	return until.IsZero() || now.Before(until), until
}

// WaivedUntil is the first moment at which a waiver ends by which a decision
// allows something; zero when it needs none.
func WaivedUntil(d *api.Decision) time.Time {
	var until time.Time
	for i := range d.Reasons {
		for _, w := range d.Reasons[i].Waived {
			until = earliest(until, w.Until)
		}
	}
	return until
}

// waivedUntil is the first moment at which something that a reason waives is
// acted on; zero when there is none.
func waivedUntil(r *api.Reason) time.Time {
	var until time.Time
	for i := range r.Waived {
		until = earliest(until, r.Waived[i].Deadline)
	}
	return until
}

// stayUntil is the earliest deadline of the rules that deny; zero when there is
// none, and when a rule withdraws at once.
func stayUntil(reasons []api.Reason) time.Time {
	var until time.Time
	for _, r := range reasons {
		if Act(r.Act) == Withdraw {
			return time.Time{}
		}
		until = earliest(until, r.Until)
	}
	return until
}

// Promises returns what a decision under Stay told, by rule, for the Input of
// the next one; nil when it told nothing. A nil decision told nothing.
func Promises(d *api.Decision) map[string]time.Time {
	if d == nil {
		return nil
	}
	var m map[string]time.Time
	for _, r := range d.Reasons {
		until := earliest(r.Until, waivedUntil(&r))
		if !until.IsZero() {
			if m == nil {
				m = map[string]time.Time{}
			}
			m[r.Rule] = until
		}
	}
	return m
}

// setStay settles act and deadlines of a deny. A rule without facts has its
// deadline from when it is first told.
func (e *evaluation) setStay(reason *api.Reason, r *rule, found []item) {
	reason.Act = string(r.then)
	if r.then != Deadline {
		return
	}
	for i := range found {
		if at := e.deadlineOf(r, &found[i]); !at.IsZero() {
			found[i].fact.Deadline = at.Format(time.RFC3339Nano)
			reason.Until = earliest(reason.Until, at)
		}
	}
	if len(found) == 0 {
		reason.Until = e.deadline(r.name, time.Time{}, r.withinAny)
	}
	if reason.Until.IsZero() {
		reason.Act = string(Keep) // nothing it found has a deadline
	}
}

// deadlineOf returns when one fact ends the stay; zero when the rule lets it stay.
func (e *evaluation) deadlineOf(r *rule, i *item) time.Time {
	since, within := r.span(i)
	if within == 0 {
		return time.Time{}
	}
	return e.deadline(r.name, since, within)
}

// span returns since when a fact holds, zero when nobody knows, and how long it
// may; 0 when it may stay.
func (r *rule) span(i *item) (since time.Time, within time.Duration) {
	within = r.withinAny
	if f := i.finding; f != nil {
		since = f.Known
		if f.Since.After(since) {
			since = f.Since
		}
		if d, ok := r.within[f.Severity]; ok {
			within = d
		}
	}
	return since, within
}

// deadline returns the end of a span that began when both the fault was known
// (since; zero when nobody knows) and the placement was in. It is never sooner
// than minNotice after it was first told, and once told it is kept.
func (e *evaluation) deadline(rule string, since time.Time, within time.Duration) time.Time {
	notice := within
	if !since.IsZero() {
		notice = min(within, minNotice)
	}
	told := e.view.Now.Add(notice)
	if p := stamp(e.view.Promised[rule]); !p.IsZero() && p.Before(told) {
		told = p
	}
	if since.IsZero() {
		return told
	}
	return latest(latest(stamp(since), e.view.AdmittedAt).Add(within), told)
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
