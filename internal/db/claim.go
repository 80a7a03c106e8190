package db

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/job"
)

// Claim implements job.Queue. Whose turn it is, each process knows for itself:
// before the oldest job of a lane each other lane has at most one turn for each
// process.
func (db *DB) Claim(ctx context.Context, kinds []string, limit int, lease time.Duration) ([]job.Job, error) {
	if len(kinds) == 0 {
		return nil, nil
	}
	db.claiming.Lock()
	defer db.claiming.Unlock()
	var c *claim
	err := db.take(ctx, func(tx *Tx) error {
		c = &claim{tx: tx, kinds: kinds, now: db.clock(), lease: lease, process: db.process(), last: db.served}
		return c.take(ctx, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("claiming jobs: %w", err)
	}
	db.served = c.last
	slices.SortFunc(c.jobs, func(a, b job.Job) int {
		return cmp.Or(a.RunAt.Compare(b.RunAt), cmp.Compare(a.ID, b.ID))
	})
	return c.jobs, nil
}

// claim is one claim of jobs.
type claim struct {
	tx      *Tx
	kinds   []string
	now     time.Time
	lease   time.Duration
	process int64
	last    string // the lane that was served last
	jobs    []job.Job
}

// take goes round the lanes that have jobs, one job each, until it has as many as
// wanted or came by all lanes in vain.
func (c *claim) take(ctx context.Context, limit int) error {
	missed := map[string]bool{}
	for len(c.jobs) < limit {
		lane, err := c.next(ctx)
		if errors.Is(err, conn.ErrNoRow) || missed[lane] {
			return nil
		}
		if err != nil {
			return err
		}
		before := len(c.jobs)
		if err := c.from(ctx, lane); err != nil {
			return err
		}
		if c.last = lane; len(c.jobs) > before {
			clear(missed)
		} else {
			missed[lane] = true
		}
	}
	return nil
}

// next returns the lane after the last that has a job which is due; after the
// highest comes the lowest again.
func (c *claim) next(ctx context.Context) (lane string, err error) {
	const due = `SELECT j.lane FROM job j WHERE j.state < 2 AND j.due_at <= ?`
	err = c.tx.row(ctx, due+` AND j.lane > ? ORDER BY j.lane LIMIT 1`, []any{micros(c.now), c.last}, &lane)
	if errors.Is(err, conn.ErrNoRow) {
		err = c.tx.row(ctx, due+` ORDER BY j.lane LIMIT 1`, []any{micros(c.now)}, &lane)
	}
	return lane, err
}

// from claims the oldest job of a lane. Work that is running in another lane is
// left alone until it has ended. What others have asked for of the same work is
// fulfilled by this run.
func (c *claim) from(ctx context.Context, lane string) error {
	now, before := micros(c.now), len(c.jobs)
	// A wish to run again that was meant for now is fulfilled by this run, where
	// the one before did not end.
	// The pick is materialized: a plan that ran it twice would pick others.
	query := list(`WITH picked (id) AS MATERIALIZED (
			SELECT j.id FROM job j WHERE j.state < 2 AND j.lane = ? AND j.due_at <= ? AND j.`+ofKinds+`
				AND NOT EXISTS (SELECT 1 FROM job o WHERE o.kind = j.kind AND o.key = j.key AND o.lane <> j.lane AND o.state = 1 AND o.due_at > ?)
			ORDER BY j.due_at, j.id LIMIT 1`+c.tx.skipLocked()+`)
		UPDATE job SET state = 1, attempt = attempt + 1, claim = claim + 1, due_at = ?, owner = ?,
			again = CASE WHEN again > ? THEN again ELSE 0 END
		WHERE id IN (SELECT picked.id FROM picked)
		RETURNING `+jobColumns, len(c.kinds))
	args := append(append([]any{lane, now}, anys(c.kinds)...), now, micros(c.now.Add(c.lease)), c.process, now)
	err := c.tx.each(ctx, query, args, func(rows *sql.Rows) error {
		j, err := scanJob(rows)
		c.jobs = append(c.jobs, j)
		return err
	})
	if err != nil || len(c.jobs) == before {
		return err
	}
	got := c.jobs[len(c.jobs)-1]
	_, err = c.tx.exec(ctx, `DELETE FROM job WHERE id IN (SELECT j.id FROM job j WHERE j.kind = ? AND j.key = ? AND j.lane <> ?
		AND (j.state = 2 OR j.state = 0 AND j.due_at <= ?)`+c.tx.skipLocked()+`)`, got.Kind, got.Key, lane, now)
	return err
}
