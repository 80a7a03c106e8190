package job

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// ErrPermanent matches errors of handlers that no further attempt would
// change: the job is given up at once.
var ErrPermanent = errors.New("not worth another attempt")

// errStopping is the cause with which handlers end when Stop waits no longer.
var errStopping = errors.New("the server is stopping")

// Handler does one job. It must be safe to run again after it has done all or
// part of the work. Its context ends when another claimant may have the job,
// and when the pool stops waiting for it.
type Handler func(ctx context.Context, j Job) error

// Periodic is a job that is queued for each multiple of Every. When several
// processes ask for it, it still runs once. Times that pass while nobody runs
// are made up for by one run.
type Periodic struct {
	Kind, Key string
	Every     time.Duration
}

// Options are what a Pool works with.
type Options struct {
	Queue    Queue
	Handlers map[string]Handler // by kind; only these kinds are claimed
	// Workers is how many jobs run at once. Optional: 4.
	Workers int
	// Lease is how long a job is kept from others; it is renewed while the job
	// runs, so it only bounds how soon the jobs of a process that died are run
	// by another, where the Queue does not find that out by itself. Optional: 1
	// minute.
	Lease time.Duration
	// Attempts is how often a job is tried before it is given up. Optional: 10,
	// which with waits of 1 s doubled up to 10 min takes half an hour.
	Attempts int
	// Poll is the longest time without a look at the queue: a wake-up from
	// another process can be lost. Optional: 5 seconds.
	Poll time.Duration
	// Periodic jobs are queued by Enqueue, which is required with them and is a
	// transaction of its own.
	Periodic   []Periodic
	Enqueue    func(ctx context.Context, kind, key string, runAt time.Time) error
	Clock      func() time.Time
	Rand       io.Reader             // Optional: crypto/rand; for the jitter of retries
	Logger     *slog.Logger          // Optional: none
	Tracer     trace.Tracer          // Optional: none
	Registerer prometheus.Registerer // Optional: none
}

