package waiver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// The ways in which a waiver ends.
const (
	denied  = "denied"
	ended   = "ended"
	expired = "expired"
)

// Grant adds p's yes to a waiver, or tells what that would change. p needs waive
// on all of its repositories. Errors match repo.ErrNotFound, repo.ErrConflict for
// one that has ended or that p granted before, evidence.ErrWaiverInvalid where the
// gate does not ask for p's yes, and authz.ErrNotPermitted.
func (f *Flow) Grant(ctx context.Context, p authz.Principal, id string, preview bool) (*api.WaiverDone, error) {
	var rec *Record
	look := func(tx Tx) (err error) {
		if rec, err = f.open(ctx, tx, p, id); err != nil {
			return err
		}
		return f.mayGrant(rec, p)
	}
	if preview {
		if err := f.View(ctx, look); err != nil {
			return nil, err
		}
		return f.preview(ctx, rec, p)
	}
	err := f.Update(ctx, func(tx Tx) error {
		if err := look(tx); err != nil {
			return err
		}
		by := f.grantor(p)
		if err := tx.GrantWaiver(ctx, rec, by); err != nil {
			return err
		}
		rec.Granted = append(rec.Granted, by)
		kind := "waiver.granted"
		if rec.Renews != 0 {
			kind = "waiver.renewed"
		}
		ev, err := f.event(p, kind, rec)
		if err != nil {
			return err
		}
		if err := tx.Append(ctx, ev.With("owner", rec.Owner).With("reason", rec.Reason)); err != nil {
			return err
		}
		return tx.Enqueue(ctx, f.WorkJob, rec.ID, f.Clock())
	})
	if err != nil {
		return nil, err
	}
	return f.done(rec), nil
}

func (f *Flow) grantor(p authz.Principal) evidence.Grantor {
	return evidence.Grantor{Name: p.Name(), Groups: p.Groups(), At: f.Clock().UTC().Truncate(time.Microsecond)}
}

// open reads a waiver that has not ended, for somebody who may waive wherever it
// is about.
func (f *Flow) open(ctx context.Context, tx Tx, p authz.Principal, id string) (*Record, error) {
	rec, err := f.record(ctx, tx, p, id)
	if err != nil {
		return nil, err
	}
	if _, err := authz.CheckReach(p, authz.Waive, rec.Repositories.String()); err != nil {
		return nil, err
	}
	return rec, f.isOpen(rec)
}

func (f *Flow) isOpen(rec *Record) error {
	switch {
	case rec.Ended != nil:
		return fmt.Errorf("waiver %s was %s by %s on %s: %w", rec.ID, rec.Ended.How, rec.Ended.By, rec.Ended.At.Format(time.RFC3339), repo.ErrConflict)
	case !rec.Until.After(f.Clock()):
		return fmt.Errorf("waiver %s ended on %s: %w; ask for one that renews it: bonded waiver ask --renews %s", rec.ID, rec.Until.Format(time.RFC3339), repo.ErrConflict, rec.ID)
	}
	return nil
}

// mayGrant refuses a yes that no rule asks for.
func (f *Flow) mayGrant(rec *Record, p authz.Principal) error {
	if err := f.possible(&rec.Waiver); err != nil {
		return err
	}
	if slices.ContainsFunc(rec.Granted, func(g evidence.Grantor) bool { return g.Name == p.Name() }) {
		return fmt.Errorf("%s granted waiver %s before: %w", p.Name(), rec.ID, repo.ErrConflict)
	}
	g, err := f.gate(&rec.Waiver)
	if err != nil {
		return err
	}
	by := f.grantor(p)
	var why []string
	for _, rule := range about(g, &rec.Waiver) {
		needs := g.Waivable(rule)
		switch {
		case needs.People == 0:
		case !needs.Counts(&by):
			why = append(why, fmt.Sprintf("rule %s can be waived by %s, which %s is not", rule, needs, p.Name()))
		case needs.People > 1 && p.Name() == rec.AskedBy:
			why = append(why, fmt.Sprintf("rule %s takes %d people other than the one who asked, which is %s", rule, needs.People, p.Name()))
		default:
			return nil
		}
	}
	return fmt.Errorf("%w to be granted by %s: %s", evidence.ErrWaiverInvalid, p.Name(), strings.Join(why, "; "))
}

// Deny refuses a waiver that is not in force, and End takes one out of force. Who
// may waive wherever it is about can do so, and who asked. Errors as for Grant.
func (f *Flow) Deny(ctx context.Context, p authz.Principal, id, reason string) (*api.WaiverDone, error) {
	return f.end(ctx, p, id, api.WaiverEnd{How: denied, Reason: reason})
}

// End ends a waiver before its time; see Deny.
func (f *Flow) End(ctx context.Context, p authz.Principal, id, reason string) (*api.WaiverDone, error) {
	return f.end(ctx, p, id, api.WaiverEnd{How: ended, Reason: reason})
}

