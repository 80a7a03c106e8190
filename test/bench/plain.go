package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
)

// plain is the CPU time, in seconds, of pushes and pulls where nothing is
// analysed.
type plain struct{ push, pull float64 }

// The plain load: so many artifacts, each of so many blobs of so many bytes.
const (
	plainArtifacts = 4
	plainBlobs     = 4
	plainBytes     = 16 << 20
)

func plainRatio(of func(plain) float64) func(context.Context, *bench) (reading, error) {
	return func(ctx context.Context, b *bench) (reading, error) {
		if err := b.comparePlain(ctx); err != nil {
			return reading{}, err
		}
		return reading{
			value:  of(b.plainOurs) / of(b.plainTheirs),
			detail: fmt.Sprintf("%d MB: ours %.2f CPU s, distribution %.2f; %s", plainArtifacts*plainBlobs*plainBytes/1000000, of(b.plainOurs), of(b.plainTheirs), load()),
		}, nil
	}
}

// comparePlain measures both sides, once for all bars.
func (b *bench) comparePlain(ctx context.Context) (err error) {
	if b.plainTheirs.push > 0 {
		return nil
	}
	peer, err := distribution(ctx, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, peer.stop()) }()
	o, err := b.bonded(ctx)
	if err != nil {
		return err
	}
	for seed := range uint64(rounds) {
		mine, err := plainLoad(ctx, o.registry, plainZone+"/bench/plain", seed)
		if err != nil {
			return err
		}
		theirs, err := plainLoad(ctx, peer, "bench/plain", seed)
		if err != nil {
			return err
		}
		if seed == 0 {
			b.plainOurs, b.plainTheirs = mine, theirs
		}
		b.plainOurs = plain{min(b.plainOurs.push, mine.push), min(b.plainOurs.pull, mine.pull)}
		b.plainTheirs = plain{min(b.plainTheirs.push, theirs.push), min(b.plainTheirs.pull, theirs.pull)}
	}
	return nil
}

func plainLoad(ctx context.Context, r *registry, repository string, seed uint64) (plain, error) {
	var list []image
	for i := range uint64(plainArtifacts) {
		img, err := randomBlobs(seed<<4|i, plainBlobs, plainBytes)
		if err != nil {
			return plain{}, err
		}
		list = append(list, img)
	}
	each := func(do func(context.Context, string, string, image) error) (float64, error) {
		d, err := timed(ctx, r, func() error {
			for i, img := range list {
				if err := do(ctx, repository, fmt.Sprint("t", seed, "-", i), img); err != nil {
					return err
				}
			}
			return nil
		})
		return d.cpu, err
	}
	push, err := each(r.push)
	if err != nil {
		return plain{}, err
	}
	pull, err := each(r.pull)
	return plain{push: push, pull: pull}, err
}

// randomBlobs makes a manifest of an artifact with blobs that are no layers.
func randomBlobs(seed uint64, n, bytesEach int) (image, error) {
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 3})
	img := image{blobs: []content{newContent([]byte("{}"), "application/vnd.bench.config.v1+json")}}
	for range n {
		data := make([]byte, bytesEach)
		if _, err := src.Read(data); err != nil {
			return image{}, err
		}
		img.blobs = append(img.blobs, newContent(data, "application/vnd.bench.blob.v1"))
	}
	var err error
	img.manifest, err = manifestOf(img.blobs, nil)
	return img, err
}

// gets is how many times a manifest is got.
const gets = 3000

// getting is the CPU time, in seconds, of one GET of a manifest by digest.
func getting(ctx context.Context, r *registry, repository string, m content) (float64, error) {
	d, err := timed(ctx, r, func() error {
		for range gets {
			_, err := r.do(ctx, call{method: http.MethodGet, repository: repository, path: "/manifests/" + m.digest, want: http.StatusOK, size: len(m.data)})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return d.cpu / gets, err
}

func manifestGet(ctx context.Context, b *bench) (_ reading, err error) {
	peer, err := zot(ctx, b)
	if err != nil {
		return reading{}, err
	}
	defer func() { err = errors.Join(err, peer.stop()) }()
	o, err := b.bonded(ctx)
	if err != nil {
		return reading{}, err
	}
	img, err := randomBlobs(1<<15, 8, 1000)
	if err != nil {
		return reading{}, err
	}
	var mine, theirs float64
	for i := range rounds {
		m, err := pushAndGet(ctx, o.registry, plainZone+"/bench/get", img)
		if err != nil {
			return reading{}, err
		}
		p, err := pushAndGet(ctx, peer, "bench/get", img)
		if err != nil {
			return reading{}, err
		}
		if i == 0 {
			mine, theirs = m, p
		}
		mine, theirs = min(mine, m), min(theirs, p)
	}
	return reading{value: mine / theirs, detail: fmt.Sprintf("%.0f µs and %.0f µs; %s", mine*1e6, theirs*1e6, load())}, nil
}

func pushAndGet(ctx context.Context, r *registry, repository string, img image) (float64, error) {
	if err := r.push(ctx, repository, "1", img); err != nil {
		return 0, err
	}
	return getting(ctx, r, repository, img.manifest)
}

// fullFeed is how many advisories the promise about memory is made for: those of
// the mirror that it was made with, once withdrawn ones and doubles are gone.
const fullFeed = 56_500

func peakMemory(ctx context.Context, b *bench) (reading, error) {
	o, err := b.bonded(ctx)
	if err != nil {
		return reading{}, err
	}
	if o.advisories < fullFeed {
		return reading{}, absent("%d advisories are loaded, of the %d that the promise is about; BONDED_TEST_OSV names a folder with more", o.advisories, fullFeed)
	}
	u, err := usageOf(o.pid)
	if err != nil {
		return reading{}, err
	}
	return reading{value: float64(u.peak) / 1e6, detail: fmt.Sprintf("%d advisories", o.advisories)}, nil
}

// load says how busy the machine is, for readers of a number.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return "load " + first
}
