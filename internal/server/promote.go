package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/httpapi"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/repo"
)

// promoter is promote as the management API needs it.
type promoter struct {
	flow *promote.Flow
	open authz.Open
}

var _ httpapi.Promoter = promoter{}

// reading returns p's act of reading in r.
func (p promoter) reading(who authz.Principal, r oci.Repository) (authz.Act, error) {
	act, err := authz.Check(who, authz.Pull, r, p.open)
	if err != nil {
		return authz.Check(who, authz.PullFromQuarantine, r, p.open)
	}
	return act, nil
}

// told makes of an error of the flow one that the API knows.
func told(err error) error {
	switch {
	case errors.Is(err, promote.ErrNoWay):
		return noWay{err}
	case errors.Is(err, promote.ErrNotAdmitted), errors.Is(err, promote.ErrNoEarlier), errors.Is(err, promote.ErrStopped):
		return fmt.Errorf("%w: %w", repo.ErrConflict, err)
	}
	return err
}

func (p promoter) Promote(ctx context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, req api.PromoteRequest) (*api.Promoted, error) {
	from, err := p.reading(act.Principal(), ref.Repository)
	if err != nil {
		return nil, err
	}
	out, err := p.flow.Promote(ctx, act, from, promote.Request{From: ref, Viewer: v, Tags: req.Tags, DryRun: req.DryRun})
	return out, told(err)
}

func (p promoter) Rollback(ctx context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, to oci.Digest, req api.RollbackRequest) (*api.RolledBack, error) {
	read, err := p.reading(act.Principal(), ref.Repository)
	if err != nil {
		return nil, err
	}
	out, err := p.flow.Rollback(ctx, act, read, promote.Rollback{Tag: ref.Tag, To: to, Viewer: v, Reason: req.Reason, DryRun: req.DryRun})
	return out, told(err)
}

func (p promoter) Approve(ctx context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, req api.ApproveRequest) (*api.Approved, error) {
	read, err := p.reading(act.Principal(), ref.Repository)
	if err != nil {
		return nil, err
	}
	out, err := p.flow.Approve(ctx, act, read, promote.Word{Of: ref, Viewer: v, Reason: req.Reason, Back: req.Withdraw})
	return out, told(err)
}

func (p promoter) Stop(ctx context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, req api.StopRequest) (*api.Stopped, error) {
	read, err := p.reading(act.Principal(), ref.Repository)
	if err != nil {
		return nil, err
	}
	out, err := p.flow.Stop(ctx, act, read, promote.Word{Of: ref, Viewer: v, Reason: req.Reason, Back: req.Resume})
	return out, told(err)
}

func (p promoter) Named(ctx context.Context, who authz.Principal, v repo.Viewer, ref oci.Reference, before int64, limit int) ([]api.Named, error) {
	read, err := p.reading(who, ref.Repository)
	if err != nil {
		return nil, err
	}
	return p.flow.History(ctx, read, v, ref.Tag, before, limit)
}

// noWay is an error of promote that also matches httpapi.ErrNoWay.
type noWay struct{ error }

func (e noWay) Unwrap() []error { return []error{e.error, httpapi.ErrNoWay} }
