package repo

import (
	"context"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// MaxChain is how many layers an image may have for what it descends from to be
// kept.
const MaxChain = 1000

// Chains keeps what images descend from: which layers, in which order, lie at the
// bottom of which images. An image has a base where all layers of another are its
// lowest. Both are found by their chains, whatever else there is.
type Chains interface {
	// PutChain keeps the lowest layers of image d by their diff IDs, as far as they
	// were compared with its content, at most MaxChain. whole: those are all, so
	// that it can be a base. An image has one chain for ever.
	PutChain(ctx context.Context, d oci.Digest, diffIDs []oci.Digest, whole bool) error
	// Unchained returns images that were analysed before chains were kept, in no
	// order.
	Unchained(ctx context.Context, limit int) ([]oci.Digest, error)
	// BasesOf returns where bases of d are admitted, those with most layers first,
	// then by repository and digest. d is its own base, but not in r.
	BasesOf(ctx context.Context, d oci.Digest, r oci.Repository, limit int) ([]evidence.Base, error)
	// DescendantsOf returns placements of images that have d as their base, in the
	// order in which they came, beyond a position, at most limit; d itself in other
	// repositories too.
	DescendantsOf(ctx context.Context, d oci.Digest, after int64, limit int) ([]Listed, error)
	// BaseSeq is the number of the next change of what stands as a base of
	// anything; at least 1.
	BaseSeq(ctx context.Context) (int64, error)
}
