package db

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/db/postgres"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Append implements audit.Outbox.
func (tx *Tx) Append(ctx context.Context, e audit.Event) error {
	b := e.Bytes()
	hash := sha256.Sum256(b)
	if _, err := tx.exec(ctx, `INSERT INTO outbox (bytes, hash) VALUES (?, ?)`, b, hash[:]); err != nil {
		return fmt.Errorf("appending event %s: %w", e.ID, err)
	}
	tx.left.Events = true
	return nil
}

// auditLog is the name of the tile log of events.
const auditLog = "audit"

// AuditLog returns the store of the tile log of events.
func (db *DB) AuditLog() *TileLog { return db.TileLog(auditLog) }

// Waiting implements audit.Store.
func (db *DB) Waiting(ctx context.Context, limit int) ([]audit.Waiting, error) {
	var events []audit.Waiting
	err := db.read(ctx, func(tx *Tx) error {
		events = nil
		return tx.each(ctx, `SELECT id, bytes, hash FROM outbox ORDER BY id LIMIT ?`, []any{limit}, func(rows *sql.Rows) error {
			var w audit.Waiting
			var hash []byte
			if err := rows.Scan(&w.ID, &w.Bytes, &hash); err != nil {
				return err
			}
			if len(hash) != sha256.Size {
				return fmt.Errorf("event %d of the outbox has a hash of %d bytes", w.ID, len(hash))
			}
			if w.ID < 0 { // it was in the chain, and was moved back by migration 14
				w.Chain = hash
			} else if sum := sha256.Sum256(w.Bytes); string(sum[:]) != string(hash) {
				return fmt.Errorf("event %d of the outbox is not what was appended: its bytes have hash %x, not %x", w.ID, sum, hash)
			}
			events = append(events, w)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the outbox: %w", err)
	}
	return events, nil
}

// Integrate implements audit.Store.
func (db *DB) Integrate(ctx context.Context, s *tlog.Step, events []audit.Waiting) error {
	err := db.take(ctx, func(tx *Tx) error {
		if err := tx.elect(ctx); err != nil {
			return err
		}
		if err := tx.AppendTiles(ctx, auditLog, s); err != nil {
			return err
		}
		return tx.enumerate(ctx, s.Old.Size, events)
	})
	if err != nil {
		return fmt.Errorf("numbering events: %w", err)
	}
	return nil
}

// elect makes this transaction the only one that numbers events, on PostgreSQL.
// Others would wait for the row of the log, and find it changed.
func (tx *Tx) elect(ctx context.Context) error {
	if tx.db.postgres == nil {
		return nil
	}
	var elected bool
	if err := tx.row(ctx, `SELECT pg_try_advisory_xact_lock(?)`, []any{int64(postgres.LockSequencer)}, &elected); err != nil {
		return err
	}
	if !elected {
		return audit.ErrTaken
	}
	return nil
}

// enumerate moves events from the outbox to rows after the given number.
func (tx *Tx) enumerate(ctx context.Context, after int64, events []audit.Waiting) error {
	err := chunks(events, func(part []audit.Waiting) error {
		ids, rows := make([]any, 0, len(part)), make([]any, 0, 6*len(part))
		for _, w := range part {
			var e audit.Event
			if err := json.Unmarshal(w.Bytes, &e); err != nil {
				return fmt.Errorf("reading event %d of the outbox: %w", w.ID, err)
			}
			after++
			ids = append(ids, w.ID)
			rows = append(rows, after, w.Bytes, e.Kind, e.Principal, e.Repository, e.Digest)
		}
		if _, err := tx.exec(ctx, `INSERT INTO entry (seq, bytes, kind, principal, repository, digest) VALUES `+marks(len(part), "(?, ?, ?, ?, ?, ?)"), rows...); err != nil {
			return err
		}
		n, err := tx.exec(ctx, list(`DELETE FROM outbox WHERE id IN (#)`, len(ids)), ids...)
		if err == nil && n != int64(len(ids)) {
			err = audit.ErrTaken
		}
		return err
	})
	return err
}

// Numbered implements audit.Rows.
func (db *DB) Numbered(ctx context.Context) (seq int64, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		return tx.row(ctx, `SELECT COALESCE(MAX(seq), 0) FROM entry`, nil, &seq)
	})
	if err != nil {
		return 0, fmt.Errorf("reading the number of the last audit entry: %w", err)
	}
	return seq, nil
}

// Entries implements audit.Rows.
func (db *DB) Entries(ctx context.Context, after int64, limit int) ([]audit.Entry, error) {
	return db.entries(ctx, `WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
}

// Latest implements audit.Rows.
func (db *DB) Latest(ctx context.Context, f audit.Filter, limit int) ([]audit.Entry, error) {
	where, args := "WHERE 1 = 1", []any{}
	for _, c := range []struct{ column, want string }{
		{"digest", f.Digest}, {"repository", f.Repository}, {"principal", f.Principal}, {"kind", f.Kind},
	} {
		if c.want != "" {
			where += " AND " + c.column + " = ?"
			args = append(args, c.want)
		}
	}
	return db.entries(ctx, where+` ORDER BY seq DESC LIMIT ?`, append(args, limit)...)
}

func (db *DB) entries(ctx context.Context, rest string, args ...any) ([]audit.Entry, error) {
	var all []audit.Entry
	err := db.read(ctx, func(tx *Tx) error {
		all = nil
		return tx.each(ctx, `SELECT seq, bytes, kind, principal, repository, digest FROM entry `+rest, args, func(rows *sql.Rows) error {
			var e audit.Entry
			err := rows.Scan(&e.Seq, &e.Bytes, &e.Columns.Kind, &e.Columns.Principal, &e.Columns.Repository, &e.Columns.Digest)
			all = append(all, e)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading audit entries: %w", err)
	}
	return all, nil
}

func hashOf(b []byte) (hash [sha256.Size]byte, err error) {
	if len(b) != len(hash) {
		return hash, fmt.Errorf("a hash has %d bytes, not %d", len(b), len(hash))
	}
	return [sha256.Size]byte(b), nil
}
