package custody

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/verify"
)

// ErrNoProof: what is stored does not prove itself, or the server that has it
// signs nothing.
var ErrNoProof = errors.New("there is no proof")

// Tx is what custody reads, and the outbox of its events.
type Tx interface {
	repo.Reader
	repo.Graph
	repo.Family
	audit.Outbox
	// DecisionsOf returns the numbers of the newest decisions about d in r, in
	// order; at most limit.
	DecisionsOf(ctx context.Context, r oci.Repository, d oci.Digest, limit int) ([]int64, error)
	// MadeAbout returns the manifests of all that the server has said of d in r,
	// also of what it says no more, oldest first.
	MadeAbout(ctx context.Context, r oci.Repository, d oci.Digest, limit int) ([]oci.Digest, error)
	// Payload returns the bytes of a decision that are proven. Errors match
	// repo.ErrNotFound.
	Payload(ctx context.Context, decision int64) ([]byte, *api.Decision, error)
}

// Prover gives proofs, and waits for what makes them.
type Prover interface {
	// Proof returns what is known of the proof of a decision now, Prove the proof
	// once there is one, or why there is none when ctx ends.
	Proof(ctx context.Context, decision int64) (*api.Proof, error)
	Prove(ctx context.Context, decision int64) (*api.Proof, error)
	// Anchored returns a batch that proves the audit log up to a size.
	Anchored(ctx context.Context, size int64) (*api.Batch, error)
	// Need has the server say what it has to say of d in r.
	Need(ctx context.Context, r oci.Repository, d oci.Digest) error
}

// Revocations lists ends of trust.
type Revocations interface {
	// List returns those with a smaller ID than before, newest first.
	List(ctx context.Context, before int64, limit int) ([]api.Revocation, error)
}

// Options are what a Flow works with; all are required.
type Options struct {
	View   func(ctx context.Context, fn func(Tx) error) error
	Update func(ctx context.Context, fn func(Tx) error) error
	Blobs  blob.Store
	Rows   audit.Rows
	Log    tlog.Source // the audit log
	Proofs Prover
	// Epoch returns the state of a repository. Errors match repo.ErrNotFound where
	// it has none.
	Epoch       func(ctx context.Context, r oci.Repository) (*api.RepositoryEpoch, error)
	Revocations Revocations
	Verifier    func() *verify.Verifier // by the anchors of the server
	Root        func() ([]byte, error)  // trusted_root.json
	URL         string                  // of the server, without a slash at the end
	Clock       func() time.Time
	Rand        io.Reader
}

// Flow makes custody files. It is safe for concurrent use.
type Flow struct{ Options }

// New returns a Flow.
func New(o Options) *Flow { return &Flow{o} }

// Asker is who wants to know.
type Asker struct {
	Sight repo.Sight
	// Permit returns the act of looking at custody in a repository. What is in
	// others is not told.
	Permit func(oci.Repository) (authz.Act, error)
}

// Times that are waited for.
const (
	needTime  = 10 * time.Second // for what the server has to say
	proveTime = 30 * time.Second // for all proofs together
	recheck   = 20 * time.Millisecond
)

// Timeline tells what happened to what ref names, oldest first. Errors match
// repo.ErrNotFound and authz.ErrNotPermitted.
func (f *Flow) Timeline(ctx context.Context, who Asker, ref oci.Reference) (*api.CustodyTimeline, error) {
	g, err := f.begin(ctx, who, ref)
	if err != nil {
		return nil, err
	}
	if err := g.gather(ctx, f.Proofs.Proof); err != nil {
		return nil, err
	}
	return &api.CustodyTimeline{Digest: g.file.Digest, Repositories: g.file.Repositories, Steps: g.steps(), LeftOut: g.file.LeftOut}, nil
}