func (o *Options) defaults() {
	setDefault(&o.Workers, 4)
	setDefault(&o.Lease, time.Minute)
	setDefault(&o.Attempts, 10)
	setDefault(&o.Poll, 5*time.Second)
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Tracer == nil {
		o.Tracer = noop.NewTracerProvider().Tracer("")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Pool runs jobs.
type Pool struct {
	opts    Options
	kinds   []string
	metrics *metrics
	woken   chan struct{}
	freed   chan struct{} // one for each job that ended
	quit    chan struct{}
	ended   chan struct{} // closed when nothing is claimed any more
	start   sync.Once
	stop    sync.Once
	running sync.WaitGroup
	cancel  context.CancelCauseFunc // ends the handlers' contexts
	base    context.Context
	slots   []time.Time // when each periodic job is to be queued again; the dispatcher's
}

// NewPool makes a pool that does nothing until Start. It panics on a periodic
// job that nobody would run.
func NewPool(o Options) *Pool {
	o.defaults()
	for _, p := range o.Periodic {
		if o.Handlers[p.Kind] == nil || o.Enqueue == nil || p.Every <= 0 {
			panic(fmt.Sprintf("job: periodic job %s without handler, Enqueue or interval", p.Kind))
		}
	}
	p := &Pool{
		opts: o, kinds: slices.Sorted(maps.Keys(o.Handlers)), metrics: newMetrics(o.Registerer),
		woken: make(chan struct{}, 1), freed: make(chan struct{}, o.Workers),
		quit: make(chan struct{}), ended: make(chan struct{}), slots: make([]time.Time, len(o.Periodic)),
	}
	p.base, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// Start begins to run jobs. Further calls do nothing, also after Stop.
func (p *Pool) Start() {
	p.start.Do(func() { go p.dispatch() })
}

// Stop ends it: nothing is claimed any more, and jobs that run are waited for
// until ctx ends. Those that run even then have their contexts ended and are
// left to another process; the error says how many.
func (p *Pool) Stop(ctx context.Context) error {
	p.start.Do(func() { close(p.ended) }) // was never started, and will not be
	p.stop.Do(func() { close(p.quit) })
	done := make(chan struct{})
	go func() {
		<-p.ended
		p.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		p.cancel(errStopping)
		return nil
	case <-ctx.Done():
		p.cancel(errStopping)
		return fmt.Errorf("waiting for jobs to end: %w", ctx.Err())
	}
}

// Wake says that jobs of those kinds were queued, or of any kind when none is
// given.
func (p *Pool) Wake(kinds ...string) {
	if len(kinds) > 0 && !slices.ContainsFunc(kinds, func(k string) bool { return p.opts.Handlers[k] != nil }) {
		return
	}
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// dispatch claims jobs while there are workers for them.
func (p *Pool) dispatch() {
	defer close(p.ended)
	free := p.opts.Workers
	for {
		wait := p.opts.Poll
		p.queuePeriodic()
		if free > 0 {
			var claimed int
			claimed, wait = p.claim(free)
			free -= claimed
		}
		timer := time.NewTimer(wait)
		select {
		case <-p.quit:
			timer.Stop()
			return
		case <-p.freed:
			free++
		case <-p.woken:
		case <-timer.C:
		}
		timer.Stop()
		for more := true; more; {
			select {
			case <-p.freed:
				free++
			default:
				more = false
			}
		}
	}
}

// claim starts up to free jobs that are due. It returns how many, and how long
// nothing else will be.
func (p *Pool) claim(free int) (int, time.Duration) {
	next, err := p.opts.Queue.Next(p.base, p.kinds)
	if err != nil {
		return 0, p.trouble(err)
	}
	if wait := p.until(next); wait > 0 {
		return 0, wait
	}
	jobs, err := p.opts.Queue.Claim(p.base, p.kinds, free, p.opts.Lease)
	if err != nil {
		return 0, p.trouble(err)
	}
	for _, j := range jobs {
		p.running.Add(1)
		go p.run(j)
	}
	if len(jobs) < free { // there may be one that is due soon
		return len(jobs), min(p.opts.Poll, 10*time.Millisecond)
	}
	return len(jobs), p.opts.Poll // until a worker is free
}

// until is how long to wait for a job that is due then, at most Poll.
func (p *Pool) until(next time.Time) time.Duration {
	if next.IsZero() {
		return p.opts.Poll
	}
	return min(next.Sub(p.opts.Clock()), p.opts.Poll)
}

// trouble is what the dispatcher does when the queue fails: it waits a little.
func (p *Pool) trouble(err error) time.Duration {
	p.opts.Logger.ErrorContext(p.base, "using the job queue", "error", err)
	return min(time.Second, p.opts.Poll)
}

// queuePeriodic queues each periodic job for its next time, once that of
// before has come.
func (p *Pool) queuePeriodic() {
	now := p.opts.Clock()
	for i, j := range p.opts.Periodic {
		if now.Before(p.slots[i]) {
			continue
		}
		slot := j.next(now)
		if err := p.opts.Enqueue(p.base, j.Kind, j.Key, slot); err != nil {
			p.trouble(err)
			continue
		}
		p.slots[i] = slot
	}
}

// next is the first multiple of Every after now.
func (j Periodic) next(now time.Time) time.Time { return now.Truncate(j.Every).Add(j.Every) }

// run does one job, and what follows from how it ended.
func (p *Pool) run(j Job) {
	defer func() {
		p.running.Done()
		p.freed <- struct{}{} // never blocks: there is room for every worker
	}()
	start := p.opts.Clock()
	p.metrics.wait.WithLabelValues(j.Kind).Observe(max(0, start.Sub(j.RunAt).Seconds()))
	ctx, span := p.opts.Tracer.Start(j.caused(p.base), "job "+j.Kind, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("job.kind", j.Kind), attribute.String("job.key", j.Key), attribute.Int("job.attempt", j.Attempt)))
	defer span.End()
	ctx, cancel := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		p.renew(ctx, j, cancel)
	}()
	err := p.call(ctx, j)
	cause := context.Cause(ctx)
	cancel(nil)
	<-renewed
	p.metrics.seconds.WithLabelValues(j.Kind).Observe(max(0, p.opts.Clock().Sub(start).Seconds()))
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	p.settle(j, err, cause)
}

// call runs the handler; a panic in it is an error.
func (p *Pool) call(ctx context.Context, j Job) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.opts.Logger.ErrorContext(ctx, "a job panicked", "kind", j.Kind, "key", j.Key, "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return p.opts.Handlers[j.Kind](ctx, j)
}

// renew keeps the lease until ctx ends, or ends ctx when it could not.
func (p *Pool) renew(ctx context.Context, j Job, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(max(p.opts.Lease/3, time.Millisecond))
	defer tick.Stop()
	kept := p.opts.Clock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := p.opts.Queue.Renew(ctx, j, p.opts.Lease)
		switch {
		case err == nil:
			kept = p.opts.Clock()
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrLost) || p.opts.Clock().Sub(kept) > p.opts.Lease:
			cancel(ErrLost)
			return
		default:
			p.opts.Logger.WarnContext(ctx, "keeping a job", "kind", j.Kind, "key", j.Key, "error", err)
		}
	}
}

