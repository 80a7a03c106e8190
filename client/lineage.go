package client

import (
	"context"
	"net/http"

	"github.com/bonded-dev/bonded/api"
)

// Bases lists the images that an artifact is built on.
func (c *Client) Bases(ctx context.Context, ref string) (*api.Bases, error) {
	out := new(api.Bases)
	return out, c.do(ctx, about("bases", ref), out)
}

// Descendants lists one page of the placements of images that are built on one.
// limit is at most 1 000, 0 for 100.
func (c *Client) Descendants(ctx context.Context, ref, after string, limit int) (*api.Descendants, error) {
	v := page(after, limit)
	v.Set("ref", ref)
	out := new(api.Descendants)
	return out, c.do(ctx, request{method: http.MethodGet, path: []string{"descendants"}, query: v}, out)
}
