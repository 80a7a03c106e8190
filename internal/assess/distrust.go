package assess

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// Distrust tells what trust has ended in, of what judging looks at.
type Distrust interface {
	repo.Trust
	// Distrust returns the revocations in force of signers and feeds.
	Distrust(ctx context.Context) (evidence.Revocations, error)
	// Withdrawing returns the latest revocation in force that has withdrawn d in r,
	// nil when there is none.
	Withdrawing(ctx context.Context, r oci.Repository, d oci.Digest) (*evidence.Revocation, error)
}

// distrusted is that at one moment. nil is nothing.
type distrusted struct {
	seq  int64
	list evidence.Revocations
}

func (a *Assessor) distrust(ctx context.Context) (*distrusted, error) {
	return view(ctx, a.DB, func(tx Tx) (d *distrusted, err error) {
		d = &distrusted{}
		if d.seq, err = tx.RevocationSeq(ctx); err != nil || d.seq == 0 {
			return d, err
		}
		d.list, err = tx.Distrust(ctx)
		return d, err
	})
}

// drop takes out of what is known whatever does not count any more: signatures
// are refused, and what a feed said of packages leaves them unchecked. Of several
// feeds about an ecosystem none is told from another by its findings, so those
// stay, and what has none is not clean.
func (a *Assessor) drop(ctx context.Context, d *distrusted, x *examined) error {
	if x.evidence != nil {
		d.refuse(x.evidence)
	}
	if x.image == nil || len(d.list) == 0 {
		return nil
	}
	states, err := a.feedStates(ctx)
	if err != nil {
		return err
	}
	revoked, others := map[string]*evidence.Revocation{}, map[string]bool{}
	for i := range states {
		f := &states[i]
		r := d.list.OfFeed(f.Name)
		for _, ecosystem := range f.Ecosystems {
			if r == nil {
				others[ecosystem] = others[ecosystem] || f.Records > 0
			} else if f.Records > 0 {
				revoked[ecosystem] = r
			}
		}
	}
	if len(revoked) > 0 {
		x.distrust(revoked, others)
	}
	return nil
}

// refuse has signatures that do not count any more among those that are refused.
func (d *distrusted) refuse(k *known) {
	kept, gone := d.list.Keep(k.verified.Signatures)
	k.verified.Signatures, k.refused = kept, append(k.refused, gone...)
}

func (x *examined) distrust(revoked map[string]*evidence.Revocation, others map[string]bool) {
	var kept []evidence.Finding
	for i := range x.findings {
		ecosystem := vuln.BaseEcosystem(x.findings[i].Ecosystem)
		if revoked[ecosystem] == nil || others[ecosystem] {
			kept = append(kept, x.findings[i])
		}
	}
	x.findings = kept
	of := map[string]int{}
	for i := range x.image.Packages {
		if ecosystem := vuln.BaseEcosystem(x.image.Packages[i].Ecosystem); revoked[ecosystem] != nil {
			of[ecosystem]++
		}
	}
	for _, ecosystem := range slices.Sorted(maps.Keys(of)) {
		rest := inventory.Package{Name: fmt.Sprintf("%d packages", of[ecosystem]), Ecosystem: ecosystem}
		x.unchecked = append(x.unchecked, policy.Unchecked{Package: inventory.Located{Package: rest}, Reason: "the feed about them was revoked"})
	}
}

// barred reports whether a placement that was revoked has to stay so: it, or
// something that it is made of, may stand nowhere.
func barred(ctx context.Context, tx Tx, r oci.Repository, d oci.Digest) (bool, error) {
	placed, err := tx.Lookup(ctx, r, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
	if err != nil {
		return false, err
	}
	by, _, err := tx.Barred(ctx, placed.Manifest.Digests())
	return by != nil, err
}

// released says what becomes of a placement that was revoked, that no revocation
// withdraws any more, and that its gate does not let in: in doubt it stays out of
// reach, and what stood in its zone is withdrawn.
func released(before, at *repo.Placement, o api.Outcome) {
	switch {
	case o == api.Allow:
	case o == api.CannotTell:
		at.State = repo.Revoked
	case !before.AdmittedAt.IsZero():
		at.State, at.RecheckAt = repo.Withdrawn, time.Time{}
	}
}

// outOfReach returns what is said of a child of an index that was revoked: its
// decision, which no gate has made.
func (a *Assessor) outOfReach(ctx context.Context, placed *repo.Placed) (*relative, error) {
	rec, err := a.said(ctx, &placed.Placement)
	if err != nil || rec == nil {
		return &relative{present: true}, err
	}
	return &relative{present: true, verdict: &Verdict{Decision: rec.Decision, Snapshot: rec.Snapshot, Under: independent}}, nil
}

// said returns the decision about a placement, nil when there is none. Of one
// that a revocation has withdrawn, and whose decision is still to be recorded, it
// is what that will say, without a number; once that is lifted it says nothing
// any more.
func (a *Assessor) said(ctx context.Context, p *repo.Placement) (*Recorded, error) {
	return view(ctx, a.DB, func(tx Tx) (rec *Recorded, err error) {
		if p.Decision != 0 {
			rec, err = tx.Decision(ctx, p.Decision)
		}
		if err != nil || p.State != repo.Revoked {
			return rec, err
		}
		by, err := tx.Withdrawing(ctx, p.Repository, p.Digest)
		switch {
		case err != nil:
			return nil, err
		case by != nil && rec == nil:
			rec = &Recorded{Decision: *policy.Revoked(p.Repository, p.Digest, by)}
		case by == nil && rec != nil && rec.Decision.Clause == policy.RevokedClause:
			rec = nil
		}
		return rec, nil
	})
}

// stateOf is the state of a placement: what is over is withdrawn, whether that is
// recorded or not.
func stateOf(p *repo.Placement) repo.State {
	if p.Over {
		return repo.Withdrawn
	}
	return p.State
}

// standsAs is the state of a placement as people are told it: what no revocation
// withdraws any more, and what its gate has not let in yet, is held.
func standsAs(ctx context.Context, tx Tx, p *repo.Placement) (string, error) {
	if p.State != repo.Revoked {
		return string(stateOf(p)), nil
	}
	by, err := tx.Withdrawing(ctx, p.Repository, p.Digest)
	if by == nil {
		return string(repo.Held), err
	}
	return string(p.State), err
}
