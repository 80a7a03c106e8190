// Package conn holds one database connection as the stores use it: SQL with
// question marks, prepared once, whichever engine is behind it.
//
// Package db/sqlite and db/postgres decide when transactions begin and end and
// hand a Conn to package db for what happens in between. A Conn serves one
// goroutine at a time.
package conn

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrNoRow is returned by Row when the query has no result.
var ErrNoRow = errors.New("no row")

// Options say how an engine wants its connections used.
type Options struct {
	// Rebind turns question marks into what the engine takes. Optional.
	Rebind func(query string) string
	// Prepare keeps every statement prepared until the connection closes. It is
	// for drivers that do not do so themselves; the number of different
	// statements must be bounded.
	Prepare bool
	// Detach keeps cancellation from the driver: it is looked at before each
	// statement and each row instead. It is for engines in this process, whose
	// statements are short and for which watching a context costs more than
	// many a statement.
	Detach bool
}

// Conn is one connection.
type Conn struct {
	opts    Options
	sql     *sql.Conn
	stmts   map[string]*sql.Stmt
	trouble error // of the last statement that failed
}

// New takes over c, which must be held for as long as the Conn is used.
func New(c *sql.Conn, opts Options) *Conn {
	n := &Conn{opts: opts, sql: c}
	if opts.Prepare {
		n.stmts = map[string]*sql.Stmt{}
	}
	return n
}

// Close gives the connection back to its pool.
func (c *Conn) Close() error {
	c.closeStatements()
	return c.sql.Close()
}

// Discard closes the connection for good, with whatever transaction is open:
// its state is not known any more.
func (c *Conn) Discard() {
	c.closeStatements()
	// Raw hands ErrBadConn to database/sql, which closes the connection.
	_ = c.sql.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.sql.Close()
}

func (c *Conn) closeStatements() {
	for _, s := range c.stmts {
		_ = s.Close() // frees memory; what was executed is not affected
	}
	c.stmts = nil
}

// Trouble returns the error of the last statement that failed, nil when none
// did: also one that the caller of that statement swallowed or described. A
// transaction with trouble must not be committed: PostgreSQL would not, and
// say nothing.
func (c *Conn) Trouble() error { return c.trouble }

// Calm forgets the trouble, for another transaction.
func (c *Conn) Calm() { c.trouble = nil }

// Exec runs a statement and returns how many rows it affected.
func (c *Conn) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, err := c.context(ctx)
	if err != nil {
		return 0, err
	}
	clean(args)
	var res sql.Result
	if c.opts.Prepare {
		var s *sql.Stmt
		if s, err = c.prepared(ctx, query); err == nil { //nolint:sqlclosecheck // it stays prepared until the connection closes
			res, err = s.ExecContext(ctx, args...)
		}
	} else {
		res, err = c.sql.ExecContext(ctx, c.rebind(query), args...)
	}
	if err != nil {
		return 0, c.failed(err)
	}
	return res.RowsAffected()
}

// Query runs a query. The caller closes the rows before it uses c again; Each
// and Row do.
func (c *Conn) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx, err := c.context(ctx)
	if err != nil {
		return nil, err
	}
	clean(args)
	var rows *sql.Rows
	if c.opts.Prepare {
		var s *sql.Stmt
		if s, err = c.prepared(ctx, query); err == nil { //nolint:sqlclosecheck // it stays prepared until the connection closes
			rows, err = s.QueryContext(ctx, args...)
		}
	} else {
		rows, err = c.sql.QueryContext(ctx, c.rebind(query), args...)
	}
	if err != nil {
		return nil, c.failed(err)
	}
	return rows, nil
}

// Row scans the first row of a query into dest, or returns ErrNoRow.
func (c *Conn) Row(ctx context.Context, query string, args []any, dest ...any) (err error) {
	rows, err := c.Query(ctx, query, args...) //nolint:rowserrcheck // closed looks at it
	if err != nil {
		return err
	}
	defer func() { err = c.closed(rows, err) }()
	if !rows.Next() {
		return ErrNoRow // unless closed finds that the query failed
	}
	return rows.Scan(dest...)
}

// Each calls fn for each row of a query until it fails, and returns its error.
// fn must not use c.
func (c *Conn) Each(ctx context.Context, query string, args []any, fn func(*sql.Rows) error) (err error) {
	rows, err := c.Query(ctx, query, args...) //nolint:rowserrcheck // closed looks at it
	if err != nil {
		return err
	}
	defer func() { err = c.closed(rows, err) }()
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(rows); err != nil {
			return err
		}
	}
	return nil
}

// closed closes rows; a failure of the query itself counts more than err.
func (c *Conn) closed(rows *sql.Rows, err error) error {
	cerr := rows.Close()
	if rerr := rows.Err(); rerr != nil {
		return c.failed(rerr)
	}
	if cerr != nil {
		return c.failed(cerr)
	}
	return err
}

func (c *Conn) context(ctx context.Context) (context.Context, error) {
	if !c.opts.Detach {
		return ctx, nil
	}
	return context.Background(), ctx.Err()
}

func (c *Conn) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	if c.stmts == nil {
		return nil, errors.New("using a closed connection")
	}
	s, err := c.sql.PrepareContext(ctx, c.rebind(query))
	if err != nil {
		return nil, fmt.Errorf("preparing %q: %w", query, err)
	}
	c.stmts[query] = s
	return s, nil
}

func (c *Conn) rebind(query string) string {
	if c.opts.Rebind == nil {
		return query
	}
	return c.opts.Rebind(query)
}

func (c *Conn) failed(err error) error {
	c.trouble = err
	return err
}

// clean makes text what both engines can keep: PostgreSQL refuses NUL and
// bytes that are no UTF-8, which foreign names may contain. What is replaced
// is replaced in questions too, so that it is still found.
func clean(args []any) {
	for i, a := range args {
		if s, ok := a.(string); ok && (strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s)) {
			args[i] = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
		}
	}
}
