package vuln

import (
	"context"
	"errors"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Errors of the stores that callers may test for.
var (
	// ErrNoSnapshot is returned for a sequence number that was never published.
	ErrNoSnapshot = errors.New("no such snapshot of advisories")
	// ErrSuperseded is returned for a load that another Begin has ended.
	ErrSuperseded = errors.New("another load of advisories has begun")
	// ErrNoDocument is returned for a digest of which no document is kept.
	ErrNoDocument = errors.New("no such document of a feed")
)

// MaxBatch is the most rows that one Batch closes and inserts, together: a
// batch is one short transaction, so that a load of a hundred thousand records
// never holds up the pushes that write at the same time.
const MaxBatch = 500

// Row is one version of one advisory as a feed gave it. Rows are never updated
// in place but for To, which is set once: a changed record closes its row and
// inserts another. The key is (Feed, ID, From); of the rows of one (Feed, ID)
// at most one is in force under any snapshot.
type Row struct {
	Feed string // FeedState.Name, at most 200 bytes
	ID   string // the record's id, at most MaxIDLen bytes
	// From is the sequence number of the snapshot that the row came into force
	// with, To of the one it went out of force with, 0 while none has. A row is
	// in force under the snapshot s when From <= s and (To == 0 or To > s).
	From, To  int64
	Modified  time.Time  // as the record claims; may lie in the future, orders nothing
	Withdrawn time.Time  // as the record claims; zero when it is not withdrawn
	Known     time.Time  // when the first version of (Feed, ID) reached us; microseconds, UTC
	Digest    oci.Digest // SHA-256 of the raw record
	Format    int        // PackFormat of the engine that packed it
	Packed    []byte     // Record.Pack; 230 bytes on average, no longer than MaxPacked
}

// Head is a Row without its bulk.
type Head struct {
	ID        string
	InForce   bool // under the current snapshot
	Withdrawn bool
	Known     time.Time
	Digest    oci.Digest
	Format    int
}

// The formats of feeds. What is of another one than OSV is one document, which a
// snapshot names beside the advisories.
const (
	OSV       = "osv"       // advisories, as osv.dev publishes them: rows
	KEV       = "kev"       // what is exploited, as CISA publishes it
	EPSS      = "epss"      // how likely it is to be, as FIRST does
	EndOfLife = "endoflife" // when releases end, as endoflife.date does
	VEX       = "vex"       // what somebody says of faults: documents, of each feed its own
)

// FeedState is what is known about one feed: one ecosystem's folder of one
// source, or a source that is one document. It describes the last load that was taken, and says in Problem why a
// later attempt was not.
type FeedState struct {
	Name   string // source and ecosystem, "osv/Debian"
	Format string // one of the formats; "" stands for OSV
	Source string // where it is loaded from: URL or folder, without credentials
	// Ecosystems are those that the feed is there to cover, without release,
	// sorted: its records may name packages of others, which does not mean
	// that those are covered.
	Ecosystems []string
	Records    int        // rows in force, withdrawn ones included; entries of a document
	Skipped    int        // records of the last load that could not be read
	Reasons    []string   // why, "ID: reason", the first 10
	Digest     oci.Digest // over id and Row.Digest of the rows in force, in order of id; of the document
	Seq        int64      // the snapshot that last changed a row; 0 when none did
	// ETag and LastModified are the validators under which the last load was
	// served, to be sent back as they are; "" when there were none.
	ETag, LastModified string
	Dated              time.Time // when a document was published, as it says itself; zero when it does not
	LoadedAt           time.Time // when the last load that was taken ended
	CheckedAt          time.Time // when the last attempt ended, whatever came of it
	Problem            string    // why the last attempt was not taken, one sentence for people; "" when it was
	Held               bool      // it was refused because the feed lost too much, and needs a person
}

// Reader reads what was published. All methods see committed state only, never
// a load under way. Safe for concurrent use.
type Reader interface {
	// Current returns the newest published snapshot; the zero Snapshot when
	// none was ever published.
	Current(ctx context.Context) (evidence.Snapshot, error)
	// Snapshot returns the published snapshot seq. Errors match ErrNoSnapshot.
	Snapshot(ctx context.Context, seq int64) (evidence.Snapshot, error)
	// Feeds returns the state of every feed, sorted by name.
	Feeds(ctx context.Context) ([]FeedState, error)
	// Rows calls fn for each row in force under the snapshot seq, ordered by
	// (Feed, ID), until fn fails, and returns fn's error. What fn is given is
	// its own but for Packed, which is valid until fn returns. fn must not
	// call back into the stores. Errors match ErrNoSnapshot.
	Rows(ctx context.Context, seq int64, fn func(Row) error) error
	// Changes is Rows for each row that came into force or went out of force
	// with a snapshot in (after, upto], in any order; upto is published.
	Changes(ctx context.Context, after, upto int64, fn func(Row) error) error
	// History returns all published versions of the records with exactly this
	// id, of all feeds, oldest From first; empty when there are none. Aliases
	// are the Index's business.
	History(ctx context.Context, id string) ([]Row, error)
	// Document returns the content of a document that a published snapshot, or
	// the state of a feed, names. Errors match ErrNoDocument.
	Document(ctx context.Context, d oci.Digest) ([]byte, error)
}

// LoadID names a load under way. Token is random: it fences off a loader that
// was superseded and does not know it yet.
type LoadID struct {
	Seq   int64 // the sequence number its snapshot will have: Current's + 1
	Token string
}

// Batch is some changes of one feed. Close names ids whose rows in force go
// out of force, Insert holds rows that come into force; a changed id is in
// both. Insert's From is the load's Seq and its To 0. An id is in the batches
// of one load at most once.
type Batch struct {
	Feed   string
	Close  []string
	Insert []Row
}

// Stager keeps the rows of a load that is not published yet: rows inserted
// with From, and rows closed with To, one above the current snapshot. As all
// readers ask for rows in force under a published snapshot, nothing staged is
// visible, and publishing is the insertion of one row. Each method is one
// short transaction of its own, durable on return; the caller retries nothing.
//
// There is one load at a time. Begin ends any other, whose methods then fail
// with ErrSuperseded: whoever starts loads (a unique job) sees to it that this
// happens after crashes only.
type Stager interface {
	// Begin removes what another load has staged (rows with From above the
	// current snapshot are deleted, To above it is reset to 0) and opens a
	// load with a fresh token, which the caller made.
	Begin(ctx context.Context, token string) (LoadID, error)
	// Heads calls fn for the newest published version of every id of the
	// feed, in force or not, ordered by id, until fn fails, and returns fn's
	// error. fn must not call back into the stores.
	Heads(ctx context.Context, feed string, fn func(Head) error) error
	// Stage applies the batch, of at most MaxBatch ids and rows, as a whole or
	// not at all. Closing an id that has no row in force is an error, and so
	// is inserting one that has and is not closed. Errors match ErrSuperseded.
	Stage(ctx context.Context, load LoadID, b Batch) error
	// Unstage takes back all that the load has staged for the feed. Errors
	// match ErrSuperseded.
	Unstage(ctx context.Context, load LoadID, feed string) error
	// Abandon ends the load and removes all it has staged. Abandoning a load
	// that was published, abandoned or superseded does nothing.
	Abandon(ctx context.Context, load LoadID) error
}

// Publisher puts a load in force. It belongs to the caller's transaction, with
// the audit event and the jobs that the change causes: on commit they are in
// force together, otherwise nothing is.
type Publisher interface {
	// Publish inserts the snapshot, whose Seq is the load's, ends the load and
	// replaces the state of the feeds named; others keep theirs. Errors match
	// ErrSuperseded.
	Publish(ctx context.Context, load LoadID, s evidence.Snapshot, feeds []FeedState) error
	// Keep stores a document under its digest. Storing what is there is no error.
	Keep(ctx context.Context, d oci.Digest, content []byte) error
	// Record replaces the state of the feeds named, where a load was refused
	// or changed no row. It makes no snapshot and ends no load.
	Record(ctx context.Context, feeds []FeedState) error
}
