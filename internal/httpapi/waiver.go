package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
)

// Waivers asks for permissions, and grants them. It decides by p who may do what.
// Errors match also evidence.ErrWaiverInvalid, waiver.ErrTooMany, and
// repo.ErrNotFound for a waiver that p may not know of.
type Waivers interface {
	Ask(ctx context.Context, p authz.Principal, req api.WaiverRequest) (*api.WaiverDone, error)
	Grant(ctx context.Context, p authz.Principal, id string, preview bool) (*api.WaiverDone, error)
	Deny(ctx context.Context, p authz.Principal, id, reason string) (*api.WaiverDone, error)
	End(ctx context.Context, p authz.Principal, id, reason string) (*api.WaiverDone, error)
	Show(ctx context.Context, p authz.Principal, id string) (*api.Waiver, error)
	// List returns those with a smaller number than before, 0 for the newest, of a
	// zone, "" for all; next is where it goes on, 0 at the end.
	List(ctx context.Context, p authz.Principal, zone string, open bool, before int64, limit int) (list []api.Waiver, next int64, err error)
	// Export renders those in force as OpenVEX, of the repositories that a pattern
	// takes, "" for all.
	Export(ctx context.Context, p authz.Principal, repositories string) ([]byte, error)
}

func (c *call) askWaiver() error {
	var req api.WaiverRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	done, err := c.o.Waivers.Ask(c.r.Context(), c.p, req)
	status := http.StatusCreated
	if req.Preview {
		status = http.StatusOK
	}
	return c.writeStatus(status, done, err)
}

// actOnWaiver reads what an act on the waiver of the path says.
func (c *call) actOnWaiver(act func(ctx context.Context, req api.WaiverAct) (*api.WaiverDone, error)) error {
	var req api.WaiverAct
	if err := c.decode(&req); err != nil {
		return err
	}
	return c.write(act(c.r.Context(), req))
}

func (c *call) grantWaiver() error {
	return c.actOnWaiver(func(ctx context.Context, req api.WaiverAct) (*api.WaiverDone, error) {
		return c.o.Waivers.Grant(ctx, c.p, c.arg, req.Preview)
	})
}

func (c *call) denyWaiver() error {
	return c.actOnWaiver(func(ctx context.Context, req api.WaiverAct) (*api.WaiverDone, error) {
		return c.o.Waivers.Deny(ctx, c.p, c.arg, req.Reason)
	})
}

func (c *call) endWaiver() error {
	return c.actOnWaiver(func(ctx context.Context, req api.WaiverAct) (*api.WaiverDone, error) {
		return c.o.Waivers.End(ctx, c.p, c.arg, req.Reason)
	})
}

func (c *call) waiver() error { return c.write(c.o.Waivers.Show(c.r.Context(), c.p, c.arg)) }

func (c *call) waivers() error {
	limit, err := c.limit()
	if err != nil {
		return err
	}
	before, err := c.number("after", 0)
	if err != nil {
		return err
	}
	found, next, err := c.o.Waivers.List(c.r.Context(), c.p, c.query.Get("zone"), c.query.Get("open") == "true", before, limit)
	if err != nil {
		return err
	}
	page := api.Page[api.Waiver]{Items: append([]api.Waiver{}, found...)}
	if next > 0 {
		page.Next = strconv.FormatInt(next, 10)
	}
	return c.write(page, nil)
}

func (c *call) exportWaivers() error {
	doc, err := c.o.Waivers.Export(c.r.Context(), c.p, c.query.Get("repositories"))
	if err != nil {
		return err
	}
	c.writeBytes(http.StatusOK, "application/json", doc)
	return nil
}
