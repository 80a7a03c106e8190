package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// memory is a Queue that holds callers to its contract and can fail.
type memory struct {
	t     *testing.T
	clock func() time.Time
	wake  func(kinds ...string)

	mu    sync.Mutex
	jobs  map[string]*row
	seq   int64
	fail  error // what every call returns
	calls map[string]int
}

type row struct {
	Job
	state string // queued, running, buried
	until time.Time
	again time.Time
}

func newMemory(t *testing.T) *memory {
	return &memory{t: t, clock: time.Now, jobs: map[string]*row{}, calls: map[string]int{}, wake: func(...string) {}}
}

func (m *memory) enqueue(_ context.Context, kind, key string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.calls["enqueue"]++
	r := m.jobs[kind+" "+key]
	switch {
	case r == nil || r.state == "buried":
		m.seq++
		m.jobs[kind+" "+key] = &row{Job: Job{ID: m.seq, Kind: kind, Key: key, RunAt: at}, state: "queued"}
	case r.state == "running":
		if r.again.IsZero() || at.Before(r.again) {
			r.again = at
		}
	case at.Before(r.RunAt):
		r.RunAt = at
	}
	defer m.wake(kind)
	return nil
}

func (m *memory) Claim(_ context.Context, kinds []string, limit int, lease time.Duration) ([]Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls["claim"]++
	if m.fail != nil {
		return nil, m.fail
	}
	if limit <= 0 || lease <= 0 {
		m.t.Errorf("Claim of %d jobs for %v", limit, lease)
	}
	var due []*row
	for _, r := range m.jobs {
		if slices.Contains(kinds, r.Kind) && r.state != "buried" && !m.at(r).After(m.clock()) {
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b *row) int { return m.at(a).Compare(m.at(b)) })
	var jobs []Job
	for _, r := range due[:min(limit, len(due))] {
		m.seq++
		r.state, r.until, r.Claim = "running", m.clock().Add(lease), m.seq
		r.Attempt++
		jobs = append(jobs, r.Job)
	}
	return jobs, nil
}

func (m *memory) at(r *row) time.Time {
	if r.state == "running" {
		return r.until
	}
	return r.RunAt
}

// held calls fn with the row of a claim that still holds.
func (m *memory) held(name string, j Job, fn func(r *row)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[name]++
	if m.fail != nil {
		return m.fail
	}
	r := m.jobs[j.Kind+" "+j.Key]
	if r == nil || r.state != "running" || r.Claim != j.Claim {
		return ErrLost
	}
	fn(r)
	return nil
}

func (m *memory) Renew(_ context.Context, j Job, lease time.Duration) error {
	return m.held("renew", j, func(r *row) { r.until = m.clock().Add(lease) })
}

func (m *memory) Finish(_ context.Context, j Job) error {
	return m.held("finish", j, func(r *row) {
		if r.again.IsZero() {
			delete(m.jobs, j.Kind+" "+j.Key)
			return
		}
		r.state, r.RunAt, r.again, r.Attempt = "queued", r.again, time.Time{}, 0
		m.wake(j.Kind)
	})
}

func (m *memory) Retry(_ context.Context, j Job, at time.Time, reason string) error {
	return m.held("retry", j, func(r *row) { r.state, r.RunAt, r.Error = "queued", at, reason })
}

func (m *memory) Bury(_ context.Context, j Job, reason string) error {
	return m.held("bury", j, func(r *row) { r.state, r.Error = "buried", reason })
}

func (m *memory) Next(_ context.Context, kinds []string) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return time.Time{}, m.fail
	}
	var next time.Time
	for _, r := range m.jobs {
		if slices.Contains(kinds, r.Kind) && r.state != "buried" && (next.IsZero() || m.at(r).Before(next)) {
			next = m.at(r)
		}
	}
	return next, nil
}

func (m *memory) Buried(context.Context, int) ([]Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var jobs []Job
	for _, r := range m.jobs {
		if r.state == "buried" {
			jobs = append(jobs, r.Job)
		}
	}
	return jobs, nil
}

