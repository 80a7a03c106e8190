package tlog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// VerifyOptions say what a log is held against.
type VerifyOptions struct {
	Source Source
	Layout Layout
	// Origin and Verifier are of the log, and come from elsewhere than the Source.
	Origin   string
	Verifier note.Verifier
	// Known are heads that were seen before, here or by others. The log must go on
	// from each of them. Optional.
	Known []Known
	// Witnesses are those whose cosignatures count, Quorum how many there must be.
	// Optional: none.
	Witnesses []note.Verifier
	Quorum    int
	// Fresh is how old a cosignature may be by Clock. Optional: any age.
	Fresh time.Duration
	Clock func() time.Time
	// Entry is called with each entry in order, whose bytes are in the tree; an
	// error matching ErrMalformed, ErrProof or ErrNotFound is a Problem with that
	// entry, another ends the verification. Optional.
	Entry func(index int64, data []byte) error
}

// Known is a head of a log that somebody has seen.
type Known struct {
	From       string // who; for people
	Checkpoint Checkpoint
}

// Report is what was found. The log is as it should be if Bad is nil.
type Report struct {
	Checkpoint Checkpoint
	Signed     []byte
	// Entries is how many were read and found to be what the checkpoint has: all
	// of them, or those before Bad.
	Entries int64
	// Cosigned says which witnesses have signed, and when.
	Cosigned []Cosigned
	Bad      *Problem
}

// Cosigned is a valid cosignature.
type Cosigned struct {
	Name string
	At   time.Time
}

// What a Problem is with.
const (
	BadCheckpoint = "checkpoint" // its signature or its form
	BadWitness    = "witness"    // too few, or stale
	BadEntry      = "entry"      // Index is the first that is wrong
	BadTile       = "tile"       // Tile is the first that is wrong
	BadRoot       = "root"       // entries and tiles fit, and not the checkpoint
	BadHistory    = "history"    // a known head is not of this log's history
)

// Problem is the first thing that is wrong with a log.
type Problem struct {
	Kind   string
	Index  int64  // of an entry, for BadEntry
	Tile   string // its path, for BadTile
	Reason string
}

func (p *Problem) Error() string { return p.Reason }

// Verify reads a log from its first entry to its last and rebuilds the tree, in
// time linear in its size and memory that does not depend on it. A log that is
// wrong is a Report with Bad; an error says that it could not be read.
func Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	v := &verifier{VerifyOptions: o}
	err := v.run(ctx)
	var bad *Problem
	if errors.As(err, &bad) {
		v.report.Bad, err = bad, nil
	}
	if err != nil {
		return v.report, fmt.Errorf("verifying the log %s: %w", o.Origin, err)
	}
	return v.report, nil
}

type verifier struct {
	VerifyOptions
	report Report
	levels [][]Hash // the partial tile of each level
	size   int64    // entries so far
	good   int64    // the size of the largest known head that fits
}

func (v *verifier) run(ctx context.Context) error {
	signed, err := v.Source.Checkpoint(ctx)
	if err != nil {
		return err
	}
	v.report.Signed = signed
	if v.report.Checkpoint, err = OpenCheckpoint(signed, v.Origin, v.Verifier); err != nil {
		return &Problem{Kind: BadCheckpoint, Reason: err.Error()}
	}
	if err := v.witnessed(signed); err != nil {
		return err
	}
	v.Known = slices.Clone(v.Known)
	slices.SortStableFunc(v.Known, func(a, b Known) int { return int(min(max(a.Checkpoint.Size-b.Checkpoint.Size, -1), 1)) })
	if err := v.bounds(); err != nil {
		return err
	}
	if err := v.bundles(ctx); err != nil {
		return err
	}
	return v.finish(ctx)
}

// witnessed looks at the cosignatures.
func (v *verifier) witnessed(signed []byte) error {
	if len(v.Witnesses) == 0 {
		return nil
	}
	if n, err := openNote(signed, v.Witnesses...); err == nil {
		for _, s := range n.Sigs {
			at, err := signatureTime(s)
			if err == nil && (v.Fresh == 0 || v.Clock().Sub(at).Abs() <= v.Fresh) {
				v.report.Cosigned = append(v.report.Cosigned, Cosigned{s.Name, at})
			}
		}
	}
	if have := len(v.report.Cosigned); have < v.Quorum {
		old := ""
		if v.Fresh > 0 {
			old = fmt.Sprintf(" in the last %s", v.Fresh)
		}
		return &Problem{Kind: BadWitness, Reason: fmt.Sprintf("%d of %d witnesses have signed the checkpoint of %d entries%s, and %d must", have, len(v.Witnesses), v.report.Checkpoint.Size, old, v.Quorum)}
	}
	return nil
}

