package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/trust"
)

// raiseEpochs makes the state of every repository newer than any that somebody
// has seen before the database was set back, and says so in the audit log. No
// repository changes a thousand times a second for as long as there have been
// clocks, so the milliseconds of this one are above all numbers; above is a
// larger one that somebody was told of, 0 for none.
func raiseEpochs(ctx context.Context, c *config.Config, o trust.Options, above int64) error {
	database, err := openDB(ctx, c, db.Options{Clock: o.Clock, Logger: o.Log})
	if err != nil {
		return openError(err)
	}
	defer database.Close() //nolint:errcheck // what was written is committed
	floor := max(above, o.Clock().UnixMilli())
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("reading randomness: %v", err)
	}
	e := audit.New(hex.EncodeToString(id[:]), o.Clock(), authz.Internal("init"), "trust.recovered")
	return database.Update(ctx, func(tx *db.Tx) error {
		n, err := tx.RaiseEpochs(ctx, floor)
		if err != nil {
			return err
		}
		return tx.Append(ctx, e.With("origin", o.Origin).With("epochs", fmt.Sprint(n)).With("above", fmt.Sprint(floor)))
	})
}
