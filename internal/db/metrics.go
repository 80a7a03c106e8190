package db

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	commits prometheus.Histogram
	group   prometheus.Histogram
	retries prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "bonded_db_commit_seconds",
			Help:    "How long it took to make transactions durable.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 14),
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "bonded_db_commit_updates",
			Help:    "How many updates were committed together.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bonded_db_retries_total",
			Help: "Transactions that were run again because of others.",
		}),
	}
	if r != nil {
		r.MustRegister(m.commits, m.group, m.retries)
	}
	return m
}

func (m *metrics) committed(updates int, took time.Duration) {
	m.commits.Observe(took.Seconds())
	m.group.Observe(float64(updates))
}
