package sign

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign/seal"
)

// Principal is the name under which the server signs.
const Principal = "sign"

// Head is that of the audit log.
type Head struct {
	Origin string
	Size   int64
	Root   Hash
}

// Epochs says which states of repositories are proven along with decisions.
type Epochs interface {
	// Due reports whether a batch is wanted although no decision waits for one.
	Due(ctx context.Context) (bool, error)
	// Collect returns the SHA-256 of each payload that goes into a batch, in the
	// order of its leaves, and notes in the same transaction that they are in it.
	Collect(ctx context.Context, tx Tx, batch int64) ([]Hash, error)
}

// Options are what a Flow works with; all but those marked are required.
type Options struct {
	DB     DB
	Signer *seal.Signer
	URL    string // of the server, without a slash at the end
	Zones  repo.Zones
	Blobs  blob.Store
	// Audit returns the published head of the audit log. Optional: none is proven.
	Audit func(ctx context.Context) (Head, error)
	// Epochs. Optional: none.
	Epochs Epochs
	// Describe tells what an image holds. Optional: no SBOM and no scan is made.
	Describe Describer
	// LogKey names the key of the transparency log that is in use: evidence is made
	// again after that was replaced. Optional: it is not.
	LogKey  func() string
	Version string // of this build
	Clock   func() time.Time
	Rand    io.Reader
	Log     *slog.Logger
	// Holder names this process among those on one database. Optional: at random.
	// Where there can only be one, the same name lets it go on with its own.
	Holder string
	// Lease is how long one process has an intent for itself. Signing takes less;
	// where it does not, two do the same work and one of them keeps it. Optional:
	// 5 seconds.
	Lease time.Duration
	// Most is how many decisions are in one batch. Optional: 16 384.
	Most int
}

// Flow signs. It is safe for concurrent use, by several processes on one
// database.
type Flow struct {
	Options
	turn   chan struct{}   // holds one: who seals, of this process
	life   context.Context // of what is made
	end    context.CancelFunc
	makers sync.WaitGroup
	making chan struct{} // how many are made at the same time

	mu      sync.Mutex // guards the rest
	since   time.Time  // of the first failure in a row; zero when the last try was good
	failed  error
	waiting map[string]*made
}

// makers is how many statements are made at the same time.
const makers = 4

// New returns a Flow.
func New(o Options) (*Flow, error) {
	if o.Lease == 0 {
		o.Lease = 5 * time.Second
	}
	if o.Most == 0 {
		o.Most = 16384
	}
	f := &Flow{Options: o, turn: make(chan struct{}, 1), making: make(chan struct{}, makers), waiting: map[string]*made{}}
	f.life, f.end = context.WithCancel(context.Background())
	if f.Holder != "" {
		return f, nil
	}
	var err error
	f.Holder, err = f.random()
	return f, err
}

func (f *Flow) random() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(f.Rand, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %v", err)
	}
	return hex.EncodeToString(b[:]), nil
}

func (f *Flow) event(kind string) (audit.Event, error) {
	id, err := f.random()
	return audit.New(id, f.Clock(), authz.Internal(Principal), kind), err
}

// of returns an event with what an intent is.
func of(e audit.Event, in *seal.Intent) audit.Event {
	return e.With("intent", strconv.FormatInt(in.ID, 10)).With("kind", string(in.Kind)).With("statement", in.Digest.String())
}

// intend stores an intent and audits it: the first two acts, in the transaction
// of the caller.
func (f *Flow) intend(ctx context.Context, tx Tx, in *seal.Intent) error {
	if err := in.Check(); err != nil {
		return err
	}
	var err error
	if in.ID, err = tx.PutIntent(ctx, in); err != nil {
		return err
	}
	e, err := f.event("statement.intended")
	if err != nil {
		return err
	}
	return tx.Append(ctx, of(e, in).With("about", in.About).With("subject", in.Subject.String()).With("why", in.Why).With("by", in.By))
}

// release is what becomes of a bundle that may leave the server.
type release interface {
	// prepare is called before the transaction in which commit is.
	prepare(ctx context.Context, s seal.Sealed) error
	commit(ctx context.Context, tx Tx, s seal.Sealed) error
}

// finish takes an intent through the acts that are left. A bundle whose release
// is nil is kept on record, any other in content alone. Errors match ErrTaken
// while another process is at it, repo.ErrConflict where another has finished it,
// and seal.ErrNotIntended where what came back is something else: that is
// audited, and dropped.
func (f *Flow) finish(ctx context.Context, id int64, out release) error {
	err := f.DB.Update(ctx, func(tx Tx) error { return tx.ClaimIntent(ctx, id, f.Holder, f.Clock().Add(f.Lease)) })
	if err != nil {
		return err
	}
	in, err := view(ctx, f.DB, func(tx Tx) (*seal.Intent, error) { return tx.Intent(ctx, id) })
	if err != nil {
		return err
	}
	if in.State == seal.Open {
		if err := f.sign(ctx, in); err != nil {
			return err
		}
	}
	sealed, err := f.Signer.Compare(ctx, id)
	if errors.Is(err, seal.ErrNotIntended) {
		return errors.Join(err, f.refuse(ctx, id, err))
	}
	if err == nil && out != nil {
		err = out.prepare(ctx, sealed)
	}
	if err != nil {
		return err
	}
	return f.DB.Update(ctx, func(tx Tx) error {
		in := *sealed.Intent()
		in.State = seal.Released
		if out != nil {
			if err := out.commit(ctx, tx, sealed); err != nil {
				return err
			}
			in.Statement, in.Bundle = nil, nil // it is in content by now
		}
		if err := tx.MoveIntent(ctx, &in, seal.Signed); err != nil {
			return err
		}
		e, err := f.event("statement.released")
		if err != nil {
			return err
		}
		return tx.Append(ctx, of(e, &in).With("bundle", in.Bundled.String()).With("entry", strconv.FormatInt(sealed.Index(), 10)))
	})
}

