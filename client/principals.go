package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/bonded-dev/bonded/api"
)

// Enrol redeems a one-time code for a name and a secret. It needs neither.
func (c *Client) Enrol(ctx context.Context, req api.EnrolRequest) (*api.Enrolled, error) {
	out := new(api.Enrolled)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"enrol"}, body: req}, out)
}

// Self returns the caller's own account.
func (c *Client) Self(ctx context.Context) (*api.Account, error) {
	out := new(api.Account)
	return out, c.get(ctx, out, "self")
}

// Principals yields all accounts by name, without their tokens.
func (c *Client) Principals(ctx context.Context) iter.Seq2[api.Account, error] {
	return pages[api.Account](ctx, c, []string{"principals"}, url.Values{}, 0)
}

// Principal returns an account with its tokens.
func (c *Client) Principal(ctx context.Context, name string) (*api.Account, error) {
	out := new(api.Account)
	return out, c.get(ctx, out, "principals", name)
}

// Invite makes an account, or replaces the grants of one, and returns a code
// to enrol with.
func (c *Client) Invite(ctx context.Context, req api.InviteRequest) (*api.Invite, error) {
	out := new(api.Invite)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"principals"}, body: req}, out)
}

// Grant adds and removes grants of an account.
func (c *Client) Grant(ctx context.Context, name string, req api.GrantRequest) (*api.Account, error) {
	out := new(api.Account)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"principals", name, "grants"}, body: req}, out)
}

// Disable ends the right of an account to authenticate.
func (c *Client) Disable(ctx context.Context, name string) (*api.Account, error) {
	out := new(api.Account)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"principals", name, "disable"}}, out)
}

// Enable gives it back.
func (c *Client) Enable(ctx context.Context, name string) (*api.Account, error) {
	out := new(api.Account)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"principals", name, "enable"}}, out)
}

// NewToken makes a further token of the caller's own account.
func (c *Client) NewToken(ctx context.Context, req api.TokenRequest) (*api.Enrolled, error) {
	out := new(api.Enrolled)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"tokens"}, body: req}, out)
}

// Revoke ends a token by its id.
func (c *Client) Revoke(ctx context.Context, id string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: []string{"tokens", id}}, nil)
}

// RotateKey has the server replace the key that bearer tokens are signed with.
func (c *Client) RotateKey(ctx context.Context) (*api.SigningKey, error) {
	out := new(api.SigningKey)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"keys", "rotate"}}, out)
}
