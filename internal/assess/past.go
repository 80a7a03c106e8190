package assess

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Kinds of texts that decisions are made by.
const (
	textOfGate = "Gate"
	textOfData = "Data"
)

// ErrTooMuch: more is kept than is read at once.
var ErrTooMuch = fmt.Errorf("is more than %d bytes", MaxEvidence)

// Past tells by what decisions were made, so that they can be made again. What it
// tells of is never changed but for its end.
type Past interface {
	// PutPolicyText stores a text under its digest; storing it again changes nothing.
	PutPolicyText(ctx context.Context, kind string, text []byte) error
	// PolicyText returns one, or repo.ErrNotFound.
	PolicyText(ctx context.Context, kind string, d oci.Digest) ([]byte, error)
	// SnapshotThen returns the newest snapshot with the digests that a decision names
	// of it that was published at the time or before, or repo.ErrNotFound.
	SnapshotThen(ctx context.Context, named *api.Inputs, at time.Time) (evidence.Snapshot, error)
	// EvidenceThen returns, by referrer, what counted at the time of what verifier
	// had found about a digest. Errors match ErrTooMuch.
	EvidenceThen(ctx context.Context, about oci.Digest, verifier string, at time.Time) ([]EvidenceRow, error)
	// DistrustThen returns the revocations of signers and feeds that were in force
	// when seq was the number of the latest.
	DistrustThen(ctx context.Context, seq int64) (evidence.Revocations, error)
}

// History finds decisions by when they were made.
type History interface {
	// DecisionsUntil returns decisions about a placement that were made at the time
	// or before, newest first; DecisionsAfter those made later, oldest first.
	DecisionsUntil(ctx context.Context, r oci.Repository, d oci.Digest, at time.Time, limit int) ([]Recorded, error)
	DecisionsAfter(ctx context.Context, r oci.Repository, d oci.Digest, at time.Time, limit int) ([]Recorded, error)
	// DecisionsFrom returns all decisions that were made at the time or later, by
	// their numbers after the one given.
	DecisionsFrom(ctx context.Context, since time.Time, after int64, limit int) ([]Recorded, error)
}

// putTexts keeps what decisions are made by from now on.
func putTexts(ctx context.Context, tx Tx, g *policy.Gate) error {
	if err := tx.PutPolicyText(ctx, textOfGate, g.Text()); err != nil {
		return err
	}
	for _, d := range g.Data() {
		if err := tx.PutPolicyText(ctx, textOfData, d.Text()); err != nil {
			return err
		}
	}
	return nil
}

// aboutTags reports whether a decision was about tags that were to move to what
// was in already, and was never that of the placement.
func aboutTags(d *api.Decision) bool {
	return d.Clause == string(policy.Enter) && !d.Inputs.AdmittedAt.IsZero()
}

// Then is a question about the past.
type Then struct {
	At     time.Time
	Replay bool // make the decision again
}

// WhyAt explains the decision that was in force about a placement; see
// httpapi.Explainer for who is told what. Errors match repo.ErrNotFound, and
// repo.ErrConflict for a time that is still to come.
func (a *Assessor) WhyAt(ctx context.Context, s repo.Sight, ref oci.Reference, zone string, then Then) (*api.Why, error) {
	if then.At.After(a.Clock()) {
		return nil, fmt.Errorf("asking what was in force at %s: %w: that is still to come", then.At.UTC().Format(time.RFC3339), repo.ErrConflict)
	}
	f, err := a.find(ctx, s, ref, zone)
	if err != nil {
		return nil, err
	}
	p := &f.placed.Placement
	w := &api.Why{Artifact: f.artifact(), Held: p.State == repo.Held}
	if p.State == repo.Held && !f.viewer.Visible(p) {
		return w, nil
	}
	rec, told, err := a.inForceAt(ctx, p, then.At)
	if err != nil {
		return nil, err
	}
	w.Then, w.State, w.Held = told, "", false
	if rec == nil {
		return w, nil
	}
	w.Decision, w.State = &rec.Decision, string(stateBy(&rec.Decision))
	w.Held = w.State == string(repo.Held)
	if then.Replay {
		told.Replay, err = a.Replay(ctx, &rec.Decision)
	}
	return w, err
}

// decisionsAtOnce is how many decisions are read to find one that counted.
const decisionsAtOnce = 32

// inForceAt returns the decision that was in force about a placement, nil when
// there was none, and for how long it was.
func (a *Assessor) inForceAt(ctx context.Context, p *repo.Placement, at time.Time) (rec *Recorded, told *api.Then, err error) {
	told = &api.Then{At: at}
	err = a.DB.View(ctx, func(tx Tx) error {
		rec, told.From, told.Confirmed, told.Until = nil, time.Time{}, time.Time{}, time.Time{}
		for last := at; rec == nil; {
			list, err := tx.DecisionsUntil(ctx, p.Repository, p.Digest, last, decisionsAtOnce)
			if err != nil {
				return err
			}
			if rec = counting(list); len(list) < decisionsAtOnce {
				break
			}
			last = list[len(list)-1].Decision.DecidedAt.Add(-time.Microsecond)
		}
		for last := at; told.Until.IsZero(); {
			list, err := tx.DecisionsAfter(ctx, p.Repository, p.Digest, last, decisionsAtOnce)
			if err != nil {
				return err
			}
			if next := counting(list); next != nil {
				told.Until = next.Decision.DecidedAt
			}
			if len(list) < decisionsAtOnce {
				break
			}
			last = list[len(list)-1].Decision.DecidedAt
		}
		return nil
	})
	if rec != nil {
		told.ID, told.From, told.Confirmed = rec.ID, rec.Decision.DecidedAt, rec.ConfirmedAt
	}
	return rec, told, err
}

// counting returns the first of the decisions that was the placement's.
func counting(list []Recorded) *Recorded {
	for i := range list {
		if !aboutTags(&list[i].Decision) {
			return &list[i]
		}
	}
	return nil
}

// stateBy is the state that a decision left its placement in.
func stateBy(d *api.Decision) repo.State {
	if d.Clause == policy.RevokedClause {
		return repo.Revoked
	}
	if d.Clause == string(policy.Enter) {
		switch d.Outcome {
		case api.Allow:
			return repo.Admitted
		case api.Deny:
			return repo.Denied
		default:
			return repo.Held
		}
	}
	if stands, _ := policy.Stands(d, d.DecidedAt); !stands {
		return repo.Withdrawn
	}
	return repo.Admitted
}

// gone reports whether an error says that something is kept no more, or never was.
func gone(err error) bool { return errors.Is(err, repo.ErrNotFound) || errors.Is(err, ErrTooMuch) }
