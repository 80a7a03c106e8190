package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Appender is a log that entries are appended to in a transaction of the
// caller's; *tlog.Log is one.
type Appender interface {
	Append(ctx context.Context, entries []tlog.Entry, commit func(context.Context, *tlog.Step) error) ([]byte, error)
	Status() tlog.Status
}

// IntegratorOptions are what an Integrator works with.
type IntegratorOptions struct {
	Store Store
	Log   Appender
	// Broken is told of an event that does not follow from the one before it in
	// the chain that events had before they were in a log. It has been moved all
	// the same. Optional.
	Broken func(ctx context.Context, seq int64) error
	Logger *slog.Logger // Optional: none
}

// Integrator moves events from the outbox into the log. One goroutine uses it at
// a time; any number of processes may have one on a database.
type Integrator struct {
	o IntegratorOptions

	mu sync.Mutex // guards what follows
	// chain is the chain hash of the last event that was moved here; nil when that
	// is not known.
	chain *[32]byte
}

// NewIntegrator makes an integrator.
func NewIntegrator(o IntegratorOptions) *Integrator {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Integrator{o: o}
}

// Sequence gives up to limit committed events their numbers and puts them into
// the log, and returns how many. It publishes what was left unpublished before.
// Errors match those of tlog.Log.Append; after tlog.ErrUnwitnessed the events may
// be in the log.
func (i *Integrator) Sequence(ctx context.Context, limit int) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	events, err := i.o.Store.Waiting(ctx, limit)
	if err != nil {
		return 0, fmt.Errorf("reading events that wait: %w", err)
	}
	if st := i.o.Log.Status(); len(events) == 0 && st.Published >= st.Size {
		return 0, nil
	}
	entries := make([]tlog.Entry, len(events))
	for n := range events {
		if entries[n], err = plain(&events[n]); err != nil {
			return 0, err
		}
	}
	var at int64
	_, err = i.o.Log.Append(ctx, entries, func(ctx context.Context, s *tlog.Step) error {
		at = s.Old.Size
		return i.o.Store.Integrate(ctx, s, events)
	})
	if errors.Is(err, ErrTaken) {
		i.chain = nil
		return 0, nil
	}
	if err != nil {
		i.chain = nil
		return 0, fmt.Errorf("integrating %d events: %w", len(events), err)
	}
	return len(events), i.follow(ctx, at, events)
}

// plain makes an event an entry of the log. One of before there was a log may be
// too large for it, and is cut.
func plain(w *Waiting) (tlog.Entry, error) {
	if len(w.Bytes) > MaxEvent {
		var e Event
		if err := json.Unmarshal(w.Bytes, &e); err != nil {
			return tlog.Entry{}, fmt.Errorf("reading event %d of the outbox: %w", w.ID, err)
		}
		w.Bytes, w.Chain = e.Bytes(), nil
	}
	return tlog.Plain(w.Bytes)
}

// follow checks the chain of events that had one, of which the first is now
// entry at. After a start in the middle the first has nothing to be held against.
func (i *Integrator) follow(ctx context.Context, at int64, events []Waiting) error {
	for n, w := range events {
		if w.Chain == nil {
			i.chain = nil
			continue
		}
		seq := at + int64(n) + 1
		if seq == 1 {
			i.chain = new([32]byte)
		}
		if i.chain != nil && Link(*i.chain, w.Bytes) != [32]byte(w.Chain) {
			i.o.Logger.ErrorContext(ctx, "an event does not follow from the one before it in the chain of before: one of them was changed, or one between them removed", "event", seq)
			if i.o.Broken != nil {
				if err := i.o.Broken(ctx, seq); err != nil {
					return fmt.Errorf("recording that the chain is broken at event %d: %w", seq, err)
				}
			}
		}
		i.chain = (*[32]byte)(w.Chain)
	}
	return nil
}
