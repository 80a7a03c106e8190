package db_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/cputest"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// benchEngine opens the engine that BONDED_BENCH_ENGINE names, SQLite when
// it is not set.
func benchEngine(b *testing.B) *db.DB {
	if os.Getenv("BONDED_BENCH_ENGINE") == "postgres" {
		return dbtest.Open(b, db.Options{URL: testparts.Postgres(b)})
	}
	return dbtest.Open(b, db.Options{Folder: b.TempDir()})
}

// benchImage is the i-th image of a registry: five layers of a base that a
// thousand images share, three of its own, 2 KiB of JSON.
func benchImage(i int) *repo.Manifest {
	raw := bytes.Repeat([]byte(fmt.Sprintf("manifest %d ", i)), 2048/len(fmt.Sprintf("manifest %d ", i)))
	m := &repo.Manifest{
		Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeManifest, ArtifactType: oci.MediaTypeConfig, Kind: oci.KindImage, Raw: raw,
		Annotations: map[string]string{"org.opencontainers.image.title": "bench"},
		References:  []repo.Reference{{Digest: oci.FromBytes([]byte(fmt.Sprint("config", i))), MediaType: oci.MediaTypeConfig, Size: 7, Role: repo.RoleConfig}},
	}
	for l := range 8 {
		name := fmt.Sprint("base", i/1000, l)
		if l >= 5 {
			name = fmt.Sprint("own", i, l)
		}
		m.References = append(m.References, repo.Reference{
			Digest: oci.FromBytes([]byte(name)), MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Size: 9, Role: repo.RoleLayer,
		})
	}
	return m
}

func benchRepository(i int) oci.Repository {
	return oci.MustRepository(fmt.Sprintf("production/team-%d/service-%d", i/100, i/10))
}

// benchPlace is what an admitted push leaves.
func benchPlace(ctx context.Context, tx *db.Tx, i int) error {
	m, r, now := benchImage(i), benchRepository(i), time.Unix(1_800_000_000, 0)
	for _, ref := range m.References {
		if err := tx.PutBlob(ctx, ref.Digest, ref.Size); err != nil {
			return err
		}
	}
	if err := tx.PutManifest(ctx, m); err != nil {
		return err
	}
	id, err := tx.PutDecision(ctx, &api.Decision{Repository: r.String(), Digest: m.Digest.String(), Outcome: api.Allow, DecidedAt: now,
		Reasons: []api.Reason{{Rule: "max-severity", Outcome: api.Allow, Says: "nothing above medium"}}}, 1)
	if err != nil {
		return err
	}
	err = tx.Place(ctx, &repo.Placement{Repository: r, Digest: m.Digest, Kind: m.Kind, State: repo.Admitted, BroughtBy: "ci", BroughtAt: now, AdmittedAt: now, Decision: id})
	if err != nil {
		return err
	}
	_, err = tx.SetTag(ctx, r, fmt.Sprint("v", i), m.Digest)
	return err
}

// benchSizes are the numbers of placements of BenchmarkRead. BONDED_BENCH_SIZES
// names others.
func benchSizes() []int {
	var sizes []int
	for _, s := range strings.Fields(os.Getenv("BONDED_BENCH_SIZES")) {
		if n, err := strconv.Atoi(s); err == nil {
			sizes = append(sizes, n)
		}
	}
	if sizes == nil {
		return []int{1_000, 10_000}
	}
	return sizes
}

