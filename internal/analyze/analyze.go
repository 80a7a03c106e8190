// Package analyze finds out what a layer contains: its facts.
//
// An Analyzer reads a layer in one pass (package layer), hands every file that
// matters to the Extractors that want it, and returns an inventory.Layer with
// the package sets. Facts depend on nothing but the bytes of the layer, the
// extractor set and the budget, so they are found out once per layer blob.
// Overlay merges the facts of an image's layers into its inventory; it looks
// at facts only, never at content. A Follower lets analysis run while the
// layer is still being uploaded.
//
// Whatever could not be looked at is a gap in the coverage, with its path and
// the extractor that missed it. How to add an extractor is in
// docs/analyzers.md; package analyze/analyzetest admits it.
package analyze

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/layer"
)

// version is the version of what this package makes of a layer beside what the
// extractors find. It grows when the same bytes can give other facts.
const version = "3"

// Options configure an Analyzer.
type Options struct {
	// Extractors find packages. Their names are unique; at most 64.
	Extractors []Extractor
	// Claimers find out which files belong to OS packages.
	Claimers []Claimer
	// Searcher finds secrets. Optional: without it nobody looks for them, which
	// the coverage says.
	Searcher Searcher
	// Budget of one layer. Optional: layer.Standard().
	Budget layer.Budget
	// TempDir holds files that are looked into and larger than 4 MiB, for as
	// long as that takes; it exists. Optional: the system's folder.
	TempDir string
	// Now is the clock that Budget.Time is measured with. Required; it may be
	// called by several goroutines.
	Now func() time.Time
	// Log gets what extractors say about files they cannot read. Required.
	Log *slog.Logger
}

// Analyzer finds the facts of layers. It is safe for concurrent use.
type Analyzer struct {
	o   Options
	set string
}

// New returns an Analyzer. It panics when two extractors have one name or there
// are more than 64, which is a mistake of the program.
func New(o Options) *Analyzer {
	if len(o.Extractors) > 64 {
		panic("analyze: more than 64 extractors")
	}
	if o.Budget == (layer.Budget{}) {
		o.Budget = layer.Standard()
	}
	names := []string{"analyze/" + version, "layer/" + layer.Version}
	for _, e := range o.Extractors {
		names = append(names, e.Info().Name+"/"+e.Info().Version)
	}
	for _, c := range o.Claimers {
		names = append(names, c.Info().Name+"/"+c.Info().Version)
	}
	if s := o.Searcher; s != nil {
		names = append(names, s.Info().Name+"/"+s.Info().Version)
	}
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		a, _, _ := strings.Cut(names[i-1], "/")
		if b, _, _ := strings.Cut(names[i], "/"); a == b {
			panic("analyze: two extractors named " + a)
		}
	}
	return &Analyzer{o: o, set: strings.Join(names, " ")}
}

// Set returns the extractor set: names and versions, as facts record it. Facts
// of another set are not those that this Analyzer would find.
func (a *Analyzer) Set() string { return a.set }

// Searcher returns what finds secrets; nil for nothing.
func (a *Analyzer) Searcher() Searcher { return a.o.Searcher }

// Budget returns the class of the budget, as facts record it.
func (a *Analyzer) Budget() string { return a.o.Budget.Class }

// Result is what Layer found.
type Result struct {
	// NotLayer says that the blob is no layer; nothing else is set then.
	NotLayer bool
	// Layer holds the facts but for Digest, which the caller sets once the blob
	// is verified, and Size, which is that of what was read: the whole blob
	// unless DiffID is zero.
	Layer inventory.Layer
	// Sets are what Layer.Files refer to, sorted by ID, each once.
	Sets []inventory.Set
}

// Layer reads a layer blob from r, as it is stored, from its first byte. It
// reads to the end, unless the blob is no layer or uses up the budget; a layer
// with a table of contents is read a second time, to compare the two. r may
// block, as a Follower does; it need seek from the start alone.
//
// An error means that nothing is known: r failed, ctx was cancelled, or there
// was no room in TempDir. A caller who cancels ctx also unblocks r. Damaged or
// hostile content is no error but a gap in the coverage.
func (a *Analyzer) Layer(ctx context.Context, r io.ReadSeeker) (Result, error) {
	p := newPass(ctx, a)
	defer p.close()
	sum, err := layer.Walk(ctx, r, layer.Options{Budget: a.o.Budget, Now: a.o.Now}, p.visit)
	switch {
	case errors.Is(err, layer.ErrNotLayer):
		return Result{NotLayer: true}, nil
	case err != nil:
		return Result{}, fmt.Errorf("analysing a layer: %w", err)
	}
	tables, err := a.tables(ctx, r, sum)
	if err != nil {
		return Result{}, fmt.Errorf("analysing a layer: %w", err)
	}
	res := p.result(sum)
	res.Layer.Contents = tables
	return res, nil
}