func (m *memory) count(call string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[call]
}

// pass lets time pass, until all wait for what is later.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// bubble runs fn in time that passes when all wait.
func bubble(t *testing.T, fn func(t *testing.T, m *memory)) {
	synctest.Test(t, func(t *testing.T) { fn(t, newMemory(t)) })
}

// pool starts a pool on m that ends with the test.
func (m *memory) pool(o Options) *Pool {
	o.Queue, o.Enqueue, o.Clock = m, m.enqueue, m.clock
	p := NewPool(o)
	m.mu.Lock()
	m.wake = p.Wake
	m.mu.Unlock()
	p.Start()
	m.t.Cleanup(func() {
		if err := p.Stop(context.Background()); err != nil {
			m.t.Error(err)
		}
	})
	return p
}

func (m *memory) add(kind string, keys ...string) {
	for _, k := range keys {
		if err := m.enqueue(context.Background(), kind, k, m.clock()); err != nil {
			m.t.Error(err)
		}
	}
}

func TestRuns(t *testing.T) {
	bubble(t, func(t *testing.T, m *memory) {
		var mu sync.Mutex
		var ran []string
		running, most := 0, 0
		m.pool(Options{Workers: 3, Handlers: map[string]Handler{"a": func(_ context.Context, j Job) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			ran = append(ran, j.Key)
			mu.Unlock()
			return nil
		}}})
		m.add("a", "1", "2", "3", "4", "5", "6", "7")
		m.add("of no handler", "x")
		pass(3500 * time.Millisecond) // three rounds of three
		slices.Sort(ran)
		if want := []string{"1", "2", "3", "4", "5", "6", "7"}; !slices.Equal(ran, want) {
			t.Errorf("ran %v, want %v", ran, want)
		}
		if most != 3 {
			t.Errorf("%d jobs ran at once, want 3", most)
		}
		if len(m.jobs) != 1 {
			t.Errorf("%d jobs are left, want the one of another kind", len(m.jobs))
		}
	})
}

func TestDueLater(t *testing.T) {
	bubble(t, func(t *testing.T, m *memory) {
		start := time.Now()
		var at time.Duration
		m.pool(Options{Handlers: map[string]Handler{"a": func(context.Context, Job) error { at = time.Since(start); return nil }}})
		if err := m.enqueue(t.Context(), "a", "later", start.Add(42*time.Second)); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if at != 42*time.Second {
			t.Errorf("ran after %v, want 42s", at)
		}
	})
}

func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name     string
		err      error
		panics   bool
		runs     int
		buried   string
		atLeast  time.Duration // from the first run to the last
		attempts int
	}{
		{name: "fails always", err: errors.New("no"), attempts: 4, runs: 4, buried: "no", atLeast: 5 * time.Second}, // about 1+2+4
		{name: "permanent", err: fmt.Errorf("no: %w", ErrPermanent), attempts: 4, runs: 1, buried: "no: not worth another attempt"},
		{name: "panics", panics: true, attempts: 2, runs: 2, buried: "panic: oh"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *memory) {
				var times []time.Time
				m.pool(Options{Attempts: tt.attempts, Handlers: map[string]Handler{"a": func(_ context.Context, j Job) error {
					times = append(times, time.Now())
					if j.Attempt != len(times) {
						t.Errorf("run %d is attempt %d", len(times), j.Attempt)
					}
					if tt.panics {
						panic("oh")
					}
					return tt.err
				}}})
				m.add("a", "x")
				pass(time.Hour)
				if len(times) != tt.runs {
					t.Fatalf("%d runs, want %d", len(times), tt.runs)
				}
				if d := times[len(times)-1].Sub(times[0]); d < tt.atLeast {
					t.Errorf("tried for %v, want at least %v", d, tt.atLeast)
				}
				jobs, _ := m.Buried(t.Context(), 10)
				if len(jobs) != 1 || jobs[0].Error != tt.buried {
					t.Errorf("buried %+v, want one with %q", jobs, tt.buried)
				}
			})
		})
	}
}

