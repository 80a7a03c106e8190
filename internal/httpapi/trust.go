package httpapi

import (
	"context"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
)

// Trust tells what the server signs with, and settles sign-ins of its issuer.
type Trust interface {
	Trust(ctx context.Context) (*api.Trust, error)
	// SignIn finds one that is under way, by its code.
	SignIn(ctx context.Context, code string) (*api.SignIn, error)
	// SettleSignIn lets it go on as p, or ends it. One that was settled is
	// repo.ErrConflict.
	SettleSignIn(ctx context.Context, p authz.Principal, code string, approve bool) (*api.SignIn, error)
}

func (c *call) trust() error { return c.write(c.o.Trust.Trust(c.r.Context())) }

func (c *call) signIn() error {
	if err := c.own(); err != nil {
		return err
	}
	return c.write(c.o.Trust.SignIn(c.r.Context(), c.arg))
}

func (c *call) settleSignIn() error {
	if err := c.own(); err != nil {
		return err
	}
	var answer api.SignInAnswer
	if err := c.decode(&answer); err != nil {
		return err
	}
	return c.write(c.o.Trust.SettleSignIn(c.r.Context(), c.p, c.arg, answer.Approve))
}
