package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/bonded-dev/bonded/api"
)

// AskWaiver asks for a waiver, or with Preview tells what it would change.
func (c *Client) AskWaiver(ctx context.Context, req api.WaiverRequest) (*api.WaiverDone, error) {
	out := new(api.WaiverDone)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"waivers"}, body: req}, out)
}

// GrantWaiver adds the caller's yes, or with preview tells what that would change.
func (c *Client) GrantWaiver(ctx context.Context, id string, preview bool) (*api.WaiverDone, error) {
	return c.actOnWaiver(ctx, id, "grant", api.WaiverAct{Preview: preview})
}

// DenyWaiver refuses one that is not in force.
func (c *Client) DenyWaiver(ctx context.Context, id, reason string) (*api.WaiverDone, error) {
	return c.actOnWaiver(ctx, id, "deny", api.WaiverAct{Reason: reason})
}

// EndWaiver ends one before its time.
func (c *Client) EndWaiver(ctx context.Context, id, reason string) (*api.WaiverDone, error) {
	return c.actOnWaiver(ctx, id, "end", api.WaiverAct{Reason: reason})
}

func (c *Client) actOnWaiver(ctx context.Context, id, act string, body api.WaiverAct) (*api.WaiverDone, error) {
	out := new(api.WaiverDone)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"waivers", id, act}, body: body}, out)
}

// Waiver returns one waiver with what the rules of its gate make of it.
func (c *Client) Waiver(ctx context.Context, id string) (*api.Waiver, error) {
	out := new(api.Waiver)
	return out, c.do(ctx, request{method: http.MethodGet, path: []string{"waivers", id}}, out)
}

// Waivers lists a page of waivers, newest first, of a zone, "" for all; open
// leaves out those that have ended. after is the Next of the page before, "" for
// the first; limit 0 is 100.
func (c *Client) Waivers(ctx context.Context, zone string, open bool, after string, limit int) (*api.Page[api.Waiver], error) {
	q := page(after, limit)
	if zone != "" {
		q.Set("zone", zone)
	}
	if open {
		q.Set("open", "true")
	}
	out := new(api.Page[api.Waiver])
	return out, c.do(ctx, request{method: http.MethodGet, path: []string{"waivers"}, query: q}, out)
}

// ExportWaivers returns those in force as OpenVEX, of the repositories that a
// pattern takes, "" for all.
func (c *Client) ExportWaivers(ctx context.Context, repositories string) ([]byte, error) {
	q := url.Values{}
	if repositories != "" {
		q.Set("repositories", repositories)
	}
	return c.read(ctx, request{method: http.MethodGet, path: []string{"waivers", "export"}, query: q})
}
