package sign

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign/seal"
)

// recheck is how often it is looked whether another process has finished.
const recheck = 50 * time.Millisecond

// Seal makes one batch of what waits, or finishes the one that was begun, and
// reports whether more waits. force makes one although nothing waits.
func (f *Flow) Seal(ctx context.Context, force bool) (more bool, err error) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	more, err = f.seal(ctx, force)
	if !errors.Is(err, ErrTaken) {
		f.note(ctx, err)
	}
	return more, err
}

func (f *Flow) seal(ctx context.Context, force bool) (bool, error) {
	last, err := f.last(ctx)
	if err != nil {
		return false, err
	}
	if last.Intent != 0 {
		in, err := view(ctx, f.DB, func(tx Tx) (*seal.Intent, error) { return tx.Intent(ctx, last.Intent) })
		if err != nil {
			return false, err
		}
		if in.State != seal.Released {
			return true, f.finish(ctx, in.ID, nil)
		}
	}
	if !force && f.Epochs != nil {
		if force, err = f.Epochs.Due(ctx); err != nil {
			return false, err
		}
	}
	b, more, err := f.begin(ctx, force)
	if errors.Is(err, repo.ErrConflict) {
		return true, ErrTaken // another process has begun it
	}
	if err != nil || b == nil {
		return false, err
	}
	return more, f.finish(ctx, b.Intent, nil)
}

// last returns the last batch, and before the first one number 0.
func (f *Flow) last(ctx context.Context) (*Batch, error) {
	b, err := view(ctx, f.DB, func(tx Tx) (*Batch, error) { return tx.Batch(ctx, 0) })
	if errors.Is(err, repo.ErrNotFound) {
		return &Batch{}, nil
	}
	return b, err
}

// begin puts what waits into a new batch and stores the intent to sign it, in
// one transaction. It returns nil where nothing waits. Errors match
// repo.ErrConflict where another process was first.
func (f *Flow) begin(ctx context.Context, force bool) (*Batch, bool, error) {
	var head Head
	if f.Audit != nil {
		var err error
		if head, err = f.Audit(ctx); err != nil {
			return nil, false, fmt.Errorf("reading the head of the audit log: %w", err)
		}
	}
	var b *Batch
	more := false
	err := f.DB.Update(ctx, func(tx Tx) error {
		b, more = nil, false
		decisions, err := tx.Unproven(ctx, f.Most)
		if err != nil || len(decisions) == 0 && !force {
			return err
		}
		more = len(decisions) == f.Most
		next := &Batch{Number: 1, Origin: head.Origin, Audit: head.Size}
		last, err := tx.Batch(ctx, 0)
		switch {
		case err == nil:
			next.Number = last.Number + 1
			in, err := tx.Intent(ctx, last.Intent)
			if err != nil {
				return err
			}
			if in.State != seal.Released {
				return fmt.Errorf("batch %d: the one before is not finished: %w", next.Number, repo.ErrConflict)
			}
			next.Previous = in.Digest
		case !errors.Is(err, repo.ErrNotFound):
			return err
		}
		for _, d := range decisions {
			next.Leaves = append(next.Leaves, d.Payload)
		}
		if f.Epochs != nil {
			if next.Epochs, err = f.Epochs.Collect(ctx, tx, next.Number); err != nil {
				return err
			}
		}
		in, err := f.statement(next, head)
		if err != nil {
			return err
		}
		in.Why = fmt.Sprintf("%d decisions wait for their proof", len(decisions))
		if err := f.intend(ctx, tx, in); err != nil {
			return err
		}
		next.Intent, b = in.ID, next
		return tx.PutBatch(ctx, next, decisions)
	})
	return b, more, err
}

// Predicate is what a batch says; docs/format/batch.md.
type Predicate struct {
	Number    int64      `json:"number"`
	At        time.Time  `json:"at"`
	Decisions Tree       `json:"decisions"`
	Audit     *AuditHead `json:"audit,omitempty"`
	Epochs    *Tree      `json:"epochs,omitempty"`
	// Previous is the digest of the statement of the batch before; nil of the
	// first.
	Previous map[string]string `json:"previous,omitempty"`
}

// Tree is a Merkle tree.
type Tree struct {
	Count int64  `json:"count"`
	Root  string `json:"root"` // hex
}

// AuditHead is that of the audit log.
type AuditHead struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"` // hex
}

func tree(leaves []Hash) Tree {
	root := Root(leaves)
	return Tree{Count: int64(len(leaves)), Root: hex.EncodeToString(root[:])}
}

// statement returns the intent to sign a batch.
func (f *Flow) statement(b *Batch, head Head) (*seal.Intent, error) {
	now := f.Clock().UTC().Truncate(time.Microsecond)
	p := Predicate{Number: b.Number, At: now, Decisions: tree(b.Leaves)}
	if head.Origin != "" {
		p.Audit = &AuditHead{Origin: head.Origin, Size: head.Size, Root: hex.EncodeToString(head.Root[:])}
	}
	if len(b.Epochs) > 0 {
		epochs := tree(b.Epochs)
		p.Epochs = &epochs
	}
	if !b.Previous.IsZero() {
		p.Previous = map[string]string{string(b.Previous.Algorithm()): b.Previous.Hex()}
	}
	subject := oci.MustDigest("sha256:" + p.Decisions.Root)
	raw, err := attest.Make(seal.TypeBatch, p, attest.About(fmt.Sprintf("%s/batches/%d", f.URL, b.Number), subject))
	if err != nil {
		return nil, err
	}
	return &seal.Intent{
		Kind: seal.Batch, About: strconv.FormatInt(b.Number, 10), Subject: subject, Digest: oci.FromBytes(raw), Statement: raw, By: Principal, At: now,
	}, nil
}

