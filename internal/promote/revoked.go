package promote

import (
	"context"
	"fmt"

	"github.com/bonded-dev/bonded/internal/repo"
)

// stillTrusted returns repo.ErrConflict when trust in something has ended, or
// come back, since the verdict was asked for: then it is decided again. What may
// stand nowhere was withdrawn at the source, where collect finds that.
func (m *move) stillTrusted(ctx context.Context, tx Tx) error {
	seq, err := tx.RevocationSeq(ctx)
	if err == nil && seq != m.verdict.Decision.Inputs.Revocations {
		err = fmt.Errorf("%s was judged under revocation %d, and %d is the latest: %w", m.digest, m.verdict.Decision.Inputs.Revocations, seq, repo.ErrConflict)
	}
	return err
}
