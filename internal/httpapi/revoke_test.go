package httpapi

import (
	"context"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// revokeFake is apart because its method has the name of one of Principals.
type revokeFake struct{ *fake }

func (f revokeFake) Revoke(_ context.Context, act authz.Act, req api.RevokeRequest) (*api.Revoked, error) {
	if err := act.Permits(oci.Repository{}, authz.Revoke); err != nil {
		f.t.Error(err)
	}
	if req.Reason == "" {
		return nil, fmt.Errorf("%w: it needs a reason", evidence.ErrRevocationInvalid)
	}
	out := &api.Revoked{Revocation: api.Revocation{ID: 4, Kind: req.Kind, Digest: req.Digest, What: req.Digest, Reason: req.Reason, By: act.Principal().Name(), At: epoch}, Preview: req.Preview, Barred: 1}
	out.Hits = []api.RevocationHit{{Repository: "dev/app", Digest: req.Digest, Kind: "image", State: "admitted", Why: "it is it"}}
	return out, f.note("revoke %s", req.Digest)
}

func (f revokeFake) Lift(_ context.Context, act authz.Act, id int64, reason string) (*api.Revoked, error) {
	if err := act.Permits(oci.Repository{}, authz.Revoke); err != nil {
		f.t.Error(err)
	}
	if id != 4 {
		return nil, fmt.Errorf("reading revocation %d: %w", id, repo.ErrNotFound)
	}
	return &api.Revoked{Revocation: api.Revocation{ID: 4, Lifted: &api.Lifted{By: act.Principal().Name(), At: epoch, Reason: reason}}, Hits: []api.RevocationHit{}}, f.note("lift %d", id)
}

func (f revokeFake) List(_ context.Context, before int64, limit int) ([]api.Revocation, error) {
	if before > 0 && before <= 3 {
		return nil, f.err
	}
	return []api.Revocation{{ID: 4, Kind: "feed", Feed: "osv", What: "feed osv", At: epoch}, {ID: 3, Kind: "key", At: epoch}}[:min(limit, 2)], f.note("revocations before %d", before)
}

func (f revokeFake) Epoch(_ context.Context, s repo.Sight, r oci.Repository) (*api.RepositoryEpoch, error) {
	if _, ok := s(r); !ok {
		return nil, fmt.Errorf("repository %s: %w", r, repo.ErrNotFound)
	}
	lines := []string{"placement " + someDigest + " admitted", "tag 1 " + someDigest}
	return &api.RepositoryEpoch{Epoch: api.Epoch{Repository: r.String(), Epoch: 7, At: epoch, Expires: epoch, Tags: 1, Placements: 1, Digest: api.StateDigest(lines)}, State: lines, Text: "not yet"}, f.note("epoch %s", r)
}
