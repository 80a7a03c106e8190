// Package repo holds what the registry knows about repositories: zones,
// placements, manifests, tags and referrers, and the contract by which they
// are stored.
//
// A placement is one (repository, digest). Content exists once; standing in a
// zone is a row. Every question of visibility is answered here with a Viewer,
// so that no face has a rule of its own.
package repo

import (
	"context"
	"errors"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Errors that callers may test for.
var (
	ErrNotFound = errors.New("not found")
	// ErrConflict means that a row is no longer what the caller thought.
	ErrConflict = errors.New("changed meanwhile")
)

// State is where a placement stands.
type State string

// The states of a placement.
const (
	// Held waits in the intake for its decision.
	Held State = "held"
	// Denied is in the intake and was refused entry.
	Denied State = "denied"
	// Admitted stands in its zone: whoever may pull there can pull it.
	Admitted State = "admitted"
	// Attached is evidence: never gated, visible wherever its subject is.
	Attached State = "attached"
	// Withdrawn stood in the zone and was taken out.
	Withdrawn State = "withdrawn"
	// Revoked was taken out of everybody's reach, because trust in it has ended.
	Revoked State = "revoked"
	// Removed is the tombstone of a deleted placement; it is found by no reader.
	Removed State = "removed"
)

// Placement is one digest in one repository.
type Placement struct {
	Repository oci.Repository
	Digest     oci.Digest
	Kind       oci.Kind
	State      State
	BroughtBy  string    // name of the principal who pushed, acquired or promoted it
	BroughtAt  time.Time // when it first came into this repository
	AdmittedAt time.Time // zero until Admitted
	// StayUntil is the deadline after which an admitted placement is
	// withdrawn; zero when there is none.
	StayUntil time.Time
	// Over is set by readers on an admitted placement whose StayUntil has come: it
	// is withdrawn to everybody, though nobody has recorded that yet. It is not
	// stored.
	Over bool
	// RecheckAt is when the decision may change by time alone; zero: never.
	RecheckAt time.Time
	// Decision is the row of the decision in force, 0 when there is none yet.
	Decision int64
	// Sentence is the one-line text of that decision where it refuses, as every
	// face shows it.
	Sentence string
	// Hidden is set by Lookup on evidence that its viewer may not see: that of a
	// subject which stands in the repository and which it may not see, or, where
	// the subject does not, that of others. It is not stored.
	Hidden bool
	// Version grows with each change of this row, for compare-and-swap.
	Version int64
}

// Stands reports whether it stands in its zone now.
func (p *Placement) Stands() bool { return p.State == Admitted && !p.Over }

// Manifest is a stored manifest with what is asked about it without parsing.
type Manifest struct {
	Digest       oci.Digest
	MediaType    string
	ArtifactType string // effective, as referrers are filtered by it
	Kind         oci.Kind
	Subject      oci.Digest // zero when none
	Raw          []byte
	Annotations  map[string]string
	References   []Reference
}

// Reference is one descriptor of a manifest, in its order.
type Reference struct {
	Digest    oci.Digest
	MediaType string
	Size      int64
	Role      Role
	Platform  string // of an index child: "os/arch[/variant]", else ""
}

// Role says what a manifest uses a descriptor as.
type Role string

// The roles of descriptors.
const (
	RoleConfig Role = "config"
	RoleLayer  Role = "layer"
	RoleChild  Role = "child"
	// RoleForeign is a layer whose content is kept elsewhere, by its media type.
	// Whoever names it need not have it, so naming it gives access to nobody.
	RoleForeign Role = "foreign"
)

// Placed is a manifest as it stands in a repository.
type Placed struct {
	Placement
	Manifest
}

// Viewer is who looks. The zero Viewer sees what is admitted and the evidence
// about it.
type Viewer struct {
	Principal  string // name; sees what it brought while that is in the intake
	Quarantine bool   // has the verb pull-from-quarantine here: sees everything but tombstones
	// Own: sees what it brought, admitted or in the intake, and is not told of
	// anything else. So looks at a quarantine who may only pull there.
	Own bool
}

// Selector picks one manifest of a repository: by tag or, when Tag is "", by
// digest.
type Selector struct {
	Tag    string
	Digest oci.Digest
}

// Note is a tag that waits: it is to point at Digest once that is let in under
// it.
type Note struct {
	Tag      string
	Digest   oci.Digest
	By       string    // who asked
	At       time.Time // when, last
	Decision int64     // the decision because of which it waits, 0 while there is none of its own
}

// Page bounds a listing: entries after After in byte order, at most Limit of
// them (1 to 10 000).
type Page struct {
	After string
	Limit int
}

// Reader is what may be asked. A reader sees one consistent state; under View
// it may be a few milliseconds old, under Update it is the transaction's own.
// All methods return ErrNotFound for what is not there.
type Reader interface {
	// Lookup finds a manifest. A tag that v's principal has pending wins over
	// the one in force while what it names waits in the intake, visible to v. A
	// tag that is not in force leads v's principal to what is admitted and has the
	// tag pending, so that it is there from the moment it was taken; else it leads
	// to what waits for it, so that a refusal can say why. Lookup returns
	// placements of every state but Removed: whether v may see it is for Visible
	// to say.
	Lookup(ctx context.Context, r oci.Repository, s Selector, v Viewer) (*Placed, error)
	// Tags lists the tags that v can see, in byte order: those in force, and those
	// that its principal has pending.
	Tags(ctx context.Context, r oci.Repository, v Viewer, p Page) ([]string, error)
	// Referrers lists evidence and other referrers of subject that v can see in
	// r, of the given artifact type ("" for all), by digest in byte order. A page
	// ends early, though not before its second entry, with the one whose
	// annotations bring those of all above oci.MaxManifest bytes.
	Referrers(ctx context.Context, r oci.Repository, subject oci.Digest, artifactType string, v Viewer, p Page) ([]oci.Descriptor, error)
	// BlobAccess says how blob d stands in r for v. To one that sees its own
	// alone, what it cannot read is not there.
	BlobAccess(ctx context.Context, r oci.Repository, d oci.Digest, v Viewer) (*BlobAccess, error)
	// Repositories lists repositories with at least one placement v could see if
	// it had pull rights there, in byte order.
	Repositories(ctx context.Context, p Page) ([]oci.Repository, error)
}

// Lister lists what stands where, a page at a time. What a page costs does not
// depend on what is not on it. Whether somebody may see it is not asked.
type Lister interface {
	// Names lists the repositories of a zone, "" for all, in byte order; also
	// those in which nothing stands any more.
	Names(ctx context.Context, zone string, p Page) ([]oci.Repository, error)
	// Newest lists at most n placements in r of that state, the newest first, from
	// the position before on; 0: from the newest of all.
	Newest(ctx context.Context, r oci.Repository, s State, before int64, n int) ([]Listed, error)
}

// Listed is a placement in a list. Position grows with each that comes into a
// repository, and stays when its state changes.
type Listed struct {
	Placement
	Position int64
}

// BlobAccess is how a blob stands in a repository.
type BlobAccess struct {
	Size int64
	// Readable: through a manifest the viewer may read, or because its
	// principal uploaded or mounted it here and the lease still runs.
	Readable bool
	// Refused is set when it is reachable only through a placement that is held
	// or denied to the viewer: why.
	Refused *Placement
}

// Visible reports whether v may read the manifest at p. Blobs of a denied
// placement are not readable by who brought it, its manifest is: so that
// evidence can still be attached, and nothing can run.
func (v Viewer) Visible(p *Placement) bool {
	brought := v.Principal != "" && v.Principal == p.BroughtBy
	switch p.State {
	case Admitted:
		if p.Over {
			return v.Quarantine
		}
		return brought || !v.Own
	case Attached:
		return !p.Hidden
	case Held, Denied:
		return brought || v.Quarantine
	case Withdrawn:
		return v.Quarantine
	}
	return false
}

// Writer is what may be changed, inside a transaction that also appends the
// audit event.
type Writer interface {
	// PutBlob records that content d of that size is durable in the blob store.
	PutBlob(ctx context.Context, d oci.Digest, size int64) error
	// Lease lets principal read blob d in r, and use it in manifests there,
	// until the time given.
	Lease(ctx context.Context, r oci.Repository, d oci.Digest, principal string, until time.Time) error
	// Unlease ends all leases of d in r.
	Unlease(ctx context.Context, r oci.Repository, d oci.Digest) error
	// PutManifest stores the manifest; storing it again is no error.
	PutManifest(ctx context.Context, m *Manifest) error
	// Place inserts or updates a placement. With Version 0 the row must be
	// absent or Removed, else the stored Version must equal it (ErrConflict);
	// the stored one is one larger, and p stays as it is. The manifest must be
	// stored (ErrNotFound).
	Place(ctx context.Context, p *Placement) error
	// SetTag moves a tag in force to what stands in r (ErrNotFound); a zero
	// digest removes it. It returns the digest before, zero when there was none.
	// Notes of SetPending that asked for this are fulfilled and gone, and with
	// them those about the tag that are older; where there were none, all are.
	SetTag(ctx context.Context, r oci.Repository, tag string, d oci.Digest) (oci.Digest, error)
	// SetPending notes that tag should point at d, which stands in r
	// (ErrNotFound), once d is admitted there. principal is who asks. A zero d
	// takes the note back, and so does the removal of the placement.
	SetPending(ctx context.Context, r oci.Repository, tag string, d oci.Digest, principal string) error
}

// Graph answers questions about how manifests hang together.
type Graph interface {
	// Unknown returns those of ds that principal may not use in a manifest in
	// r: neither leased to it there nor readable there through a manifest.
	Unknown(ctx context.Context, r oci.Repository, ds []oci.Digest, v Viewer) ([]oci.Digest, error)
	// Stored returns the manifest itself, wherever it stands.
	Stored(ctx context.Context, d oci.Digest) (*Manifest, error)
	// Placements returns every placement of d but tombstones, by repository.
	Placements(ctx context.Context, d oci.Digest) ([]Placement, error)
	// Parents returns the placements in r of indexes that name child d.
	Parents(ctx context.Context, r oci.Repository, d oci.Digest) ([]Placement, error)
	// ReferrersOf returns the digests of all manifests whose subject is d, or
	// that had an EvidenceTag of d, and that are attached in some repository where
	// d stands, in byte order. What somebody says about a digest that is not there
	// does not count.
	ReferrersOf(ctx context.Context, d oci.Digest) ([]oci.Digest, error)
	// Pending returns the tags that wait for d in r.
	Pending(ctx context.Context, r oci.Repository, d oci.Digest) ([]string, error)
	// TagsOf returns the tags in force that point at d in r.
	TagsOf(ctx context.Context, r oci.Repository, d oci.Digest) ([]string, error)
}