// sign is the third and the fourth act: the signature, and the record of what
// came back.
func (f *Flow) sign(ctx context.Context, in *seal.Intent) error {
	permit, err := f.Signer.Check(ctx, in.ID)
	if errors.Is(err, seal.ErrNotIntended) {
		return errors.Join(err, f.refuse(ctx, in.ID, err))
	}
	if err != nil {
		return err
	}
	made, err := f.Signer.Sign(ctx, permit)
	if err != nil {
		return err
	}
	signed := *in
	signed.State, signed.Bundle, signed.Bundled = seal.Signed, made.Bundle, oci.FromBytes(made.Bundle)
	return f.DB.Update(ctx, func(tx Tx) error {
		if err := tx.MoveIntent(ctx, &signed, seal.Open); err != nil {
			return err
		}
		if err := tx.ClaimIntent(ctx, in.ID, f.Holder, f.Clock().Add(f.Lease)); err != nil {
			return err
		}
		e, err := f.event("statement.signed")
		if err != nil {
			return err
		}
		return tx.Append(ctx, of(e, &signed).With("bundle", signed.Bundled.String()).With("entry", strconv.FormatInt(made.Index, 10)))
	})
}

// refuse audits that something else came back than was intended, and drops it.
// The intent of a batch is open again, for its decisions are in it; any other is
// abandoned, and made again when it is needed.
func (f *Flow) refuse(ctx context.Context, id int64, why error) error {
	return f.DB.Update(ctx, func(tx Tx) error {
		in, err := tx.Intent(ctx, id)
		if err != nil {
			return err
		}
		e, err := f.event("statement.refused")
		if err != nil {
			return err
		}
		before := in.State
		in.State, in.Bundle, in.Bundled = seal.Open, nil, oci.Digest{}
		if in.Kind != seal.Batch {
			in.State = seal.Abandoned
		}
		if err := tx.MoveIntent(ctx, in, before); err != nil {
			return err
		}
		return tx.Append(ctx, of(e, in).With("problem", why.Error()))
	})
}

// abandon audits that an intent will not be signed.
func (f *Flow) abandon(ctx context.Context, id int64, why string) error {
	return f.DB.Update(ctx, func(tx Tx) error {
		in, err := tx.Intent(ctx, id)
		if err != nil {
			return err
		}
		if in.State >= seal.Released {
			return nil
		}
		before := in.State
		in.State = seal.Abandoned
		if err := tx.MoveIntent(ctx, in, before); err != nil {
			return err
		}
		e, err := f.event("statement.abandoned")
		if err != nil {
			return err
		}
		return tx.Append(ctx, of(e, in).With("about", in.About).With("why", why))
	})
}

// Recover takes up the evidence that a process which died has left: it is
// finished where it is still wanted, and else abandoned. A batch that was left is
// always finished, by Seal, for its decisions are in it.
func (f *Flow) Recover(ctx context.Context) error {
	ids, err := view(ctx, f.DB, func(tx Tx) ([]int64, error) { return tx.Unfinished(ctx, 1000) })
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if err := f.resume(ctx, id); err != nil && !errors.Is(err, ErrTaken) && !errors.Is(err, repo.ErrConflict) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (f *Flow) resume(ctx context.Context, id int64) error {
	in, err := view(ctx, f.DB, func(tx Tx) (*seal.Intent, error) { return tx.Intent(ctx, id) })
	if err != nil || in.State >= seal.Released {
		return err
	}
	if in.Kind == seal.Batch {
		return nil
	}
	return f.resumeEvidence(ctx, in)
}

// note keeps what came of a try, for Status.
func (f *Flow) note(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		if f.failed != nil {
			f.Log.InfoContext(ctx, "decisions are signed again", "after", f.Clock().Sub(f.since))
		}
		f.since, f.failed = time.Time{}, nil
		return
	case errors.Is(err, context.Canceled):
		return
	case f.failed == nil:
		f.since = f.Clock()
	}
	if f.failed == nil || f.failed.Error() != err.Error() {
		f.Log.ErrorContext(ctx, "signing decisions; they are in force, and their proofs wait", "error", err)
	}
	f.failed = err
}

// Status says since when nothing can be signed, and why; the zero time and nil
// while it can.
func (f *Flow) Status() (since time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since, f.failed
}
