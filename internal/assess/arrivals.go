package assess

import (
	"context"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// arrived tells in who pushed what q is about, on its way from q.from to where it
// is judged, and since when it has been here.
func (a *Assessor) arrived(ctx context.Context, q asked, in *policy.Input) error {
	err := a.DB.View(ctx, func(tx Tx) (err error) {
		if in.FirstSeen, err = tx.FirstSeen(ctx, in.Digest); err != nil {
			return err
		}
		in.Arrivals, err = tx.ArrivalsOf(ctx, in.Digest, way(q.from, in.Repository)...)
		return err
	})
	if err != nil {
		return fmt.Errorf("judging %s@%s: %w", in.Repository, in.Digest, err)
	}
	return nil
}

// way are the repositories between which something is judged.
func way(from, to oci.Repository) []oci.Repository {
	if from == to {
		return []oci.Repository{to}
	}
	return []oci.Repository{from, to}
}

// stillArrived returns an error matching repo.ErrConflict unless those who pushed
// d, as v was decided in r, are all who have.
func stillArrived(ctx context.Context, tx Tx, r oci.Repository, d oci.Digest, v *Verdict) error {
	now, err := tx.ArrivalsOf(ctx, d, r)
	if err != nil {
		return err
	}
	if !slices.Equal(policy.Arrived(now), v.Decision.Inputs.Arrivals) {
		return fmt.Errorf("%s was pushed into %s by others meanwhile: %w", d, r, repo.ErrConflict)
	}
	return nil
}
