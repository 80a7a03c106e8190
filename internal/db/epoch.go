package db

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// advance makes the epoch of a repository grow, once in a transaction: the state
// is known by its number from the commit on.
func (tx *Tx) advance(ctx context.Context, repository int64) error {
	if tx.advanced[repository] {
		return nil
	}
	_, err := tx.exec(ctx, `INSERT INTO epoch (repository_id, number, proven, expires, payload, batch, pos) VALUES (?, 1, 0, 0, ?, 0, 0)
		ON CONFLICT (repository_id) DO UPDATE SET number = epoch.number + 1`, repository, []byte{})
	if err != nil {
		return fmt.Errorf("counting the epoch: %w", err)
	}
	if tx.advanced == nil {
		tx.advanced = map[int64]bool{}
	}
	tx.advanced[repository] = true
	return nil
}

// stated reports whether placements of a state are in the state of their
// repository: what can be pulled, and what nobody may pull any more.
func stated(s repo.State) bool { return s == repo.Admitted || s == repo.Revoked }

// Epochs says for which repositories epochs are proven, and for how long.
type Epochs struct {
	Zones []string      // those of gates
	Life  time.Duration // of a document; when half of it is over, there is another
	At    time.Time
}

// most is how many documents are made at once.
const most = 1024

// EpochsDue reports whether a document is to be made.
func (db *DB) EpochsDue(ctx context.Context, e Epochs) (bool, error) {
	due := false
	err := db.View(ctx, func(tx *Tx) error {
		rs, err := tx.epochsDue(ctx, e, 1)
		due = len(rs) > 0
		return err
	})
	return due, err
}

func (tx *Tx) epochsDue(ctx context.Context, e Epochs, limit int) ([]oci.Repository, error) {
	var found []oci.Repository
	for _, zone := range e.Zones { // "/" and "0" are neighbours
		for _, due := range []string{`e.proven < e.number`, `e.expires < ? AND e.proven = e.number`} {
			args := []any{zone + "/", zone + "0", limit - len(found)}
			if due != `e.proven < e.number` {
				args = append([]any{micros(e.At.Add(e.Life / 2))}, args...)
			}
			names, err := tx.texts(ctx, `SELECT r.name FROM epoch e CROSS JOIN repository r
				WHERE `+due+` AND r.id = e.repository_id AND r.name > ? AND r.name < ? ORDER BY r.id LIMIT ?`, args...)
			if err != nil {
				return nil, fmt.Errorf("looking for epochs that are not proven: %w", err)
			}
			for _, n := range names {
				r, err := oci.ParseRepository(n)
				if err != nil {
					return nil, err
				}
				found = append(found, r)
			}
			if len(found) >= limit {
				return found, nil
			}
		}
	}
	return found, nil
}

// CollectEpochs makes the documents that are due, notes that a batch proves them,
// and returns the SHA-256 of each in the order of its leaves.
func (tx *Tx) CollectEpochs(ctx context.Context, e Epochs, batch int64) ([][sha256.Size]byte, error) {
	due, err := tx.epochsDue(ctx, e, most)
	if err != nil {
		return nil, err
	}
	var leaves [][sha256.Size]byte
	for i, r := range due {
		doc, _, err := tx.epochOf(ctx, r, e)
		if err != nil {
			return nil, err
		}
		payload := document(doc)
		_, err = tx.exec(ctx, `UPDATE epoch SET proven = ?, expires = ?, payload = ?, batch = ?, pos = ?
			WHERE repository_id = (SELECT id FROM repository WHERE name = ?)`, doc.Epoch, micros(doc.Expires), payload, batch, i, r.String())
		if err != nil {
			return nil, fmt.Errorf("storing the epoch of %s: %w", r, err)
		}
		leaves = append(leaves, sha256.Sum256(payload))
	}
	return leaves, nil
}

// epochOf describes a repository as it is, with the lines of its state.
func (tx *Tx) epochOf(ctx context.Context, r oci.Repository, e Epochs) (*api.Epoch, []string, error) {
	at := e.At.UTC().Truncate(time.Microsecond)
	doc := &api.Epoch{Repository: r.String(), At: at, Expires: at.Add(e.Life)}
	err := tx.row(ctx, `SELECT e.number FROM repository r CROSS JOIN epoch e WHERE r.name = ? AND e.repository_id = r.id`, []any{r.String()}, &doc.Epoch)
	if errors.Is(err, conn.ErrNoRow) {
		return nil, nil, fmt.Errorf("repository %s: %w", r, repo.ErrNotFound)
	}
	var lines []string
	add := func(noun string, count *int) func(*sql.Rows) error {
		return func(rows *sql.Rows) error {
			var a, b string
			err := rows.Scan(&a, &b)
			lines = append(lines, noun+" "+a+" "+b)
			*count++
			return err
		}
	}
	if err == nil {
		err = tx.each(ctx, `SELECT p.digest, p.state FROM repository r CROSS JOIN placement p
			WHERE r.name = ? AND p.repository_id = r.id AND p.state IN ('admitted', 'revoked') ORDER BY p.digest`, []any{r.String()}, add("placement", &doc.Placements))
	}
	if err == nil {
		err = tx.each(ctx, `SELECT t.name, p.digest FROM repository r CROSS JOIN tag t CROSS JOIN placement p
			WHERE r.name = ? AND t.repository_id = r.id AND p.id = t.placement_id AND p.state IN ('admitted', 'revoked') ORDER BY t.name`, []any{r.String()}, add("tag", &doc.Tags))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("describing the state of %s: %w", r, err)
	}
	doc.Digest = api.StateDigest(lines)
	return doc, lines, nil
}

// ProvenEpoch is the state of a repository, with where it is proven.
type ProvenEpoch struct {
	api.Epoch
	Payload    []byte // nil when no batch proves the state as it is
	Batch, Pos int64
	State      []string
}

// Epoch returns the state of a repository: the document that a batch proves, if
// that is not older than the state, or else one that is made now. Errors match
// repo.ErrNotFound.
func (db *DB) Epoch(ctx context.Context, r oci.Repository, e Epochs) (*ProvenEpoch, error) {
	var out *ProvenEpoch
	err := db.View(ctx, func(tx *Tx) error {
		doc, lines, err := tx.epochOf(ctx, r, e)
		if err != nil {
			return err
		}
		out = &ProvenEpoch{Epoch: *doc, State: lines}
		var proven, expires int64
		var payload []byte
		err = tx.row(ctx, `SELECT e.proven, e.expires, e.payload, e.batch, e.pos FROM repository r CROSS JOIN epoch e WHERE r.name = ? AND e.repository_id = r.id`,
			[]any{r.String()}, &proven, &expires, &payload, &out.Batch, &out.Pos)
		if err != nil || proven != doc.Epoch || expires <= micros(e.At) {
			return err
		}
		out.Payload = payload
		return json.Unmarshal(payload, &out.Epoch)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// RaiseEpochs makes every epoch larger than it is and than floor, and returns how
// many there are.
func (tx *Tx) RaiseEpochs(ctx context.Context, floor int64) (int64, error) {
	n, err := tx.exec(ctx, `UPDATE epoch SET number = CASE WHEN number > ? THEN number ELSE CAST(? AS bigint) END + 1`, floor, floor)
	if err != nil {
		return 0, fmt.Errorf("raising epochs above %d: %w", floor, err)
	}
	return n, nil
}
