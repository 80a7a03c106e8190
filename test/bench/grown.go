package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/bonded-dev/bonded/api"
)

// What is measured by the size of one thing that comes in.

// mib is a unit of sizes.
const mib = 1 << 20

// pushBytes pushes an image with one layer of so many MiB, until its verdict.
func pushBytes(ctx context.Context, b *bench, size int) (float64, error) {
	return b.pushLayer(ctx, fmt.Sprint("bytes-", size), func() (layer, error) {
		data, err := randomLayer(rand.NewChaCha8([32]byte{byte(size), 7}), "opt/data", size*mib)
		c := newContent(data, tarType)
		return layer{c, c.digest}, err
	})
}

// pushFiles pushes an image with one layer of so many small files.
func pushFiles(ctx context.Context, b *bench, size int) (float64, error) {
	return b.pushLayer(ctx, fmt.Sprint("files-", size), func() (layer, error) {
		files := make(map[string]string, size)
		for i := range size {
			files[fmt.Sprintf("opt/%d/%d", i%100, i)] = fmt.Sprint(i)
		}
		return textLayer(files)
	})
}

// pushPackages pushes an image with so many Python packages.
func pushPackages(ctx context.Context, b *bench, size int) (float64, error) {
	return b.pushLayer(ctx, fmt.Sprint("packages-", size), func() (layer, error) {
		files := make(map[string]string, size)
		for i := range size {
			name := fmt.Sprintf("grown-%d", i)
			files["usr/lib/python3/dist-packages/"+name+"-1.0.dist-info/METADATA"] = "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n"
		}
		return textLayer(files)
	})
}

// pushLayer is what a push of an image with one layer takes until its verdict.
func (b *bench) pushLayer(ctx context.Context, name string, make func() (layer, error)) (float64, error) {
	o, err := b.bonded(ctx)
	if err != nil {
		return 0, err
	}
	l, err := make()
	if err != nil {
		return 0, err
	}
	img, err := newImage([]layer{l})
	if err != nil {
		return 0, err
	}
	repository := gatedZone + "/bench/grown"
	return repeated(ctx, o, 1, func(int) error {
		if err := o.push(ctx, repository, name, img); err != nil {
			return err
		}
		_, err := o.verdict(ctx, repository, img.manifest)
		return err
	})
}

// indexType is the media type of indexes.
const indexType = "application/vnd.oci.image.index.v1+json"

// promoteClosure promotes an index of so many images, each with one statement
// about it.
func promoteClosure(ctx context.Context, b *bench, size int) (float64, error) {
	o, err := b.bonded(ctx)
	if err != nil {
		return 0, err
	}
	repository := fmt.Sprintf("%s/bench/closure-%d", plainZone, size)
	index, err := o.pushClosure(ctx, repository, size)
	if err != nil {
		return 0, err
	}
	if _, err := idle(ctx, o.pid); err != nil {
		return 0, err
	}
	return repeated(ctx, o, 1, func(int) error {
		done, err := o.api.Promote(ctx, api.PromoteRequest{Reference: repository + "@" + index.digest, To: nextZone})
		switch {
		case err != nil:
			return fmt.Errorf("promoting: %w", err)
		case done.Decision.Outcome != api.Allow:
			return fmt.Errorf("promoting: the decision is to %s", done.Decision.Outcome)
		case len(done.Closure) != 2*size+1:
			return fmt.Errorf("promoting: %d went along, of %d", len(done.Closure), 2*size+1)
		}
		return nil
	})
}

// pushClosure pushes an index of n images with a statement about each, and
// waits until all are in.
func (o *ours) pushClosure(ctx context.Context, repository string, n int) (content, error) {
	base, err := systemLayer()
	if err != nil {
		return content{}, err
	}
	img, err := newImage([]layer{base})
	if err != nil {
		return content{}, err
	}
	empty := newContent([]byte("{}"), "application/vnd.oci.empty.v1+json")
	if err := o.pushBlobs(ctx, repository, append(img.blobs, empty)); err != nil {
		return content{}, err
	}
	list := make([]content, n)
	for i := range list {
		if list[i], err = manifestOf(img.blobs, map[string]string{"n": fmt.Sprint(i)}); err != nil {
			return content{}, err
		}
		statement, err := statementOn(list[i], empty)
		if err != nil {
			return content{}, err
		}
		if err := errors.Join(o.pushManifest(ctx, repository, list[i].digest, list[i]), o.pushManifest(ctx, repository, statement.digest, statement)); err != nil {
			return content{}, err
		}
	}
	index, err := indexOf(list)
	if err != nil {
		return content{}, err
	}
	if err := o.pushManifest(ctx, repository, index.digest, index); err != nil {
		return content{}, err
	}
	return index, o.admitted(ctx, repository, index)
}

// admitted waits until an index is in, which is after its images.
func (o *ours) admitted(ctx context.Context, repository string, index content) error {
	var d *api.Decision
	for range 60 {
		if _, err := idle(ctx, o.pid); err != nil {
			return err
		}
		var err error
		if d, err = o.verdict(ctx, repository, index); err != nil || d.Outcome == api.Allow {
			return err
		}
	}
	return fmt.Errorf("the decision about the index is to %s: %+v", d.Outcome, d.Reasons)
}

// statementOn is a piece of evidence about a manifest, without content.
func statementOn(subject, empty content) (content, error) {
	text, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "artifactType": "application/vnd.bench.statement.v1",
		"config": described(empty), "layers": []any{described(empty)}, "subject": described(subject),
	})
	if err != nil {
		return content{}, fmt.Errorf("writing a statement: %w", err)
	}
	return newContent(text, manifestType), nil
}

func indexOf(manifests []content) (content, error) {
	list := make([]any, len(manifests))
	for i, m := range manifests {
		list[i] = described(m)
	}
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": list})
	if err != nil {
		return content{}, fmt.Errorf("writing an index: %w", err)
	}
	return newContent(text, indexType), nil
}

func described(c content) map[string]any {
	return map[string]any{"mediaType": c.mediaType, "digest": c.digest, "size": len(c.data)}
}

// loadFeed has a server without advisories load so many, until they are in use.
func loadFeed(ctx context.Context, b *bench, size int) (_ float64, err error) {
	dir, err := os.MkdirTemp(b.dir, "feed-")
	if err != nil {
		return 0, fmt.Errorf("making a folder for advisories: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeArchive(filepath.Join(dir, "PyPI"), size); err != nil {
		return 0, err
	}
	o, err := b.startBonded(ctx, setup{feed: dir})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, o.stop()) }()
	d, err := timed(ctx, o.registry, func() error {
		for p, err := range o.api.UpdateFeeds(ctx, api.FeedUpdate{}) {
			if err != nil {
				return fmt.Errorf("loading advisories: %w", err)
			}
			if p.Done != nil {
				o.advisories = p.Done.Advisories
			}
		}
		return nil
	})
	if err == nil && o.advisories != size {
		err = fmt.Errorf("%d advisories are loaded, of %d", o.advisories, size)
	}
	return d.cpu, err
}

// writeArchive writes n advisories as osv.dev publishes them: two about each
// package.
func writeArchive(dir string, n int) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "all.zip"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z := zip.NewWriter(f)
	for i := range n {
		id := fmt.Sprintf("GROWN-%d", i)
		text, err := advisory(id, fmt.Sprintf("grown-%d", i/2), fmt.Sprintf("1.%d", i%50))
		if err != nil {
			return err
		}
		w, err := z.Create(id + ".json")
		if err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return z.Close()
}
