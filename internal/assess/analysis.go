package assess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// followed bounds how many uploads are analysed while they arrive, for each
// worker; those beyond are analysed when they are needed.
const followed = 8

// AnalystOptions are what an Analyst works with. All but Workers are required.
type AnalystOptions struct {
	Analyzer *analyze.Analyzer
	Blobs    blob.Store
	DB       DB
	Clock    func() time.Time
	Log      *slog.Logger
	// Workers is how many layers are worked on at once; 0 means the number of
	// processors. A layer that waits for its upload does not count.
	Workers int
}

// Analyst keeps the facts of layers: it finds them while a layer arrives, or
// when somebody needs them, and never twice. It is safe for concurrent use.
type Analyst struct {
	o      AnalystOptions
	slots  chan struct{} // one token per worker
	ctx    context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	follow int                          // uploads being followed
	live   map[oci.Digest]chan struct{} // layers whose facts are being found; closed when that ended
}

// NewAnalyst returns an Analyst.
func NewAnalyst(o AnalystOptions) *Analyst {
	if o.Workers == 0 {
		o.Workers = runtime.NumCPU()
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Analyst{o: o, slots: make(chan struct{}, o.Workers), ctx: ctx, stop: stop, live: map[oci.Digest]chan struct{}{}}
	for range o.Workers {
		a.slots <- struct{}{}
	}
	return a
}

// Set names what facts depend on beside the layer: the extractors, and the
// budget they had.
func (a *Analyst) Set() string { return a.o.Analyzer.Set() + " budget/" + a.o.Analyzer.Budget() }

// Stop ends running analyses, without facts, and waits for them.
func (a *Analyst) Stop() {
	a.stop()
	a.wg.Wait()
}

// Following is the analysis of one upload.
type Following struct {
	analyst  *Analyst
	follower *analyze.Follower
	cancel   context.CancelFunc
	ended    chan struct{} // closed by Finish

	// Guarded by Analyst.mu:
	digest oci.Digest // set by Finish
	over   bool       // run has ended: nobody would store the facts
}

// errAborted ends the analysis of an upload that came to nothing.
var errAborted = errors.New("the upload was given up")

// Follow analyses an upload while it arrives. read reads kept bytes at an
// offset, until after Finish; closed is called when it is read no longer. Of
// the request's context its trace alone counts.
func (a *Analyst) Follow(request context.Context, read func(ctx context.Context, p []byte, off int64) (int, error), closed func()) *Following {
	ctx, cancel := context.WithCancel(trace.ContextWithSpan(a.ctx, trace.SpanFromContext(request)))
	f := &Following{analyst: a, cancel: cancel, ended: make(chan struct{})}
	a.mu.Lock()
	busy := a.follow >= followed*a.o.Workers
	if !busy {
		a.follow++
	}
	a.mu.Unlock()
	if busy {
		cancel()
		closed()
		return f // found out when somebody asks for the facts
	}
	f.follower = analyze.NewFollower(func(p []byte, off int64) (int, error) { return read(ctx, p, off) })
	context.AfterFunc(ctx, func() { f.follower.Abort(errAborted) })
	a.wg.Go(func() {
		defer func() {
			cancel()
			a.mu.Lock()
			a.follow--
			a.mu.Unlock()
		}()
		f.run(ctx, closed)
	})
	return f
}

// run finds the facts, and stores them once the blob is verified.
func (f *Following) run(ctx context.Context, closed func()) {
	result, err := f.analyst.analyze(ctx, f.follower)
	closed()
	select {
	case <-f.ended:
	case <-ctx.Done():
	}
	f.analyst.mu.Lock()
	d := f.digest
	f.over = true
	f.analyst.mu.Unlock()
	if d.IsZero() {
		return
	}
	defer f.analyst.finish(d)
	if err == nil {
		err = f.analyst.store(ctx, d, &result)
	}
	if err != nil && ctx.Err() == nil {
		f.analyst.o.Log.WarnContext(ctx, "analysing a layer while it arrived; it will be analysed again when it is needed", "digest", d, "error", err)
	}
}

// Grow says that size bytes can be read.
func (f *Following) Grow(size int64) {
	if f.follower != nil {
		f.follower.Grow(size)
	}
}

// Finish says that the upload is verified and durable as blob d.
func (f *Following) Finish(size int64, d oci.Digest) {
	if f.follower == nil {
		return
	}
	a := f.analyst
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.over || a.live[d] != nil {
		f.cancel() // it was stopped, or the same layer is being analysed already
		return
	}
	a.live[d] = make(chan struct{})
	f.digest = d
	f.follower.Finish(size)
	close(f.ended)
	a.wg.Go(func() { f.endIfKnown(d) })
}

// endIfKnown ends the analysis of a blob that came again: its facts are there,
// whatever is still to be read of it.
func (f *Following) endIfKnown(d oci.Digest) {
	a := f.analyst
	_, err := view(a.ctx, a.o.DB, func(tx Tx) ([]byte, error) { return tx.LayerFacts(a.ctx, d, a.Set()) })
	if err == nil {
		f.cancel() // run stores nothing any more
	}
}

// Abort ends the analysis without facts.
func (f *Following) Abort() { f.cancel() }

// finish tells who waits for the facts of d that the work has ended.
func (a *Analyst) finish(d oci.Digest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.live[d])
	delete(a.live, d)
}