// Proof returns what is known of the proof of a decision now, and of one that
// is in no finished batch why it is not proven. Errors match repo.ErrNotFound.
func (f *Flow) Proof(ctx context.Context, decision int64) (*api.Proof, error) {
	return view(ctx, f.DB, func(tx Tx) (*api.Proof, error) { return proof(ctx, tx, decision) })
}

const unproven = "not proven yet: it is in force, and its batch is signed within seconds"

func proof(ctx context.Context, tx Tx, decision int64) (*api.Proof, error) {
	p := &api.Proof{Decision: decision, Text: unproven}
	number, index, err := tx.BatchOf(ctx, decision)
	if err != nil || number == 0 {
		return p, err
	}
	b, in, err := readBatch(ctx, tx, number)
	if err != nil || in.State != seal.Released {
		return p, err
	}
	payload, _, err := tx.Payload(ctx, decision)
	if err != nil {
		return nil, err
	}
	if PayloadHash(payload) != b.Leaves[index] {
		return nil, fmt.Errorf("decision %d is not what was signed in batch %d: its row was changed afterwards; bonded audit verify tells when", decision, number)
	}
	p.Proven, p.Text, p.Payload, p.Index, p.Size = true, "", payload, index, int64(len(b.Leaves))
	for _, h := range Path(b.Leaves, int(index)) {
		p.Path = append(p.Path, hex.EncodeToString(h[:]))
	}
	p.Batch = wireBatch(b, in)
	return p, nil
}

func readBatch(ctx context.Context, tx Tx, number int64) (*Batch, *seal.Intent, error) {
	b, err := tx.Batch(ctx, number)
	if err != nil {
		return nil, nil, err
	}
	in, err := tx.Intent(ctx, b.Intent)
	return b, in, err
}

func wireBatch(b *Batch, in *seal.Intent) *api.Batch {
	return &api.Batch{Number: b.Number, Digest: in.Digest.String(), Bundle: json.RawMessage(in.Bundle)}
}

// Prove returns the proof of a decision, making its batch at once where it is
// in none. While it cannot be made it returns when ctx ends, with the proof as it
// is then and the cause. Errors match repo.ErrNotFound.
func (f *Flow) Prove(ctx context.Context, decision int64) (*api.Proof, error) {
	waits := &api.Proof{Decision: decision, Text: unproven}
	for {
		p, err := f.Proof(ctx, decision)
		switch {
		case ctx.Err() != nil && (p == nil || !p.Proven):
			return waits, nil
		case err != nil || p.Proven:
			return p, err
		}
		if _, err := f.Seal(ctx, false); err != nil && ctx.Err() == nil {
			waits.Text = "not proven yet: " + err.Error()
			f.pause(ctx, recheck)
		}
	}
}

// Anchored returns the newest batch that proves the audit log up to a size,
// making one where there is none, once that much of the log is published.
func (f *Flow) Anchored(ctx context.Context, size int64) (*api.Batch, error) {
	var problem error
	for {
		last, err := f.last(ctx)
		if err != nil && problem != nil && ctx.Err() != nil {
			err = problem
		}
		if err != nil {
			return nil, err
		}
		if last.Number > 0 && last.Audit >= size {
			b, err := view(ctx, f.DB, func(tx Tx) (*api.Batch, error) {
				b, in, err := readBatch(ctx, tx, last.Number)
				if err != nil || in.State != seal.Released {
					return nil, err
				}
				return wireBatch(b, in), nil
			})
			if err != nil || b != nil {
				return b, err
			}
		}
		if f.Audit == nil {
			return nil, errors.New("proving the audit log: there is none")
		}
		head, err := f.Audit(ctx)
		if err == nil && head.Size < size {
			err = fmt.Errorf("proving the audit log up to %d: only %d entries are published", size, head.Size)
		}
		if err == nil {
			_, err = f.Seal(ctx, last.Audit < size)
		}
		if err != nil && ctx.Err() == nil {
			problem = err
			f.pause(ctx, recheck)
		}
	}
}

// EpochPath returns the audit path of the state of a repository in a finished
// batch, and the batch.
func (f *Flow) EpochPath(ctx context.Context, number, index int64) ([]Hash, *api.Batch, error) {
	var path []Hash
	b, err := view(ctx, f.DB, func(tx Tx) (*api.Batch, error) {
		b, in, err := readBatch(ctx, tx, number)
		if err != nil {
			return nil, err
		}
		if in.State != seal.Released || index < 0 || index >= int64(len(b.Epochs)) {
			return nil, fmt.Errorf("state %d of batch %d: %w", index, number, repo.ErrNotFound)
		}
		path = Path(b.Epochs, int(index))
		return wireBatch(b, in), nil
	})
	return path, b, err
}

// pause waits, and reports whether ctx let it.
func (f *Flow) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
