package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/bonded-dev/bonded/api"
)

// Epoch tells the state of a repository with its number; with lines, what its
// tags name and what can be pulled.
func (c *Client) Epoch(ctx context.Context, repository string, lines bool) (*api.RepositoryEpoch, error) {
	q := url.Values{"repository": {repository}}
	if lines {
		q.Set("state", "true")
	}
	out := new(api.RepositoryEpoch)
	return out, c.do(ctx, request{method: http.MethodGet, path: []string{"epoch"}, query: q}, out)
}
