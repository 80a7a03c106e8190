package job

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	runs    *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	wait    *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bonded_job_runs_total",
			Help: "Runs of jobs by how they ended: done, retried, buried, interrupted, lost.",
		}, []string{"kind", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "bonded_job_seconds",
			Help:    "How long jobs ran.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}, []string{"kind"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "bonded_job_wait_seconds",
			Help:    "How long jobs waited after they were due.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}, []string{"kind"}),
	}
	if r != nil {
		m.runs, m.seconds, m.wait = register(r, m.runs), register(r, m.seconds), register(r, m.wait)
	}
	return m
}

// register returns the collector that is registered as c is: the pools of a
// process count together.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	var known prometheus.AlreadyRegisteredError
	switch err := r.Register(c); {
	case err == nil:
		return c
	case errors.As(err, &known):
		if before, ok := known.ExistingCollector.(C); ok {
			return before
		}
	}
	panic("job: its metrics have the names of others")
}
