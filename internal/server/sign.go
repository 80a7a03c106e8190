package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/oidc"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// signing is what the server says under its own name.
type signing struct {
	*sign.Flow
	keeper *sign.Keeper
	reader repo.Reader
	clock  clock
}

var _ sign.Tx = (*db.Tx)(nil)

// wireSign makes the flow that signs, over services that are wired.
func (s *Server) wireSign() error {
	t := s.trust
	identity, issuer := trust.IdentityOf(t.instance.Server())
	database := sign.DB{Update: txs[sign.Tx](s.db.Update), View: txs[sign.Tx](s.db.View)}
	signer := seal.New(seal.Options{
		Record: sign.Record{DB: database}, Identity: identity, Issuer: issuer,
		Token: func(ctx context.Context) (string, error) { return t.issuer.Mint(ctx, authz.Internal(oidc.Server)) },
		CA:    t.ca, TSA: t.tsa, Log: t.rekor, Root: t.instance.TrustedRoot, Clock: s.clock, Rand: s.rand,
	})
	o := sign.Options{
		DB: database, Signer: signer, URL: t.instance.URL(), Zones: s.zones, Blobs: s.content.blobs, Audit: s.auditHead, Describe: s.assess, Epochs: s.newEpochs(),
		Version: s.version, Clock: s.clock, Rand: s.rand, Log: s.log,
	}
	o.LogKey = func() string { return t.instance.Key(trust.LogRekor).ID()[:16] }
	if s.config.Database.Postgres == nil {
		o.Holder = "the one server" // SQLite has no other
	}
	f, err := sign.New(o)
	if err != nil {
		return err
	}
	t.sign = &signing{Flow: f, keeper: sign.NewKeeper(f, 0), reader: s.db, clock: s.clock}
	return nil
}

// auditHead is the published head of the audit log.
func (s *Server) auditHead(ctx context.Context) (sign.Head, error) {
	l := s.trust.log(logAudit)
	h, err := l.o.Store.Head(ctx)
	if err != nil || len(h.Published) == 0 {
		return sign.Head{}, err
	}
	c, err := tlog.OpenCheckpoint(h.Published, l.o.Origin, l.verifier())
	return sign.Head{Origin: c.Origin, Size: c.Size, Root: c.Root}, err
}

// problem says since when and why nothing is signed; "" while it is.
func (s *signing) problem() string {
	since, err := s.Status()
	if err == nil {
		return ""
	}
	return fmt.Sprintf("decisions are in force and wait for their proofs since %s: %v", since.UTC().Format(time.RFC3339), err)
}

// proveTime bounds how long somebody waits for a proof.
const proveTime = 10 * time.Second

// ProofOf implements httpapi.Prover.
func (s *signing) ProofOf(ctx context.Context, r oci.Repository, d oci.Digest, whole bool) (*api.Proof, error) {
	placed, err := s.reader.Lookup(ctx, r, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
	if errors.Is(err, repo.ErrNotFound) || err == nil && placed.Decision == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if whole {
		ctx, cancel := context.WithTimeout(ctx, proveTime)
		defer cancel()
		return s.Prove(ctx, placed.Decision)
	}
	p, err := s.Proof(ctx, placed.Decision)
	if err != nil || !p.Proven {
		return p, err
	}
	return &api.Proof{Decision: p.Decision, Proven: true, Batch: &api.Batch{Number: p.Batch.Number, Digest: p.Batch.Digest}}, nil
}

// referred is a reader whose referrers have what the server says about a
// placement: it is made when somebody looks for it first.
type referred struct {
	repo.Reader
	sign *signing
}

// needTime bounds how long a listing waits for what is made: clients wait for
// less than a minute, and the list is good without it.
const needTime = 5 * time.Second

// Referrers implements repo.Reader.
func (l referred) Referrers(ctx context.Context, r oci.Repository, subject oci.Digest, artifactType string, v repo.Viewer, p repo.Page) ([]oci.Descriptor, error) {
	if p.After == "" && (artifactType == "" || artifactType == seal.MediaType) {
		if err := l.need(ctx, r, subject, v); err != nil {
			return nil, err
		}
	}
	return l.Reader.Referrers(ctx, r, subject, artifactType, v, p)
}

// need sees to it that what is listed is about the decision in force. What cannot
// be made is missing from the list and nothing else; it waits for nothing while
// nothing can be signed.
func (l referred) need(ctx context.Context, r oci.Repository, subject oci.Digest, v repo.Viewer) error {
	placed, err := l.Lookup(ctx, r, repo.Selector{Digest: subject}, v)
	if errors.Is(err, repo.ErrNotFound) || err == nil && (!placed.Stands() || !v.Visible(&placed.Placement)) {
		return nil
	}
	if err != nil {
		return err
	}
	wait := needTime
	if _, failed := l.sign.Status(); failed != nil {
		wait = time.Millisecond
	}
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := l.sign.Need(bounded, r, subject); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}
