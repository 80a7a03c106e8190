package client

import (
	"context"
	"net/http"
	"strconv"

	"github.com/bonded-dev/bonded/api"
)

// RevokeTrust ends trust in something, or with Preview tells what that would do.
func (c *Client) RevokeTrust(ctx context.Context, req api.RevokeRequest) (*api.Revoked, error) {
	out := new(api.Revoked)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"revocations"}, body: req}, out)
}

// LiftRevocation ends a revocation.
func (c *Client) LiftRevocation(ctx context.Context, id int64, reason string) (*api.Revoked, error) {
	out := new(api.Revoked)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"revocations", strconv.FormatInt(id, 10), "lift"}, body: api.LiftRequest{Reason: reason}}, out)
}

// Revocations lists a page of revocations, lifted ones too, newest first. after
// is the Next of the page before, "" for the first; limit 0 is 100.
func (c *Client) Revocations(ctx context.Context, after string, limit int) (*api.Page[api.Revocation], error) {
	out := new(api.Page[api.Revocation])
	return out, c.do(ctx, request{method: http.MethodGet, path: []string{"revocations"}, query: page(after, limit)}, out)
}
