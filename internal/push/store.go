package push

import (
	"context"
	"time"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Session is the durable row of an upload: what a server that was restarted
// needs to go on with it.
type Session struct {
	ID         blob.UploadID
	Repository oci.Repository
	Principal  string
	Offset     int64  // bytes that were acknowledged to the client
	Hash       []byte // state of SHA-256 over the first Offset bytes, as encoding.BinaryMarshaler gives it
	Started    time.Time
	Touched    time.Time
}

// Sessions keeps upload sessions. All methods are transactions of their own:
// a session is no state of the registry and causes no event. Errors match
// repo.ErrNotFound.
type Sessions interface {
	BeginSession(ctx context.Context, s Session) error
	// SaveSession updates Offset, Hash and Touched.
	SaveSession(ctx context.Context, s Session) error
	Session(ctx context.Context, id blob.UploadID) (Session, error)
	EndSession(ctx context.Context, id blob.UploadID) error
	// StaleSessions lists sessions not touched since the time given.
	StaleSessions(ctx context.Context, before time.Time, limit int) ([]Session, error)
}

// Tx is what a push changes in one transaction.
type Tx interface {
	repo.Reader
	repo.Writer
	repo.Graph
	repo.Trust
	repo.Arrivals
	audit.Outbox
	job.Enqueuer
}

// Update runs fn in a transaction that commits when fn returns nil. fn may be
// run again when the database asks for it, and must have no effects beside tx.
type Update func(ctx context.Context, fn func(Tx) error) error
