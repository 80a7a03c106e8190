package audit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SequencerOptions are what a Sequencer works with.
type SequencerOptions struct {
	Log Log
	// Batch is how many events are numbered in one transaction. Optional: 500.
	Batch int
	// Every is the longest time without a look for events: a wake-up from
	// another process can be lost. Optional: 1 second.
	Every time.Duration
	// Gap is the time between two transactions while few events come, so that
	// those of a moment are numbered together. Optional: 100 ms.
	Gap        time.Duration
	Logger     *slog.Logger          // Optional: none
	Registerer prometheus.Registerer // Optional: none
}

// Sequencer numbers committed events and chains them. Any number of them may
// run on one database: Log.Sequence elects one at a time.
type Sequencer struct {
	opts     SequencerOptions
	woken    chan struct{}
	quit     chan struct{}
	ended    chan struct{}
	start    sync.Once
	stop     sync.Once
	entries  prometheus.Counter
	failures prometheus.Counter
}

// NewSequencer makes a sequencer that does nothing until Start.
func NewSequencer(o SequencerOptions) *Sequencer {
	if o.Batch == 0 {
		o.Batch = 500
	}
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Gap == 0 {
		o.Gap = 100 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sequencer{
		opts: o, woken: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bonded_audit_entries_total", Help: "Events that this process has numbered.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bonded_audit_failures_total", Help: "Failed attempts to number events.",
		}),
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(s.entries, s.failures)
	}
	return s
}

// Start begins. Further calls do nothing, also after Stop.
func (s *Sequencer) Start() {
	s.start.Do(func() { go s.run() })
}

// Stop ends it after one more batch of events, or when ctx ends. Events that
// are left are numbered after the next start.
func (s *Sequencer) Stop(ctx context.Context) error {
	s.start.Do(func() { close(s.ended) }) // was never started, and will not be
	s.stop.Do(func() { close(s.quit) })
	select {
	case <-s.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Wake says that events were committed.
func (s *Sequencer) Wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

func (s *Sequencer) run() {
	defer close(s.ended)
	tick := time.NewTicker(s.opts.Every)
	defer tick.Stop()
	ctx := context.Background()
	for {
		err := s.drain(ctx)
		if err != nil {
			s.opts.Logger.ErrorContext(ctx, "numbering audit events; they wait in the outbox", "error", err)
		}
		gap := time.NewTimer(s.opts.Gap)
		select {
		case <-s.quit:
		case <-gap.C:
		}
		gap.Stop()
		woken := s.woken
		if err != nil { // at the pace of Every only
			woken = nil
		}
		select {
		case <-s.quit:
			if _, err := s.batch(ctx); err != nil {
				s.opts.Logger.WarnContext(ctx, "numbering the last audit events; they wait in the outbox", "error", err)
			}
			return
		case <-woken:
		case <-tick.C:
		}
	}
}

// drain numbers all events there are, until it is told to stop.
func (s *Sequencer) drain(ctx context.Context) error {
	for {
		n, err := s.batch(ctx)
		if err != nil || n < s.opts.Batch {
			return err
		}
		select {
		case <-s.quit:
			return nil
		default:
		}
	}
}

func (s *Sequencer) batch(ctx context.Context) (int, error) {
	n, err := s.opts.Log.Sequence(ctx, s.opts.Batch)
	if err != nil {
		s.failures.Inc()
		return 0, err
	}
	s.entries.Add(float64(n))
	return n, nil
}
