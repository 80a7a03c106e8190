package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/bonded-dev/bonded/api"
)

// WhyQuery is what Why asks. Ref is "repository[:tag][@digest]" or a digest
// alone; the other fields are optional.
type WhyQuery struct {
	Ref          string
	Zone         string // narrows a digest alone to a zone
	Hypothetical string // the zone whose gate is asked, without recording anything
	Proof        bool   // with all that proves the decision, which is waited for
	// At asks for the decision that was in force then; zero for now. It goes neither
	// with Hypothetical nor with Proof. Replay makes that decision again.
	At     time.Time
	Replay bool
}

// Why explains the decision about an artifact.
func (c *Client) Why(ctx context.Context, q WhyQuery) (*api.Why, error) {
	v := url.Values{"ref": {q.Ref}}
	if q.Zone != "" {
		v.Set("zone", q.Zone)
	}
	if q.Hypothetical != "" {
		v.Set("hypothetical", q.Hypothetical)
	}
	if q.Proof {
		v.Set("proof", "whole")
	}
	if !q.At.IsZero() {
		v.Set("at", q.At.UTC().Format(time.RFC3339Nano))
	}
	if q.Replay {
		v.Set("replay", "true")
	}
	out := new(api.Why)
	return out, c.do(ctx, request{method: http.MethodGet, path: []string{"why"}, query: v}, out)
}

// Inventory lists what is inside an artifact.
func (c *Client) Inventory(ctx context.Context, ref string) (*api.Inventory, error) {
	out := new(api.Inventory)
	return out, c.do(ctx, about("inventory", ref), out)
}

// Findings lists what is wrong with an artifact.
func (c *Client) Findings(ctx context.Context, ref string) (*api.Findings, error) {
	out := new(api.Findings)
	return out, c.do(ctx, about("findings", ref), out)
}

// CheckVEX tells what a VEX document would change about an artifact, and changes
// nothing.
func (c *Client) CheckVEX(ctx context.Context, ref string, document []byte) (*api.VEXCheck, error) {
	out := new(api.VEXCheck)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"vex", "check"}, body: api.VEXCheckRequest{Reference: ref, Document: document}}, out)
}

func about(what, ref string) request {
	return request{method: http.MethodGet, path: []string{what}, query: url.Values{"ref": {ref}}}
}

// SBOM returns the document of an artifact; format is "spdx" or "cyclonedx".
func (c *Client) SBOM(ctx context.Context, ref, format string) ([]byte, error) {
	r := about("sbom", ref)
	r.query.Set("format", format)
	return c.read(ctx, r)
}

// Repositories lists one page of the repositories of a zone, "" for all, in which
// the caller can see something. limit is at most 1 000, 0 for 100.
func (c *Client) Repositories(ctx context.Context, zone, after string, limit int) (*api.Page[api.Repository], error) {
	v := page(after, limit)
	if zone != "" {
		v.Set("zone", zone)
	}
	out := new(api.Page[api.Repository])
	return out, c.do(ctx, request{method: http.MethodGet, path: []string{"repositories"}, query: v}, out)
}

// ListQuery is what Artifacts lists: a repository or, without one, a zone or all
// there is.
type ListQuery struct {
	Repository, Zone string
	Verdict          string // only "allowed", "held", "denied", "withdrawn" or "revoked"; "" for all
	After            string // Next of the page before; "" for the first
	Limit            int    // at most 100 are answered; 0 for 100
}

// Artifacts lists one page of what the caller can see, the newest of each
// repository first. A page may have fewer than Limit and a Next.
func (c *Client) Artifacts(ctx context.Context, q ListQuery) (*api.Page[api.ListedArtifact], error) {
	v := page(q.After, q.Limit)
	for name, value := range map[string]string{"repository": q.Repository, "zone": q.Zone, "verdict": q.Verdict} {
		if value != "" {
			v.Set(name, value)
		}
	}
	out := new(api.Page[api.ListedArtifact])
	return out, c.do(ctx, request{method: http.MethodGet, path: []string{"artifacts"}, query: v}, out)
}

// AffectedQuery is what Affected asks: an advisory, alias or package URL, and
// optionally a page of the answer.
type AffectedQuery struct {
	ID    string
	After string // Next of the page before; "" for the first
	Limit int    // images on the page, at most 1 000; 0 for 100
}

// Affected lists the placements that hold what an advisory or package URL names.
func (c *Client) Affected(ctx context.Context, q AffectedQuery) (*api.Affected, error) {
	v := page(q.After, q.Limit)
	v.Set("id", q.ID)
	out := new(api.Affected)
	return out, c.do(ctx, request{method: http.MethodGet, path: []string{"affected"}, query: v}, out)
}

// page is the query of one page of a list.
func page(after string, limit int) url.Values {
	v := url.Values{}
	if after != "" {
		v.Set("after", after)
	}
	if limit > 0 {
		v.Set("limit", strconv.Itoa(limit))
	}
	return v
}
