package httpapi

import (
	"context"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Promoter takes placements to other zones, and tags back.
type Promoter interface {
	// Promote decides, and unless req.DryRun acts on an allow. act is one of
	// promote on the target repository: the source's path in zone req.To. v is
	// how the caller views the source, where it may pull; ref is req.Reference
	// as it was read. A decision other than allow is no error. Errors match
	// also ErrNoWay, and repo.ErrConflict when source or target changed meanwhile.
	Promote(ctx context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, req api.PromoteRequest) (*api.Promoted, error)
	// Rollback lets the tag of ref, which is req.Reference as it was read, name
	// again what it named before: to, or the one before when that is zero. act is
	// one of promote on its repository. Otherwise as Promote; what cannot be gone
	// back to is repo.ErrConflict, and so is a tag that changed meanwhile.
	Rollback(ctx context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, to oci.Digest, req api.RollbackRequest) (*api.RolledBack, error)
	// Approve says yes to what ref, which is req.Reference as it was read, names
	// coming into act's repository, or takes that back. act is one of approve there:
	// the path in zone req.To, or ref's own. Otherwise as Promote.
	Approve(ctx context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, req api.ApproveRequest) (*api.Approved, error)
	// Stop says that what ref names is not to be promoted, or that it may be again.
	// act is one of hold on its repository. Otherwise as Promote.
	Stop(ctx context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, req api.StopRequest) (*api.Stopped, error)
	// Named lists what the tag of ref has named, newest first, from the id before
	// on, 0 for the newest. v is how p views the repository, where it may pull.
	Named(ctx context.Context, p authz.Principal, v repo.Viewer, ref oci.Reference, before int64, limit int) ([]api.Named, error)
}

// sighted reads a reference to a placement that the caller may look at.
func (c *call) sighted(s string) (oci.Reference, repo.Viewer, error) {
	ref, err := reference(s)
	if err != nil {
		return ref, repo.Viewer{}, err
	}
	if ref.Repository.IsZero() {
		return ref, repo.Viewer{}, fmt.Errorf("%w: %s does not say which placement is meant: want ZONE/PATH with tag or digest, such as dev/app:1.0", oci.ErrNameInvalid, oci.Quote(s))
	}
	v, ok := c.sight()(ref.Repository)
	if !ok {
		return ref, v, fmt.Errorf("no repository %s that %s can see: %w", ref.Repository, c.p.Name(), repo.ErrNotFound)
	}
	return ref, v, nil
}

// tagged is sighted where a tag is meant, and no digest.
func (c *call) tagged(s string) (oci.Reference, repo.Viewer, error) {
	ref, v, err := c.sighted(s)
	if err == nil && (ref.Tag == "" || !ref.Digest.IsZero()) {
		err = fmt.Errorf("%w: %s names no tag: want ZONE/PATH:TAG, such as production/app:stable", oci.ErrNameInvalid, oci.Quote(s))
	}
	return ref, v, err
}

// promote checks both ends: pull where the artifact stands, promote where it
// should go.
func (c *call) promote() error {
	var req api.PromoteRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if err := checkPromotion(&req); err != nil {
		return err
	}
	ref, v, err := c.sighted(req.Reference)
	if err != nil {
		return err
	}
	target, err := ref.Repository.InZone(req.To)
	if err != nil {
		return err
	}
	act, err := authz.Check(c.p, authz.Promote, target, c.o.Open)
	if err != nil {
		return err
	}
	out, err := c.o.Promote.Promote(c.r.Context(), act, v, ref, req)
	return c.write(c.provenPromotion(req.DryRun, out, err))
}

func checkPromotion(req *api.PromoteRequest) error {
	if req.To == "" {
		return fmt.Errorf("%w: to is missing: the zone to promote to", errBody)
	}
	if err := checkZone(req.To); err != nil {
		return err
	}
	for _, tag := range req.Tags {
		if err := oci.CheckTag(tag); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) rollback() error {
	var req api.RollbackRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	var to oci.Digest
	if req.To != "" {
		var err error
		if to, err = oci.ParseDigest(req.To); err != nil {
			return err
		}
	}
	ref, v, err := c.tagged(req.Reference)
	if err != nil {
		return err
	}
	act, err := authz.Check(c.p, authz.Promote, ref.Repository, c.o.Open)
	if err != nil {
		return err
	}
	return c.write(c.o.Promote.Rollback(c.r.Context(), act, v, ref, to, req))
}

func (c *call) named() error {
	ref, v, err := c.tagged(c.query.Get("ref"))
	if err != nil {
		return err
	}
	limit, err := c.limit()
	if err != nil {
		return err
	}
	before, err := c.number("after", 0)
	if err != nil {
		return err
	}
	return c.write(listed(c.o.Promote.Named(c.r.Context(), c.p, v, ref, before, limit)))
}

func (c *call) approve() error {
	var req api.ApproveRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if err := checkZone(req.To); err != nil {
		return err
	}
	ref, v, err := c.sighted(req.Reference)
	if err != nil {
		return err
	}
	target := ref.Repository
	if req.To != "" {
		if target, err = ref.Repository.InZone(req.To); err != nil {
			return err
		}
	}
	act, err := authz.Check(c.p, authz.Approve, target, c.o.Open)
	if err != nil {
		return err
	}
	return c.write(c.o.Promote.Approve(c.r.Context(), act, v, ref, req))
}

func (c *call) stop() error {
	var req api.StopRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	ref, v, err := c.sighted(req.Reference)
	if err != nil {
		return err
	}
	act, err := authz.Check(c.p, authz.Hold, ref.Repository, c.o.Open)
	if err != nil {
		return err
	}
	return c.write(c.o.Promote.Stop(c.r.Context(), act, v, ref, req))
}
