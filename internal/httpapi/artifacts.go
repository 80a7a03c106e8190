package httpapi

import (
	"fmt"
	"regexp"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
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
	if c.query.Has("at") || c.query.Has("replay") {
		return c.whyAt(ref, zone)
	}
	return c.write(c.proven(c.o.Explain.Why(c.r.Context(), c.sight(), ref, zone, hypothetical)))
}

// whyAt explains the decision that was in force at a time.
func (c *call) whyAt(ref oci.Reference, zone string) error {
	at, err := c.o.Clock(), error(nil)
	if c.query.Has("at") {
		at, err = time.Parse(time.RFC3339, c.query.Get("at"))
	}
	if err != nil {
		return fmt.Errorf("%w: at is %s, want a time such as 2026-03-01T00:00:00Z", errQuery, oci.Quote(c.query.Get("at")))
	}
	then := assess.Then{At: at.UTC(), Replay: c.query.Get("replay") == "true"}
	switch {
	case c.query.Get("hypothetical") != "" || c.query.Get("proof") != "":
		return fmt.Errorf("%w: at goes neither with hypothetical nor with proof", errQuery)
	case then.Replay && c.p.IsAnonymous():
		return fmt.Errorf("making a decision again: %w", authz.ErrUnauthenticated)
	}
	return c.write(c.o.Explain.WhyAt(c.r.Context(), c.sight(), ref, zone, then))
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

// maxDocument bounds a request with a document, in bytes.
const maxDocument = 8 << 20

func (c *call) checkVEX() error {
	var req api.VEXCheckRequest
	if err := c.decodeUpTo(&req, maxDocument); err != nil {
		return err
	}
	ref, err := reference(req.Reference)
	if err != nil {
		return err
	}
	return c.write(c.o.Explain.CheckVEX(c.r.Context(), c.sight(), ref, req.Document))
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
