package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/analyze/extractor"
	"github.com/bonded-dev/bonded/internal/analyze/secrets"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln/feed"
)

// stockRepository is where the images of a stock stand, all admitted, each with
// a tag. All share one layer with the packages of a small system, and each has
// a layer of its own with the packages that stockPackages names.
const stockRepository = gatedZone + "/bench/stock"

// What a stock has besides packages that one image holds each.
const (
	fewImages  = 20      // hold the package few, spread over the stock
	fewID      = "FEW-1" // the advisory about it
	rareImages = 20      // hold the package rare-K, for each K
	rareKinds  = 20
)

// stockPackages are the Python packages of the own layer of image i of n, at
// version 1.0.
func stockPackages(i, n int) []string {
	names := []string{fmt.Sprintf("app-%d", i)}
	if i%(n/fewImages) == 0 {
		names = append(names, "few")
	}
	if i < rareImages*rareKinds {
		names = append(names, fmt.Sprintf("rare-%d", i%rareKinds))
	}
	for _, each := range []int{1000, 100, 10} {
		if i%each == 0 {
			names = append(names, fmt.Sprintf("each-%d", each))
		}
	}
	return names
}

func stockTag(i int) string { return fmt.Sprintf("t%06d", i) }

// stocked is a server that holds a stock.
type stocked struct {
	*ours
	base layer
	size int
	feed string // the folder that it loads advisories from
	told int    // advisories that tell has published
	rare int    // kinds of rare packages that those were about
}

// image makes image i anew.
func (s *stocked) image(i int) (image, error) { return stockImage(s.base, i, s.size) }

// stock returns the server with a stock of size images, starting it where it
// does not run yet.
func (b *bench) stock(ctx context.Context, size int) (*stocked, error) {
	if s := b.stocks[size]; s != nil {
		return s, nil
	}
	base, err := systemLayer()
	if err != nil {
		return nil, err
	}
	s := &stocked{base: base, size: size}
	if s.feed, err = os.MkdirTemp(b.dir, "feed-"); err != nil {
		return nil, fmt.Errorf("making a folder for advisories: %w", err)
	}
	if err := os.Mkdir(filepath.Join(s.feed, "PyPI"), 0o700); err != nil {
		return nil, fmt.Errorf("making a folder for advisories: %w", err)
	}
	for i := range 100 {
		if err := s.publish(fmt.Sprintf("OTHER-%d", i), fmt.Sprintf("other-%d", i), ""); err != nil {
			return nil, err
		}
	}
	if err := s.publish(fewID, "few", ""); err != nil {
		return nil, err
	}
	if s.ours, err = b.startBonded(ctx, setup{feed: s.feed, fill: s.fill}); err != nil {
		return nil, err
	}
	if b.stocks == nil {
		b.stocks = map[int]*stocked{}
	}
	b.stocks[size] = s
	_, err = idle(ctx, s.pid)
	return s, err
}

// publish writes an advisory about all versions of a Python package, or about
// those before fixed.
func (s *stocked) publish(id, name, fixed string) error {
	return writeAdvisory(filepath.Join(s.feed, "PyPI"), id, name, fixed)
}

func writeAdvisory(dir, id, name, fixed string) error {
	text, err := advisory(id, name, fixed)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, id+".json"), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing advisory %s: %w", id, err)
	}
	return nil
}

func advisory(id, name, fixed string) ([]byte, error) {
	events := []map[string]string{{"introduced": "0"}}
	if fixed != "" {
		events = append(events, map[string]string{"fixed": fixed})
	}
	return json.Marshal(map[string]any{
		"id": id, "modified": "2026-01-02T03:04:05Z", "published": "2026-01-02T03:04:05Z", "summary": "Something is wrong with " + name,
		"affected": []any{map[string]any{
			"package": map[string]string{"ecosystem": "PyPI", "name": name},
			"ranges":  []any{map[string]any{"type": "ECOSYSTEM", "events": events}},
		}},
	})
}

