package registry_test

import (
	"context"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Barred implements repo.Trust: trust in nothing has ended.
func (*tx) Barred(context.Context, []oci.Digest) (*evidence.Revocation, oci.Digest, error) {
	return nil, oci.Digest{}, nil
}

// RevocationSeq implements repo.Trust.
func (*tx) RevocationSeq(context.Context) (int64, error) { return 0, nil }
