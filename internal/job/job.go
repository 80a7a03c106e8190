// Package job holds the durable job: work that a committed transaction caused
// and that is done at least once, by one worker at a time.
//
// A job is a small key, not a payload: whoever runs it reads the state of the
// world then. The same kind and key is queued once, however often it is asked
// for; asking for it while it runs queues it again.
//
// Jobs run on behalf of somebody, and those for whom they do take turns: who asks
// for a thousand waits for them, and nobody else does. Turns are counted in jobs,
// not in time: what may take minutes has a pool of its own, and work on much is
// cut into jobs that end soon and ask for the next.
package job

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// ErrLost is returned to a claimant whose lease has ended: another may have
// the job now, so it must not be done any further.
var ErrLost = errors.New("the lease of the job has ended")

// Job is one piece of work.
type Job struct {
	ID      int64
	Kind    string // bounded set; a metric label
	Key     string // what to work on, unique per kind while queued
	RunAt   time.Time
	Attempt int   // 1 for the first run
	Claim   int64 // tells this claim of the job from others
	Error   string
	Trace   string // Cause of what asked for it
}

// Cause returns the trace that ctx belongs to as a W3C traceparent, "" when
// there is none or nobody records it. It is kept with a job, so that what comes
// of a request can be seen with it.
func Cause(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get(traceparent)
}

// traceparent is the header of W3C's Trace Context.
const traceparent = "traceparent"

// caused returns ctx as a part of the trace that asked for the job.
func (j *Job) caused(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: j.Trace})
}

// Enqueuer queues jobs inside a transaction.
type Enqueuer interface {
	// Enqueue queues (kind, key) to run at the time given, or the earlier of
	// both when it is queued already. It becomes visible with the commit. The
	// Cause of ctx, or of an earlier call that the same run answers, goes along.
	Enqueue(ctx context.Context, kind, key string, runAt time.Time) error
	// EnqueueFor is Enqueue on behalf of a principal, by name; that of Enqueue is
	// the server itself. What several have asked for is done in the turn of the
	// first, for all of them.
	EnqueueFor(ctx context.Context, principal, kind, key string, runAt time.Time) error
}

// Queue is what workers use. All methods are transactions of their own. Those
// that take a claimed Job return ErrLost once another has claimed it.
type Queue interface {
	// Claim takes up to limit due jobs of those kinds, one of each principal in
	// turn and the oldest of each first, and keeps them from others until the
	// lease ends.
	Claim(ctx context.Context, kinds []string, limit int, lease time.Duration) ([]Job, error)
	// Renew lets the lease end that long from now.
	Renew(ctx context.Context, j Job, lease time.Duration) error
	// Finish removes a job that was done; if it was asked for again meanwhile it
	// stays queued.
	Finish(ctx context.Context, j Job) error
	// Retry gives the job back to run at the time given, noting why.
	Retry(ctx context.Context, j Job, runAt time.Time, reason string) error
	// Bury keeps a job that will not be tried again, for people to see.
	Bury(ctx context.Context, j Job, reason string) error
	// Next returns when the earliest queued job of those kinds is due; the zero
	// time when there is none.
	Next(ctx context.Context, kinds []string) (time.Time, error)
	// Buried lists jobs that were given up, newest first.
	Buried(ctx context.Context, limit int) ([]Job, error)
}
