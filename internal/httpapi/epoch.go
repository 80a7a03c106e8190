package httpapi

import (
	"context"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Epochs tells the states of repositories.
type Epochs interface {
	// Epoch returns the state of r, with its lines. To whom s lets see nothing
	// there, or only its own, it is repo.ErrNotFound.
	Epoch(ctx context.Context, s repo.Sight, r oci.Repository) (*api.RepositoryEpoch, error)
}

func (c *call) repositoryEpoch() error {
	r, err := oci.ParseRepository(c.query.Get("repository"))
	if err != nil {
		return err
	}
	out, err := c.o.Epochs.Epoch(c.r.Context(), c.sight(), r)
	if err == nil && c.query.Get("state") != "true" {
		out.State = nil
	}
	return c.write(out, err)
}