// BenchmarkRead measures what each pull asks, in databases of several sizes.
func BenchmarkRead(b *testing.B) {
	for _, size := range benchSizes() {
		d := benchEngine(b)
		fill(b, d, size)
		ctx := context.Background()
		v := repo.Viewer{Principal: "puller"}
		for _, op := range []struct {
			name string
			run  func(i int) error
		}{
			{"digest", func(i int) error {
				_, err := d.Lookup(ctx, benchRepository(i), repo.Selector{Digest: benchImage(i).Digest}, v)
				return err
			}},
			{"tag", func(i int) error {
				_, err := d.Lookup(ctx, benchRepository(i), repo.Selector{Tag: fmt.Sprint("v", i)}, v)
				return err
			}},
			{"view", func(i int) error {
				return d.View(ctx, func(tx *db.Tx) error {
					_, err := tx.Lookup(ctx, benchRepository(i), repo.Selector{Tag: fmt.Sprint("v", i)}, v)
					return err
				})
			}},
			{"blob", func(i int) error {
				_, err := d.BlobAccess(ctx, benchRepository(i), oci.FromBytes([]byte(fmt.Sprint("base", i/1000, 2))), v)
				return err
			}},
			{"decision", func(i int) error {
				return d.View(ctx, func(tx *db.Tx) error {
					_, err := tx.Decision(ctx, int64(i+1))
					return err
				})
			}},
			{"baseline", func(i int) error { // what the loop itself costs
				benchRepository(i)
				benchImage(i)
				return nil
			}},
		} {
			b.Run(fmt.Sprintf("%s/%d", op.name, size), func(b *testing.B) {
				start, i := cputest.Used(b), 0
				for b.Loop() {
					if err := op.run(i * 7919 % size); err != nil {
						b.Fatal(err)
					}
					i++
				}
				b.ReportMetric(float64(cputest.Used(b)-start)/float64(b.N)/1000, "cpu-µs/op")
			})
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func fill(b *testing.B, d *db.DB, size int) {
	b.Helper()
	for i := 0; i < size; i += 100 {
		err := d.Update(context.Background(), func(tx *db.Tx) error {
			for j := i; j < min(i+100, size); j++ {
				if err := benchPlace(context.Background(), tx, j); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite measures durable transactions, alone and beside others.
func BenchmarkWrite(b *testing.B) {
	ctx := context.Background()
	for _, op := range []struct {
		name string
		run  func(tx *db.Tx, i int) error
	}{
		{"small", func(tx *db.Tx, i int) error {
			if err := tx.PutBlob(ctx, oci.FromBytes([]byte(fmt.Sprint("blob", i))), 7); err != nil {
				return err
			}
			return tx.Append(ctx, audit.Event{ID: fmt.Sprint(i), At: time.Unix(1_800_000_000, 0), Kind: "blob.pushed", Principal: "ci", Method: "token"})
		}},
		{"push", func(tx *db.Tx, i int) error {
			if err := benchPlace(ctx, tx, i); err != nil {
				return err
			}
			return tx.Enqueue(ctx, "judge", fmt.Sprint(i), time.Unix(1_800_000_000, 0))
		}},
	} {
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", op.name, writers), func(b *testing.B) {
				d := benchEngine(b)
				var next atomic.Int64
				b.SetParallelism(max(1, writers/runtime.GOMAXPROCS(0)))
				start := cputest.Used(b)
				work := func() {
					i := int(next.Add(1))
					if err := d.Update(ctx, func(tx *db.Tx) error { return op.run(tx, i) }); err != nil {
						b.Error(err)
					}
				}
				b.ResetTimer()
				if writers == 1 {
					for range b.N {
						work()
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							work()
						}
					})
				}
				b.ReportMetric(float64(cputest.Used(b)-start)/float64(b.N)/1000, "cpu-µs/op")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
			})
		}
	}
}

// BenchmarkLoad measures how fast advisories are staged, and how long small
// transactions take meanwhile.
func BenchmarkLoad(b *testing.B) {
	ctx := context.Background()
	packed := bytes.Repeat([]byte("advisory "), 35)
	for range b.N {
		b.StopTimer()
		d := benchEngine(b)
		load, err := d.Begin(ctx, "x")
		if err != nil {
			b.Fatal(err)
		}
		var stop atomic.Bool
		waits := make(chan []time.Duration)
		go func() {
			var all []time.Duration
			for i := 0; !stop.Load(); i++ {
				start := time.Now()
				if err := d.Update(ctx, func(tx *db.Tx) error { return tx.PutBlob(ctx, oci.FromBytes([]byte(fmt.Sprint(i))), 1) }); err != nil {
					b.Error(err)
				}
				all = append(all, time.Since(start))
			}
			waits <- all
		}()
		b.StartTimer()
		start := cputest.Used(b)
		const n = 40_000
		for i := 0; i < n; i += vuln.MaxBatch {
			batch := vuln.Batch{Feed: "osv/Debian"}
			for j := i; j < i+vuln.MaxBatch; j++ {
				id := fmt.Sprintf("DEBIAN-CVE-%06d", j)
				batch.Insert = append(batch.Insert, vuln.Row{Feed: batch.Feed, ID: id, From: load.Seq, Known: time.Unix(1, 0), Digest: oci.FromBytes([]byte(id)), Packed: packed})
			}
			if err := d.Stage(ctx, load, batch); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		used := cputest.Used(b) - start
		stop.Store(true)
		all := <-waits
		slices.Sort(all)
		b.ReportMetric(float64(used)/n/1000, "cpu-µs/row")
		b.ReportMetric(n/b.Elapsed().Seconds()*float64(b.N), "rows/s")
		b.ReportMetric(float64(all[len(all)/2])/1e6, "other-p50-ms")
		b.ReportMetric(float64(all[len(all)*99/100])/1e6, "other-p99-ms")
		b.ReportMetric(float64(all[len(all)-1])/1e6, "other-max-ms")
		if err := d.Update(ctx, func(tx *db.Tx) error {
			return tx.Publish(ctx, load, evidence.Snapshot{Seq: load.Seq, At: time.Unix(1, 0)}, nil)
		}); err != nil {
			b.Fatal(err)
		}
		read := time.Now()
		rows := 0
		if err := d.Rows(ctx, load.Seq, func(vuln.Row) error { rows++; return nil }); err != nil || rows != n {
			b.Fatal(rows, err)
		}
		b.ReportMetric(float64(time.Since(read))/1e6, "read-all-ms")
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
