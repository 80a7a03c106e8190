package httpapi

import (
	"context"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Prover tells the proofs of decisions.
type Prover interface {
	// ProofOf returns the proof of the decision in force about d in r, nil where
	// there is none. whole asks for all that proves it, and waits a while for a
	// batch that is not signed yet; otherwise it is said whether it is proven, and
	// in which batch.
	ProofOf(ctx context.Context, r oci.Repository, d oci.Digest, whole bool) (*api.Proof, error)
}

var proofParam = parameter{name: "proof", about: "whole: with all that proves the decision offline, which is waited for; otherwise it is only said whether it is proven", values: []string{"whole"}}

// proof returns the proof of the decision about an artifact, nil where there is
// none, or nobody who could tell.
func (c *call) proof(d *api.Decision, whole bool) (*api.Proof, error) {
	if c.o.Prove == nil || d == nil {
		return nil, nil
	}
	r, err := oci.ParseRepository(d.Repository)
	if err != nil {
		return nil, fmt.Errorf("proving a decision: %v", err)
	}
	digest, err := oci.ParseDigest(d.Digest)
	if err != nil {
		return nil, fmt.Errorf("proving a decision: %v", err)
	}
	return c.o.Prove.ProofOf(c.r.Context(), r, digest, whole)
}

// proven adds the proof to an explanation; a supposed decision has none.
func (c *call) proven(w *api.Why, err error) (*api.Why, error) {
	if err != nil || c.query.Get("hypothetical") != "" {
		return w, err
	}
	w.Proof, err = c.proof(w.Decision, c.query.Get("proof") == "whole")
	return w, err
}

// provenPromotion adds what is known of the proof to a promotion that was made.
func (c *call) provenPromotion(dryRun bool, p *api.Promoted, err error) (*api.Promoted, error) {
	if err != nil || dryRun || p.Decision.Outcome != api.Allow {
		return p, err
	}
	p.Proof, err = c.proof(&p.Decision, false)
	return p, err
}
