package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authn"
	"github.com/bonded-dev/bonded/internal/repo"
)

// changeAuthn runs a change of accounts, codes or tokens with its event.
func (db *DB) changeAuthn(ctx context.Context, doing string, e audit.Event, fn func(*Tx) error) error {
	err := db.Update(ctx, func(tx *Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return tx.Append(ctx, e)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// one is exec of a statement that must affect a row (repo.ErrNotFound).
func (tx *Tx) one(ctx context.Context, query string, args ...any) error {
	n, err := tx.exec(ctx, query, args...)
	if err == nil && n == 0 {
		err = repo.ErrNotFound
	}
	return err
}

const accountColumns = `SELECT name, human, grants, created, disabled FROM account `

// accounts returns the accounts of a query for accountColumns.
func (tx *Tx) accounts(ctx context.Context, rest string, args ...any) ([]authn.Account, error) {
	var found []authn.Account
	err := tx.each(ctx, accountColumns+rest, args, func(rows *sql.Rows) error {
		var a authn.Account
		var grants []byte
		var human, created, disabled int64
		if err := rows.Scan(&a.Name, &human, &grants, &created, &disabled); err != nil {
			return err
		}
		a.Human, a.Created, a.Disabled = human != 0, timeOf(created), timeOf(disabled)
		err := json.Unmarshal(grants, &a.Grants)
		found = append(found, a)
		return err
	})
	return found, err
}

// Account implements authn.Store.
func (db *DB) Account(ctx context.Context, name string) (authn.Account, error) {
	var found []authn.Account
	err := db.read(ctx, func(tx *Tx) (err error) {
		found, err = tx.accounts(ctx, `WHERE name = ?`, name)
		return err
	})
	if err == nil && len(found) == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return authn.Account{}, fmt.Errorf("reading account %q: %w", name, err)
	}
	return found[0], nil
}

// hasAccount returns repo.ErrNotFound unless the account is there.
func (tx *Tx) hasAccount(ctx context.Context, name string) error {
	found, err := tx.accounts(ctx, `WHERE name = ?`, name)
	if err == nil && len(found) == 0 {
		err = repo.ErrNotFound
	}
	return err
}

// Accounts implements authn.Store, in byte order of names.
func (db *DB) Accounts(ctx context.Context, after string, limit int) (found []authn.Account, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		found, err = tx.accounts(ctx, `WHERE name > ? ORDER BY name LIMIT ?`, after, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing accounts: %w", err)
	}
	return found, nil
}

// PutAccount implements authn.Store.
func (db *DB) PutAccount(ctx context.Context, a authn.Account, e audit.Event) error {
	return db.changeAuthn(ctx, fmt.Sprintf("storing account %q", a.Name), e, func(tx *Tx) error {
		_, err := tx.exec(ctx, `INSERT INTO account (name, human, grants, created, disabled) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET human = excluded.human, grants = excluded.grants, created = excluded.created, disabled = excluded.disabled`,
			a.Name, number(a.Human), document(a.Grants), micros(a.Created), micros(a.Disabled))
		return err
	})
}

// PutCode implements authn.Store. The account must be there (repo.ErrNotFound).
// That somebody has enrolled is seen by there being a token, and none is ever
// removed.
func (db *DB) PutCode(ctx context.Context, c authn.Code, e audit.Event) error {
	return db.changeAuthn(ctx, fmt.Sprintf("storing a code for account %q", c.Account), e, func(tx *Tx) error {
		if err := tx.hasAccount(ctx, c.Account); err != nil {
			return err
		}
		if c.First {
			if err := tx.onlyCode(ctx); err != nil {
				return err
			}
		}
		_, err := tx.exec(ctx, `INSERT INTO enrol_code (hash, account, expires) VALUES (?, ?, ?)`, c.Hash[:], c.Account, micros(c.Expires))
		return err
	})
}

// onlyCode makes room for the first code.
func (tx *Tx) onlyCode(ctx context.Context) error {
	var tokens int64
	if err := tx.row(ctx, `SELECT COUNT(*) FROM token`, nil, &tokens); err != nil {
		return err
	}
	if tokens > 0 {
		return fmt.Errorf("somebody has enrolled: %w", repo.ErrConflict)
	}
	_, err := tx.exec(ctx, `DELETE FROM enrol_code`)
	return err
}

// RedeemCode implements authn.Store. A code of a disabled account counts as
// unknown. The token becomes the account's, and the event says whose.
func (db *DB) RedeemCode(ctx context.Context, hash [32]byte, now time.Time, t authn.Token, e audit.Event) (authn.Account, error) {
	var account authn.Account
	err := db.Update(ctx, func(tx *Tx) error {
		found, err := tx.accounts(ctx, `WHERE disabled = 0 AND name = (SELECT c.account FROM enrol_code c WHERE c.hash = ? AND c.expires > ?)`,
			hash[:], micros(now))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return repo.ErrNotFound
		}
		account = found[0]
		if err := tx.one(ctx, `DELETE FROM enrol_code WHERE hash = ?`, hash[:]); err != nil {
			return err
		}
		t.Account = account.Name
		if err := tx.putToken(ctx, t); err != nil {
			return err
		}
		return tx.Append(ctx, e.With("account", account.Name))
	})
	if err != nil {
		return authn.Account{}, fmt.Errorf("redeeming a code: %w", err)
	}
	return account, nil
}

const tokenColumns = `SELECT id, hash, account, label, scope, created, expires, used, revoked FROM token `

func (db *DB) tokens(ctx context.Context, rest string, args ...any) (found []authn.Token, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		return tx.each(ctx, tokenColumns+rest, args, func(rows *sql.Rows) error {
			t, err := scanToken(rows)
			found = append(found, t)
			return err
		})
	})
	return found, err
}

