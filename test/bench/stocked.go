package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
)

// What is measured where a repository holds many images.

// repeated is the CPU time of one of n deeds.
func repeated(ctx context.Context, o *ours, n int, deed func(i int) error) (float64, error) {
	d, err := timed(ctx, o.registry, func() error {
		for i := range n {
			if err := deed(i); err != nil {
				return err
			}
		}
		return nil
	})
	return d.cpu / float64(n), err
}

// getManifest gets a manifest by digest.
func getManifest(ctx context.Context, b *bench, size int) (float64, error) {
	s, err := b.stock(ctx, size)
	if err != nil {
		return 0, err
	}
	img, err := s.image(size / 2)
	if err != nil {
		return 0, err
	}
	return getting(ctx, s.registry, stockRepository, img.manifest)
}

// getTag gets a manifest by tag.
func getTag(ctx context.Context, b *bench, size int) (float64, error) {
	s, err := b.stock(ctx, size)
	if err != nil {
		return 0, err
	}
	return repeated(ctx, s.ours, gets, func(i int) error {
		_, err := s.do(ctx, call{method: http.MethodGet, repository: stockRepository, path: "/manifests/" + stockTag(i%size), want: http.StatusOK})
		return err
	})
}

// getShared gets a blob that every image of the repository holds.
func getShared(ctx context.Context, b *bench, size int) (float64, error) {
	s, err := b.stock(ctx, size)
	if err != nil {
		return 0, err
	}
	img, err := s.image(0)
	if err != nil {
		return 0, err
	}
	return repeated(ctx, s.ours, gets, func(int) error {
		_, err := s.do(ctx, call{method: http.MethodGet, repository: stockRepository, path: "/blobs/" + img.blobs[0].digest, want: http.StatusOK})
		return err
	})
}

// listTags gets a page of 100 tags from the middle of the list.
func listTags(ctx context.Context, b *bench, size int) (float64, error) {
	s, err := b.stock(ctx, size)
	if err != nil {
		return 0, err
	}
	query := url.Values{"n": {"100"}, "last": {stockTag(size / 2)}}
	return repeated(ctx, s.ours, 1000, func(int) error {
		_, err := s.do(ctx, call{method: http.MethodGet, repository: stockRepository, path: "/tags/list?" + query.Encode(), want: http.StatusOK})
		return err
	})
}

// pushOne pushes an image with a layer and a tag of its own, until its verdict.
func pushOne(ctx context.Context, b *bench, size int) (float64, error) {
	s, err := b.stock(ctx, size)
	if err != nil {
		return 0, err
	}
	if err := s.pushBlob(ctx, stockRepository, s.base.content); err != nil {
		return 0, err
	}
	return repeated(ctx, s.ours, 100, func(i int) error {
		own, err := textLayer(map[string]string{"opt/new": fmt.Sprint(i)})
		if err != nil {
			return err
		}
		img, err := newImage([]layer{s.base, own})
		if err != nil {
			return err
		}
		if err := s.pushBlobs(ctx, stockRepository, []content{img.blobs[0], own.content}); err != nil {
			return err
		}
		return s.pushManifest(ctx, stockRepository, fmt.Sprintf("new-%d", i), img.manifest)
	})
}

// affected asks which images an advisory concerns that concerns fewImages.
func affected(ctx context.Context, b *bench, size int) (float64, error) {
	s, err := b.stock(ctx, size)
	if err != nil {
		return 0, err
	}
	return repeated(ctx, s.ours, 20, func(int) error {
		got, err := s.api.Affected(ctx, client.AffectedQuery{ID: fewID, Limit: 1000})
		if err == nil && len(got.Images) != fewImages {
			err = fmt.Errorf("%d images are affected, of %d", len(got.Images), fewImages)
		}
		return err
	})
}

// rejudgeRare loads advisories, one at a time, about packages that rareImages
// hold each, until those are judged by them.
func rejudgeRare(ctx context.Context, b *bench, size int) (float64, error) {
	s, err := b.stock(ctx, size)
	if err != nil {
		return 0, err
	}
	return meanLoad(func() (float64, error) {
		k := s.rare
		s.rare++
		return s.tell(ctx, fmt.Sprintf("rare-%d", k), "", s.flagged(ctx, k))
	})
}

// meanLoad is the mean of what ten loads take.
func meanLoad(load func() (float64, error)) (float64, error) {
	const loads = 10
	sum := 0.0
	for range loads {
		x, err := load()
		if err != nil {
			return 0, err
		}
		sum += x
	}
	return sum / loads, nil
}

// rejudgeMany loads an advisory about a package that size images of the largest
// stock hold.
func rejudgeMany(ctx context.Context, b *bench, size int) (float64, error) {
	all := b.sizes[len(b.sizes)-1]
	s, err := b.stock(ctx, all)
	if err != nil {
		return 0, err
	}
	return s.tell(ctx, fmt.Sprintf("each-%d", all/size), "", s.flagged(ctx, all-all/size))
}

// rejudgeNone loads advisories, one at a time, about versions, of a package in
// every image, that none of them has.
func rejudgeNone(ctx context.Context, b *bench, size int) (float64, error) {
	s, err := b.stock(ctx, size)
	if err != nil {
		return 0, err
	}
	return meanLoad(func() (float64, error) {
		return s.tell(ctx, "common", "1.0", func() (bool, error) { return true, nil })
	})
}

// tell publishes one more advisory, which says that a package is malicious, and
// returns what the server took until it is idle and everything is done.
func (s *stocked) tell(ctx context.Context, name, fixed string, done func() (bool, error)) (float64, error) {
	if err := s.publish(fmt.Sprintf("MAL-2026-%d", s.told), name, fixed); err != nil {
		return 0, err
	}
	s.told++
	before, err := usageOf(s.pid)
	if err != nil {
		return 0, err
	}
	for _, err := range s.api.UpdateFeeds(ctx, api.FeedUpdate{}) {
		if err != nil {
			return 0, fmt.Errorf("loading advisories: %w", err)
		}
	}
	for range 60 { // a disk that is slow to sync looks idle
		after, err := idle(ctx, s.pid)
		if err != nil {
			return 0, err
		}
		if ok, err := done(); ok || err != nil {
			return after.since(before).cpu, err
		}
	}
	return 0, fmt.Errorf("the server is idle and has not judged by the advisory about %s", name)
}

// flagged tells whether the decision about image i is to deny.
func (s *stocked) flagged(ctx context.Context, i int) func() (bool, error) {
	return func() (bool, error) {
		img, err := s.image(i)
		if err != nil {
			return false, err
		}
		d, err := s.verdict(ctx, stockRepository, img.manifest)
		return err == nil && d.Outcome == api.Deny, err
	}
}

// touched are the numbers of images that rejudgeMany has judged again.
func touched(b *bench) []int {
	all := b.sizes[len(b.sizes)-1]
	return []int{all / 1000, all / 100, all / 10}
}

// stopAll ends the servers of the run.
func (b *bench) stopAll() error {
	var errs []error
	if b.server != nil {
		errs = append(errs, b.server.stop())
	}
	for _, s := range b.stocks {
		errs = append(errs, s.stop(), os.RemoveAll(s.feed))
	}
	return errors.Join(errs...)
}
