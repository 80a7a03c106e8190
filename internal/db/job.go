package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/job"
)

// Enqueue implements job.Enqueuer. A job that was given up is queued again as
// if it were new.
func (tx *Tx) Enqueue(ctx context.Context, kind, key string, runAt time.Time) error {
	return tx.EnqueueFor(ctx, "", kind, key, runAt)
}

// EnqueueFor implements job.Enqueuer.
func (tx *Tx) EnqueueFor(ctx context.Context, principal, kind, key string, runAt time.Time) error {
	// Of a queued job (state 0) the earlier time counts; a running one (1) is
	// told to run again; a buried one (2) starts over.
	at := micros(runAt)
	// Whoever asks first is the cause of the next run.
	_, err := tx.exec(ctx, `INSERT INTO job (kind, key, state, run_at, due_at, again, attempt, claim, error, trace, owner, lane) VALUES (?, ?, 0, ?, ?, 0, 0, 0, '', ?, 0, ?)
		ON CONFLICT (kind, key, lane) DO UPDATE SET
			trace = CASE WHEN (job.state = 0 OR job.again > 0) AND job.trace <> '' THEN job.trace ELSE excluded.trace END,
			again = CASE
				WHEN job.state <> 1 THEN 0
				WHEN job.again = 0 OR job.again > excluded.due_at THEN excluded.due_at
				ELSE job.again END,
			run_at = CASE
				WHEN job.state = 2 OR (job.state = 0 AND job.due_at > excluded.due_at) THEN excluded.due_at
				ELSE job.run_at END,
			due_at = CASE
				WHEN job.state = 2 OR (job.state = 0 AND job.due_at > excluded.due_at) THEN excluded.due_at
				ELSE job.due_at END,
			attempt = CASE WHEN job.state = 2 THEN 0 ELSE job.attempt END,
			error = CASE WHEN job.state = 2 THEN '' ELSE job.error END,
			state = CASE WHEN job.state = 2 THEN 0 ELSE job.state END`, kind, key, at, at, job.Cause(ctx), principal)
	if err != nil {
		return fmt.Errorf("queueing %s of %s: %w", kind, key, err)
	}
	tx.left.queued(kind)
	return nil
}

const jobColumns = `id, kind, key, run_at, attempt, claim, error, trace`

func scanJob(rows *sql.Rows) (j job.Job, err error) {
	var at int64
	err = rows.Scan(&j.ID, &j.Kind, &j.Key, &at, &j.Attempt, &j.Claim, &j.Error, &j.Trace)
	j.RunAt = timeOf(at)
	return j, err
}

// ofKinds chooses jobs by kind without the index of kinds and keys, through
// which SQLite would read and sort the whole queue for each claim.
const ofKinds = `kind || '' IN (#)`

// process is the number of this process, 0 where it is the only one.
func (db *DB) process() int64 {
	if db.keep == nil {
		return 0
	}
	return int64(db.keep.process)
}

// held changes a job that its claimant still holds; what it sets and the
// arguments of that come before. Errors match job.ErrLost.
func (db *DB) held(ctx context.Context, doing string, j job.Job, query string, args ...any) error {
	err := db.take(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, query+` WHERE id = ? AND claim = ? AND state = 1`, append(slices.Clone(args), j.ID, j.Claim)...)
		if err == nil && n == 0 {
			err = job.ErrLost
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s %s of %s: %w", doing, j.Kind, j.Key, err)
	}
	return nil
}

// Finish implements job.Queue.
func (db *DB) Finish(ctx context.Context, j job.Job) error {
	err := db.take(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, `DELETE FROM job WHERE id = ? AND claim = ? AND state = 1 AND again = 0`, j.ID, j.Claim)
		if err != nil || n > 0 {
			return err
		}
		n, err = tx.exec(ctx, `UPDATE job SET state = 0, attempt = 0, error = '', run_at = again, due_at = again, again = 0
			WHERE id = ? AND claim = ? AND state = 1`, j.ID, j.Claim)
		if err == nil && n == 0 {
			err = job.ErrLost
		}
		tx.left.queued(j.Kind)
		return err
	})
	if err != nil {
		return fmt.Errorf("finishing %s of %s: %w", j.Kind, j.Key, err)
	}
	return nil
}

// Retry implements job.Queue. If the job was asked for again meanwhile, it
// runs at the earlier time.
func (db *DB) Retry(ctx context.Context, j job.Job, runAt time.Time, reason string) error {
	at := micros(runAt)
	return db.held(ctx, "retrying", j, `UPDATE job SET state = 0, error = ?,
		run_at = CASE WHEN again > 0 AND again < ? THEN again ELSE ? END,
		due_at = CASE WHEN again > 0 AND again < ? THEN again ELSE ? END,
		again = 0`, reason, at, at, at, at)
}

// Bury implements job.Queue. If the job was asked for again meanwhile, it is
// queued again.
func (db *DB) Bury(ctx context.Context, j job.Job, reason string) error {
	now := micros(db.clock())
	return db.held(ctx, "giving up", j, `UPDATE job SET error = ?,
		state = CASE WHEN again > 0 THEN 0 ELSE 2 END,
		attempt = CASE WHEN again > 0 THEN 0 ELSE attempt END,
		run_at = CASE WHEN again > 0 THEN again ELSE ? END,
		due_at = CASE WHEN again > 0 THEN again ELSE ? END,
		again = 0`, reason, now, now)
}

// Renew implements job.Queue.
func (db *DB) Renew(ctx context.Context, j job.Job, lease time.Duration) error {
	return db.held(ctx, "keeping", j, `UPDATE job SET due_at = ?`, micros(db.clock().Add(lease)))
}

// Next implements job.Queue.
func (db *DB) Next(ctx context.Context, kinds []string) (time.Time, error) {
	if len(kinds) == 0 {
		return time.Time{}, nil
	}
	var at int64
	err := db.read(ctx, func(tx *Tx) error {
		return tx.row(ctx, list(`SELECT due_at FROM job WHERE state < 2 AND `+ofKinds+` ORDER BY due_at, id LIMIT 1`, len(kinds)), anys(kinds), &at)
	})
	if errors.Is(err, conn.ErrNoRow) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for the next job: %w", err)
	}
	return timeOf(at), nil
}

// Buried implements job.Queue.
func (db *DB) Buried(ctx context.Context, limit int) ([]job.Job, error) {
	var jobs []job.Job
	err := db.read(ctx, func(tx *Tx) error {
		return tx.each(ctx, `SELECT `+jobColumns+` FROM job WHERE state = 2 ORDER BY due_at DESC, id DESC LIMIT ?`,
			[]any{limit}, func(rows *sql.Rows) error {
				j, err := scanJob(rows)
				jobs = append(jobs, j)
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("listing jobs that were given up: %w", err)
	}
	return jobs, nil
}
