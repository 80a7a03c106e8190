package db

import (
	"context"
	"database/sql"
	"strings"
)

// Explain tells how SQLite would run a query.
func (db *DB) Explain(ctx context.Context, query string, line func(string)) error {
	return db.read(ctx, func(tx *Tx) error {
		return tx.each(ctx, "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?")), func(rows *sql.Rows) error {
			var id, parent, unused int
			var detail string
			err := rows.Scan(&id, &parent, &unused, &detail)
			line(detail)
			return err
		})
	})
}
