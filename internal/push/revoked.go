package push

import (
	"context"
	"fmt"
)

// checkTrust refuses what may stand nowhere, because trust in it, or in something
// that it is made of, has ended.
func (p *putting) checkTrust(ctx context.Context, tx Tx) error {
	r, which, err := tx.Barred(ctx, p.stored().Digests())
	if err != nil || r == nil {
		return err
	}
	if which == p.m.Digest {
		return fmt.Errorf("%w: %s may stand nowhere: %s; see: bonded revoke list", ErrRefused, which, r)
	}
	return fmt.Errorf("%w: %s names %s, which may stand nowhere: %s; see: bonded revoke list", ErrRefused, p.m.Digest, which, r)
}