func (f *Flow) end(ctx context.Context, p authz.Principal, id string, end api.WaiverEnd) (*api.WaiverDone, error) {
	if strings.TrimSpace(end.Reason) == "" || len(end.Reason) > maxReason {
		return nil, fmt.Errorf("%w: its end needs a reason, of at most %d bytes", evidence.ErrWaiverInvalid, maxReason)
	}
	var rec *Record
	err := f.Update(ctx, func(tx Tx) (err error) {
		if rec, err = f.record(ctx, tx, p, id); err != nil {
			return err
		}
		if rec.AskedBy != p.Name() || end.How == denied {
			if _, err := authz.CheckReach(p, authz.Waive, rec.Repositories.String()); err != nil {
				return err
			}
		}
		if err := f.isOpen(rec); err != nil {
			return err
		}
		if end.How == denied && f.state(rec) == "granted" {
			return fmt.Errorf("waiver %s was granted by %s: %w; end it: bonded waiver end %s", rec.ID, rec.Granted[0].Name, repo.ErrConflict, rec.ID)
		}
		end.By, end.At = p.Name(), f.Clock().UTC().Truncate(time.Microsecond)
		return f.finish(ctx, tx, p, rec, end)
	})
	if err != nil {
		return nil, err
	}
	return f.done(rec), nil
}

// maxReason bounds why a waiver ends, in bytes.
const maxReason = 2048

// finish records the end of a waiver. What it let stand is judged again; at its
// own time that happens by itself.
func (f *Flow) finish(ctx context.Context, tx Tx, p authz.Principal, rec *Record, end api.WaiverEnd) error {
	if err := tx.EndWaiver(ctx, rec.Number, end); err != nil {
		return err
	}
	rec.Ended = &end
	kind := "waiver.ended"
	switch end.How {
	case denied:
		kind = "waiver.denied"
	case expired:
		kind = "waiver.expired"
	}
	ev, err := f.event(p, kind, rec)
	if err != nil {
		return err
	}
	if end.Reason != "" {
		ev = ev.With("reason", end.Reason)
	}
	if err := tx.Append(ctx, ev); err != nil {
		return err
	}
	if len(rec.Granted) == 0 {
		return nil
	}
	return tx.Enqueue(ctx, f.WorkJob, rec.ID, f.Clock())
}

// pastAtOnce is how many ends one transaction records.
const pastAtOnce = 100

// Expire records the end of waivers whose time is over, so that it stays over
// whatever the clock says later. It is a periodic job.
func (f *Flow) Expire(ctx context.Context) error {
	by := authz.Internal("waivers")
	for {
		var past []Record
		err := f.Update(ctx, func(tx Tx) (err error) {
			now := f.Clock().UTC().Truncate(time.Microsecond)
			if past, err = tx.WaiversPast(ctx, now, pastAtOnce); err != nil {
				return err
			}
			for i := range past {
				if err := f.finish(ctx, tx, by, &past[i], api.WaiverEnd{How: expired, By: by.Name(), At: now}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(past) < pastAtOnce {
			return err
		}
	}
}

// judgedAtOnce is how many placements one transaction looks at.
const judgedAtOnce = 256

// each calls fn with the placements that a waiver is about and that may be judged
// otherwise with or without it, some at a time, until fn says that it is enough.
func (f *Flow) each(ctx context.Context, rec *Record, run func(context.Context, func(Tx) error) error, fn func(Tx, []repo.Placement) (enough bool, err error)) error {
	var after repo.Placement
	for enough := false; !enough; {
		var batch []repo.Placement
		err := run(ctx, func(tx Tx) (err error) {
			if batch, err = tx.Standing(ctx, rec.Zone(), after.Repository, after.Digest, judgedAtOnce); err != nil {
				return err
			}
			var some []repo.Placement
			for i := range batch {
				p := &batch[i]
				if !rec.About(p.Repository, p.Digest) {
					continue
				}
				d, err := tx.DecisionInForce(ctx, p)
				if err != nil {
					return err
				}
				if concerns(d) {
					some = append(some, *p)
				}
			}
			enough, err = fn(tx, some)
			return err
		})
		if err != nil || len(batch) < judgedAtOnce {
			return err
		}
		after = batch[len(batch)-1]
	}
	return nil
}

// concerns reports whether a waiver can have a part in what is said next: not
// where all is allowed, and nothing by permission.
func concerns(d *api.Decision) bool {
	return d == nil || d.Outcome != api.Allow || slices.ContainsFunc(d.Reasons, func(r api.Reason) bool { return r.Outcome != api.Allow || len(r.Waived) > 0 })
}

// Handle is the handler of the job that has what a waiver concerns judged again.
func (f *Flow) Handle(ctx context.Context, key string) error {
	n, err := number(key)
	if err != nil {
		return err
	}
	var rec *Record
	err = f.View(ctx, func(tx Tx) (err error) {
		rec, err = tx.Waiver(ctx, n)
		return err
	})
	if err != nil {
		return err
	}
	return f.each(ctx, rec, f.Update, func(tx Tx, some []repo.Placement) (bool, error) {
		for _, p := range some {
			if err := tx.EnqueueFor(ctx, lane(n), f.JudgeJob, judgeKey(p.Repository, p.Digest), f.Clock()); err != nil {
				return true, err
			}
		}
		return false, nil
	})
}

func judgeKey(r oci.Repository, d oci.Digest) string { return r.String() + "@" + d.String() }
