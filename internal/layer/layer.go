// Package layer reads a layer: a tar stream, plain or compressed, from its
// first byte to its last, under a budget, in one pass.
//
// Walk hands every entry to a visitor and returns a Summary: the diff_id, what
// the layer does at each path, and how far it could be understood. Layers are
// read by several unpackers (containerd, Docker, Podman, lazy snapshotters),
// and what one of them could read differently from another is never passed
// over: it makes the layer ambiguous, with a reason (see reasons.go). Where
// they differ, the result is what containerd makes of the layer.
//
// Nothing is written to disk, and memory is bounded: about 2 MiB of buffers,
// the window of the compression, and some 100 bytes per entry.
package layer

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// ErrNotLayer is returned for bytes that are no tar stream in any compression
// that unpackers read by name: configurations, SBOMs, charts' values. It is
// found out from the first bytes.
var ErrNotLayer = errors.New("not a layer: neither tar nor tar in gzip or zstd")

// Version is the version of what this package makes of a layer. It grows with
// every change that can give other results for the same bytes.
const Version = "2"

// Options are what Walk needs beside the stream.
type Options struct {
	Budget Budget           // Standard() if zero
	Now    func() time.Time // the clock of Budget.Time. Required.
}

// Summary is what Walk knows in the end.
type Summary struct {
	Compression  string     // "gzip", "zstd" or ""
	DiffID       oci.Digest // SHA-256 over the whole uncompressed stream; zero when that was not read to its end, and then the first gap says why
	Size         int64      // bytes taken from the reader: all of them, unless DiffID is zero
	Tail         []byte     // the last of those, toc.TailSize if there are as many
	Uncompressed int64      // bytes of the uncompressed stream
	Entries      int        // tar entries, extended headers not counted
	Links        []inventory.Link
	Whiteouts    []string
	Opaque       []string
	Parents      []string // see inventory.Layer.Parents
	Paths        inventory.PathSet
	Gaps         inventory.Gaps
}

// Walk reads the layer in r and calls visit for each entry but whiteouts, in
// order. It reads r to its end, whatever comes after the tar, unless the budget
// is used up or the compressed stream is damaged; both are gaps, not errors.
//
// Errors match ErrNotLayer; otherwise they are those of r (then nothing is
// known about the layer), of ctx, or of visit. r is no longer used after Walk
// has returned; a caller who cancels ctx also unblocks r.
func Walk(ctx context.Context, r io.Reader, o Options, visit func(*Entry) error) (*Summary, error) {
	if o.Budget == (Budget{}) {
		o.Budget = Standard()
	}
	src := newSource(r, o)
	comp, dec, err := src.open(o.Budget)
	if err != nil {
		return nil, src.explain(err)
	}
	sum := &Summary{Compression: comp}
	st := newStream(ctx, dec, src, o)
	w := &walker{stream: st, tree: newTree(&sum.Gaps, o.Budget), sum: sum, budget: o.Budget, visit: visit}
	err = w.run()
	st.close()
	sum.Tail = src.tail
	if err != nil {
		return nil, src.explain(err)
	}
	return sum, src.readErr()
}
