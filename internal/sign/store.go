package sign

import (
	"context"
	"errors"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign/seal"
)

// ErrTaken: another process has the intent just now.
var ErrTaken = errors.New("another process is at it")

// Intents keeps what is to be signed and what came of it. Rows are never
// removed.
type Intents interface {
	// PutIntent stores an intent and returns its number. Errors match
	// repo.ErrConflict where one about the same is open, signed or released.
	PutIntent(ctx context.Context, in *seal.Intent) (int64, error)
	// Intent returns one, as ReadIntent does. Errors match repo.ErrNotFound.
	Intent(ctx context.Context, id int64) (*seal.Intent, error)
	// IntentAbout returns the one that is not abandoned. Errors match
	// repo.ErrNotFound.
	IntentAbout(ctx context.Context, kind seal.Kind, about string) (*seal.Intent, error)
	// ClaimIntent keeps an open or signed intent from other holders until the
	// time given. Errors match ErrTaken where another holds it.
	ClaimIntent(ctx context.Context, id int64, holder string, until time.Time) error
	// MoveIntent writes State, Statement, Bundle and Bundled of an intent that is
	// in the state given, and lets go of it. Errors match repo.ErrConflict where
	// it is in another.
	MoveIntent(ctx context.Context, in *seal.Intent, from seal.State) error
	// Unfinished lists open and signed intents, oldest first.
	Unfinished(ctx context.Context, limit int) ([]int64, error)
}

// Leaf is a decision as a leaf of a batch.
type Leaf struct {
	Decision int64
	Payload  Hash // SHA-256 of its payload
}

// Batch is many decisions that are proven by one signature.
type Batch struct {
	Number   int64 // dense, from 1
	Intent   int64
	Leaves   []Hash // payloads of its decisions
	Epochs   []Hash // payloads of the states of repositories that it proves along
	Origin   string // of the audit log; "" where there was none
	Audit    int64  // size of the audit log that it proves
	Previous oci.Digest
}

// Batches keeps which decision is in which batch. A decision is in one at most,
// and stays in it.
type Batches interface {
	// Unproven returns decisions that are in no batch, oldest first.
	Unproven(ctx context.Context, limit int) ([]Leaf, error)
	// PutBatch stores a batch, whose leaves are those of decisions in order.
	// Errors match repo.ErrConflict where there is one of its number, or where a
	// decision is in one already.
	PutBatch(ctx context.Context, b *Batch, decisions []Leaf) error
	// Batch returns one; number 0 is the last. Errors match repo.ErrNotFound.
	Batch(ctx context.Context, number int64) (*Batch, error)
	// BatchOf returns the batch of a decision and its index there, 0 where it is
	// in none. Errors match repo.ErrNotFound.
	BatchOf(ctx context.Context, decision int64) (number, index int64, err error)
	// Payload returns the bytes of a decision that are proven, and the same read.
	// Errors match repo.ErrNotFound.
	Payload(ctx context.Context, decision int64) ([]byte, *api.Decision, error)
}

// Made is evidence that the server has made.
type Made struct {
	Intent   int64
	Kind     seal.Kind
	About    string
	Manifest oci.Digest
}

// Makings keeps which manifests are the server's own evidence.
type Makings interface {
	// PutMade notes that a stored manifest carries the bundle of an intent.
	PutMade(ctx context.Context, intent int64, manifest, subject oci.Digest) error
	// MadeOf returns the manifest of an intent, zero where there is none.
	MadeOf(ctx context.Context, intent int64) (oci.Digest, error)
	// MadeIn lists what the server has made about subject and attached in r.
	MadeIn(ctx context.Context, r oci.Repository, subject oci.Digest) ([]Made, error)
}

// Tx is what signing reads and changes.
type Tx interface {
	repo.Reader
	repo.Writer
	Intents
	Batches
	Makings
	audit.Outbox
}

// DB runs transactions. Update may run fn again and fn must have no effects
// beside tx; View's tx is for reading only.
type DB struct {
	Update func(ctx context.Context, fn func(Tx) error) error
	View   func(ctx context.Context, fn func(Tx) error) error
}

// view is a read in one consistent state.
func view[T any](ctx context.Context, db DB, fn func(Tx) (T, error)) (T, error) {
	var out T
	err := db.View(ctx, func(tx Tx) (err error) {
		out, err = fn(tx)
		return err
	})
	return out, err
}

// Record is a DB as the seal needs it.
type Record struct{ DB DB }

// Intent implements seal.Record.
func (r Record) Intent(ctx context.Context, id int64) (*seal.Intent, error) {
	return view(ctx, r.DB, func(tx Tx) (*seal.Intent, error) { return tx.Intent(ctx, id) })
}
