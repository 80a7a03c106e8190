package tlog

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one log, told apart by its origin.
type metrics struct {
	entries     prometheus.Counter
	size        prometheus.Gauge
	commit      prometheus.Histogram
	conflicts   prometheus.Counter
	unpublished prometheus.Counter
}

func newMetrics(r prometheus.Registerer, origin string) *metrics {
	labels := prometheus.Labels{"log": origin}
	m := &metrics{
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bonded_tlog_entries_total", Help: "Entries appended to the log by this process.", ConstLabels: labels}),
		size: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bonded_tlog_size", Help: "Entries in the log, when this process last appended.", ConstLabels: labels}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bonded_tlog_commit_seconds", Help: "Time of the transaction that appends a batch.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 12)}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bonded_tlog_conflicts_total", Help: "Batches that were begun again because another process was first.", ConstLabels: labels}),
		unpublished: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bonded_tlog_unpublished_total", Help: "Heads that the head store or the witnesses did not take.", ConstLabels: labels}),
	}
	if r != nil {
		r.MustRegister(m.entries, m.size, m.commit, m.conflicts, m.unpublished)
	}
	return m
}

func (m *metrics) appended(entries int, size int64, took time.Duration) {
	m.entries.Add(float64(entries))
	m.size.Set(float64(size))
	m.commit.Observe(took.Seconds())
}
