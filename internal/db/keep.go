package db

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/db/postgres"
)

// lookEvery is how often a process looks for jobs of processes that died. One
// that does not show that it lives, twice in a row, is dead: a connection that
// was lost is made again in less.
const lookEvery = 2 * time.Second

// keeper shows that this process lives, and takes over jobs of those that do
// not. Who is taken for dead and is not finds out when it renews or settles the
// job: its claim holds no more.
type keeper struct {
	process int32 // never 0
	cancel  context.CancelFunc
	ended   sync.WaitGroup
}

// widowed selects processes that run jobs and do not live.
const widowed = `SELECT DISTINCT j.owner FROM job j WHERE j.state = 1 AND j.owner <> 0 AND j.owner NOT IN (` + postgres.Living + `)`

func (db *DB) newKeeper(s *postgres.Store, random io.Reader, logger *slog.Logger) (*keeper, error) {
	var b [4]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{process: max(1, int32(binary.LittleEndian.Uint32(b[:])&0x7fffffff)), cancel: cancel}
	var suspects map[int64]bool
	k.ended.Go(func() {
		s.Live(ctx, k.process, lookEvery, widowed, func(first bool, owners []int64) {
			if first { // what kept us from looking may have kept others from showing themselves
				suspects = nil
			}
			var dead []int64
			now := map[int64]bool{}
			for _, o := range owners {
				if now[o] = true; suspects[o] {
					dead = append(dead, o)
				}
			}
			suspects = now
			if err := db.takeOver(ctx, dead); err != nil && ctx.Err() == nil {
				logger.WarnContext(ctx, "taking over jobs; their leases will end", "error", err)
			}
		})
	})
	return k, nil
}

func (k *keeper) stop() {
	k.cancel()
	k.ended.Wait()
}

// takeOver makes the jobs ready that those processes run.
func (db *DB) takeOver(ctx context.Context, processes []int64) error {
	if len(processes) == 0 {
		return nil
	}
	var kinds []string
	err := db.Update(ctx, func(tx *Tx) (err error) {
		kinds, err = tx.texts(ctx, list(`UPDATE job SET due_at = ?, owner = 0 WHERE state = 1 AND owner IN (#) RETURNING kind`, len(processes)),
			append([]any{micros(db.clock())}, anys(processes)...)...)
		for _, kind := range kinds {
			tx.left.queued(kind)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("taking over jobs of processes that died: %w", err)
	}
	if n := len(kinds); n > 0 {
		db.logger.InfoContext(ctx, "took over jobs of processes that died", "jobs", n, "processes", len(processes))
	}
	return nil
}
