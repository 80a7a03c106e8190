package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/trust/oidc"
	"github.com/bonded-dev/bonded/internal/trust/tuf"
)

// TUFFiles keeps a TUF repository for all processes of a server: none of them
// shows a client less than another has.
type TUFFiles struct{ db *DB }

var _ tuf.Store = (*TUFFiles)(nil)

// TUF returns the store of the TUF repository.
func (db *DB) TUF() *TUFFiles { return &TUFFiles{db} }

// Get implements tuf.Store.
func (f *TUFFiles) Get(ctx context.Context, name string) (body []byte, err error) {
	err = f.db.read(ctx, func(tx *Tx) error {
		err := tx.row(ctx, `SELECT body FROM tuf_file WHERE name = ?`, []any{name}, &body)
		if errors.Is(err, conn.ErrNoRow) {
			return fs.ErrNotExist
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading TUF file %.100q: %w", name, err)
	}
	return body, nil
}

// Put implements tuf.Store.
func (f *TUFFiles) Put(ctx context.Context, name string, b []byte) error {
	return f.write(ctx, name, func(tx *Tx) (int64, error) {
		return tx.exec(ctx, `INSERT INTO tuf_file (name, body) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body`, name, bytesOf(b))
	})
}

// Replace implements tuf.Store.
func (f *TUFFiles) Replace(ctx context.Context, name string, old, b []byte) error {
	return f.write(ctx, name, func(tx *Tx) (int64, error) {
		if old == nil {
			return tx.exec(ctx, `INSERT INTO tuf_file (name, body) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, name, bytesOf(b))
		}
		return tx.exec(ctx, `UPDATE tuf_file SET body = ? WHERE name = ? AND body = ?`, bytesOf(b), name, bytesOf(old))
	})
}

// write runs a statement that changes one row, or else is late.
func (f *TUFFiles) write(ctx context.Context, name string, fn func(*Tx) (int64, error)) error {
	err := f.db.take(ctx, func(tx *Tx) error {
		n, err := fn(tx)
		if err == nil && n == 0 {
			err = tuf.ErrRaced
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("writing TUF file %.100q: %w", name, err)
	}
	return nil
}

// SignIns keeps sign-ins under way for all processes of a server: the one that a
// device asks need not be the one that its person told.
type SignIns struct{ db *DB }

var _ oidc.Flows = (*SignIns)(nil)

// SignIns returns the store of sign-ins.
func (db *DB) SignIns() *SignIns { return &SignIns{db} }

// Add implements oidc.Flows. Processes that add at the same time may go over the
// bounds by one each.
func (s *SignIns) Add(ctx context.Context, f oidc.Flow) error {
	err := s.db.take(ctx, func(tx *Tx) error {
		if _, err := tx.exec(ctx, `DELETE FROM sign_in WHERE expires <= ?`, tx.now()); err != nil {
			return err
		}
		var all, same int
		if err := tx.row(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM sign_in LIMIT ?) AS under_way`, []any{oidc.MaxFlows}, &all); err != nil {
			return err
		}
		if err := tx.row(ctx, `SELECT COUNT(*) FROM sign_in WHERE from_addr = ?`, []any{f.From.String()}, &same); err != nil {
			return err
		}
		if err := oidc.Room(f.From, all, same); err != nil {
			return err
		}
		n, err := tx.exec(ctx, `INSERT INTO sign_in (id, user_code, from_addr, expires, version, flow) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			f.ID, f.UserCode, f.From.String(), micros(f.Expires), f.Version, document(f))
		if err == nil && n == 0 {
			err = oidc.ErrSameCode
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping a sign-in: %w", err)
	}
	return nil
}

// ByID implements oidc.Flows.
func (s *SignIns) ByID(ctx context.Context, id string) (oidc.Flow, error) {
	return s.find(ctx, `SELECT flow FROM sign_in WHERE id = ?`, id)
}

// ByUserCode implements oidc.Flows.
func (s *SignIns) ByUserCode(ctx context.Context, code string) (oidc.Flow, error) {
	return s.find(ctx, `SELECT flow FROM sign_in WHERE user_code = ?`, code)
}

func (s *SignIns) find(ctx context.Context, query, key string) (f oidc.Flow, err error) {
	err = s.db.read(ctx, func(tx *Tx) error {
		var b []byte
		err := tx.row(ctx, query, []any{key}, &b)
		if errors.Is(err, conn.ErrNoRow) {
			return oidc.ErrNoFlow
		}
		if err != nil {
			return err
		}
		f = oidc.Flow{}
		return json.Unmarshal(b, &f)
	})
	if err != nil {
		return oidc.Flow{}, fmt.Errorf("looking up a sign-in: %w", err)
	}
	return f, nil
}

// Change implements oidc.Flows.
func (s *SignIns) Change(ctx context.Context, f oidc.Flow) error {
	was := f.Version
	f.Version++
	err := s.db.take(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, `UPDATE sign_in SET expires = ?, version = ?, flow = ? WHERE id = ? AND version = ?`,
			micros(f.Expires), f.Version, document(f), f.ID, was)
		if err != nil || n > 0 {
			return err
		}
		var version int
		switch err := tx.row(ctx, `SELECT version FROM sign_in WHERE id = ?`, []any{f.ID}, &version); {
		case errors.Is(err, conn.ErrNoRow):
			return oidc.ErrNoFlow
		case err != nil:
			return err
		}
		return oidc.ErrRaced
	})
	if err != nil {
		return fmt.Errorf("changing a sign-in: %w", err)
	}
	return nil
}