// bounds checks known heads that the rebuilding does not come to.
func (v *verifier) bounds() error {
	c := v.report.Checkpoint
	for _, k := range v.Known {
		if k.Checkpoint.Origin != c.Origin {
			return &Problem{Kind: BadHistory, Reason: fmt.Sprintf("%s is of the log %.80q, not of %s", k.From, k.Checkpoint.Origin, c.Origin)}
		}
		if k.Checkpoint.Size > c.Size {
			return &Problem{Kind: BadHistory, Reason: fmt.Sprintf("%s has seen %d entries, and the log shows %d: it was cut, restored from a backup, or is shown differently to others", k.From, k.Checkpoint.Size, c.Size)}
		}
		if k.Checkpoint.Size == 0 && k.Checkpoint.Root != EmptyRoot() || k.Checkpoint.Size == c.Size && k.Checkpoint.Root != c.Root {
			return v.forked(k, c.Root)
		}
	}
	return nil
}

func (v *verifier) forked(k Known, root Hash) error {
	return &Problem{Kind: BadHistory, Reason: fmt.Sprintf("%s has seen the root %s at %d entries, and the log has %s there: an entry among %d to %d was changed, or the log is shown differently to others",
		k.From, k.Checkpoint.Root, k.Checkpoint.Size, root, v.good, k.Checkpoint.Size-1)}
}

// read is a bundle with its tile, read and hashed.
type read struct {
	n       int64
	entries []BundleEntry
	split   error // the entry after entries cannot be read
	tile    []Hash
	err     error
}

// bundles reads all bundles in order, some of them ahead.
func (v *verifier) bundles(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	queue := make(chan chan read, runtime.GOMAXPROCS(0)+1)
	defer func() {
		cancel()
		for range queue { // until the reader has ended
		}
	}()
	go func() {
		defer close(queue)
		for n := int64(0); ctx.Err() == nil; n++ {
			width := widthAt(v.report.Checkpoint.Size, Entries, n)
			if width == 0 {
				return
			}
			next := make(chan read, 1)
			go func() { next <- v.read(ctx, n, width) }()
			select {
			case queue <- next:
			case <-ctx.Done():
			}
		}
	}()
	for next := range queue {
		r := <-next
		if r.err != nil {
			return r.err
		}
		if err := v.bundle(ctx, r); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (v *verifier) read(ctx context.Context, n int64, width int) read {
	r := read{n: n}
	t := Tile{Level: 0, N: n, Width: width}
	if r.tile, r.err = v.tile(ctx, t); r.err != nil {
		return r
	}
	t.Level = Entries
	b, err := v.Source.Tile(ctx, t)
	if err != nil {
		r.err = v.missing(t, err)
		return r
	}
	r.entries, r.split = v.Layout.Split(b, width)
	return r
}

// missing makes a tile that is not there a problem.
func (v *verifier) missing(t Tile, err error) error {
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrMalformed), errors.Is(err, ErrDamaged):
		return &Problem{Kind: BadTile, Tile: t.Path(v.Layout), Reason: fmt.Sprintf("the checkpoint has %d entries, and %v", v.report.Checkpoint.Size, err)}
	}
	return err
}

func (v *verifier) tile(ctx context.Context, t Tile) ([]Hash, error) {
	b, err := v.Source.Tile(ctx, t)
	if err != nil {
		return nil, v.missing(t, err)
	}
	row, err := SplitHashes(b)
	if err != nil || len(row) != t.Width {
		return nil, &Problem{Kind: BadTile, Tile: t.Path(v.Layout), Reason: fmt.Sprintf("%s has %d bytes, not %d", t.Path(v.Layout), len(b), t.limit())}
	}
	return row, nil
}

// bundle takes in the next bundle.
func (v *verifier) bundle(ctx context.Context, r read) error {
	for i, e := range r.entries {
		if e.Leaf != r.tile[i] {
			return v.blame(ctx, v.size+int64(i), e.Leaf, r.tile[i])
		}
		if v.Entry != nil {
			if err := v.entry(v.size+int64(i), e.Data); err != nil {
				return err
			}
		}
	}
	if r.split != nil {
		index := v.size + int64(len(r.entries))
		return &Problem{Kind: BadEntry, Index: min(index, v.report.Checkpoint.Size-1), Reason: fmt.Sprintf("entry %d cannot be read: %v", index, r.split)}
	}
	if err := v.passes(r.tile); err != nil {
		return err
	}
	v.size += int64(len(r.tile))
	v.report.Entries = v.size
	v.row(0, r.tile)
	if len(r.tile) < TileWidth {
		return nil
	}
	return v.raise(ctx, r.n)
}

