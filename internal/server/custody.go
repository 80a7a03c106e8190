package server

import (
	"context"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/custody"
	"github.com/bonded-dev/bonded/internal/httpapi"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/verify"
)

// custodian answers about custody.
type custodian struct{ *custody.Flow }

var _ httpapi.Custodian = custodian{}

// newCustody makes the flow that tells the story of a digest, over services that
// are wired.
func (s *Server) newCustody(e epochs) custodian {
	return custodian{custody.New(custody.Options{
		View: txs[custody.Tx](s.db.View), Update: txs[custody.Tx](s.db.Update), Blobs: s.content.blobs, Rows: s.db,
		Log: s.trust.log(logAudit), Proofs: s.trust.sign, Revocations: s.newRevoke(),
		Epoch: func(ctx context.Context, r oci.Repository) (*api.RepositoryEpoch, error) {
			return e.Epoch(ctx, func(oci.Repository) (repo.Viewer, bool) { return repo.Viewer{}, true }, r)
		},
		Verifier: func() *verify.Verifier { return s.anchors.trusted().Verifier },
		Root:     s.trust.instance.TrustedRoot, URL: s.trust.instance.Server(), Clock: s.clock, Rand: s.rand,
	})}
}

// Timeline implements httpapi.Custodian.
func (c custodian) Timeline(ctx context.Context, s repo.Sight, permit func(oci.Repository) (authz.Act, error), ref oci.Reference) (*api.CustodyTimeline, error) {
	return c.Flow.Timeline(ctx, custody.Asker{Sight: s, Permit: permit}, ref)
}

// Export implements httpapi.Custodian.
func (c custodian) Export(ctx context.Context, s repo.Sight, permit func(oci.Repository) (authz.Act, error), ref oci.Reference) (*api.Custody, error) {
	return c.Flow.Export(ctx, custody.Asker{Sight: s, Permit: permit}, ref)
}
