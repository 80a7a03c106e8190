package db

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/db/postgres"
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

// waiting is an event of the outbox.
type waiting struct {
	id    int64
	bytes []byte
}

// Sequence implements audit.Log.
func (db *DB) Sequence(ctx context.Context, limit int) (int, error) {
	var n int
	err := db.take(ctx, func(tx *Tx) error {
		events, err := tx.waiting(ctx, limit)
		if n = len(events); n == 0 || err != nil {
			return err
		}
		return tx.chain(ctx, events)
	})
	if err != nil {
		return 0, fmt.Errorf("numbering events: %w", err)
	}
	return n, nil
}

// waiting returns the oldest events of the outbox. On PostgreSQL it elects this
// transaction as the sequencer first, and returns none when another is. The
// rows are read after that lock was had, so what the sequencer before has
// moved is gone, and the head that chain reads is that sequencer's.
func (tx *Tx) waiting(ctx context.Context, limit int) ([]waiting, error) {
	if tx.db.postgres != nil {
		var elected bool
		if err := tx.row(ctx, `SELECT pg_try_advisory_xact_lock(?)`, []any{int64(postgres.LockSequencer)}, &elected); err != nil || !elected {
			return nil, err
		}
	}
	var events []waiting
	err := tx.each(ctx, `SELECT id, bytes, hash FROM outbox ORDER BY id LIMIT ?`, []any{limit}, func(rows *sql.Rows) error {
		var w waiting
		var hash []byte
		if err := rows.Scan(&w.id, &w.bytes, &hash); err != nil {
			return err
		}
		if sum := sha256.Sum256(w.bytes); string(sum[:]) != string(hash) {
			return fmt.Errorf("event %d of the outbox is not what was appended: its bytes have hash %x, not %x", w.id, sum, hash)
		}
		events = append(events, w)
		return nil
	})
	return events, err
}

// chain moves events from the outbox to the end of the chain.
func (tx *Tx) chain(ctx context.Context, events []waiting) error {
	seq, head, err := tx.head(ctx)
	if err != nil {
		return err
	}
	ids := make([]any, len(events))
	for i, w := range events {
		var e audit.Event
		if err := json.Unmarshal(w.bytes, &e); err != nil {
			return fmt.Errorf("reading event %d of the outbox: %w", w.id, err)
		}
		seq++
		head = audit.Link(head, w.bytes)
		_, err := tx.exec(ctx, `INSERT INTO entry (seq, bytes, hash, kind, principal, repository, digest) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			seq, w.bytes, head[:], e.Kind, e.Principal, e.Repository, e.Digest)
		if err != nil {
			return err
		}
		ids[i] = w.id
	}
	return chunks(ids, func(part []any) error {
		_, err := tx.exec(ctx, list(`DELETE FROM outbox WHERE id IN (#)`, len(part)), part...)
		return err
	})
}

func (tx *Tx) head(ctx context.Context) (seq int64, hash [sha256.Size]byte, err error) {
	var b []byte
	err = tx.row(ctx, `SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1`, nil, &seq, &b)
	if errors.Is(err, conn.ErrNoRow) {
		return 0, hash, nil
	}
	if err == nil {
		hash, err = hashOf(b)
	}
	return seq, hash, err
}

// Head implements audit.Log.
func (db *DB) Head(ctx context.Context) (seq int64, hash [sha256.Size]byte, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		seq, hash, err = tx.head(ctx)
		return err
	})
	if err != nil {
		return 0, hash, fmt.Errorf("reading the head of the audit chain: %w", err)
	}
	return seq, hash, nil
}

// Entries implements audit.Log.
func (db *DB) Entries(ctx context.Context, after int64, limit int) ([]audit.Entry, error) {
	return db.entries(ctx, `WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
}

// Latest implements audit.Log.
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
		return tx.each(ctx, `SELECT seq, bytes, hash FROM entry `+rest, args, func(rows *sql.Rows) error {
			var e audit.Entry
			var hash []byte
			err := rows.Scan(&e.Seq, &e.Bytes, &hash)
			if err == nil {
				e.Hash, err = hashOf(hash)
			}
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
