package push

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Errors that callers may test for, beside those of blob, oci, repo and authz.
var (
	// ErrDigestMismatch: what arrived does not have the digest that was claimed.
	ErrDigestMismatch = errors.New("content does not match its digest")
	// ErrBlobUnknown: a manifest or mount names content that is not here, or
	// not the caller's to use here.
	ErrBlobUnknown = errors.New("content is unknown to this repository")
	// ErrSizeMismatch: a descriptor claims another size than the content has.
	ErrSizeMismatch = errors.New("size differs from the content")
	// ErrBusy: another request is writing to this upload.
	ErrBusy = errors.New("upload is being written by another request")
	// ErrTooLarge: a limit of this server.
	ErrTooLarge = errors.New("larger than this server accepts")
	// ErrTooMany: the principal has too many unfinished uploads.
	ErrTooMany = errors.New("too many unfinished uploads")
	// ErrRefused: a rule of the registry forbids it; the text says which.
	ErrRefused = errors.New("refused")
)

// JobJudge is the kind of job that decides a placement; its key is
// "repository@digest".
const JobJudge = "judge"

// JobEvidence is the kind of job that verifies evidence; its key is "subject
// evidence", two digests.
const JobEvidence = "evidence"

// Limits bound what a push may be. Zero fields take the defaults.
type Limits struct {
	Blob      int64         // bytes of one blob; default 64 GiB
	Lease     time.Duration // how long an uploaded blob is kept for a manifest to use it; default 24 h
	Idle      time.Duration // how long an upload may rest before it is removed; default 24 h
	Referrers int           // evidence manifests per subject; default 1 000
	Uploads   int           // unfinished uploads of one principal; default 100
}

func (l Limits) withDefaults() Limits {
	if l.Blob == 0 {
		l.Blob = 64 << 30
	}
	if l.Lease == 0 {
		l.Lease = 24 * time.Hour
	}
	if l.Idle == 0 {
		l.Idle = 24 * time.Hour
	}
	if l.Referrers == 0 {
		l.Referrers = 1000
	}
	if l.Uploads == 0 {
		l.Uploads = 100
	}
	return l
}

// Analysis follows uploads while they arrive.
type Analysis interface {
	// Follow is told of a new upload. read reads kept bytes at an offset and
	// returns io.EOF at the current end; it works until after Finish, and is
	// called by one goroutine. closed is called once when read no longer is.
	Follow(request context.Context, read func(ctx context.Context, p []byte, off int64) (int, error), closed func()) Following
}

// Following is the analysis of one upload. Its methods return at once.
type Following interface {
	// Grow says that size bytes can be read.
	Grow(size int64)
	// Finish says that the upload ended, was verified and is the blob d. Facts
	// are committed after this only.
	Finish(size int64, d oci.Digest)
	// Abort ends it without facts.
	Abort()
}

// Entry is asked about something that stands in a zone already and is to get
// another tag.
type Entry interface {
	// Enter tells what "enter" of the zone's gate says of d in r now, and in a
	// sentence why not when that is no allow. It records nothing.
	Enter(ctx context.Context, r oci.Repository, d oci.Digest) (outcome api.Outcome, sentence string, err error)
}

// Options are what a Flow works with. All fields but Limits are required.
type Options struct {
	Zones    repo.Zones
	Blobs    blob.Store
	Uploads  blob.Uploads
	Sessions Sessions
	Update   Update
	Analysis Analysis
	Entry    Entry
	Clock    func() time.Time
	Rand     io.Reader
	Log      *slog.Logger
	Limits   Limits
}

// Flow is the push flow. It is safe for concurrent use.
type Flow struct {
	Options
	mu     sync.Mutex
	live   map[blob.UploadID]*upload // uploads this process has touched
	asking map[string]bool           // principals for whom Entry is being asked
}

// New returns a Flow.
func New(o Options) *Flow {
	o.Limits = o.Limits.withDefaults()
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return &Flow{Options: o, live: map[blob.UploadID]*upload{}, asking: map[string]bool{}}
}

func (f *Flow) random() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(f.Rand, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %v", err)
	}
	return hex.EncodeToString(b[:]), nil
}

func (f *Flow) event(p authz.Principal, kind string) (audit.Event, error) {
	id, err := f.random()
	if err != nil {
		return audit.Event{}, err
	}
	return audit.New(id, f.Clock(), p, kind), nil
}

// Mount makes blob d of another repository usable in act's, without moving
// bytes. from must permit pull on the source. Errors match ErrBlobUnknown
// when the caller cannot read d there; it then uploads instead.
func (f *Flow) Mount(ctx context.Context, act, from authz.Act, v repo.Viewer, d oci.Digest) error {
	to := act.Repository()
	if err := act.Permits(to, authz.Push, authz.Attach); err != nil {
		return err
	}
	if err := from.Permits(from.Repository(), authz.Pull, authz.PullFromQuarantine); err != nil {
		return err
	}
	if _, err := f.Zones.Of(to); err != nil {
		return err
	}
	ev, err := f.event(act.Principal(), "blob.mounted")
	if err != nil {
		return err
	}
	ev = ev.On(to, d).With("from", from.Repository().String())
	return f.Update(ctx, func(tx Tx) error {
		access, err := tx.BlobAccess(ctx, from.Repository(), d, v)
		if errors.Is(err, repo.ErrNotFound) || err == nil && !access.Readable {
			return fmt.Errorf("mounting %s from %s: %w", d, from.Repository(), ErrBlobUnknown)
		}
		if err != nil {
			return err
		}
		if err := tx.Lease(ctx, to, d, act.Principal().Name(), f.Clock().Add(f.Limits.Lease)); err != nil {
			return err
		}
		return tx.Append(ctx, ev)
	})
}
