package policy

import (
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// RevokedRule is the name under which decisions tell of a revocation, and
// RevokedClause the half of a gate that none of its rules is in.
const (
	RevokedRule   = "revoked"
	RevokedClause = "revocation"
)

// Revoked is the decision about what a revocation withdraws, which no gate makes.
func Revoked(r oci.Repository, d oci.Digest, by *evidence.Revocation) *api.Decision {
	return &api.Decision{
		Repository: r.String(), Digest: d.String(), Zone: r.Zone(), Clause: RevokedClause, Outcome: api.Deny, DecidedAt: by.At.Truncate(time.Microsecond),
		Reasons: []api.Reason{{Rule: RevokedRule, Outcome: api.Deny, Says: by.String(), Remedy: fmt.Sprintf("when trust is back: bonded revoke lift %d --reason WHY", by.ID)}},
	}
}
