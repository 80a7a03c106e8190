package db

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/bonded-dev/bonded/internal/oci"
)

// SealedBatch is a batch of decisions as it was signed and logged.
type SealedBatch struct {
	Number, Intent int64
	Bundle         []byte // Sigstore bundle, JSON
}

// SealedBatches returns up to n batches after a number, in order.
func (db *DB) SealedBatches(ctx context.Context, after int64, n int) (all []SealedBatch, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		all = nil
		query := `SELECT b.number, b.intent, i.bundle FROM batch b JOIN intent i ON i.id = b.intent WHERE b.number > ? ORDER BY b.number LIMIT ?`
		return tx.each(ctx, query, []any{after, n}, func(rows *sql.Rows) error {
			var s SealedBatch
			err := rows.Scan(&s.Number, &s.Intent, &s.Bundle)
			all = append(all, s)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading batches after %d: %w", after, err)
	}
	return all, nil
}

// Reanchor replaces the bundle of a batch by one that says the same and is proved
// under another head of the log, unless another process was first.
func (db *DB) Reanchor(ctx context.Context, s SealedBatch, bundle []byte) error {
	err := db.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, `UPDATE intent SET bundle = ?, bundled = ? WHERE id = ? AND bundled = ?`,
			bundle, oci.FromBytes(bundle).String(), s.Intent, oci.FromBytes(s.Bundle).String())
		return err
	})
	if err != nil {
		return fmt.Errorf("replacing the proof of batch %d: %w", s.Number, err)
	}
	return nil
}
