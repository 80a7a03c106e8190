package evidence

import (
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Arrival is the first push of some content into a repository. A promotion
// carries those of where it comes from.
type Arrival struct {
	Repository oci.Repository // into which it was pushed
	By         string         // name of the principal
	Kind       Bringer        // of By, as it was then
	At         time.Time
}

// Bringer is what a principal is, as far as that tells whose work it brings.
type Bringer string

// The kinds of principals. Of what came before they were kept, nobody knows.
const (
	Human     Bringer = "human"
	Machine   Bringer = "machine"
	Internal  Bringer = "internal" // the server itself
	Anonymous Bringer = "anonymous"
	Nobody    Bringer = "" // it is not known
)

// Bringers lists all kinds that are known, those first whose part in something
// says most against its having been made by a machine.
func Bringers() []Bringer { return []Bringer{Anonymous, Human, Machine, Internal} }
