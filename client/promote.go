package client

import (
	"context"
	"net/http"

	"github.com/bonded-dev/bonded/api"
)

// Promote takes an artifact to another zone, or says why not: look at the
// decision of the answer.
func (c *Client) Promote(ctx context.Context, req api.PromoteRequest) (*api.Promoted, error) {
	out := new(api.Promoted)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"promote"}, body: req}, out)
}

// Rollback lets a tag name again what it named before, or says why not: look at
// the decision of the answer.
func (c *Client) Rollback(ctx context.Context, req api.RollbackRequest) (*api.RolledBack, error) {
	out := new(api.RolledBack)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"rollback"}, body: req}, out)
}

// Named lists what a tag has named, newest first. ref is "repository:tag"; after
// is the ID of the last on the page before, "" for the newest; limit is at most
// 1 000, 0 for 100.
func (c *Client) Named(ctx context.Context, ref, after string, limit int) ([]api.Named, error) {
	v := page(after, limit)
	v.Set("ref", ref)
	var out []api.Named
	err := c.do(ctx, request{method: http.MethodGet, path: []string{"named"}, query: v}, &out)
	return out, err
}

// Approve says yes to an artifact for a zone, or takes that back.
func (c *Client) Approve(ctx context.Context, req api.ApproveRequest) (*api.Approved, error) {
	out := new(api.Approved)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"approve"}, body: req}, out)
}

// Stop says that an artifact is not to be promoted, or that it may be again.
func (c *Client) Stop(ctx context.Context, req api.StopRequest) (*api.Stopped, error) {
	out := new(api.Stopped)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"stop"}, body: req}, out)
}
