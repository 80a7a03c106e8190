package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

func TestGrowth(t *testing.T) {
	quadratic := func(_ context.Context, _ *bench, n int) (float64, error) { return float64(n*n) * 1e-6, nil }
	for name, tt := range map[string]struct {
		measure func(context.Context, *bench) (reading, error)
		want    float64
	}{
		"flat":   {flat(exactly(10, 100, 1000), quadratic), 1e4},
		"once":   {once(stocks, quadratic), 9},
		"linear": {linear(exactly(10, 100, 1000), quadratic), 2},
	} {
		got, err := tt.measure(t.Context(), &bench{sizes: []int{1000, 2000, 3000}})
		if err != nil || math.Abs(got.value/tt.want-1) > 1e-9 {
			t.Errorf("%s: %v, %v; want %v", name, got.value, err, tt.want)
		}
	}
	broken := func(context.Context, *bench, int) (float64, error) { return 0, errors.New("no") }
	if _, err := flat(exactly(1, 2, 3), broken)(t.Context(), &bench{}); err == nil {
		t.Error("a cost that could not be measured is none")
	}
}

func TestLeastRoundCounts(t *testing.T) {
	round := 0
	noisy := func(_ context.Context, _ *bench, n int) (float64, error) {
		if n == 1 {
			round++
		}
		return float64(5-round) * 1e-3, nil
	}
	got, err := flat(exactly(1, 2, 3), noisy)(t.Context(), &bench{})
	if err != nil || round != growthRounds || got.value != 1 {
		t.Errorf("%v, %v after %d rounds; want 1 after %d", got, err, round, growthRounds)
	}
}

func TestSeriesInWords(t *testing.T) {
	s := series{sizes: []int{10, 9999, 100_000, 2_000_500}, costs: []float64{1e-6, 123e-6, 45.67e-3, 12.3456}}
	const want = "10: 1 µs, 9999: 123 µs, 100 000: 45.7 ms, 2 000 500: 12.3 s"
	if got := s.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSizes(t *testing.T) {
	if got, err := readSizes("1000,2000,10000"); err != nil || !slices.Equal(got, []int{1000, 2000, 10_000}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1000", "1000,2000", "1000,2000,2000", "500,1000,2000", "1000,1500,2000", "1000,2000,3000,4000", "a,b,c"} {
		if _, err := readSizes(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestIdle(t *testing.T) {
	if _, err := idle(t.Context(), os.Getpid()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := idle(ctx, os.Getpid()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	if _, err := idle(t.Context(), 1<<30); err == nil {
		t.Error("a process that is not there is idle")
	}
}

// TestStock writes a small stock and asks the stores for it.
func TestStock(t *testing.T) {
	base, err := systemLayer()
	if err != nil {
		t.Fatal(err)
	}
	s := &stocked{base: base, size: 1000, feed: t.TempDir()}
	if err := os.Mkdir(filepath.Join(s.feed, "PyPI"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.publish(fewID, "few", ""); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := s.fill(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	d, err := db.Open(t.Context(), db.Options{Folder: data, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if now, err := d.Current(t.Context()); err != nil || now.Advisories != 1 {
		t.Errorf("%d advisories, %v", now.Advisories, err)
	}
	img, err := s.image(500)
	if err != nil {
		t.Fatal(err)
	}
	placed, err := d.Lookup(t.Context(), oci.MustRepository(stockRepository), repo.Selector{Tag: stockTag(500)}, repo.Viewer{})
	if err != nil || placed.Manifest.Digest.String() != img.manifest.digest || placed.State != repo.Admitted {
		t.Errorf("%+v, %v", placed, err)
	}
	for name, want := range map[string]int{"few": fewImages, "rare-3": rareImages, "each-100": 10, "app-7": 1, "common": 1000} {
		err := d.View(t.Context(), func(tx *db.Tx) error {
			got, err := tx.ManifestsWith(t.Context(), []assess.Component{{Family: "pypi", Name: name}}, oci.Digest{}, 2000)
			if len(got) != want {
				t.Errorf("%d images hold %s, want %d", len(got), name, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
