package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authn"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// What the domains ask for.
var (
	_ push.Tx          = (*Tx)(nil)
	_ assess.Tx        = (*Tx)(nil)
	_ promote.Tx       = (*Tx)(nil)
	_ vuln.Publisher   = (*Tx)(nil)
	_ repo.Reader      = (*DB)(nil)
	_ push.Sessions    = (*DB)(nil)
	_ job.Queue        = (*DB)(nil)
	_ audit.Store      = (*DB)(nil)
	_ authn.Store      = (*DB)(nil)
	_ authn.TokenStore = (*DB)(nil)
	_ vuln.Reader      = (*DB)(nil)
	_ vuln.Stager      = (*DB)(nil)
)

// Tx is a transaction, or a view, while the function that was given it runs.
// It is used by one goroutine.
type Tx struct {
	db   *DB
	conn *conn.Conn // nil when the transaction has ended
	left Commit
	// advanced holds the repositories whose epochs have grown.
	advanced map[int64]bool
}

func (db *DB) tx(c *conn.Conn) *Tx { return &Tx{db: db, conn: c} }

func (tx *Tx) end() { tx.conn = nil }

// errEnded is returned to whoever keeps a Tx for longer than its function.
var errEnded = errors.New("using a transaction that has ended")

func (tx *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if tx.conn == nil {
		return 0, errEnded
	}
	return tx.conn.Exec(ctx, query, args...)
}

// row scans the first row into dest, or returns conn.ErrNoRow.
func (tx *Tx) row(ctx context.Context, query string, args []any, dest ...any) error {
	if tx.conn == nil {
		return errEnded
	}
	return tx.conn.Row(ctx, query, args, dest...)
}

// each calls fn for each row; fn must not use tx.
func (tx *Tx) each(ctx context.Context, query string, args []any, fn func(*sql.Rows) error) error {
	if tx.conn == nil {
		return errEnded
	}
	return tx.conn.Each(ctx, query, args, fn)
}

// texts returns the single column of a query.
func (tx *Tx) texts(ctx context.Context, query string, args ...any) ([]string, error) {
	var all []string
	err := tx.each(ctx, query, args, func(rows *sql.Rows) error {
		var s string
		if err := rows.Scan(&s); err != nil {
			return err
		}
		all = append(all, s)
		return nil
	})
	return all, err
}

// digests is texts of digests.
func (tx *Tx) digests(ctx context.Context, query string, args ...any) ([]oci.Digest, error) {
	all, err := tx.texts(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	ds := make([]oci.Digest, len(all))
	for i, s := range all {
		if ds[i], err = oci.ParseDigest(s); err != nil {
			return nil, err
		}
	}
	return ds, nil
}

// chunk is how many values one statement takes of a list of any length.
const chunk = 64

// chunks calls fn with consecutive parts of list. Statements are prepared for
// each number of values, so the last part is cut into powers of two.
func chunks[T any](list []T, fn func([]T) error) error {
	for size := chunk; len(list) > 0; {
		for size > len(list) {
			size /= 2
		}
		if err := fn(list[:size]); err != nil {
			return err
		}
		list = list[size:]
	}
	return nil
}

// limit bounds what one call lists.
func limit(n int) int { return max(1, min(n, 10_000)) }

// marks is n times what, separated by commas.
func marks(n int, what string) string {
	return strings.TrimSuffix(strings.Repeat(what+", ", n), ", ")
}

// list is query with "(#)" as a list of n values.
func list(query string, n int) string {
	return strings.Replace(query, "(#)", "("+marks(n, "?")+")", 1)
}

func anys[T any](list []T) []any {
	as := make([]any, len(list))
	for i, v := range list {
		as[i] = v
	}
	return as
}

// skipLocked is appended to a query that picks rows for this transaction
// alone. SQLite, with one writer, needs nothing.
func (tx *Tx) skipLocked() string {
	if tx.db.postgres != nil {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// micros is how times are stored; 0 stands for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// now is the time of the transaction, as it is stored.
func (tx *Tx) now() int64 { return micros(tx.db.clock()) }

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// document encodes v, which is made of strings, numbers and times.
func document(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("db: encoding %T: %v", v, err))
	}
	return b
}

// bytesOf makes an empty column empty and not nil, which drivers do not tell apart.
func bytesOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
