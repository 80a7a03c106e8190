package assess

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
)

// TestLendersAreBounded: indexes with much to say about them are not all held at
// once, and what one lent before stays.
func TestLendersAreBounded(t *testing.T) {
	index := oci.FromBytes([]byte("index"))
	says := &policy.Verified{Signatures: []evidence.Signature{{Subject: index, Statement: &evidence.Statement{
		Kind: evidence.KindProvenance, Size: MaxEvidence / 4, Provenance: &evidence.Provenance{},
	}}}}
	k, lent := &known{}, 0
	for range 64 {
		if k.lend(index, says) {
			lent++
		}
	}
	if lent != 4 || len(k.verified.Signatures) != 4 {
		t.Errorf("%d lent, %d signatures are held", lent, len(k.verified.Signatures))
	}
}
