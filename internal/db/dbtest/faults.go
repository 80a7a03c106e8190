package dbtest

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ErrInjected is what a statement that was broken returns.
var ErrInjected = errors.New("injected fault")

// Faults stands between database/sql and a driver, as Options.Wrap, and makes
// one statement fail: before the engine has seen it, or after the engine has
// executed it, as when a connection breaks. BEGIN, SAVEPOINT, COMMIT and
// ROLLBACK are statements like others; the engine's own housekeeping (PRAGMA,
// notifications) is not counted.
type Faults struct {
	mu    sync.Mutex
	count int    // statements since Arm
	at    int    // which one fails, from 1; 0 for none
	after bool   // fail it after it was executed
	fired string // the statement that failed, and how
	seen  map[string]bool
}

// Seen returns the texts of all statements there were, sorted.
func (f *Faults) Seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.seen))
}

// Arm makes the n-th statement from now fail, none for 0, and starts counting.
func (f *Faults) Arm(n int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count, f.at, f.after, f.fired = 0, n, after, ""
}

// Disarm ends the faults. It returns how many statements there were since Arm,
// and which of them failed, "" when none did.
func (f *Faults) Disarm() (count int, fired string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	count, fired = f.count, f.fired
	f.count, f.at, f.fired = 0, 0, ""
	return count, fired
}

// Wrap is for db.Options.
func (f *Faults) Wrap(c driver.Connector) driver.Connector { return &connector{c, f} }

// do runs a statement, or makes it fail.
func (f *Faults) do(query string, run func() error) error {
	before, after := f.next(query)
	if before {
		return ErrInjected
	}
	err := run()
	if after && err == nil {
		return ErrInjected
	}
	return err
}

func (f *Faults) next(query string) (before, after bool) {
	if strings.HasPrefix(query, "PRAGMA") || strings.Contains(query, "pg_notify") {
		return false, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = map[string]bool{}
	}
	f.seen[query] = true
	f.count++
	if f.count != f.at {
		return false, false
	}
	when := "before"
	if f.after {
		when = "after"
	}
	f.fired = fmt.Sprintf("%s statement %d: %s", when, f.count, strings.Join(strings.Fields(query), " "))
	return !f.after, f.after
}

type connector struct {
	driver.Connector
	faults *Faults
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyConn{inner, c.faults}, nil
}

// faultyConn is a connection of either driver.
type faultyConn struct {
	driver.Conn
	faults *Faults
}

func (c *faultyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &faultyStmt{s, query, c.faults}, nil
}

func (c *faultyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	err = c.faults.do(query, func() error {
		res, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
		return err
	})
	return res, err
}

func (c *faultyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.faults.rows(query, func() (driver.Rows, error) {
		return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
	})
}

// rows is do for a query.
func (f *Faults) rows(query string, run func() (driver.Rows, error)) (rows driver.Rows, err error) {
	err = f.do(query, func() error {
		rows, err = run()
		return err
	})
	if err != nil && rows != nil {
		_ = rows.Close()
		rows = nil
	}
	return rows, err
}

func (c *faultyConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts) // migrations only
}

func (c *faultyConn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}

func (c *faultyConn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

func (c *faultyConn) CheckNamedValue(v *driver.NamedValue) error {
	if n, ok := c.Conn.(driver.NamedValueChecker); ok {
		return n.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type faultyStmt struct {
	driver.Stmt
	query  string
	faults *Faults
}

func (s *faultyStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (res driver.Result, err error) {
	err = s.faults.do(s.query, func() error {
		res, err = s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
		return err
	})
	return res, err
}

func (s *faultyStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.faults.rows(s.query, func() (driver.Rows, error) {
		return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	})
}