func (v *verifier) entry(index int64, data []byte) error {
	err := v.Entry(index, data)
	if errors.Is(err, ErrMalformed) || errors.Is(err, ErrProof) || errors.Is(err, ErrNotFound) {
		return &Problem{Kind: BadEntry, Index: index, Reason: fmt.Sprintf("entry %d: %v", index, err)}
	}
	return err
}

// row sets the partial tile of a level.
func (v *verifier) row(level int, hashes []Hash) {
	if level == len(v.levels) {
		v.levels = append(v.levels, nil)
	}
	v.levels[level] = hashes
}

// raise hashes tile n of level 0, which is full, into those above.
func (v *verifier) raise(ctx context.Context, n int64) error {
	for level := 0; len(v.levels[level]) == TileWidth; level++ {
		h := subtree(v.levels[level])
		v.levels[level] = nil
		if level+1 == len(v.levels) {
			v.levels = append(v.levels, nil)
		}
		row := append(v.levels[level+1], h)
		v.levels[level+1] = row
		n /= TileWidth
		if len(row) == TileWidth {
			if err := v.compare(ctx, level+1, n, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare holds a tile above level 0 against what its entries give.
func (v *verifier) compare(ctx context.Context, level int, n int64, want []Hash) error {
	t := Tile{Level: level, N: n, Width: len(want)}
	row, err := v.tile(ctx, t)
	if err != nil {
		return err
	}
	for i := range row {
		if row[i] != want[i] {
			return &Problem{Kind: BadTile, Tile: t.Path(v.Layout), Reason: fmt.Sprintf("%s is wrong: its hash %d is %s, and its entries give %s", t.Path(v.Layout), i, row[i], want[i])}
		}
	}
	return nil
}

// passes checks the known heads within the next entries.
func (v *verifier) passes(next []Hash) error {
	for len(v.Known) > 0 && v.Known[0].Checkpoint.Size <= v.size+int64(len(next)) {
		k := v.Known[0]
		v.Known = v.Known[1:]
		if at := k.Checkpoint.Size; at > v.size {
			s := State{Size: at, levels: append([][]Hash{next[:at-v.size]}, v.levels[min(1, len(v.levels)):]...)}
			if root := s.root(); root != k.Checkpoint.Root {
				return v.forked(k, root)
			}
		}
		v.good = k.Checkpoint.Size
	}
	return nil
}

// finish compares the tiles at the end and the root.
func (v *verifier) finish(ctx context.Context) error {
	c := v.report.Checkpoint
	for level := 1; level < len(v.levels); level++ {
		if row := v.levels[level]; len(row) > 0 {
			if err := v.compare(ctx, level, c.Size>>uint(tileHeight*(level+1)), row); err != nil {
				return err
			}
		}
	}
	s := State{Size: c.Size, levels: v.levels}
	if root := s.root(); root != c.Root {
		v.report.Entries = v.good
		return &Problem{Kind: BadRoot, Reason: fmt.Sprintf("the entries have the root %s, and the checkpoint of %d entries has %s: an entry from %d on was changed, and all tiles with it", root, c.Size, c.Root, v.good)}
	}
	return nil
}

// blame says which is wrong, an entry or its hash in the tile.
func (v *verifier) blame(ctx context.Context, index int64, leaf, inTile Hash) error {
	t := Tile{Level: 0, N: index / TileWidth, Width: widthAt(v.report.Checkpoint.Size, 0, index/TileWidth)}
	proof, err := ProveInclusion(ctx, v.Source, index, v.report.Checkpoint.Size)
	entry := &Problem{Kind: BadEntry, Index: index}
	switch {
	case err == nil && VerifyInclusion(proof, v.report.Checkpoint, index, inTile) == nil:
		entry.Reason = fmt.Sprintf("entry %d was changed: it has the hash %s, and the checkpoint of %d entries has %s there", index, leaf, v.report.Checkpoint.Size, inTile)
	case err == nil && VerifyInclusion(proof, v.report.Checkpoint, index, leaf) == nil:
		return &Problem{Kind: BadTile, Tile: t.Path(v.Layout), Reason: fmt.Sprintf("%s is wrong: its hash %d is %s, and entry %d is rightly %s", t.Path(v.Layout), index%TileWidth, inTile, index, leaf)}
	default:
		entry.Reason = fmt.Sprintf("entry %d has the hash %s, and %s has %s for it; which of them is wrong cannot be told, as neither is proved by the tiles above", index, leaf, t.Path(v.Layout), inTile)
	}
	return entry
}
