package repo

import (
	"context"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Trust tells what trust has ended in.
type Trust interface {
	// Barred returns the revocation in force by which one of ds may stand nowhere,
	// and which one; nil when all may.
	Barred(ctx context.Context, ds []oci.Digest) (*evidence.Revocation, oci.Digest, error)
	// RevocationSeq returns the number of the latest revocation or lift, 0 when
	// there never was one. What was decided under another is decided again.
	RevocationSeq(ctx context.Context) (int64, error)
}

// Digests returns those of the manifest and of all that it names, which share its
// fate.
func (m *Manifest) Digests() []oci.Digest {
	ds := []oci.Digest{m.Digest}
	for _, ref := range m.References {
		ds = append(ds, ref.Digest)
	}
	return ds
}
