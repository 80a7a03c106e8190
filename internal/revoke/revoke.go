// Package revoke ends trust: in a digest, a key, an identity, a builder, a feed,
// or in all that somebody touched between two times.
//
// A revocation is in force by one transaction. What it touches is withdrawn in
// it, however much that is, so that every face refuses it from the commit on: a
// placement of the state repo.Revoked is readable for nobody. Signatures that it
// covers count in no judgement that commits later. What can wait is done there
// too where it is little, and else by jobs, a bounded part in each transaction:
// the decision and the event of each placement, judging again what others have
// to say of, and giving back when it is lifted. A preview is the same survey, and
// changes nothing.
package revoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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
	Lifted   *Lifted // nil while it is in force
	Rejudged int     // placements that it has had judged again, apart from those it has withdrawn
}

// Touched is content that a revocation is about.
type Touched struct {
	Digest    oci.Digest
	Referrers []oci.Digest // evidence that makes it so, where signatures are meant
	How       string       // for people
}

// Withdrawal is a placement that a revocation withdraws.
type Withdrawal struct {
	Repository oci.Repository
	Digest     oci.Digest
	How        string // it is one of those that are meant, for people
}

// Step is how far the work about a placement is that was withdrawn.
type Step int

// The steps.
const (
	Taken Step = iota // it is out of reach
	Told              // its decision is recorded
	Back              // it was given back to its gate
)

// Mark is a placement that a revocation has withdrawn.
type Mark struct {
	At       repo.Placement // as it is
	State    repo.State     // before, and so the rest
	Sentence string
	Decision int64
	How      string
	Standing int // how many revocations in force have withdrawn it
}

// Progress is how far the work that a revocation leaves has come.
type Progress struct {
	Withdrawn int // placements
	Told      int // of those, their decisions are recorded
	Back      int // of those, were given back
	Waiting   int // judgements that it has asked for, and that are to come
}

// Store keeps revocations. Rows are never changed but for their end.
type Store interface {
	// Prepare stores r, which is not in force, counts for nothing and is told to
	// nobody, and sets its ID.
	Prepare(ctx context.Context, r *evidence.Revocation) error
	// Enforce puts one in force that was prepared, and sets its Since. Errors match
	// repo.ErrConflict where it was, or was discarded.
	Enforce(ctx context.Context, r *evidence.Revocation) error
	// Discard removes one that was prepared, and up to max of what was noted for
	// it; not one that is or was in force. It reports whether some is left.
	Discard(ctx context.Context, id int64, max int) (left bool, err error)
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
	// Mark notes that the revocation withdraws placements, as far as they are not
	// gone, and what they are.
	Mark(ctx context.Context, id int64, ws []Withdrawal) error
	// Take takes what is marked, and no further, out of reach, all at once. It is
	// left without a decision, and with a sentence of which its digest is the end.
	// Leases end of blobs that nothing else holds.
	Take(ctx context.Context, id int64, sentence string) error
	// Withdrawn calls fn, which must not use the transaction, with all placements
	// that the revocation has marked.
	Withdrawn(ctx context.Context, id int64, fn func(oci.Repository, oci.Digest)) error
}

// Steps keeps how far the work is that a revocation leaves.
type Steps interface {
	// Marked returns up to max placements at a step, those that are gone too.
	Marked(ctx context.Context, id int64, at Step, max int) ([]Mark, error)
	// Step notes how far the work about one is.
	Step(ctx context.Context, id int64, at *repo.Placement, to Step) error
	// Rejudging notes how many placements one has judged again.
	Rejudging(ctx context.Context, id int64, n int) error
	// Progress tells how far one is, whose judgements are asked for in a lane.
	Progress(ctx context.Context, id int64, lane string) (Progress, error)
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
	Steps
	// PutDecision inserts a decision and returns its id.
	PutDecision(ctx context.Context, d *api.Decision, snapshot int64) (int64, error)
	// DecisionInForce returns the decision of a placement, nil when there is none.
	DecisionInForce(ctx context.Context, p *repo.Placement) (*api.Decision, error)
}

