package db_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// logSizes are of logs for which benchmarks show how things grow.
var logSizes = []int{10_000, 100_000, 1_000_000}

// benchEntry is as large as an audit event: 300 bytes.
func benchEntry(n int) tlog.Entry {
	return tlogtest.Entry(fmt.Sprintf("%-300s", fmt.Sprintf(`{"id":"%032x","kind":"manifest.pushed"}`, n)))
}

// benchLog is a log of n entries in SQLite, with its tiles in files and a head store.
func benchLog(b *testing.B, n int, change func(*tlog.Options)) (*tlog.Log, tlog.Options) {
	b.Helper()
	blobs, err := disk.Open(b.TempDir(), disk.Options{})
	if err != nil {
		b.Fatal(err)
	}
	o := tlogtest.Options(b, dbtest.Open(b, db.Options{Folder: b.TempDir()}).TileLog("bench"), blobs)
	if o.Heads, err = tlog.NewHeadFolder(b.TempDir(), nil); err != nil {
		b.Fatal(err)
	}
	if change != nil {
		change(&o)
	}
	l := tlogtest.Begin(b, o)
	for at := 0; at < n; {
		batch := make([]tlog.Entry, min(n-at, 20_000))
		for i := range batch {
			batch[i] = benchEntry(at + i)
		}
		if _, err := l.Append(b.Context(), batch, o.Store.Append); err != nil {
			b.Fatal(err)
		}
		at += len(batch)
	}
	return l, o
}

// BenchmarkTileLogVerify verifies whole logs. The bar: a million entries in at
// most 40 times the SHA-256 of the same bytes.
func BenchmarkTileLogVerify(b *testing.B) {
	for _, size := range logSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l, o := benchLog(b, size, nil)
			entries := make([][]byte, 1000)
			for i := range entries {
				entries[i] = benchEntry(i).Bundle[2:]
			}
			start := time.Now()
			for i := range size {
				sha256.Sum256(entries[i%len(entries)])
			}
			plain := time.Since(start)
			for b.Loop() {
				r, err := tlog.Verify(b.Context(), tlog.VerifyOptions{Source: l, Origin: o.Origin, Verifier: o.Verifier})
				if err != nil || r.Bad != nil || r.Entries != int64(size) {
					b.Fatalf("%+v, %v", r.Bad, err)
				}
			}
			per := b.Elapsed() / time.Duration(b.N)
			b.ReportMetric(float64(per)/float64(plain), "x-sha256")
			b.ReportMetric(float64(per.Nanoseconds())/float64(size), "ns/entry")
		})
	}
}

// BenchmarkTileLogAdd adds entries at 1000 a second, as they come, and says how long
// each took, in batch intervals. The bar: fewer than 3 at the median, with all of
// them taken.
func BenchmarkTileLogAdd(b *testing.B) {
	for _, size := range logSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			wait := 20 * time.Millisecond
			l, _ := benchLog(b, size, func(o *tlog.Options) { o.Wait, o.Index, o.Dedupe = wait, true, true })
			const rate, total = 1000, 4000
			for b.Loop() {
				took := make([]time.Duration, total)
				var all sync.WaitGroup
				start := time.Now()
				for i := range total {
					due := start.Add(time.Duration(i) * time.Second / rate)
					<-time.After(time.Until(due))
					all.Go(func() {
						if _, err := l.Add(b.Context(), benchEntry(int(due.UnixNano()))); err != nil {
							b.Error(err)
						}
						took[i] = time.Since(due)
					})
				}
				all.Wait()
				elapsed := time.Since(start)
				slices.Sort(took)
				b.ReportMetric(total/elapsed.Seconds(), "entries/s")
				b.ReportMetric(float64(took[total/2])/float64(wait), "intervals-p50")
				b.ReportMetric(float64(took[total*95/100])/float64(wait), "intervals-p95")
			}
		})
	}
}

// BenchmarkTileLogThroughput adds as many entries as there can be, of 512 callers.
func BenchmarkTileLogThroughput(b *testing.B) {
	l, _ := benchLog(b, 0, func(o *tlog.Options) { o.Wait, o.Index, o.Dedupe = 20*time.Millisecond, true, true })
	var all sync.WaitGroup
	next := make(chan int)
	for range 512 {
		all.Go(func() {
			for n := range next {
				if _, err := l.Add(b.Context(), benchEntry(n)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	n := 0
	for b.Loop() {
		next <- n
		n++
	}
	close(next)
	all.Wait()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}
