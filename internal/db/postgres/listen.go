package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is what this program notifies and listens on.
const channel = "bonded"

// relisten is how long Listen waits after it lost its connection.
const relisten = time.Second

// Listen calls heard with each message of Notify, of any process, until ctx
// ends. Messages are lost while there is no connection: when there is one
// again, heard is called with "".
func (s *Store) Listen(ctx context.Context, heard func(message string)) {
	for ctx.Err() == nil {
		if err := s.listen(ctx, heard); ctx.Err() == nil {
			s.opts.Logger.WarnContext(ctx, "listening to the database; trying again", "error", err)
		}
		t := time.NewTimer(relisten)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

func (s *Store) listen(ctx context.Context, heard func(string)) error {
	c, err := pgx.ConnectConfig(ctx, s.config.Copy())
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	}()
	if _, err := c.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	heard("")
	for {
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		heard(n.Payload)
	}
}