// analyze reads a layer. A worker is held only while there are bytes to work
// on, so that slow uploads keep nobody waiting.
func (a *Analyst) analyze(ctx context.Context, r io.ReadSeeker) (analyze.Result, error) {
	if err := a.acquire(ctx); err != nil {
		return analyze.Result{}, err
	}
	defer a.release()
	ctx, span := telemetry.Start(ctx, "assess", "analyse layer")
	result, err := a.o.Analyzer.Layer(ctx, yielding{a, r})
	span.SetAttributes(attribute.Int("sets", len(result.Sets)), attribute.Bool("layer", !result.NotLayer))
	telemetry.End(span, err)
	return result, err
}

func (a *Analyst) acquire(ctx context.Context) error {
	select {
	case <-a.slots:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Analyst) release() { a.slots <- struct{}{} }

// yielding gives the worker back while it waits for bytes.
type yielding struct {
	analyst *Analyst
	io.ReadSeeker
}

func (y yielding) Read(p []byte) (int, error) {
	y.analyst.release()
	defer func() { <-y.analyst.slots }()
	return y.ReadSeeker.Read(p)
}

// store commits the facts of a verified blob.
func (a *Analyst) store(ctx context.Context, d oci.Digest, result *analyze.Result) error {
	var facts []byte // empty for what is no layer
	if !result.NotLayer {
		result.Layer.Digest = d
		facts = analyze.MarshalLayer(&result.Layer)
	}
	sets := make([][]byte, len(result.Sets))
	for i := range result.Sets {
		sets[i] = analyze.MarshalSet(&result.Sets[i])
	}
	return a.o.DB.Update(ctx, func(tx Tx) error {
		for i := range result.Sets {
			if err := tx.PutPackageSet(ctx, result.Sets[i].ID, sets[i], Components(&result.Sets[i])); err != nil {
				return err
			}
		}
		return tx.PutLayerFacts(ctx, d, a.Set(), facts)
	})
}

// facts returns the facts of a blob, nil when it is no layer, finding them now
// if nobody has. Errors match blob.ErrNotFound.
func (a *Analyst) facts(ctx context.Context, d oci.Digest) (*inventory.Layer, error) {
	for {
		encoded, err := view(ctx, a.o.DB, func(tx Tx) ([]byte, error) { return tx.LayerFacts(ctx, d, a.Set()) })
		switch {
		case err == nil && len(encoded) == 0:
			return nil, nil
		case err == nil:
			return analyze.UnmarshalLayer(encoded)
		case !errors.Is(err, repo.ErrNotFound):
			return nil, err
		}
		if err := a.find(ctx, d); err != nil {
			return nil, err
		}
	}
}

// find finds the facts of a stored blob, or waits for who does.
func (a *Analyst) find(ctx context.Context, d oci.Digest) error {
	a.mu.Lock()
	if ended := a.live[d]; ended != nil {
		a.mu.Unlock()
		select {
		case <-ended:
			return nil // whatever came of it, the caller looks again
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	a.live[d] = make(chan struct{})
	a.mu.Unlock()
	defer a.finish(d)
	content, err := a.o.Blobs.Open(ctx, d)
	if err != nil {
		return err
	}
	defer content.Close()
	result, err := a.analyze(ctx, content)
	if err != nil {
		return err
	}
	return a.store(ctx, d, &result)
}

// Inventory returns the merged inventory of an image, from the stored record or
// by merging the facts of its layers. An image whose configuration cannot be read
// has none in its inventory; gates refuse it.
func (a *Analyst) Inventory(ctx context.Context, m *oci.Manifest) (*Inventory, error) {
	cfg, err := a.config(ctx, m)
	if err != nil {
		return nil, err
	}
	encoded, err := view(ctx, a.o.DB, func(tx Tx) ([]byte, error) { return tx.ImageRecord(ctx, m.Digest, a.Set()) })
	if err == nil {
		return decodeInventory(encoded, cfg)
	}
	if !errors.Is(err, repo.ErrNotFound) {
		return nil, err
	}
	im, err := a.merge(ctx, m, cfg)
	if err != nil {
		return nil, err
	}
	inv, err := NewInventory(im, a.o.Clock())
	if err != nil {
		return nil, err
	}
	packed, err := encodeInventory(inv)
	if err != nil {
		return nil, err
	}
	diffIDs, whole := chainOf(im, cfg)
	return inv, a.o.DB.Update(ctx, func(tx Tx) error {
		if err := tx.PutImageRecord(ctx, m.Digest, a.Set(), packed, visibleSets(im)); err != nil {
			return err
		}
		return tx.PutChain(ctx, m.Digest, diffIDs, whole)
	})
}

// Image returns the merged inventory of an image and its digest.
func (a *Analyst) Image(ctx context.Context, m *oci.Manifest) (*inventory.Image, oci.Digest, error) {
	inv, err := a.Inventory(ctx, m)
	if err != nil {
		return nil, oci.Digest{}, err
	}
	return inv.Image, inv.Digest, nil
}

// config reads the configuration of an image; nil when it cannot be read as one.
func (a *Analyst) config(ctx context.Context, m *oci.Manifest) (*oci.ImageConfig, error) {
	if m.Config.Size > oci.MaxConfig {
		return nil, nil
	}
	content, err := a.o.Blobs.Open(ctx, m.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("opening the configuration of %s: %w", m.Digest, err)
	}
	defer content.Close()
	raw, err := io.ReadAll(io.LimitReader(content, oci.MaxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of %s: %w", m.Digest, err)
	}
	cfg, err := oci.ParseImageConfig(raw)
	if err != nil {
		a.o.Log.DebugContext(ctx, "an image has a configuration that cannot be read", "digest", m.Digest, "error", err)
		return nil, nil
	}
	return cfg, nil
}

// merge overlays the facts of the layers.
func (a *Analyst) merge(ctx context.Context, m *oci.Manifest, cfg *oci.ImageConfig) (*inventory.Image, error) {
	layers := make([]inventory.Layer, len(m.Layers))
	var ids []oci.Digest
	for i, desc := range m.Layers {
		switch {
		case oci.IsForeignLayer(desc.MediaType):
			layers[i] = notAnalysed(desc, "its content is kept elsewhere")
			continue
		case oci.IsEncryptedLayer(desc.MediaType):
			layers[i] = notAnalysed(desc, "it is encrypted")
			continue
		}
		l, err := a.facts(ctx, desc.Digest)
		if err != nil {
			return nil, fmt.Errorf("analysing layer %d of %s: %w", i+1, m.Digest, err)
		}
		if l == nil {
			layers[i] = notAnalysed(desc, "it is no tar archive")
			continue
		}
		layers[i] = *l
		for _, f := range l.Files {
			if !f.Set.IsZero() {
				ids = append(ids, f.Set)
			}
		}
	}
	sets, err := a.sets(ctx, ids)
	if err != nil {
		return nil, err
	}
	return analyze.Overlay(analyze.Stack{
		Manifest: m.Digest, Layers: layers, Descriptors: m.Layers, Config: cfg, Searcher: a.o.Analyzer.Searcher(), Sets: func(id oci.Digest) *inventory.Set { return sets[id] },
	}), nil
}

func notAnalysed(d oci.Descriptor, why string) inventory.Layer {
	return inventory.Layer{Digest: d.Digest, Size: d.Size, Coverage: inventory.Coverage{State: inventory.CoverageNone, Gaps: []inventory.Gap{{Reason: why}}}}
}

func (a *Analyst) sets(ctx context.Context, ids []oci.Digest) (map[oci.Digest]*inventory.Set, error) {
	encoded, err := view(ctx, a.o.DB, func(tx Tx) (map[oci.Digest][]byte, error) { return tx.PackageSets(ctx, ids) })
	if err != nil {
		return nil, err
	}
	sets := make(map[oci.Digest]*inventory.Set, len(encoded))
	for _, id := range ids {
		raw, ok := encoded[id]
		if !ok {
			return nil, fmt.Errorf("package set %s is missing", id)
		}
		if sets[id] == nil {
			if sets[id], err = analyze.UnmarshalSet(raw); err != nil {
				return nil, fmt.Errorf("reading package set %s: %w", id, err)
			}
		}
	}
	return sets, nil
}

func visibleSets(im *inventory.Image) []oci.Digest {
	seen := map[oci.Digest]bool{}
	var ids []oci.Digest
	for i := range im.Packages {
		if id := im.Packages[i].Set; !id.IsZero() && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// Inventory is a merged inventory with what identifies it.
type Inventory struct {
	*inventory.Image
	Digest oci.Digest // over the image as JSON
	At     time.Time  // when it was merged
}

// record is an Inventory as it is packed.
type record struct {
	At    time.Time       `json:"at"`
	Image json.RawMessage `json:"image"`
}

// NewInventory returns the inventory of an image that was merged at a time.
func NewInventory(im *inventory.Image, at time.Time) (*Inventory, error) {
	raw, err := json.Marshal(im)
	if err != nil {
		return nil, fmt.Errorf("packing the inventory of %s: %v", im.Manifest, err)
	}
	return &Inventory{Image: im, Digest: oci.FromBytes(raw), At: at.UTC().Truncate(time.Second)}, nil
}

// encodeInventory packs an inventory.
func encodeInventory(inv *Inventory) ([]byte, error) {
	image, err := json.Marshal(inv.Image)
	if err != nil {
		return nil, fmt.Errorf("packing the inventory of %s: %v", inv.Manifest, err)
	}
	raw, err := json.Marshal(record{inv.At, image})
	if err != nil {
		return nil, fmt.Errorf("packing the inventory of %s: %v", inv.Manifest, err)
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("packing the inventory of %s: %v", inv.Manifest, err)
	}
	defer w.Close() //nolint:errcheck // it writes nowhere
	return w.EncodeAll(raw, nil), nil
}

// maxRecord bounds an unpacked inventory, in bytes.
const maxRecord = 512 << 20

func decodeInventory(packed []byte, cfg *oci.ImageConfig) (*Inventory, error) {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRecord))
	if err != nil {
		return nil, fmt.Errorf("unpacking an inventory: %v", err)
	}
	defer r.Close()
	raw, err := r.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("unpacking an inventory: %v", err)
	}
	var rec record
	if err := json.Unmarshal(raw, &rec); err != nil {
		return nil, fmt.Errorf("unpacking an inventory: %v", err)
	}
	im := &inventory.Image{}
	if err := json.Unmarshal(rec.Image, im); err != nil {
		return nil, fmt.Errorf("unpacking an inventory: %v", err)
	}
	im.Config = cfg
	if cfg != nil {
		im.Labels = cfg.Config.Labels
	}
	return &Inventory{Image: im, Digest: oci.FromBytes(rec.Image), At: rec.At}, nil
}
