package httpapi

import (
	"context"
	"errors"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Custodian tells the story of a digest. permit returns the act of looking at
// custody in a repository; what is in others is not told. Errors match
// repo.ErrNotFound and authz.ErrNotPermitted.
type Custodian interface {
	// Timeline tells what happened, oldest first.
	Timeline(ctx context.Context, s repo.Sight, permit func(oci.Repository) (authz.Act, error), ref oci.Reference) (*api.CustodyTimeline, error)
	// Export makes the file that proves it, and records that it did.
	Export(ctx context.Context, s repo.Sight, permit func(oci.Repository) (authz.Act, error), ref oci.Reference) (*api.Custody, error)
}

// errNoCustody: this server signs nothing.
var errNoCustody = errors.New("this server signs nothing, so it has nothing that proves custody")

func (c *call) custody() error {
	if c.o.Custody == nil {
		return errNoCustody
	}
	ref, err := reference(c.query.Get("ref"))
	if err != nil {
		return err
	}
	return c.write(c.o.Custody.Timeline(c.r.Context(), c.sight(), c.mayRead, ref))
}

func (c *call) exportCustody() error {
	if c.o.Custody == nil {
		return errNoCustody
	}
	var req api.CustodyRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	ref, err := reference(req.Ref)
	if err != nil {
		return err
	}
	return c.write(c.o.Custody.Export(c.r.Context(), c.sight(), c.mayExport, ref))
}

func (c *call) mayExport(r oci.Repository) (authz.Act, error) {
	return authz.Check(c.p, authz.Export, r, c.o.Open)
}

// mayRead: a timeline is for who may export, and for who reads the audit log, where
// all of it is as well.
func (c *call) mayRead(r oci.Repository) (authz.Act, error) {
	if act, err := c.readAudit(); err == nil {
		return act, nil
	}
	return c.mayExport(r)
}
