package db

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

// changeSession runs one statement about a session. one says that there must
// be such a row.
func (db *DB) changeSession(ctx context.Context, doing string, id blob.UploadID, one bool, query string, args ...any) error {
	err := db.Update(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, query, args...)
		if err == nil && n == 0 && one {
			err = repo.ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s upload %s: %w", doing, id, err)
	}
	return nil
}

// BeginSession implements push.Sessions.
func (db *DB) BeginSession(ctx context.Context, s push.Session) error {
	return db.changeSession(ctx, "beginning", s.ID, true,
		`INSERT INTO upload (id, repository, principal, size, hash, started, touched) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		string(s.ID), s.Repository.String(), s.Principal, s.Offset, bytesOf(s.Hash), micros(s.Started), micros(s.Touched))
}

// SaveSession implements push.Sessions.
func (db *DB) SaveSession(ctx context.Context, s push.Session) error {
	return db.changeSession(ctx, "saving", s.ID, true, `UPDATE upload SET size = ?, hash = ?, touched = ? WHERE id = ?`,
		s.Offset, bytesOf(s.Hash), micros(s.Touched), string(s.ID))
}

// EndSession implements push.Sessions. Ending one that is unknown is no error.
func (db *DB) EndSession(ctx context.Context, id blob.UploadID) error {
	return db.changeSession(ctx, "ending", id, false, `DELETE FROM upload WHERE id = ?`, string(id))
}

// Session implements push.Sessions.
func (db *DB) Session(ctx context.Context, id blob.UploadID) (push.Session, error) {
	found, err := db.sessions(ctx, `WHERE id = ?`, string(id))
	if err == nil && len(found) == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return push.Session{}, fmt.Errorf("reading upload %s: %w", id, err)
	}
	return found[0], nil
}

// StaleSessions implements push.Sessions, the oldest first.
func (db *DB) StaleSessions(ctx context.Context, before time.Time, limit int) ([]push.Session, error) {
	found, err := db.sessions(ctx, `WHERE touched < ? ORDER BY touched, id LIMIT ?`, micros(before), limit)
	if err != nil {
		return nil, fmt.Errorf("listing uploads that were left: %w", err)
	}
	return found, nil
}

func (db *DB) sessions(ctx context.Context, rest string, args ...any) (found []push.Session, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		return tx.each(ctx, `SELECT id, repository, principal, size, hash, started, touched FROM upload `+rest, args, func(rows *sql.Rows) error {
			var s push.Session
			var r string
			var started, touched int64
			if err := rows.Scan(&s.ID, &r, &s.Principal, &s.Offset, &s.Hash, &started, &touched); err != nil {
				return err
			}
			s.Started, s.Touched = timeOf(started), timeOf(touched)
			s.Repository, err = oci.ParseRepository(r)
			found = append(found, s)
			return err
		})
	})
	return found, err
}
