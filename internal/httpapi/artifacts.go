package httpapi

import (
	"fmt"
	"regexp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// zonePattern is what a zone can be called: one segment of a repository name.
var zonePattern = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*$`)

func checkZone(name string) error {
	if name != "" && (len(name) > oci.MaxName || !zonePattern.MatchString(name)) {
		return fmt.Errorf("%w: zone %s", oci.ErrNameInvalid, oci.Quote(name))
	}
	return nil
}

func (c *call) why() error {
	ref, err := reference(c.query.Get("ref"))
	if err != nil {
		return err
	}
	zone, hypothetical := c.query.Get("zone"), c.query.Get("hypothetical")
	for _, z := range []string{zone, hypothetical} {
		if err := checkZone(z); err != nil {
			return err
		}
	}
	return c.write(c.proven(c.o.Explain.Why(c.r.Context(), c.sight(), ref, zone, hypothetical)))
}

func (c *call) inventory() error {
	ref, err := reference(c.query.Get("ref"))
	if err != nil {
		return err
	}
	return c.write(c.o.Explain.Inventory(c.r.Context(), c.sight(), ref))
}

func (c *call) findings() error {
	ref, err := reference(c.query.Get("ref"))
	if err != nil {
		return err
	}
	return c.write(c.o.Explain.Findings(c.r.Context(), c.sight(), ref))
}

// Media types of inventories as documents.
const (
	spdxType      = "application/spdx+json"
	cycloneDXType = "application/vnd.cyclonedx+json; version=1.6"
)

func (c *call) sbom() error {
	ref, err := reference(c.query.Get("ref"))
	if err != nil {
		return err
	}
	format, mediaType := "spdx", spdxType
	if c.query.Get("format") == "cyclonedx" {
		format, mediaType = "cyclonedx", cycloneDXType
	}
	doc, err := c.o.Explain.SBOM(c.r.Context(), c.sight(), ref, format)
	if err != nil {
		return err
	}
	c.writeBytes(200, mediaType, doc)
	return nil
}

func (c *call) affected() error {
	id := c.query.Get("id")
	if len(id) > maxReference {
		return fmt.Errorf("%w: an id of %d bytes", errQuery, len(id))
	}
	limit, err := c.limit()
	if err != nil {
		return err
	}
	return c.write(c.o.Explain.Affected(c.r.Context(), c.sight(), id, repo.Page{After: c.query.Get("after"), Limit: limit}))
}

// promote checks both ends: pull where the artifact stands, promote where it
// should go.
func (c *call) promote() error {
	var req api.PromoteRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	ref, err := reference(req.Reference)
	if err != nil {
		return err
	}
	if ref.Repository.IsZero() {
		return fmt.Errorf("%w: %s does not say which placement is meant: want ZONE/PATH with tag or digest, such as dev/app:1.0", oci.ErrNameInvalid, oci.Quote(req.Reference))
	}
	if req.To == "" {
		return fmt.Errorf("%w: to is missing: the zone to promote to", errBody)
	}
	if err := checkZone(req.To); err != nil {
		return err
	}
	for _, tag := range req.Tags {
		if err := oci.CheckTag(tag); err != nil {
			return err
		}
	}
	target, err := ref.Repository.InZone(req.To)
	if err != nil {
		return err
	}
	v, ok := c.sight()(ref.Repository)
	if !ok {
		return fmt.Errorf("no repository %s that %s can see: %w", ref.Repository, c.p.Name(), repo.ErrNotFound)
	}
	act, err := authz.Check(c.p, authz.Promote, target, c.o.Open)
	if err != nil {
		return err
	}
	out, err := c.o.Promote.Promote(c.r.Context(), act, v, ref, req)
	return c.write(c.provenPromotion(req.DryRun, out, err))
}
