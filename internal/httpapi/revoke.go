package httpapi

import (
	"context"
	"fmt"
	"strconv"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Revoker ends trust, and brings it back. Errors match also
// evidence.ErrRevocationInvalid.
type Revoker interface {
	// Revoke ends trust in what req says, or tells what that would do. act is one
	// of revoke on the server.
	Revoke(ctx context.Context, act authz.Act, req api.RevokeRequest) (*api.Revoked, error)
	// Lift ends a revocation. act as for Revoke.
	Lift(ctx context.Context, act authz.Act, id int64, reason string) (*api.Revoked, error)
	// List returns revocations, lifted ones too, newest first: those with a smaller
	// id than before, 0 for the newest.
	List(ctx context.Context, before int64, limit int) ([]api.Revocation, error)
}

func (c *call) revokeTrust() error {
	act, err := c.onServer(authz.Revoke)
	if err != nil {
		return err
	}
	var req api.RevokeRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	return c.write(c.o.Revoke.Revoke(c.r.Context(), act, req))
}

func (c *call) liftRevocation() error {
	act, err := c.onServer(authz.Revoke)
	if err != nil {
		return err
	}
	id, err := strconv.ParseInt(c.arg, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %s is no number of a revocation", errQuery, oci.Quote(c.arg))
	}
	var req api.LiftRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	return c.write(c.o.Revoke.Lift(c.r.Context(), act, id, req.Reason))
}

// revocations are for who may revoke, and for who reads the audit log, where they
// are as well.
func (c *call) revocations() error {
	if _, err := c.onServer(authz.Revoke); err != nil {
		if _, other := c.readAudit(); other != nil {
			return err
		}
	}
	limit, err := c.limit()
	if err != nil {
		return err
	}
	before, err := c.number("after", 0)
	if err != nil {
		return err
	}
	found, err := c.o.Revoke.List(c.r.Context(), before, limit)
	if err != nil {
		return err
	}
	page := api.Page[api.Revocation]{Items: append([]api.Revocation{}, found...)}
	if len(found) == limit {
		page.Next = strconv.FormatInt(found[limit-1].ID, 10)
	}
	return c.write(page, nil)
}
