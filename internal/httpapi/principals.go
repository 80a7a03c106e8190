package httpapi

import (
	"net/http"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/peer"
)

func (c *call) enrol() error {
	var req api.EnrolRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	return c.write(c.o.Enrol.Enrol(c.r.Context(), req, peer.Addr(c.r)))
}

// own lets a caller manage its own account, unless its token is for a few
// things only.
func (c *call) own() error {
	if c.p.Scope != nil {
		return errNarrow
	}
	return nil
}

func (c *call) self() error {
	if err := c.own(); err != nil {
		return err
	}
	return c.write(c.o.Principals.Account(c.r.Context(), c.p.Subject))
}

func (c *call) newToken() error {
	if err := c.own(); err != nil {
		return err
	}
	var req api.TokenRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	out, err := c.o.Principals.NewToken(c.r.Context(), c.p, req)
	return c.writeStatus(http.StatusCreated, out, err)
}

func (c *call) revoke() error {
	if err := c.own(); err != nil {
		return err
	}
	if err := c.o.Principals.Revoke(c.r.Context(), c.p, c.arg); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) principals() error {
	if _, err := c.administer(); err != nil {
		return err
	}
	limit, err := c.limit()
	if err != nil {
		return err
	}
	found, err := c.o.Principals.Accounts(c.r.Context(), c.query.Get("after"), limit)
	if err != nil {
		return err
	}
	page := api.Page[api.Account]{Items: append([]api.Account{}, found...)}
	if len(found) == limit {
		page.Next = found[limit-1].Name
	}
	return c.write(page, nil)
}

func (c *call) principal() error {
	if _, err := c.administer(); err != nil {
		return err
	}
	return c.write(c.o.Principals.Account(c.r.Context(), c.arg))
}

func (c *call) invite() error {
	act, err := c.administer()
	if err != nil {
		return err
	}
	var req api.InviteRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	out, err := c.o.Principals.Invite(c.r.Context(), act, req)
	return c.writeStatus(http.StatusCreated, out, err)
}

func (c *call) grant() error {
	act, err := c.administer()
	if err != nil {
		return err
	}
	var req api.GrantRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	return c.write(c.o.Principals.Grant(c.r.Context(), act, c.arg, req))
}

func (c *call) disable(disabled bool) error {
	act, err := c.administer()
	if err != nil {
		return err
	}
	return c.write(c.o.Principals.Disable(c.r.Context(), act, c.arg, disabled))
}

func (c *call) rotateKey() error {
	act, err := c.administer()
	if err != nil {
		return err
	}
	return c.write(c.o.Keys.RotateKey(c.r.Context(), act))
}