func TestAskedForWhileItRuns(t *testing.T) {
	bubble(t, func(t *testing.T, m *memory) {
		runs := 0
		m.pool(Options{Handlers: map[string]Handler{"a": func(ctx context.Context, j Job) error {
			if runs++; runs == 1 {
				m.add("a", "x")
			}
			return nil
		}}})
		m.add("a", "x")
		pass(time.Second)
		if runs != 2 || len(m.jobs) != 0 {
			t.Errorf("%d runs and %d jobs left, want 2 and none", runs, len(m.jobs))
		}
	})
}

func TestLeaseIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, m *memory) {
		runs := 0
		m.pool(Options{Lease: 3 * time.Second, Handlers: map[string]Handler{"a": func(ctx context.Context, j Job) error {
			runs++
			time.Sleep(time.Minute)
			return ctx.Err()
		}}})
		m.add("a", "long")
		pass(2 * time.Minute)
		if runs != 1 || len(m.jobs) != 0 {
			t.Errorf("%d runs and %d jobs left, want 1 and none", runs, len(m.jobs))
		}
		if n := m.count("renew"); n < 50 {
			t.Errorf("the lease was renewed %d times in a minute, want one each second", n)
		}
	})
}

func TestLeaseIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, m *memory) {
		var cause error
		p := m.pool(Options{Lease: 3 * time.Second, Workers: 1, Handlers: map[string]Handler{"a": func(ctx context.Context, j Job) error {
			if j.Claim > 2 {
				return nil
			}
			m.mu.Lock() // another process took it
			m.jobs["a x"].Claim++
			m.jobs["a x"].until = time.Now()
			m.mu.Unlock()
			<-ctx.Done()
			cause = context.Cause(ctx)
			return cause
		}}})
		m.add("a", "x")
		pass(time.Minute)
		if !errors.Is(cause, ErrLost) {
			t.Errorf("the handler ended with %v, want ErrLost", cause)
		}
		if m.count("retry")+m.count("bury") != 0 {
			t.Error("a job that another has was given back")
		}
		_ = p
	})
}

func TestQueueFails(t *testing.T) {
	bubble(t, func(t *testing.T, m *memory) {
		runs := 0
		p := m.pool(Options{Handlers: map[string]Handler{"a": func(context.Context, Job) error { runs++; return nil }}})
		m.add("a", "x")
		m.mu.Lock()
		m.fail = errors.New("the database is away")
		m.mu.Unlock()
		p.Wake()
		pass(time.Minute)
		m.mu.Lock()
		m.fail = nil
		m.mu.Unlock()
		pass(2 * time.Minute) // the lease of a run that could not be finished
		if runs == 0 || len(m.jobs) != 0 {
			t.Errorf("%d runs and %d jobs left, want it done", runs, len(m.jobs))
		}
	})
}

func TestPeriodic(t *testing.T) {
	bubble(t, func(t *testing.T, m *memory) {
		var at []time.Time
		o := Options{
			Periodic: []Periodic{{Kind: "sweep", Key: "all", Every: time.Hour}},
			Handlers: map[string]Handler{"sweep": func(context.Context, Job) error {
				at = append(at, time.Now())
				time.Sleep(time.Minute)
				return nil
			}},
		}
		m.pool(o)
		m.pool(o) // another process
		pass(5*time.Hour + 30*time.Minute)
		if len(at) < 5 || len(at) > 6 {
			t.Fatalf("ran %d times in five and a half hours: %v", len(at), at)
		}
		for i, r := range at {
			if r.Truncate(time.Hour) != r || i > 0 && r.Sub(at[i-1]) != time.Hour {
				t.Errorf("run %d at %v, want each full hour", i, r)
			}
		}
	})
}

