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

// permitted returns the act for removing from r: what stands in a gated zone
// takes the verb withdraw, anything else delete or withdraw.
func permitted(acts []authz.Act, r oci.Repository, gated bool) (authz.Act, error) {
	verbs := []authz.Verb{authz.Withdraw}
	if !gated {
		verbs = []authz.Verb{authz.Delete, authz.Withdraw}
	}
	err := authz.Act{}.Permits(r, verbs...)
	for _, act := range acts {
		if err = act.Permits(r, verbs...); err == nil {
			return act, nil
		}
	}
	return authz.Act{}, err
}

// DeleteManifest takes a placement away and leaves a tombstone: the manifest
// can be pulled from this repository no more, its tags here are gone;
// evidence, decisions and events stay. What v may not see is not there. Errors
// match repo.ErrNotFound and authz.ErrNotPermitted.
func (f *Flow) DeleteManifest(ctx context.Context, acts []authz.Act, v repo.Viewer, r oci.Repository, d oci.Digest) error {
	zone, err := f.Zones.Of(r)
	if err != nil {
		return err
	}
	return f.Update(ctx, func(tx Tx) error {
		placed, err := tx.Lookup(ctx, r, repo.Selector{Digest: d}, v)
		if err != nil {
			return err
		}
		at := placed.Placement
		if !v.Visible(&at) {
			return fmt.Errorf("manifest %s in %s: %w", d, r, repo.ErrNotFound)
		}
		act, err := permitted(acts, r, zone.Gated() && (at.State == repo.Admitted || at.State == repo.Attached && at.BroughtBy != v.Principal))
		if err != nil {
			return err
		}
		subjects, err := f.dropTags(ctx, tx, at)
		if err != nil {
			return err
		}
		if s := placed.Manifest.Subject; at.Kind == oci.KindEvidence && !s.IsZero() {
			subjects = append(subjects, s)
		}
		said, err := tx.ReferrersOf(ctx, d)
		if err != nil {
			return err
		}
		if at.Kind == oci.KindIndex && len(said) > 0 {
			subjects = append(subjects, d) // what was said of it goes with it
		}
		before := at.State
		at.State, at.Decision, at.Sentence = repo.Removed, 0, ""
		if err := tx.Place(ctx, &at); err != nil {
			return err
		}
		if err := f.rejudgeParents(ctx, tx, act.Principal(), at); err != nil {
			return err
		}
		if err := f.rejudgeSubjects(ctx, tx, act.Principal(), subjects); err != nil {
			return err
		}
		ev, err := f.event(act.Principal(), "placement.removed")
		if err != nil {
			return err
		}
		return tx.Append(ctx, ev.On(r, d).With("state", string(before)))
	})
}

// dropTags takes away the tags in force, and returns what those of evidence are
// about; those that wait go with the placement.
func (f *Flow) dropTags(ctx context.Context, tx Tx, at repo.Placement) (subjects []oci.Digest, err error) {
	tags, err := tx.TagsOf(ctx, at.Repository, at.Digest)
	if err != nil {
		return nil, err
	}
	for _, t := range tags {
		if d, ok := repo.EvidenceTag(t); ok && at.Kind == oci.KindEvidence {
			subjects = append(subjects, d)
		}
		if _, err := tx.SetTag(ctx, at.Repository, t, oci.Digest{}); err != nil {
			return nil, err
		}
	}
	return subjects, nil
}

// rejudgeSubjects asks, for who took evidence away, for new decisions on what it
// was about, and on what that names: a signature of an index vouches for those.
func (f *Flow) rejudgeSubjects(ctx context.Context, tx Tx, by authz.Principal, subjects []oci.Digest) error {
	for _, subject := range subjects {
		all, err := repo.WithChildren(ctx, tx, subject)
		if err != nil {
			return err
		}
		for _, d := range all {
			if err := f.rejudge(ctx, tx, by, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *Flow) rejudge(ctx context.Context, tx Tx, by authz.Principal, d oci.Digest) error {
	placements, err := tx.Placements(ctx, d)
	if err != nil {
		return err
	}
	for _, p := range placements {
		if err := tx.EnqueueFor(ctx, by.Name(), f.JudgeJob, p.Repository.String()+"@"+d.String(), f.Clock()); err != nil {
			return err
		}
	}
	return nil
}

// rejudgeParents asks, for who took a child away, for new decisions on its indexes.
func (f *Flow) rejudgeParents(ctx context.Context, tx Tx, by authz.Principal, at repo.Placement) error {
	parents, err := tx.Parents(ctx, at.Repository, at.Digest)
	if err != nil {
		return err
	}
	for _, p := range parents {
		if err := tx.EnqueueFor(ctx, by.Name(), f.JudgeJob, p.Repository.String()+"@"+p.Digest.String(), f.Clock()); err != nil {
			return err
		}
	}
	return nil
}

// DeleteTag takes a tag away: one that waits in the intake, or one in force.
// The manifest stays. Errors match repo.ErrNotFound and authz.ErrNotPermitted.
func (f *Flow) DeleteTag(ctx context.Context, acts []authz.Act, v repo.Viewer, r oci.Repository, tag string) error {
	zone, err := f.Zones.Of(r)
	if err != nil {
		return err
	}
	return f.Update(ctx, func(tx Tx) error {
		placed, err := tx.Lookup(ctx, r, repo.Selector{Tag: tag}, v)
		if err != nil {
			return err
		}
		if !v.Visible(&placed.Placement) {
			return fmt.Errorf("tag %s in %s: %w", tag, r, repo.ErrNotFound)
		}
		inForce, err := tx.TagsOf(ctx, r, placed.Manifest.Digest)
		if err != nil {
			return err
		}
		act, err := permitted(acts, r, zone.Gated() && slices.Contains(inForce, tag) && placed.Manifest.Kind != oci.KindEvidence)
		if err != nil {
			return err
		}
		if err := tx.SetPending(ctx, r, tag, oci.Digest{}, v.Principal); err != nil {
			return err
		}
		if slices.Contains(inForce, tag) {
			if _, err := tx.SetTag(ctx, r, tag, oci.Digest{}); err != nil {
				return err
			}
		}
		ev, err := f.event(act.Principal(), "tag.removed")
		if err != nil {
			return err
		}
		return tx.Append(ctx, ev.On(r, placed.Manifest.Digest).With("tag", tag))
	})
}

// DeleteBlob ends the leases on a blob that no manifest of the repository
// names. Errors match repo.ErrNotFound, ErrInUse, authz.ErrNotPermitted.
func (f *Flow) DeleteBlob(ctx context.Context, acts []authz.Act, v repo.Viewer, r oci.Repository, d oci.Digest) error {
	act, err := permitted(acts, r, false)
	if err != nil {
		return err
	}
	ev, err := f.event(act.Principal(), "blob.removed")
	if err != nil {
		return err
	}
	return f.Update(ctx, func(tx Tx) error {
		access, err := tx.BlobAccess(ctx, r, d, v)
		if err != nil {
			return err
		}
		if !access.Readable {
			return fmt.Errorf("blob %s in %s: %w", d, r, repo.ErrNotFound)
		}
		if err := tx.Unlease(ctx, r, d); err != nil {
			return err
		}
		access, err = tx.BlobAccess(ctx, r, d, repo.Viewer{Quarantine: true})
		if err == nil && access.Readable {
			return fmt.Errorf("blob %s is %w by a manifest in %s; delete that first", d, ErrInUse, r)
		}
		if err != nil && !errors.Is(err, repo.ErrNotFound) {
			return err
		}
		return tx.Append(ctx, ev.On(r, d))
	})
}
