package httpapi

import "github.com/bonded-dev/bonded/internal/repo"

func (c *call) bases() error {
	ref, err := reference(c.query.Get("ref"))
	if err != nil {
		return err
	}
	return c.write(c.o.Lineage.Bases(c.r.Context(), c.sight(), ref))
}

func (c *call) descendants() error {
	ref, err := reference(c.query.Get("ref"))
	if err != nil {
		return err
	}
	limit, err := c.limit()
	if err != nil {
		return err
	}
	return c.write(c.o.Lineage.Descendants(c.r.Context(), c.sight(), ref, repo.Page{After: c.query.Get("after"), Limit: limit}))
}