// Export makes the file of what ref names, and records that it did. Errors match
// repo.ErrNotFound, authz.ErrNotPermitted and ErrNoProof.
func (f *Flow) Export(ctx context.Context, who Asker, ref oci.Reference) (*api.Custody, error) {
	g, err := f.begin(ctx, who, ref)
	if err != nil {
		return nil, err
	}
	for _, r := range g.stands {
		bounded, cancel := context.WithTimeout(ctx, needTime)
		err := f.Proofs.Need(bounded, r, g.digest)
		cancel()
		if err != nil && !errors.Is(err, repo.ErrNotFound) {
			g.leaveOut("what the server would say of it in %s: it could not be signed in time", r)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, proveTime)
	defer cancel()
	last, err := f.record(ctx, g)
	if err != nil {
		return nil, err
	}
	b, err := f.Proofs.Anchored(ctx, last)
	if err != nil {
		return nil, fmt.Errorf("proving the audit log up to %d: %w: %v", last, ErrNoProof, err)
	}
	g.file.Audit = b.Number
	g.batches[b.Number] = b
	if err := g.gather(ctx, f.Proofs.Prove); err != nil {
		return nil, err
	}
	if err := g.prove(ctx); err != nil {
		return nil, err
	}
	return g.file, f.selfCheck(ctx, g)
}

// record audits the export, and waits until the log has it: all that was
// committed before it is in the log then. It returns its number.
func (f *Flow) record(ctx context.Context, g *gathering) (int64, error) {
	var b [16]byte
	if _, err := io.ReadFull(f.Rand, b[:]); err != nil {
		return 0, fmt.Errorf("reading randomness: %v", err)
	}
	e := audit.New(fmt.Sprintf("%x", b), f.Clock(), g.act.Principal(), "custody.exported").On(g.covers[g.file.Repositories[0]], g.digest)
	if err := f.Update(ctx, func(tx Tx) error { return tx.Append(ctx, e) }); err != nil {
		return 0, err
	}
	want := e.Bytes()
	for {
		latest, err := f.Rows.Latest(ctx, audit.Filter{Digest: g.digest.String(), Kind: e.Kind}, 10)
		if err != nil {
			return 0, err
		}
		if i := slices.IndexFunc(latest, func(e audit.Entry) bool { return bytes.Equal(e.Bytes, want) }); i >= 0 {
			return latest[i].Seq, nil
		}
		if err := pause(ctx); err != nil {
			return 0, fmt.Errorf("waiting until the audit log has the export: %w: %v", ErrNoProof, err)
		}
	}
}

func pause(ctx context.Context) error {
	t := time.NewTimer(recheck)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// selfCheck verifies the file as a stranger would. A file that contradicts itself
// is not handed out.
func (f *Flow) selfCheck(ctx context.Context, g *gathering) error {
	root, err := f.Root()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(g.file)
	if err != nil {
		return fmt.Errorf("writing a custody file: %v", err)
	}
	c, err := Verify(ctx, raw, VerifyOptions{Root: root, Server: f.URL, Digest: g.digest, Clock: f.Clock, Log: g.log})
	if err != nil {
		return fmt.Errorf("verifying the custody file that was made: %w", err)
	}
	for _, p := range c.Parts {
		for _, i := range p.Items {
			if i.State == api.CustodyFailed {
				return fmt.Errorf("%w: %s, %s: %s; bonded audit verify tells what was changed", ErrNoProof, p.Part, i.What, i.Text)
			}
		}
	}
	return nil
}

// steps is the timeline of what was gathered.
func (g *gathering) steps() []api.CustodyStep {
	steps := append([]api.CustodyStep{}, g.signed...)
	for _, e := range g.file.Events {
		var read audit.Event
		if json.Unmarshal(e.Event, &read) == nil {
			steps = append(steps, api.CustodyStep{At: read.At, What: read.Kind, Where: read.Repository, Who: read.Principal, ProvenBy: fmt.Sprintf("audit log, entry %d", e.Seq)})
		}
	}
	for _, d := range g.file.Decisions {
		var read api.Decision
		if json.Unmarshal(d.Payload, &read) != nil {
			continue
		}
		by := ""
		if d.Batch > 0 {
			by = fmt.Sprintf("batch %d", d.Batch)
		}
		steps = append(steps, api.CustodyStep{At: read.DecidedAt, What: "decided: " + string(read.Outcome), Where: read.Repository, Who: "gate " + read.Inputs.Gate, ProvenBy: by})
	}
	slices.SortStableFunc(steps, func(a, b api.CustodyStep) int { return cmp.Compare(a.At.UnixMicro(), b.At.UnixMicro()) })
	return steps
}
