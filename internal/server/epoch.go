package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
)

// epochLife is how long a state of a repository may be gone by. While the server
// lives there is another after half of it.
const epochLife = 24 * time.Hour

// epochs lets the states of repositories be proven along with decisions.
type epochs struct {
	db    *db.DB
	zones repo.Zones
	clock clock
	// path finds where a state is proven. nil where nothing is signed.
	path func(ctx context.Context, batch, index int64) ([]sign.Hash, *api.Batch, error)
}

var _ sign.Epochs = epochs{}

// newEpochs returns the epochs of the repositories of the server.
func (s *Server) newEpochs() epochs {
	e := epochs{db: s.db, zones: s.zones, clock: s.clock}
	if s.trust != nil && s.trust.sign != nil {
		e.path = s.trust.sign.EpochPath
	}
	return e
}

func (e epochs) now() db.Epochs {
	out := db.Epochs{Life: epochLife, At: e.clock()}
	for _, name := range e.zones.Names() {
		if e.zones[name].Gated() {
			out.Zones = append(out.Zones, name)
		}
	}
	return out
}

// Due implements sign.Epochs.
func (e epochs) Due(ctx context.Context) (bool, error) { return e.db.EpochsDue(ctx, e.now()) }

// Collect implements sign.Epochs.
func (e epochs) Collect(ctx context.Context, tx sign.Tx, batch int64) ([]sign.Hash, error) {
	leaves, err := any(tx).(*db.Tx).CollectEpochs(ctx, e.now(), batch)
	hashes := make([]sign.Hash, len(leaves))
	for i := range leaves {
		hashes[i] = leaves[i]
	}
	return hashes, err
}

// Epoch implements httpapi.Epochs.
func (e epochs) Epoch(ctx context.Context, s repo.Sight, r oci.Repository) (*api.RepositoryEpoch, error) {
	zone, err := e.zones.Of(r)
	if err != nil {
		return nil, err
	}
	if v, ok := s(r); !ok || v.Own {
		return nil, fmt.Errorf("repository %s: %w", r, repo.ErrNotFound)
	}
	if !zone.Gated() {
		return nil, fmt.Errorf("repository %s is in a sandbox: it has no state that anybody answers for: %w", r, repo.ErrNotFound)
	}
	found, err := e.db.Epoch(ctx, r, e.now())
	if err != nil {
		return nil, err
	}
	out := &api.RepositoryEpoch{Epoch: found.Epoch, State: found.State, Text: "no batch proves this state yet; ask again in a few seconds"}
	if found.Payload == nil || e.path == nil {
		return out, nil
	}
	path, batch, err := e.path(ctx, found.Batch, found.Pos)
	if errors.Is(err, repo.ErrNotFound) {
		return out, nil // it is being signed
	}
	if err != nil {
		return nil, err
	}
	out.Proven, out.Text, out.Payload, out.Index, out.Batch = true, "", found.Payload, found.Pos, batch
	for i := range path {
		out.Path = append(out.Path, hex.EncodeToString(path[i][:]))
	}
	return out, nil
}