// Options are what a Flow works with; all but Server and AtOnce are required.
type Options struct {
	Zones    repo.Zones
	WorkJob  string // kind of the job whose handler is Handle
	JudgeJob string // kind of the job that decides "repository@digest"
	ZoneJob  string // kind of the job that has a zone, its key, judged again
	Update   func(ctx context.Context, fn func(Tx) error) error
	View     func(ctx context.Context, fn func(Tx) error) error
	Engine   string // build of this program, recorded in decisions
	// Server is who signs what the server decides: nobody is to revoke exactly
	// that. Optional: its zero value is nobody.
	Server evidence.Identity
	Clock  func() time.Time
	Rand   io.Reader
	// AtOnce is how much one transaction does of what can wait, in placements.
	// Optional: 256, which is some ten milliseconds.
	AtOnce int
}

// Flow is the revocation flow. It is safe for concurrent use.
type Flow struct{ Options }

// New returns a Flow.
func New(o Options) *Flow {
	if o.AtOnce == 0 {
		o.AtOnce = 256
	}
	return &Flow{o}
}

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
	if err := f.spares(&r); err != nil {
		return nil, err
	}
	a := &acting{Flow: f, r: r, by: act.Principal()}
	s, err := a.look(ctx)
	if err == nil && !req.Preview {
		s, err = a.act(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	out, err := a.answer(ctx, s)
	if err == nil {
		out.Preview = req.Preview
	}
	return out, err
}

// spares refuses a revocation of the server's own identity and nobody else's. The
// server would sign on and clients believe it: they know it by its keys.
func (f *Flow) spares(r *evidence.Revocation) error {
	own := f.Server.Subject
	if own == "" || r.Kind != evidence.RevokedIdentity || !strings.EqualFold(r.Subject.String(), own) || !r.Issuer.IsZero() && !r.Issuer.MatchFold(f.Server.Issuer) {
		return nil
	}
	return fmt.Errorf("%w: %s is this server, which signs its decisions by that name; where its keys are not to be trusted, replace them: bonded trust rotate", evidence.ErrRevocationInvalid, own)
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
	listed := s.hits[:min(len(s.hits), maxHits)]
	out.More = len(s.hits) - len(listed)
	err := a.View(ctx, func(tx Tx) error {
		out.Hits = out.Hits[:0]
		for i := range listed {
			h := &listed[i]
			tags, err := tx.TagsOf(ctx, h.at.Repository, h.at.Digest)
			if err != nil {
				return err
			}
			out.Hits = append(out.Hits, api.RevocationHit{
				Repository: h.at.Repository.String(), Digest: h.at.Digest.String(), Tags: tags, Kind: string(h.at.Kind), State: string(h.at.State), Why: h.how,
			})
		}
		return nil
	})
	return out, err
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
		for i := 0; i < len(found) && err == nil; i++ {
			shown := wire(found[i])
			shown.Progress, err = progress(ctx, tx, &found[i])
			list = append(list, shown)
		}
		return err
	})
	return list, err
}

func progress(ctx context.Context, tx Tx, rec *Record) (*api.RevocationProgress, error) {
	p, err := tx.Progress(ctx, rec.ID, lane(rec.ID))
	return &api.RevocationProgress{Withdrawn: p.Withdrawn, Recorded: p.Told, GivenBack: p.Back, Rejudged: rec.Rejudged, Waiting: p.Waiting}, err
}

// lane is on whose behalf the judgements are made that a revocation asks for, so
// that they take turns with what others ask for, and can be counted. No principal
// has such a name.
func lane(id int64) string { return fmt.Sprintf("revocation %d", id) }

func (f *Flow) event(p authz.Principal, kind string) (audit.Event, error) {
	var b [16]byte
	if _, err := io.ReadFull(f.Rand, b[:]); err != nil {
		return audit.Event{}, fmt.Errorf("reading randomness: %v", err)
	}
	return audit.New(fmt.Sprintf("%x", b), f.Clock(), p, kind), nil
}
