package repo

import (
	"context"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Words keeps what people have said about placements. A row is never changed but
// for its end.
type Words interface {
	// WordsOn returns the words of a kind that hold about any of ds in r, which
	// need not stand there, in the order of their IDs.
	WordsOn(ctx context.Context, kind evidence.WordKind, r oci.Repository, ds []oci.Digest) ([]evidence.Word, error)
	// WordsByID returns words, also those that have ended, in the order of their IDs.
	// Those that never were are left out.
	WordsByID(ctx context.Context, ids []int64) ([]evidence.Word, error)
	// PutWord stores a word, and sets its ID.
	PutWord(ctx context.Context, w *evidence.Word) error
	// EndWord ends a word that holds (ErrConflict).
	EndWord(ctx context.Context, id int64, by evidence.Grantor) error
}

// maxApproved bounds how many indexes that name something are asked about.
const maxApproved = 256

// Approvals returns the approvals that hold for d in r: those of d, and of indexes
// that name it, for who approves an index approves what it is made of. Of more
// indexes than maxApproved those that came last do not count.
func Approvals(ctx context.Context, tx interface {
	Words
	Family
}, r oci.Repository, d oci.Digest,
) ([]evidence.Word, error) {
	in, _, err := Ancestors(ctx, tx, d, maxApproved)
	if err != nil {
		return nil, err
	}
	return tx.WordsOn(ctx, evidence.Approved, r, append(in, d))
}
