package db

import (
	"context"
	"fmt"
)

// Abandoned makes jobs that were running when the process before this one died
// ready at once, instead of when their leases end, and returns how many. It does
// so only where nobody else can be running any: over SQLite, whose folder this
// process has to itself. Over PostgreSQL each process looks all the time for
// jobs of others that died (keeper). It is to be called before the first Claim.
func (db *DB) Abandoned(ctx context.Context) (int, error) {
	if db.postgres != nil {
		return 0, nil
	}
	var n int64
	err := db.Update(ctx, func(tx *Tx) (err error) {
		n, err = tx.exec(ctx, `UPDATE job SET due_at = ? WHERE state = 1`, micros(db.clock()))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("taking over jobs of a process that died: %w", err)
	}
	return int(n), nil
}
