package client

import (
	"context"
	"net/http"

	"github.com/bonded-dev/bonded/api"
)

// Trust returns what the server signs with.
func (c *Client) Trust(ctx context.Context) (*api.Trust, error) {
	out := new(api.Trust)
	return out, c.get(ctx, out, "trust")
}

// SignIn returns a sign-in that is under way.
func (c *Client) SignIn(ctx context.Context, code string) (*api.SignIn, error) {
	out := new(api.SignIn)
	return out, c.get(ctx, out, "sign-ins", code)
}

// SettleSignIn lets a sign-in go on as the caller, or ends it.
func (c *Client) SettleSignIn(ctx context.Context, code string, approve bool) (*api.SignIn, error) {
	out := new(api.SignIn)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"sign-ins", code}, body: api.SignInAnswer{Approve: approve}}, out)
}
