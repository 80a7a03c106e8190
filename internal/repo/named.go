package repo

import (
	"context"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Named is a time in which a tag named a digest.
type Named struct {
	ID     int64 // grows with each
	Digest oci.Digest
	From   time.Time // zero where that is not known
	To     time.Time // zero while it names it
	// Back is the ID of the earlier one that this went back to, 0 for none.
	Back int64
}

// Past tells what tags have named, and goes back to it.
type Past interface {
	// NamedBy lists what a tag of r has named, newest first: those with a smaller
	// ID than before, 0 for the newest; at most n.
	NamedBy(ctx context.Context, r oci.Repository, tag string, before int64, n int) ([]Named, error)
	// ReturnTag is SetTag to what the tag named in an earlier time.
	ReturnTag(ctx context.Context, r oci.Repository, tag string, to Named) (oci.Digest, error)
}

// Earlier returns what a tag named before what it names now, or before it was
// removed, newest first, each digest once. Where the tag went back that is what
// came before what it went back to: who goes back twice does not stand at the
// start again. named is all that it has named, newest first.
func Earlier(named []Named) []Named {
	if len(named) == 0 {
		return nil
	}
	now, seen := named[0], map[oci.Digest]bool{}
	below := now.ID
	if now.To.IsZero() {
		seen[now.Digest] = true
	} else {
		below++
	}
	if now.Back != 0 && now.To.IsZero() {
		below = now.Back
	}
	var earlier []Named
	for _, n := range named {
		if n.ID < below && !seen[n.Digest] {
			seen[n.Digest] = true
			earlier = append(earlier, n)
		}
	}
	return earlier
}