func TestStop(t *testing.T) {
	t.Run("twice, never started", func(t *testing.T) {
		p := NewPool(Options{Queue: newMemory(t), Handlers: map[string]Handler{}})
		for range 2 {
			if err := p.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		p.Start()
	})
	t.Run("waits", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *memory) {
			done := false
			p := m.pool(Options{Handlers: map[string]Handler{"a": func(ctx context.Context, j Job) error {
				time.Sleep(time.Minute)
				done = ctx.Err() == nil
				return nil
			}}})
			p.Start()
			m.add("a", "x")
			pass(time.Second)
			if err := p.Stop(t.Context()); err != nil || !done {
				t.Errorf("stopped with %v, job done: %v", err, done)
			}
			m.add("a", "y")
			pass(time.Hour)
			if len(m.jobs) != 1 {
				t.Error("a job was run after Stop")
			}
		})
	})
	t.Run("not for ever", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *memory) {
			p := m.pool(Options{Attempts: 1, Handlers: map[string]Handler{"a": func(ctx context.Context, j Job) error {
				<-ctx.Done()
				return ctx.Err()
			}}})
			m.add("a", "x")
			pass(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := p.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("stopped with %v, want the deadline", err)
			}
			synctest.Wait()
			if m.count("retry") != 1 || m.count("bury") != 0 {
				t.Error("a job that was interrupted is to be given back, however often it was tried")
			}
		})
	})
}

// TestSpans: a job is a span in the trace of its cause, and what it enqueues is
// too.
func TestSpans(t *testing.T) {
	bubble(t, func(t *testing.T, m *memory) {
		recorder := tracetest.NewSpanRecorder()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("job")
		var causes []string
		m.pool(Options{Tracer: tracer, Attempts: 1, Handlers: map[string]Handler{"a": func(ctx context.Context, j Job) error {
			causes = append(causes, Cause(ctx))
			return map[string]error{"bad": errors.New("no")}[j.Key]
		}}})
		request, span := tracer.Start(t.Context(), "request")
		m.mu.Lock()
		m.jobs["a good"] = &row{Job: Job{ID: 1, Kind: "a", Key: "good", RunAt: m.clock(), Trace: Cause(request)}, state: "queued"}
		m.jobs["a bad"] = &row{Job: Job{ID: 2, Kind: "a", Key: "bad", RunAt: m.clock().Add(time.Second), Trace: "nonsense"}, state: "queued"}
		m.mu.Unlock()
		m.wake()
		pass(time.Minute)
		span.End()
		ended := recorder.Ended()
		if len(ended) != 3 || len(causes) != 2 {
			t.Fatalf("%d spans, causes %q", len(ended), causes)
		}
		good, bad := ended[0], ended[1]
		if good.Name() != "job a" || good.Parent().SpanID() != span.SpanContext().SpanID() || good.SpanContext().TraceID() != span.SpanContext().TraceID() {
			t.Errorf("a job of a request is %s below %v", good.Name(), good.Parent().SpanID())
		}
		if bad.Parent().IsValid() || bad.Status().Code != codes.Error {
			t.Errorf("a job of nobody that fails is %v below %v", bad.Status(), bad.Parent().SpanID())
		}
		if !strings.Contains(causes[0], good.SpanContext().SpanID().String()) {
			t.Errorf("what it asks for is caused by %s, want span %s", causes[0], good.SpanContext().SpanID())
		}
	})
}

// TestPools: the pools of one process count together.
func TestPools(t *testing.T) {
	r := prometheus.NewRegistry()
	for _, kind := range []string{"judge", "feed"} {
		p := NewPool(Options{Queue: newMemory(t), Clock: time.Now, Registerer: r, Handlers: map[string]Handler{kind: nil}})
		p.metrics.runs.WithLabelValues(kind, "done").Inc()
	}
	if n := testutil.CollectAndCount(r, "bonded_job_runs_total"); n != 2 {
		t.Errorf("%d kinds are counted, want 2", n)
	}
}