func scanToken(rows *sql.Rows) (t authn.Token, err error) {
	var hash, scope []byte
	var created, expires, used, revoked int64
	if err := rows.Scan(&t.ID, &hash, &t.Account, &t.Label, &scope, &created, &expires, &used, &revoked); err != nil {
		return t, err
	}
	t.Created, t.Expires, t.Used, t.Revoked = timeOf(created), timeOf(expires), timeOf(used), timeOf(revoked)
	if t.Hash, err = hashOf(hash); err == nil {
		err = json.Unmarshal(scope, &t.Scope)
	}
	return t, err
}

// Token implements authn.Store.
func (db *DB) Token(ctx context.Context, id string) (authn.Token, error) {
	found, err := db.tokens(ctx, `WHERE id = ?`, id)
	if err == nil && len(found) == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return authn.Token{}, fmt.Errorf("reading token %q: %w", id, err)
	}
	return found[0], nil
}

// Tokens implements authn.TokenStore, the oldest first.
func (db *DB) Tokens(ctx context.Context, account string) ([]authn.Token, error) {
	found, err := db.tokens(ctx, `WHERE account = ? ORDER BY created, id`, account)
	if err != nil {
		return nil, fmt.Errorf("listing tokens of account %q: %w", account, err)
	}
	return found, nil
}

// PutToken implements authn.TokenStore. The account must be there
// (repo.ErrNotFound), the id must be new.
func (db *DB) PutToken(ctx context.Context, t authn.Token, e audit.Event) error {
	return db.changeAuthn(ctx, fmt.Sprintf("storing a token of account %q", t.Account), e, func(tx *Tx) error {
		return tx.putToken(ctx, t)
	})
}

func (tx *Tx) putToken(ctx context.Context, t authn.Token) error {
	if err := tx.hasAccount(ctx, t.Account); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `INSERT INTO token (id, hash, account, label, scope, created, expires, used, revoked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		t.ID, t.Hash[:], t.Account, t.Label, document(t.Scope), micros(t.Created), micros(t.Expires), micros(t.Used), micros(t.Revoked))
	return err
}

// RevokeToken implements authn.TokenStore. One that was revoked before keeps
// the time of that.
func (db *DB) RevokeToken(ctx context.Context, id string, at time.Time, e audit.Event) error {
	return db.changeAuthn(ctx, fmt.Sprintf("revoking token %q", id), e, func(tx *Tx) error {
		return tx.one(ctx, `UPDATE token SET revoked = CASE WHEN revoked = 0 THEN ? ELSE revoked END WHERE id = ?`, micros(at), id)
	})
}

// touchEvery is how exact Token.Used is.
const touchEvery = time.Hour

// TouchToken implements authn.TokenStore. Most calls only read.
func (db *DB) TouchToken(ctx context.Context, id string, at time.Time) error {
	t, err := db.Token(ctx, id)
	if err != nil || at.Sub(t.Used) < touchEvery {
		return err
	}
	err = db.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, `UPDATE token SET used = ? WHERE id = ? AND used < ?`, micros(at), id, micros(at))
		return err
	})
	if err != nil {
		return fmt.Errorf("noting the use of token %q: %w", id, err)
	}
	return nil
}
