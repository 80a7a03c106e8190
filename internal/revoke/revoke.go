// Package revoke ends trust: in a digest, a key, an identity, a builder, a feed,
// or in all that somebody touched between two times.
//
// A revocation is one transaction. What it touches is withdrawn in it, so that
// every face refuses it from the commit on: a placement of the state
// repo.Revoked is readable for nobody. What others have to say again is judged
// again by jobs, and signatures that it covers count in no judgement that
// commits later. A preview is the same survey, and changes nothing.
package revoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Lifted is the end of a revocation.
type Lifted struct {
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Record is a revocation as it is kept.
type Record struct {
	evidence.Revocation
	Lifted *Lifted // nil while it is in force
}

// Touched is content that a revocation is about.
type Touched struct {
	Digest    oci.Digest
	Referrers []oci.Digest // evidence that makes it so, where signatures are meant
	How       string       // for people
}

// Mark is a placement that a revocation has withdrawn.
type Mark struct {
	At       repo.Placement // as it is
	State    repo.State     // before, and so the rest
	Sentence string
	Decision int64
	Standing int // how many revocations in force have withdrawn it
}

// Store keeps revocations. Rows are never changed but for their end.
type Store interface {
	// PutRevocation stores r and sets its ID and Since.
	PutRevocation(ctx context.Context, r *evidence.Revocation) error
	// LiftRevocation ends one. Errors match repo.ErrConflict where it has ended.
	LiftRevocation(ctx context.Context, id int64, l Lifted) error
	// Revocation returns one, or repo.ErrNotFound.
	Revocation(ctx context.Context, id int64) (*Record, error)
	// Revocations returns those with smaller IDs than before, newest first.
	Revocations(ctx context.Context, before int64, limit int) ([]Record, error)
}

// Marks keeps what revocations touch.
type Marks interface {
	// Touched returns what r is about, wherever it stands, in order of digest.
	Touched(ctx context.Context, r *evidence.Revocation) ([]Touched, error)
	// Bar lets ds stand nowhere while the revocation is in force.
	Bar(ctx context.Context, id int64, ds []oci.Digest) error
	// Mark notes that the revocation withdraws a placement, as it is before, and
	// ends the leases of its blobs that nothing else holds.
	Mark(ctx context.Context, id int64, before *repo.Placement) error
	// Marked returns what the revocation has withdrawn, as far as it is not gone.
	Marked(ctx context.Context, id int64) ([]Mark, error)
}

// Tx is what a revocation reads and changes.
type Tx interface {
	repo.Reader
	repo.Writer
	repo.Graph
	audit.Outbox
	job.Enqueuer
	Store
	Marks
	// PutDecision inserts a decision and returns its id.
	PutDecision(ctx context.Context, d *api.Decision, snapshot int64) (int64, error)
	// DecisionInForce returns the decision of a placement, nil when there is none.
	DecisionInForce(ctx context.Context, p *repo.Placement) (*api.Decision, error)
}

// Options are what a Flow works with; all are required.
type Options struct {
	Zones    repo.Zones
	JudgeJob string // kind of the job that decides "repository@digest"
	ZoneJob  string // kind of the job that has a zone, its key, judged again
	Update   func(ctx context.Context, fn func(Tx) error) error
	View     func(ctx context.Context, fn func(Tx) error) error
	Engine   string // build of this program, recorded in decisions
	Clock    func() time.Time
	Rand     io.Reader
}

// Flow is the revocation flow. It is safe for concurrent use.
type Flow struct{ Options }

// New returns a Flow.
func New(o Options) *Flow { return &Flow{o} }

// maxHits bounds the hits that an answer lists.
const maxHits = 1000

// Revoke ends trust in what req says, or previews that. act is one of revoke on
// the server. Errors match evidence.ErrRevocationInvalid, oci.ErrDigestInvalid and
// authz.ErrNotPermitted.
func (f *Flow) Revoke(ctx context.Context, act authz.Act, req api.RevokeRequest) (*api.Revoked, error) {
	if err := act.Permits(oci.Repository{}, authz.Revoke); err != nil {
		return nil, err
	}
	r, err := read(req)
	if err != nil {
		return nil, err
	}
	r.By, r.At = act.Principal().Name(), f.Clock().UTC()
	if err := r.Validate(); err != nil {
		return nil, err
	}
	run := f.Update
	if req.Preview {
		run = f.View
	}
	var out *api.Revoked
	err = run(ctx, func(tx Tx) error {
		a := &acting{Flow: f, tx: tx, r: r, by: act.Principal()}
		s, err := a.survey(ctx)
		if err == nil && !req.Preview {
			err = a.carryOut(ctx, s)
		}
		if err != nil {
			return err
		}
		out, err = a.answer(ctx, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.Preview = req.Preview
	return out, nil
}

func read(req api.RevokeRequest) (r evidence.Revocation, err error) {
	r = evidence.Revocation{
		Kind: evidence.RevocationKind(req.Kind), Key: req.Key, Builder: req.Builder, Feed: req.Feed, Principal: req.Principal,
		From: req.From, Until: req.Until, Reason: req.Reason,
	}
	if req.Digest != "" {
		if r.Digest, err = oci.ParseDigest(req.Digest); err != nil {
			return r, err
		}
	}
	var errs [2]error
	r.Issuer, errs[0] = evidence.ParsePattern(req.Issuer)
	r.Subject, errs[1] = evidence.ParsePattern(req.Subject)
	if err := errors.Join(errs[:]...); err != nil {
		return r, fmt.Errorf("%w: %v", evidence.ErrRevocationInvalid, err)
	}
	return r, nil
}

// answer is what the caller is told.
func (a *acting) answer(ctx context.Context, s *survey) (*api.Revoked, error) {
	out := &api.Revoked{Revocation: wire(Record{Revocation: a.r}), Hits: []api.RevocationHit{}, Barred: len(s.barred), Rejudged: len(s.rest)}
	for i := range s.hits {
		if len(out.Hits) == maxHits {
			out.More = len(s.hits) - i
			break
		}
		h := &s.hits[i]
		tags, err := a.tx.TagsOf(ctx, h.at.Repository, h.at.Digest)
		if err != nil {
			return nil, err
		}
		out.Hits = append(out.Hits, api.RevocationHit{
			Repository: h.at.Repository.String(), Digest: h.at.Digest.String(), Tags: tags, Kind: string(h.at.Kind), State: string(h.at.State), Why: h.how,
		})
	}
	return out, nil
}

// wire is a revocation as it is published.
func wire(rec Record) api.Revocation {
	r := &rec.Revocation
	out := api.Revocation{
		ID: r.ID, Kind: string(r.Kind), Key: r.Key, Issuer: r.Issuer.String(), Subject: r.Subject.String(), Builder: r.Builder, Feed: r.Feed,
		Principal: r.Principal, From: r.From, Until: r.Until, What: r.What(), Reason: r.Reason, By: r.By, At: r.At,
	}
	if !r.Digest.IsZero() {
		out.Digest = r.Digest.String()
	}
	if rec.Lifted != nil {
		out.Lifted = &api.Lifted{By: rec.Lifted.By, At: rec.Lifted.At, Reason: rec.Lifted.Reason}
	}
	return out
}

// List returns revocations, lifted ones too, newest first: those with a smaller
// ID than before, 0 for the newest.
func (f *Flow) List(ctx context.Context, before int64, limit int) ([]api.Revocation, error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	list := []api.Revocation{}
	err := f.View(ctx, func(tx Tx) error {
		list = list[:0]
		found, err := tx.Revocations(ctx, before, limit)
		for _, rec := range found {
			list = append(list, wire(rec))
		}
		return err
	})
	return list, err
}

func (f *Flow) event(p authz.Principal, kind string) (audit.Event, error) {
	var b [16]byte
	if _, err := io.ReadFull(f.Rand, b[:]); err != nil {
		return audit.Event{}, fmt.Errorf("reading randomness: %v", err)
	}
	return audit.New(fmt.Sprintf("%x", b), f.Clock(), p, kind), nil
}
