package db

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authn"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Keys of bearer tokens are secrets named keyPrefix, the time they were made in
// microseconds, and their id. Before there were several, one had the name
// firstKey: it is the oldest, and has no id.
const (
	firstKey  = "bearer"
	keyPrefix = firstKey + "/"
)

func keyName(k authn.Key) string {
	if k.ID == "" {
		return firstKey
	}
	return fmt.Sprintf("%s%020d/%s", keyPrefix, micros(k.Made), k.ID)
}

func parseKeyName(name string) (k authn.Key, err error) {
	rest, ok := strings.CutPrefix(name, keyPrefix)
	if !ok {
		return k, nil
	}
	made, id, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseInt(made, 10, 64)
	if err != nil || id == "" {
		return k, fmt.Errorf("secret %q is no key", name)
	}
	k.ID, k.Made = id, timeOf(n)
	return k, nil
}

// keys returns the keys, oldest first.
func (tx *Tx) keys(ctx context.Context) ([]authn.Key, error) {
	var found []authn.Key
	err := tx.each(ctx, `SELECT name, value FROM secret WHERE name >= ? AND name < ? ORDER BY name`, []any{firstKey, firstKey + "0"}, func(rows *sql.Rows) error {
		var name string
		var value []byte
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		k, err := parseKeyName(name)
		k.Value = slices.Clone(value)
		found = append(found, k)
		return err
	})
	return found, err
}

// Keys implements authn.TokenStore.
func (db *DB) Keys(ctx context.Context) (found []authn.Key, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		found, err = tx.keys(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the keys of bearer tokens: %w", err)
	}
	return found, nil
}

// PutKey implements authn.TokenStore.
func (db *DB) PutKey(ctx context.Context, k authn.Key, newest string, ended []string, e audit.Event) error {
	return db.changeAuthn(ctx, fmt.Sprintf("storing key %q of bearer tokens", k.ID), e, func(tx *Tx) error {
		have, err := tx.keys(ctx)
		if err != nil {
			return err
		}
		last := authn.Key{}
		if len(have) > 0 {
			last = have[len(have)-1]
		}
		if last.ID != newest {
			return fmt.Errorf("key %q was made meanwhile: %w", last.ID, repo.ErrConflict)
		}
		if k.ID == "" || !k.Made.After(last.Made) {
			return fmt.Errorf("it was made at %s, no later than the newest, at %s", k.Made, last.Made)
		}
		for _, old := range have {
			if !slices.Contains(ended, old.ID) {
				continue
			}
			if err := tx.one(ctx, `DELETE FROM secret WHERE name = ?`, keyName(old)); err != nil {
				return err
			}
		}
		_, err = tx.exec(ctx, `INSERT INTO secret (name, value) VALUES (?, ?)`, keyName(k), bytesOf(k.Value))
		return err
	})
}
