package assess

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// JobGate is the kind of job that follows a new gate; its key is the zone.
const JobGate = "gate"

// ErrOtherGate: another process was started since with another gate for the
// zone, and that one counts. This one decides nothing there.
var ErrOtherGate = errors.New("judged by another gate")

// PutGates puts the gates of this process in force. What stands in a zone whose
// gate is another than before is judged again. It is called when a process
// starts to decide: among several with different gates, the last counts.
func (a *Assessor) PutGates(ctx context.Context) error {
	for _, name := range a.Zones.Names() {
		zone := a.Zones[name]
		if !zone.Gated() {
			continue
		}
		judge := a.Gates[zone.Gate]
		gate := judge.InForce()
		ev, err := a.event("gate.changed")
		if err != nil {
			return err
		}
		ev = ev.With("zone", name).With("gate", gate.String())
		err = a.DB.Update(ctx, func(tx Tx) error {
			if err := putTexts(ctx, tx, judge); err != nil {
				return err
			}
			before, err := tx.PutGate(ctx, name, gate)
			if err != nil || before == gate {
				return err
			}
			changed := ev
			if !before.IsZero() {
				changed = ev.With("before", before.String())
			}
			if err := tx.Append(ctx, changed); err != nil {
				return err
			}
			return tx.Enqueue(ctx, JobGate, name, a.Clock())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// HandleGate is the handler of JobGate.
func (a *Assessor) HandleGate(ctx context.Context, j job.Job) error { return a.RejudgeZone(ctx, j.Key) }

// independent is the Under of a verdict that no advisory has a part in.
const independent = -1

// catchUp makes sure that what is asked next is decided by what is in force,
// which another process may have put there: this one may have older advisories
// in use. Errors match ErrOtherGate.
func (a *Assessor) catchUp(ctx context.Context, r oci.Repository) error {
	var snapshot int64
	err := a.DB.View(ctx, func(tx Tx) error {
		s, gate, err := tx.InForce(ctx, r.Zone())
		if err != nil {
			return err
		}
		snapshot = s
		return a.sameGate(r, gate)
	})
	if err != nil || a.Advisories.Index().Snapshot().Seq >= snapshot {
		return err
	}
	_, err = a.Advisories.Refresh(ctx)
	return err
}

// sameGate returns an error unless gate, which is in force in r's zone, is the
// one this process has. Errors match ErrOtherGate.
func (a *Assessor) sameGate(r oci.Repository, gate oci.Digest) error {
	mine, err := a.gate(r)
	if err != nil || mine == nil || gate.IsZero() || gate == mine.InForce() {
		return ignoreGone(err)
	}
	return fmt.Errorf("%s is %w, %s, than this process has, %s: restart it with the current configuration", r, ErrOtherGate, gate.Short(), mine.InForce().Short())
}

// stillInForce returns an error unless v was decided by what is in force in this
// transaction: advisories that came since have listed what they concern, and what
// is recorded now was not on that list. Errors match repo.ErrConflict and
// ErrOtherGate.
func (a *Assessor) stillInForce(ctx context.Context, tx Tx, r oci.Repository, v *Verdict) error {
	snapshot, gate, err := tx.InForce(ctx, r.Zone())
	if err != nil {
		return err
	}
	if now := a.trusted().digest(); v.Trusted != now {
		return fmt.Errorf("%s was judged by other anchors than are in force: %w", r, repo.ErrConflict)
	}
	if v.Under != independent && v.Under != snapshot {
		return fmt.Errorf("%s was judged under snapshot %d of the advisories, and %d is in force: %w", r, v.Under, snapshot, repo.ErrConflict)
	}
	seq, err := tx.RevocationSeq(ctx)
	if err != nil {
		return err
	}
	if v.Decision.Inputs.Revocations != seq {
		return fmt.Errorf("%s was judged under revocation %d, and %d is the latest: %w", r, v.Decision.Inputs.Revocations, seq, repo.ErrConflict)
	}
	act, err := tx.WaiverAct(ctx, r.Zone())
	if err != nil {
		return err
	}
	if v.Decision.Inputs.WaiverAct != act {
		return fmt.Errorf("%s was judged by what was waived at act %d, and %d is the latest: %w", r, v.Decision.Inputs.WaiverAct, act, repo.ErrConflict)
	}
	if err := sameApprovals(ctx, tx, r, v); err != nil {
		return err
	}
	return a.sameGate(r, gate)
}

// sameApprovals returns an error unless the approvals that v was made by, where its
// gate looks at them, are those that hold. Errors match repo.ErrConflict.
func sameApprovals(ctx context.Context, tx Tx, r oci.Repository, v *Verdict) error {
	if !v.Approvable {
		return nil
	}
	d, err := oci.ParseDigest(v.Decision.Digest)
	if err != nil {
		return err
	}
	words, err := repo.Approvals(ctx, tx, r, d)
	if err == nil && !slices.Equal(evidence.WordIDs(words), v.Decision.Inputs.Approvals) {
		err = fmt.Errorf("approvals of %s@%s: %w", r, d, repo.ErrConflict)
	}
	return err
}
