package promote

import (
	"context"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// carry keeps of the target who pushed d on its way there, if the verdict is about
// all of them.
func (m *move) carry(ctx context.Context, tx Tx, d oci.Digest, v *Verdict) error {
	if err := tx.CarryArrivals(ctx, d, m.source, m.to); err != nil {
		return err
	}
	return m.asArrived(ctx, tx, d, v)
}

// asArrived returns an error matching repo.ErrConflict unless a verdict is about
// all who pushed d on its way to the target.
func (m *move) asArrived(ctx context.Context, tx Tx, d oci.Digest, v *Verdict) error {
	all, err := tx.ArrivalsOf(ctx, d, m.to)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(all, v.Decision.Inputs.Arrivals, sameArrival) {
		return fmt.Errorf("%s was pushed by others meanwhile: %w", d, repo.ErrConflict)
	}
	return nil
}

func sameArrival(a evidence.Arrival, told api.Arrival) bool {
	return a.Repository.String() == told.Repository && a.By == told.By && string(a.Kind) == told.Kind && a.At.Equal(told.At)
}

// asBased returns an error matching repo.ErrConflict unless the verdict, and those
// on children, are about the bases that stand now.
func (m *move) asBased(ctx context.Context, tx Tx, v *Verdict) error {
	if of := v.Decision.Inputs.BaseChange; of != 0 {
		seq, err := tx.BaseSeq(ctx)
		if err != nil {
			return err
		}
		if of != seq {
			return fmt.Errorf("what %s is built on: %w", v.Decision.Digest, repo.ErrConflict)
		}
	}
	for _, d := range sortedKeys(v.Children) {
		child := v.Children[d]
		if err := m.asBased(ctx, tx, &child); err != nil {
			return err
		}
	}
	return nil
}