// settleTime bounds what is written about a job that ended.
const settleTime = 30 * time.Second

// settle tells the queue how a job ended, and why its context did, if it did
// so before.
func (p *Pool) settle(j Job, err, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.base), settleTime)
	defer cancel()
	log := p.opts.Logger.With("kind", j.Kind, "key", j.Key, "attempt", j.Attempt)
	var outcome string
	var qerr error
	switch {
	case err == nil:
		outcome, qerr = "done", p.opts.Queue.Finish(ctx, j)
		p.again(ctx, j)
	case errors.Is(cause, ErrLost):
		outcome = "lost"
		log.WarnContext(ctx, "a job took longer than its lease could be kept", "error", err)
	case errors.Is(cause, errStopping):
		outcome, qerr = "interrupted", p.opts.Queue.Retry(ctx, j, p.opts.Clock(), err.Error())
	case errors.Is(err, ErrPermanent) || j.Attempt >= p.opts.Attempts:
		outcome, qerr = "buried", p.opts.Queue.Bury(ctx, j, err.Error())
		log.ErrorContext(ctx, "a job was given up", "error", err)
		p.again(ctx, j)
	default:
		at := p.opts.Clock().Add(p.backoff(j.Attempt))
		outcome, qerr = "retried", p.opts.Queue.Retry(ctx, j, at, err.Error())
		log.WarnContext(ctx, "a job will be tried again", "at", at, "error", err)
	}
	p.metrics.runs.WithLabelValues(j.Kind, outcome).Inc()
	if qerr != nil { // its lease will end, and it will run again
		log.ErrorContext(ctx, "settling a job", "error", qerr)
	}
}

// again queues a periodic job for its next time after it has run.
func (p *Pool) again(ctx context.Context, j Job) {
	for _, pj := range p.opts.Periodic {
		if pj.Kind != j.Kind || pj.Key != j.Key {
			continue
		}
		if err := p.opts.Enqueue(ctx, pj.Kind, pj.Key, pj.next(p.opts.Clock())); err != nil {
			p.trouble(err)
		}
	}
}

// Bounds of the wait after a failed attempt.
const (
	backoffFirst = time.Second
	backoffLast  = 10 * time.Minute
)

// backoff is the wait after the attempt given: doubled each time, a quarter
// more or less at random, so that what failed together is not tried together.
func (p *Pool) backoff(attempt int) time.Duration {
	d := backoffFirst << min(attempt-1, 20)
	d = min(d, backoffLast)
	var b [8]byte
	if _, err := io.ReadFull(p.opts.Rand, b[:]); err != nil {
		return d
	}
	return d*3/4 + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(d/2))
}
