// Package seal is the signature of the server itself: it is made over a
// statement whose intent is on record, and there is no way to have it made over
// anything else.
//
// A signature takes five acts. Two are the caller's before: the intent is
// stored, and audited. Then Check reads back what was committed and mints a
// Permit, Sign uses it up, the caller records and audits what came back, and
// Compare reads that back too: it verifies the bundle as a stranger would, by the
// trusted root, and mints a Sealed only when it signs exactly what was intended.
// What leaves the server is taken from a Sealed.
package seal

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/ca"
)

// Errors that callers may test for.
var (
	// ErrNotIntended: what is to be signed is not what is on record, or is nothing
	// that the server signs.
	ErrNotIntended = errors.New("not what was intended")
	// ErrUsed: a permit signs once.
	ErrUsed = errors.New("the permit was used already")
)

// Kind is what the server signs. The table is closed.
type Kind string

// The kinds.
const (
	Batch   Kind = "batch"   // of decisions
	Summary Kind = "summary" // SLSA verification summary of a placement
	SBOM    Kind = "sbom"    // of an image
	Scan    Kind = "scan"    // of an image
)

// The predicate types. cosign finds those of SBOM and Scan by the names spdxjson
// and vuln.
const (
	TypeBatch   = "https://bonded.dev/batch/v1"
	TypeSummary = attest.TypeSummary
	TypeSBOM    = "https://spdx.dev/Document"
	TypeScan    = "https://cosign.sigstore.dev/attestation/vuln/v1"
)

var types = map[Kind]string{Batch: TypeBatch, Summary: TypeSummary, SBOM: TypeSBOM, Scan: TypeScan}

// Type returns the predicate type of the statements of a kind, "" for what is
// not signed.
func (k Kind) Type() string { return types[k] }

// State is how far the signing of an intent is.
type State int

// The states, as they are stored.
const (
	Open      State = 0 // intended, and nothing came of it yet
	Signed    State = 1 // a bundle came back, and was not compared yet
	Released  State = 2 // it signs what was intended
	Abandoned State = 3 // it will not be signed
)

// Intent is something that is to be signed, as it is on record.
type Intent struct {
	ID   int64
	Kind Kind
	// About is what it is for. Of a kind, only one that is not abandoned is about
	// the same thing.
	About     string
	Subject   oci.Digest // that the statement names
	Digest    oci.Digest // of Statement
	Statement []byte     // nil once it is released and in content
	Why       string     // what caused it
	By        string     // name of the principal
	At        time.Time
	State     State
	Bundle    []byte     // from Signed on; nil once it is released and in content
	Bundled   oci.Digest // of Bundle
}

// Record tells what is committed.
type Record interface {
	// Intent returns an intent. Errors match repo.ErrNotFound.
	Intent(ctx context.Context, id int64) (*Intent, error)
}

// Authority issues certificates; ca.Authority does.
type Authority interface {
	Issue(ctx context.Context, r ca.Request) ([]*x509.Certificate, error)
}

// Timestamper answers TimeStampReq (RFC 3161) in DER; tsa.Authority does.
type Timestamper interface {
	Timestamp(ctx context.Context, request []byte) ([]byte, error)
}

// Log takes signatures, and returns once an entry is published; rekor.Log does.
type Log interface {
	Add(ctx context.Context, entry any) (*rekorpb.TransparencyLogEntry, error)
}

// Options are what a Signer works with; all are required.
type Options struct {
	Record Record
	// Identity and Issuer are what certificates of the server say: its own URL,
	// and that of its issuer.
	Identity, Issuer string
	// Token mints an identity token of the server.
	Token func(ctx context.Context) (string, error)
	CA    Authority
	TSA   Timestamper
	Log   Log
	// Root returns trusted_root.json.
	Root  func() ([]byte, error)
	Clock func() time.Time
	Rand  io.Reader
}

// Signer signs as the server. It is safe for concurrent use.
type Signer struct {
	o Options

	mu  sync.Mutex // guards key: one certificate is asked for at a time
	key *ephemeral
}

// New returns a Signer.
func New(o Options) *Signer { return &Signer{o: o} }

// Identity is the name in the certificates of the server.
func (s *Signer) Identity() string { return s.o.Identity }

// Permit is leave to sign one statement, once. Only Check makes one that is good.
type Permit struct {
	id        int64
	digest    oci.Digest
	statement []byte
	used      *atomic.Bool
}

// take uses the permit up.
func (p *Permit) take() error {
	switch {
	case p == nil || p.used == nil:
		return fmt.Errorf("signing without a permit: %w", ErrNotIntended)
	case p.used.Swap(true):
		return fmt.Errorf("signing %s: %w", p.digest, ErrUsed)
	case oci.FromBytes(p.statement) != p.digest:
		return fmt.Errorf("signing %s: its bytes are others by now: %w", p.digest, ErrNotIntended)
	}
	return nil
}

// Check reads an intent back from what is committed and permits its signature:
// it is still open, its statement is the one whose digest was stored and audited,
// is of a kind that the server signs, and is about the subject that was named.
// Errors match ErrNotIntended, or are those of Record.
func (s *Signer) Check(ctx context.Context, id int64) (*Permit, error) {
	in, err := s.o.Record.Intent(ctx, id)
	if err != nil {
		return nil, err
	}
	if in.State != Open {
		return nil, fmt.Errorf("intent %d: it is not open: %w", id, ErrNotIntended)
	}
	if err := in.Check(); err != nil {
		return nil, err
	}
	return &Permit{id: id, digest: in.Digest, statement: slices.Clone(in.Statement), used: new(atomic.Bool)}, nil
}

// Check reports whether the parts of an intent fit together. Errors match
// ErrNotIntended.
func (in *Intent) Check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("intent %d: %s: %w", in.ID, fmt.Sprintf(format, args...), ErrNotIntended)
	}
	if got := oci.FromBytes(in.Statement); got != in.Digest {
		return refuse("its statement is %s, and %s was stored and audited", got, in.Digest)
	}
	doc, err := attest.Parse(in.Statement)
	switch {
	case err != nil:
		return refuse("%v", err)
	case in.Kind.Type() == "" || doc.Type != in.Kind.Type():
		return refuse("a statement of type %s is no %s", oci.Quote(doc.Type), oci.Quote(string(in.Kind)))
	case len(doc.Subjects) != 1 || !doc.About(in.Subject):
		return refuse("its statement is not about %s alone", in.Subject)
	}
	return nil
}
