package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Remover is who removes: with the verbs it has been granted on one
// repository. A verb that was not granted is the zero Act.
type Remover struct {
	Repository oci.Repository
	Delete     authz.Act // suffices for the intake and for a sandbox
	Withdraw   authz.Act // needed for what stands in a gated zone
}

// permits checks the verb that the placement needs and returns its act.
func (w Remover) permits(gated bool) (authz.Act, error) {
	if err := w.Withdraw.Permits(w.Repository, authz.Withdraw); err == nil {
		return w.Withdraw, nil
	} else if gated {
		return authz.Act{}, err
	}
	return w.Delete, w.Delete.Permits(w.Repository, authz.Delete)
}

// Remove takes a placement away and leaves a tombstone: the manifest can be
// pulled from this repository no more, its tags here are gone, evidence,
// decisions and events stay. Errors match repo.ErrNotFound and
// authz.ErrNotPermitted.
func (f *Flow) Remove(ctx context.Context, w Remover, d oci.Digest) error {
	zone, err := f.Zones.Of(w.Repository)
	if err != nil {
		return err
	}
	return f.Update(ctx, func(tx Tx) error {
		placed, err := tx.Lookup(ctx, w.Repository, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
		if err != nil {
			return err
		}
		at := placed.Placement
		act, err := w.permits(zone.Gated() && (at.State == repo.Admitted || at.State == repo.Attached && at.BroughtBy != w.Delete.Principal().Name()))
		if err != nil {
			return err
		}
		if err := f.dropTags(ctx, tx, at); err != nil {
			return err
		}
		before := at.State
		at.State, at.Decision, at.Sentence = repo.Removed, 0, ""
		if err := tx.Place(ctx, &at); err != nil {
			return err
		}
		if err := f.rejudgeParents(ctx, tx, at); err != nil {
			return err
		}
		ev, err := f.event(act.Principal(), "placement.removed")
		if err != nil {
			return err
		}
		return tx.Append(ctx, ev.On(w.Repository, d).With("state", string(before)))
	})
}

func (f *Flow) dropTags(ctx context.Context, tx Tx, at repo.Placement) error {
	tags, err := tx.TagsOf(ctx, at.Repository, at.Digest)
	if err != nil {
		return err
	}
	for _, t := range tags {
		if _, err := tx.SetTag(ctx, at.Repository, t, oci.Digest{}); err != nil {
			return err
		}
	}
	pending, err := tx.Pending(ctx, at.Repository, at.Digest)
	if err != nil {
		return err
	}
	for _, t := range pending {
		if err := tx.SetPending(ctx, at.Repository, t, oci.Digest{}, at.BroughtBy); err != nil {
			return err
		}
	}
	return nil
}

// rejudgeParents asks for new decisions on indexes that lost a child.
func (f *Flow) rejudgeParents(ctx context.Context, tx Tx, at repo.Placement) error {
	parents, err := tx.Parents(ctx, at.Repository, at.Digest)
	if err != nil {
		return err
	}
	for _, p := range parents {
		if err := tx.Enqueue(ctx, f.JudgeJob, p.Repository.String()+"@"+p.Digest.String(), f.Clock()); err != nil {
			return err
		}
	}
	return nil
}

// RemoveTag takes a tag away: one that waits in the intake, or one in force.
// The manifest stays. Errors match repo.ErrNotFound and authz.ErrNotPermitted.
func (f *Flow) RemoveTag(ctx context.Context, w Remover, tag string, v repo.Viewer) error {
	zone, err := f.Zones.Of(w.Repository)
	if err != nil {
		return err
	}
	return f.Update(ctx, func(tx Tx) error {
		placed, err := tx.Lookup(ctx, w.Repository, repo.Selector{Tag: tag}, v)
		if err != nil {
			return err
		}
		inForce, err := tx.TagsOf(ctx, w.Repository, placed.Manifest.Digest)
		if err != nil {
			return err
		}
		act, err := w.permits(zone.Gated() && slices.Contains(inForce, tag) && placed.Manifest.Kind != oci.KindEvidence)
		if err != nil {
			return err
		}
		if err := tx.SetPending(ctx, w.Repository, tag, oci.Digest{}, v.Principal); err != nil {
			return err
		}
		if slices.Contains(inForce, tag) {
			if _, err := tx.SetTag(ctx, w.Repository, tag, oci.Digest{}); err != nil {
				return err
			}
		}
		ev, err := f.event(act.Principal(), "tag.removed")
		if err != nil {
			return err
		}
		return tx.Append(ctx, ev.On(w.Repository, placed.Manifest.Digest).With("tag", tag))
	})
}

// RemoveBlob ends the leases on a blob that no manifest of the repository
// names. Errors match repo.ErrNotFound, ErrInUse, authz.ErrNotPermitted.
func (f *Flow) RemoveBlob(ctx context.Context, w Remover, d oci.Digest, v repo.Viewer) error {
	act, err := w.permits(false)
	if err != nil {
		return err
	}
	ev, err := f.event(act.Principal(), "blob.removed")
	if err != nil {
		return err
	}
	return f.Update(ctx, func(tx Tx) error {
		access, err := tx.BlobAccess(ctx, w.Repository, d, v)
		if err != nil {
			return err
		}
		if !access.Readable {
			return fmt.Errorf("blob %s in %s: %w", d, w.Repository, repo.ErrNotFound)
		}
		if err := tx.Unlease(ctx, w.Repository, d); err != nil {
			return err
		}
		access, err = tx.BlobAccess(ctx, w.Repository, d, repo.Viewer{Quarantine: true})
		if err == nil && access.Readable {
			return fmt.Errorf("blob %s is %w by a manifest in %s; delete that first", d, ErrInUse, w.Repository)
		}
		if err != nil && !errors.Is(err, repo.ErrNotFound) {
			return err
		}
		return tx.Append(ctx, ev.On(w.Repository, d))
	})
}
