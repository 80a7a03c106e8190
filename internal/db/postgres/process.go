package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// lockProcess is the first key of the advisory locks by which processes show
// that they live; the second is the number of the process. Locks with two keys
// are apart from those with one.
const lockProcess = 0x626f6e64

// Living selects the numbers of the processes that live.
const Living = `SELECT CAST(l.objid AS bigint) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
	WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.classid = 1651469924 AND l.objsubid = 2 AND l.granted`

// Live shows until ctx ends that the process of that number lives: by a lock of
// a session, which the server gives up when the process dies. While it is held
// the query, of one column of integers, runs at that interval, and found gets
// what it returns; first says that it is the first time since the lock was taken.
func (s *Store) Live(ctx context.Context, process int32, every time.Duration, query string, found func(first bool, values []int64)) {
	for ctx.Err() == nil {
		if err := s.live(ctx, process, every, query, found); ctx.Err() == nil {
			s.opts.Logger.WarnContext(ctx, "showing that this process lives; trying again", "error", err)
		}
		pause(ctx, relisten)
	}
}

func (s *Store) live(ctx context.Context, process int32, every time.Duration, query string, found func(bool, []int64)) error {
	c, err := pgx.ConnectConfig(ctx, s.config.Copy())
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	}()
	// A session of this process that the server does not know to be dead yet may
	// still hold it, which is as good; then this waits.
	if _, err := c.Exec(ctx, "SELECT pg_advisory_lock($1, $2)", int32(lockProcess), process); err != nil {
		return err
	}
	for first := true; ; first = false {
		rows, err := c.Query(ctx, query)
		if err != nil {
			return err
		}
		values, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		found(first, values)
		if !pause(ctx, every) {
			return ctx.Err()
		}
	}
}

// pause waits, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
