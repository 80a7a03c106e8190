package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/analyze/extractor"
	"github.com/bonded-dev/bonded/internal/analyze/secrets"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/sign/signtest"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// The bars of signing. Sizes are those of a quick run unless envSigned names
// others, such as 1000,10000,100000.
const (
	envSigned   = "BONDED_BENCH_SIGNED"
	signedShare = 0.1             // of the CPU of judging, that signing adds
	signedTime  = 5 * time.Second // from the commit to the proof
)

func signedSizes(t *testing.T) []int {
	text := os.Getenv(envSigned)
	if text == "" {
		text = "1000"
	}
	var sizes []int
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("%s=%q: %v", envSigned, text, err)
		}
		sizes = append(sizes, n)
	}
	return sizes
}

// judging is a stock that is judged again and signed in this process.
type judging struct {
	*testing.T
	db     *db.DB
	assess *assess.Assessor
	flow   *sign.Flow
	ds     []oci.Digest
}

func within[T any](run func(context.Context, func(*db.Tx) error) error) func(context.Context, func(T) error) error {
	return func(ctx context.Context, fn func(T) error) error {
		return run(ctx, func(tx *db.Tx) error { return fn(any(tx).(T)) })
	}
}

func newJudging(t *testing.T, size int) *judging {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	base, err := systemLayer()
	must(err)
	s := &stocked{base: base, size: size, feed: t.TempDir()}
	must(os.Mkdir(filepath.Join(s.feed, "PyPI"), 0o700))
	must(s.publish(fewID, "few", ""))
	data := filepath.Join(t.TempDir(), "data")
	must(s.fill(t.Context(), data))
	j := &judging{T: t}
	j.db, err = db.Open(t.Context(), db.Options{Folder: data, Clock: time.Now})
	must(err)
	t.Cleanup(func() { must(j.db.Close()) })
	content, err := disk.Open(filepath.Join(data, "content"), disk.Options{})
	must(err)
	live := vuln.NewLive(j.db)
	_, err = live.Refresh(t.Context())
	must(err)
	gate, err := policy.ShippedGate(gatedZone)
	must(err)
	zones := repo.Zones{gatedZone: {Name: gatedZone, Gate: gatedZone}}
	quiet := slog.New(slog.DiscardHandler)
	database := assess.DB{Update: within[assess.Tx](j.db.Update), View: within[assess.Tx](j.db.View)}
	analyst := assess.NewAnalyst(assess.AnalystOptions{
		Analyzer: analyze.New(analyze.Options{Extractors: extractor.All(), Claimers: extractor.Claimers(), Searcher: secrets.New(), Now: time.Now, Log: quiet}),
		Blobs:    content, DB: database, Clock: time.Now, Log: quiet,
	})
	t.Cleanup(analyst.Stop)
	j.assess, err = assess.New(assess.Options{
		Zones: zones, Gates: map[string]*policy.Gate{gatedZone: gate}, DB: database, Blobs: content, Analyst: analyst,
		Advisories: live, AdvisoryRows: j.db, Engine: "bench", Clock: time.Now, Rand: rand.Reader, Log: quiet,
	})
	must(err)
	signed := sign.DB{Update: within[sign.Tx](j.db.Update), View: within[sign.Tx](j.db.View)}
	j.flow, err = sign.New(sign.Options{
		DB: signed, Signer: signtest.New(t, time.Now).Signer(sign.Record{DB: signed}, time.Now), URL: signtest.URL, Zones: zones, Blobs: content,
		Clock: time.Now, Rand: rand.Reader, Log: quiet,
	})
	must(err)
	for i := range size {
		img, err := s.image(i)
		must(err)
		j.ds = append(j.ds, oci.MustDigest(img.manifest.digest))
	}
	return j
}

// cpu is what fn takes of all processors, in seconds.
func (j *judging) cpu(fn func() error) float64 {
	j.Helper()
	used := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			j.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	}
	before := used()
	if err := fn(); err != nil {
		j.Fatal(err)
	}
	return used() - before
}

// judgedAtOnce is how many are judged at the same time: their commits go together.
const judgedAtOnce = 32

// judge judges the whole stock.
func (j *judging) judge(r oci.Repository) error {
	var all errgroup.Group
	all.SetLimit(judgedAtOnce)
	for _, d := range j.ds {
		all.Go(func() error { return j.assess.Judge(j.Context(), r, d) })
	}
	return all.Wait()
}

// seal signs all that waits.
func (j *judging) seal() error {
	for {
		more, err := j.flow.Seal(j.Context(), false)
		if err != nil || !more {
			return err
		}
	}
}

// TestSignedShare: decisions that are made again and signed in batches cost at
// most a tenth more than making them.
func TestSignedShare(t *testing.T) {
	for _, size := range signedSizes(t) {
		j := newJudging(t, size)
		if err := j.seal(); err != nil { // what the stock was filled with
			t.Fatal(err)
		}
		repository := oci.MustRepository(stockRepository)
		judged := j.cpu(func() error { return j.judge(repository) })
		signed := j.cpu(j.seal)
		if n := j.proven(); n != 2*size {
			t.Errorf("%d decisions are proven, of %d", n, 2*size)
		}
		share := signed / judged
		t.Logf("%s decisions: judged in %s of CPU, signed in %s: %.3f of it", count(size), duration(judged), duration(signed), share)
		if share > signedShare {
			t.Errorf("signing adds %.3f, at most %.2f", share, signedShare)
		}
	}
}

// proven counts the decisions of the batches there are.
func (j *judging) proven() (n int) {
	j.Helper()
	err := j.db.View(j.Context(), func(tx *db.Tx) error {
		for number := int64(1); ; number++ {
			b, err := tx.Batch(j.Context(), number)
			if errors.Is(err, repo.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			n += len(b.Leaves)
		}
	})
	if err != nil {
		j.Fatal(err)
	}
	return n
}

// TestSignedTime: a decision that nobody waits for is proven within seconds of its
// commit, and one that somebody waits for at once.
func TestSignedTime(t *testing.T) {
	j := newJudging(t, 1000)
	keeper := sign.NewKeeper(j.flow, 0)
	keeper.Start()
	defer func() {
		if err := keeper.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	repository := oci.MustRepository(stockRepository)
	judge := func(d oci.Digest) int64 {
		if err := j.assess.Judge(t.Context(), repository, d); err != nil {
			t.Fatal(err)
		}
		placed, err := j.db.Lookup(t.Context(), repository, repo.Selector{Digest: d}, repo.Viewer{})
		if err != nil {
			t.Fatal(err)
		}
		return placed.Decision
	}
	began := time.Now()
	id := judge(j.ds[0])
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := j.flow.Proof(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if p.Proven {
			break
		}
		<-tick.C
	}
	alone := time.Since(began)
	id = judge(j.ds[1])
	began = time.Now()
	if p, err := j.flow.Prove(t.Context(), id); err != nil || !p.Proven {
		t.Fatalf("%+v, %v", p, err)
	}
	asked := time.Since(began)
	t.Logf("from the commit to the proof: %s while nobody waits, %s while somebody does", alone.Round(time.Millisecond), asked.Round(time.Millisecond))
	if max(alone, asked) > signedTime {
		t.Errorf("a proof took %s, at most %s", max(alone, asked), signedTime)
	}
}
