package evidence

import (
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Base is an image that stands in a zone and whose layers are all, in their order,
// the lowest of another image. That is compared, and nobody's claim.
type Base struct {
	Repository oci.Repository
	Digest     oci.Digest
	Layers     int       // how many it has
	At         time.Time // when it was admitted
	// Tag is one that names it, or, where none does any more, one that named it
	// last; "" when none ever did.
	Tag string
	// Newer is what Tag names now, where that is something else; zero when Tag is
	// gone, too.
	Newer oci.Digest
	// Past says that no tag names it any more, and one did.
	Past bool
}
