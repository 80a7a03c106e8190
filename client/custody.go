package client

import (
	"context"
	"net/http"

	"github.com/bonded-dev/bonded/api"
)

// Custody tells what happened to an artifact, oldest first. ref is as for
// Inventory.
func (c *Client) Custody(ctx context.Context, ref string) (*api.CustodyTimeline, error) {
	out := new(api.CustodyTimeline)
	return out, c.do(ctx, about("custody", ref), out)
}

// ExportCustody returns the file that proves it, as it is to be kept.
func (c *Client) ExportCustody(ctx context.Context, ref string) ([]byte, error) {
	return c.read(ctx, request{method: http.MethodPost, path: []string{"custody", "export"}, body: api.CustodyRequest{Ref: ref}})
}
