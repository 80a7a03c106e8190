package assess

import (
	"context"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// Facts keeps what analysis knows. Rows are never changed: the same key always
// has the same content.
type Facts interface {
	// LayerFacts returns the encoded facts of a layer blob under an extractor
	// set, or repo.ErrNotFound. A blob that is no layer has a row with empty
	// facts.
	LayerFacts(ctx context.Context, d oci.Digest, extractorSet string) ([]byte, error)
	// PackageSets returns the encoded sets of those ids that are stored.
	PackageSets(ctx context.Context, ids []oci.Digest) (map[oci.Digest][]byte, error)
	// ImageRecord returns the packed inventory of a manifest under an extractor
	// set, or repo.ErrNotFound.
	ImageRecord(ctx context.Context, manifest oci.Digest, extractorSet string) ([]byte, error)
}

// FactsWriter stores facts inside a transaction. Storing what is there is no
// error and changes nothing.
type FactsWriter interface {
	PutLayerFacts(ctx context.Context, d oci.Digest, extractorSet string, facts []byte) error
	// PutPackageSet stores an encoded set with the components it holds.
	PutPackageSet(ctx context.Context, id oci.Digest, encoded []byte, components []Component) error
	// PutComponents adds components to a stored set, so that it is Unindexed no
	// more. Errors match repo.ErrNotFound.
	PutComponents(ctx context.Context, set oci.Digest, components []Component) error
	// PutImageRecord stores a packed inventory and which sets are visible in it.
	PutImageRecord(ctx context.Context, manifest oci.Digest, extractorSet string, record []byte, sets []oci.Digest) error
}

// Inverse answers from packages to images.
type Inverse interface {
	// ManifestsWith returns manifests whose visible sets hold a component of one
	// of those (family, name) keys (Version is ignored when ""), by digest in
	// byte order after the one given.
	ManifestsWith(ctx context.Context, keys []Component, after oci.Digest, limit int) ([]oci.Digest, error)
	// Versions returns the versions of components with the key, each once, as
	// far as they are kept: see MaxIndexed and Whole.
	Versions(ctx context.Context, family, name string) ([]string, error)
	// Unindexed returns some encoded sets that a program has stored which did not
	// know all their Components.
	Unindexed(ctx context.Context, limit int) (map[oci.Digest][]byte, error)
	// Due returns placements whose RecheckAt or StayUntil is before the time
	// given, oldest first.
	Due(ctx context.Context, before time.Time, limit int) ([]repo.Placement, error)
	// Standing returns placements that stand in a zone or wait in its intake, in
	// order of repository and digest after those given; zone "" means all.
	Standing(ctx context.Context, zone string, afterRepo oci.Repository, afterDigest oci.Digest, limit int) ([]repo.Placement, error)
}

// Recorded is a decision as it is kept.
type Recorded struct {
	ID       int64
	Decision api.Decision
	// ConfirmedAt is when the same outcome for the same reasons was last found
	// again; DecidedAt when it never was.
	ConfirmedAt time.Time
	// Snapshot is the sequence number of the advisories it was last confirmed under.
	Snapshot int64
}

// Decisions keeps decisions. One is inserted when outcome or reasons change;
// otherwise the row in force is confirmed.
type Decisions interface {
	// PutDecision inserts a decision and returns its id.
	PutDecision(ctx context.Context, d *api.Decision, snapshot int64) (int64, error)
	// ConfirmDecision extends a decision to a later time and snapshot.
	ConfirmDecision(ctx context.Context, id int64, at time.Time, snapshot int64) error
	// Decision returns a decision by id, or repo.ErrNotFound.
	Decision(ctx context.Context, id int64) (*Recorded, error)
	// DecisionHistory returns the decisions about a placement, newest first.
	DecisionHistory(ctx context.Context, r oci.Repository, d oci.Digest, limit int) ([]Recorded, error)
}

// Notes keeps the tags that wait for what is admitted already: moving one there
// is an entry of its own.
type Notes interface {
	// NotesOf lists what waits for d in r, by tag.
	NotesOf(ctx context.Context, r oci.Repository, d oci.Digest) ([]repo.Note, error)
	// NotesAbout lists who wants a tag of r to point where.
	NotesAbout(ctx context.Context, r oci.Repository, tag string) ([]repo.Note, error)
	// PutNotesDecision notes the decision because of which all that waits for d
	// in r does.
	PutNotesDecision(ctx context.Context, r oci.Repository, d oci.Digest, decision int64) error
}

// InForce tells by what decisions are made at the moment of a transaction. A
// decision that was made by anything else is not recorded.
type InForce interface {
	// InForce returns the sequence number of the advisories in force, 0 when
	// there are none, and the digest of the gate of a zone, zero when none was
	// ever put in force.
	InForce(ctx context.Context, zone string) (snapshot int64, gate oci.Digest, err error)
	// PutGate puts a gate in force in a zone and returns the one before.
	PutGate(ctx context.Context, zone string, gate oci.Digest) (before oci.Digest, err error)
}

// Waivers tells what is waived at the moment of a transaction. A decision that was
// made by anything else is not recorded.
type Waivers interface {
	// WaiverAct returns the number of the latest act on waivers of a zone, 0 when
	// there is none.
	WaiverAct(ctx context.Context, zone string) (int64, error)
	// WaiversAt returns the waivers of a zone that somebody had granted and that had
	// not ended right after that act, whatever their times are, with the grants of
	// then.
	WaiversAt(ctx context.Context, zone string, act int64) ([]evidence.Waiver, error)
}

// Tx is what an assessment reads and changes.
type Tx interface {
	repo.Reader
	repo.Writer
	repo.Graph
	repo.Family
	repo.Words
	repo.Lister
	repo.Arrivals
	repo.Chains
	Facts
	FactsWriter
	Inverse
	Decisions
	Notes
	Distrust
	InForce
	Waivers
	EvidenceRows
	Past
	History
	vuln.Publisher
	audit.Outbox
	job.Enqueuer
}

// DB runs transactions. Update may run fn again and fn must have no effects
// beside tx; View's tx is for reading only.
type DB struct {
	Update func(ctx context.Context, fn func(Tx) error) error
	View   func(ctx context.Context, fn func(Tx) error) error
}
