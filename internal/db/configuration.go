package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/db/postgres"
)

// Configuration is what decides on a server, by digests.
type Configuration struct {
	Digest string
	Parts  map[string]string // digest of each part, by its name
	// Applied is when it came into force, the last time.
	Applied time.Time
}

// Application is what became of a configuration that a server wants in force.
type Application struct {
	// Now is the one in force, Before the one that it replaced just now; zero where
	// it replaced none.
	Now, Before Configuration
	// Changed: it came into force just now.
	Changed bool
}

// Apply puts a configuration in force, and says that a server with it lives. One
// that the database has never seen replaces what is there at once. One that was
// replaced before comes back only when no server with the one in force was heard
// for the grace: a server that is started again with the old file, while others
// are brought to the new one, does not undo it.
func (tx *Tx) Apply(ctx context.Context, c Configuration, grace time.Duration) (a Application, err error) {
	if tx.db.postgres != nil {
		var locked bool
		if err := tx.row(ctx, `SELECT pg_advisory_xact_lock(?) IS NULL`, []any{int64(postgres.LockConfiguration)}, &locked); err != nil {
			return a, fmt.Errorf("applying the configuration: %w", err)
		}
	}
	if a, err = tx.apply(ctx, c, grace); err != nil {
		return a, fmt.Errorf("applying the configuration: %w", err)
	}
	return a, nil
}

func (tx *Tx) apply(ctx context.Context, c Configuration, grace time.Duration) (a Application, err error) {
	var parts []byte
	var seq, applied, alive int64
	now := Configuration{}
	err = tx.row(ctx, `SELECT digest, parts, seq, applied, alive FROM configuration ORDER BY seq DESC LIMIT 1`, nil, &now.Digest, &parts, &seq, &applied, &alive)
	switch {
	case errors.Is(err, conn.ErrNoRow):
	case err != nil:
		return a, err
	default:
		now.Applied = time.UnixMicro(applied)
		if err := json.Unmarshal(parts, &now.Parts); err != nil {
			return a, err
		}
	}
	if now.Digest == c.Digest {
		_, err := tx.exec(ctx, `UPDATE configuration SET alive = ? WHERE digest = ? AND alive < ?`, tx.now(), c.Digest, tx.now())
		return Application{Now: now}, err
	}
	var seen int
	if err := tx.row(ctx, `SELECT COUNT(*) FROM configuration WHERE digest = ?`, []any{c.Digest}, &seen); err != nil {
		return a, err
	}
	if seen > 0 && tx.now()-alive < grace.Microseconds() {
		return Application{Now: now}, nil
	}
	c.Applied = time.UnixMicro(tx.now())
	_, err = tx.exec(ctx, `INSERT INTO configuration (digest, parts, seq, applied, alive) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (digest) DO UPDATE SET parts = excluded.parts, seq = excluded.seq, applied = excluded.applied, alive = excluded.alive`,
		c.Digest, string(document(c.Parts)), seq+1, tx.now(), tx.now())
	return Application{Now: c, Before: now, Changed: true}, err
}