// fill writes the stock through the stores, as pushes and judgements would
// have left it, but in large transactions and without waiting for the disk.
func (s *stocked) fill(ctx context.Context, data string) (err error) {
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	database, err := db.Open(ctx, db.Options{Folder: data, Clock: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	if err := loadAdvisories(ctx, database, s.feed); err != nil {
		return err
	}
	if err := putGate(ctx, database); err != nil {
		return err
	}
	content, err := disk.Open(filepath.Join(data, "content"), disk.Options{FS: hasty{disk.OS()}})
	if err != nil {
		return err
	}
	f := &filler{stocked: s, content: content, seen: mem.New(mem.Options{})}
	f.analyst = assess.NewAnalyst(assess.AnalystOptions{
		Analyzer: analyze.New(analyze.Options{
			Extractors: extractor.All(), Claimers: extractor.Claimers(), Searcher: secrets.New(), Now: time.Now, Log: slog.New(slog.DiscardHandler),
		}),
		Blobs: f.seen, Clock: time.Now, Log: slog.New(slog.DiscardHandler),
		DB: assess.DB{Update: f.within, View: f.within},
	})
	defer f.analyst.Stop()
	const atOnce = 500
	for from := 0; from < s.size; from += atOnce {
		err := database.Update(ctx, func(tx *db.Tx) error {
			f.tx = tx
			for i := from; i < min(from+atOnce, s.size); i++ {
				if err := f.add(ctx, i); err != nil {
					return fmt.Errorf("adding image %d: %w", i, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// loadAdvisories loads a folder without having anything judged.
func loadAdvisories(ctx context.Context, database *db.DB, dir string) error {
	loader := feed.NewLoader(feed.Options{
		Reader: database, Stager: database, Now: time.Now, Token: rand.Text, Log: slog.New(slog.DiscardHandler),
		Commit: func(ctx context.Context, c feed.Change) error {
			return database.Update(ctx, func(tx *db.Tx) error { return tx.Publish(ctx, c.Load, c.Snapshot, c.Feeds) })
		},
	})
	result, err := loader.Load(ctx, feed.Source{Name: feedName, Location: dir})
	if err != nil {
		return err
	}
	return result.Err()
}

// putGate says that the zone of the stock was judged by its gate: otherwise the
// server would begin with judging all of it.
func putGate(ctx context.Context, database *db.DB) error {
	gate, err := policy.ShippedGate(gatedZone)
	if err != nil {
		return err
	}
	return database.Update(ctx, func(tx *db.Tx) error {
		_, err := tx.PutGate(ctx, gatedZone, gate.Digest())
		return err
	})
}

// filler adds images to a stock that is being written.
type filler struct {
	*stocked
	content *disk.Store
	seen    *mem.Store // what the analyst reads
	analyst *assess.Analyst
	tx      *db.Tx
}

// within lets the analyst take part in the transaction of the moment.
func (f *filler) within(_ context.Context, fn func(assess.Tx) error) error { return fn(f.tx) }

func (f *filler) add(ctx context.Context, i int) error {
	img, err := f.image(i)
	if err != nil {
		return err
	}
	m, err := oci.ParseManifest(img.manifest.data, img.manifest.mediaType, oci.SHA256)
	if err != nil {
		return err
	}
	for k, blob := range img.blobs {
		d := oci.MustDigest(blob.digest)
		if err := f.seen.Put(ctx, d, blob.data); err != nil {
			return err
		}
		if k == 0 { // of layers, judging needs the facts alone
			if err := f.content.Put(ctx, d, blob.data); err != nil {
				return err
			}
		}
		if err := f.tx.PutBlob(ctx, d, int64(len(blob.data))); err != nil {
			return err
		}
	}
	if err := f.place(ctx, m, stockTag(i)); err != nil {
		return err
	}
	if _, err := f.analyst.Inventory(ctx, m); err != nil {
		return err
	}
	return errors.Join(f.seen.Delete(ctx, m.Config.Digest), f.seen.Delete(ctx, m.Layers[1].Digest))
}

// place has the image stand in its repository as admitted.
func (f *filler) place(ctx context.Context, m *oci.Manifest, tag string) error {
	stored := &repo.Manifest{
		Digest: m.Digest, MediaType: m.MediaType, ArtifactType: m.EffectiveArtifactType(), Kind: oci.KindImage, Raw: m.Raw,
		References: []repo.Reference{{Digest: m.Config.Digest, MediaType: m.Config.MediaType, Size: m.Config.Size, Role: repo.RoleConfig}},
	}
	for _, l := range m.Layers {
		stored.References = append(stored.References, repo.Reference{Digest: l.Digest, MediaType: l.MediaType, Size: l.Size, Role: repo.RoleLayer})
	}
	if err := f.tx.PutManifest(ctx, stored); err != nil {
		return err
	}
	now := time.Now()
	d := &api.Decision{
		Repository: stockRepository, Digest: m.Digest.String(), Zone: gatedZone, Clause: "enter", Outcome: api.Allow,
		Reasons: []api.Reason{}, DecidedAt: now,
	}
	id, err := f.tx.PutDecision(ctx, d, 1)
	if err != nil {
		return err
	}
	repository := oci.MustRepository(stockRepository)
	err = f.tx.Place(ctx, &repo.Placement{
		Repository: repository, Digest: m.Digest, Kind: oci.KindImage, State: repo.Admitted,
		BroughtBy: "bench", BroughtAt: now, AdmittedAt: now, Decision: id,
	})
	if err != nil {
		return err
	}
	_, err = f.tx.SetTag(ctx, repository, tag, m.Digest)
	return err
}

func stockImage(base layer, i, n int) (image, error) {
	files := map[string]string{}
	for _, name := range stockPackages(i, n) {
		files["usr/lib/python3/dist-packages/"+name+"-1.0.dist-info/METADATA"] = "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n"
	}
	own, err := textLayer(files)
	if err != nil {
		return image{}, err
	}
	return newImage([]layer{base, own})
}

// systemLayer is what all images of a stock share: a Debian release with some
// packages, and the Python package common.
func systemLayer() (layer, error) {
	var status strings.Builder
	for i := range 40 {
		fmt.Fprintf(&status, "Package: lib%d\nStatus: install ok installed\nVersion: 1.%d-1\nArchitecture: amd64\n\n", i, i)
	}
	return textLayer(map[string]string{
		statusFile:       status.String(),
		"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"usr/lib/python3/dist-packages/common-2.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: common\nVersion: 2.0\n",
	})
}

// textLayer makes an uncompressed layer of files.
func textLayer(files map[string]string) (layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			return layer{}, fmt.Errorf("writing a layer: %w", err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			return layer{}, fmt.Errorf("writing a layer: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return layer{}, fmt.Errorf("writing a layer: %w", err)
	}
	c := newContent(b.Bytes(), tarType)
	return layer{c, c.digest}, nil
}

// hasty is a file system that promises durability and does not wait for it.
type hasty struct{ disk.FS }

func (h hasty) SyncDir(string) error { return nil }

func (h hasty) OpenFile(name string, flag int, perm os.FileMode) (disk.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return hastyFile{f}, nil
}

type hastyFile struct{ disk.File }

func (hastyFile) Sync() error { return nil }
