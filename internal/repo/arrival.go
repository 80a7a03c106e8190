package repo

import (
	"context"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Arrivals keeps who pushed what where first. A row is never changed and never
// goes: what was removed and pushed again has come when it came first.
type Arrivals interface {
	// Arrive keeps that manifest d, which is stored (ErrNotFound), was pushed into
	// a.Repository, if that is the first time.
	Arrive(ctx context.Context, d oci.Digest, a evidence.Arrival) error
	// CarryArrivals keeps of to what is kept of d in from.
	CarryArrivals(ctx context.Context, d oci.Digest, from, to oci.Repository) error
	// ArrivalsOf returns the arrivals of d that are kept of any of those
	// repositories, each once, in the order of their repositories' names.
	ArrivalsOf(ctx context.Context, d oci.Digest, in ...oci.Repository) ([]evidence.Arrival, error)
	// FirstSeen is when d came first, to whatever repository; zero when it never
	// did.
	FirstSeen(ctx context.Context, d oci.Digest) (time.Time, error)
}
