package httpapi

import (
	"fmt"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// states are the verdicts that a list is narrowed to, as people say them.
var states = []struct {
	verdict string
	state   repo.State
}{
	{"allowed", repo.Admitted}, {"held", repo.Held}, {"denied", repo.Denied}, {"withdrawn", repo.Withdrawn}, {"revoked", repo.Revoked},
}

func verdicts() []string {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = s.verdict
	}
	return names
}

func (c *call) page() (repo.Page, error) {
	after := c.query.Get("after")
	if len(after) > maxReference {
		return repo.Page{}, fmt.Errorf("%w: after has %d bytes", errQuery, len(after))
	}
	limit, err := c.limit()
	return repo.Page{After: after, Limit: limit}, err
}

func (c *call) repositories() error {
	zone := c.query.Get("zone")
	if err := checkZone(zone); err != nil {
		return err
	}
	page, err := c.page()
	if err != nil {
		return err
	}
	return c.write(c.o.List.Repositories(c.r.Context(), c.sight(), zone, page))
}

func (c *call) artifacts() error {
	l := assess.Listing{Zone: c.query.Get("zone")}
	name := c.query.Get("repository")
	if name != "" && l.Zone != "" {
		return fmt.Errorf("%w: repository and zone contradict each other: a repository is in one zone", errQuery)
	}
	if err := checkZone(l.Zone); err != nil {
		return err
	}
	if name != "" {
		r, err := oci.ParseRepository(name)
		if err != nil {
			return err
		}
		l.Repository = r
	}
	for _, s := range states {
		if s.verdict == c.query.Get("verdict") {
			l.State = s.state
		}
	}
	page, err := c.page()
	if err != nil {
		return err
	}
	return c.write(c.o.List.Artifacts(c.r.Context(), c.sight(), l, page))
}
