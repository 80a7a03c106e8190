package audit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Log takes events in; an Integrator is one.
type Log interface {
	// Sequence logs up to limit events that wait, and returns how many it did.
	Sequence(ctx context.Context, limit int) (int, error)
}

// SequencerOptions are what a Sequencer works with.
type SequencerOptions struct {
	Log Log
	// Batch is how many events are logged in one transaction. Optional: 500.
	Batch int
	// Every is the longest time without a look for events: a wake-up from
	// another process can be lost. Optional: half a second.
	Every time.Duration
	// Gap is the time between two transactions while few events come, so that
	// those of a moment are logged together. Optional: 100 ms.
	Gap        time.Duration
	Logger     *slog.Logger          // Optional: none
	Registerer prometheus.Registerer // Optional: none
}

// Sequencer logs committed events, within a second. Any number of them may run
// on one database: Log.Sequence elects one at a time.
type Sequencer struct {
	opts     SequencerOptions
	woken    chan struct{}
	quit     chan struct{}
	ended    chan struct{}
	start    sync.Once
	stop     sync.Once
	entries  prometheus.Counter
	failures prometheus.Counter

	mu     sync.Mutex // guards what follows
	failed error      // of the last attempt; nil when it was good
	quiet  int        // failures in a row that were not said, being the same as one that was
}

// NewSequencer makes a sequencer that does nothing until Start.
func NewSequencer(o SequencerOptions) *Sequencer {
	if o.Batch == 0 {
		o.Batch = 500
	}
	if o.Every == 0 {
		o.Every = time.Second / 2
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
			Name: "bonded_audit_entries_total", Help: "Events that this process has put into the log.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bonded_audit_failures_total", Help: "Failed attempts to log events.",
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
// are left are logged after the next start.
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
			s.complain(ctx, err)
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
				s.opts.Logger.WarnContext(ctx, "logging the last audit events; they wait in the outbox", "error", err)
			}
			return
		case <-woken:
		case <-tick.C:
		}
	}
}

// drain logs all events there are, until it is told to stop.
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.failed, s.quiet = nil, 0
	}
	s.entries.Add(float64(n))
	if err != nil {
		s.failures.Inc()
	}
	return n, err
}

// repeat is after how many failures of the same kind they are said again.
const repeat = 100

// complain says a failure, once for many that are the same.
func (s *Sequencer) complain(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.failed != nil && s.failed.Error() == err.Error()
	s.failed = err
	if s.quiet++; same && s.quiet < repeat {
		return
	}
	s.quiet = 0
	s.opts.Logger.ErrorContext(ctx, "logging audit events; they wait in the outbox", "error", err)
}

// Err says why events are not logged; nil while they are.
func (s *Sequencer) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}
