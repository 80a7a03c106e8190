package tlog

import (
	"fmt"
	"math/bits"
	"slices"

	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/bonded-dev/bonded/internal/oci"
)

// State is what must be known of a log to append to it: the right edge of its
// tree. A State is not changed once it is made.
type State struct {
	Size int64
	Root Hash
	// levels are the hashes of the partial tile of each level: as many as
	// Size>>(8*level) modulo 256. The last one is not empty.
	levels [][]Hash
	// tail are the entries of the partial bundle.
	tail []byte
}

// EmptyState is that of a log without entries.
func EmptyState() *State { return &State{Root: EmptyRoot()} }

// Blob is what a full tile is stored as.
type Blob struct {
	Digest oci.Digest
	Bytes  []byte
}

// Plan is a step that was worked out and not yet taken: no I/O was done for it.
type Plan struct {
	Next *State
	// Full, Tail and Leaves are as in Step, Leaves being all of Step.Index.
	Full   []Full
	Tail   Piece
	Leaves []Hash
	// Blobs are to be stored before the step is committed.
	Blobs []Blob

	edge edge
}

// Plan appends entries to a state.
func (s *State) Plan(entries []Entry) *Plan {
	b := &builder{edge: edge{size: s.Size}, bundle: slices.Clone(s.tail)}
	for l, hashes := range s.levels {
		b.edge.levels = append(b.edge.levels, run{base: s.Size >> uint(tileHeight*l) &^ (TileWidth - 1), hashes: slices.Clone(hashes)})
	}
	b.plan.Tail.Start = s.Size
	for _, e := range entries {
		b.add(e)
	}
	p := &b.plan
	p.Tail.Bundle = b.bundle[b.fresh(len(s.tail)):]
	p.Tail.Leaves = p.Leaves[p.Tail.Start-s.Size:]
	p.edge = b.edge
	p.Next = b.edge.state(b.bundle)
	return p
}

// builder carries a Plan.
type builder struct {
	plan   Plan
	edge   edge
	bundle []byte // the partial one
}

// fresh is where the entries of this plan begin in the partial bundle, which
// had the given length before.
func (b *builder) fresh(before int) int {
	if len(b.plan.Full) > 0 {
		return 0
	}
	return before
}

func (b *builder) add(e Entry) {
	b.plan.Leaves = append(b.plan.Leaves, e.Leaf)
	b.bundle = append(b.bundle, e.Bundle...)
	b.edge.size++
	for level, h := 0, e.Leaf; ; level++ {
		hashes := b.edge.push(level, h)
		if len(hashes)%TileWidth != 0 {
			return
		}
		h = b.full(level, hashes[len(hashes)-TileWidth:])
	}
}

// full notes a tile that became full and returns its root.
func (b *builder) full(level int, hashes []Hash) Hash {
	data := JoinHashes(hashes)
	f := Full{Level: level, N: b.edge.size>>uint(tileHeight*(level+1)) - 1, Root: subtree(hashes), Hashes: oci.FromBytes(data)}
	b.plan.Blobs = append(b.plan.Blobs, Blob{f.Hashes, data})
	if level == 0 {
		f.Entries = oci.FromBytes(b.bundle)
		b.plan.Blobs = append(b.plan.Blobs, Blob{f.Entries, b.bundle})
		b.bundle = nil
		b.plan.Tail.Start = b.edge.size
	}
	b.plan.Full = append(b.plan.Full, f)
	return f.Root
}

// edge holds the hashes of each level from the first of a tile on, to the end.
type edge struct {
	size   int64
	levels []run
	memo   map[int64]Hash // of nodes between the levels, by their stored index
}

// run is a row of hashes of a level from number base on, a multiple of 256.
type run struct {
	base   int64
	hashes []Hash
}

func (e *edge) push(level int, h Hash) []Hash {
	if level == len(e.levels) {
		e.levels = append(e.levels, run{base: e.size>>uint(tileHeight*level) - 1})
	}
	r := &e.levels[level]
	r.hashes = append(r.hashes, h)
	return r.hashes
}

// state is what is left of the edge once full tiles are cut off.
func (e *edge) state(tail []byte) *State {
	s := &State{Size: e.size, tail: tail, levels: make([][]Hash, len(e.levels))}
	for l, r := range e.levels {
		s.levels[l] = slices.Clone(r.hashes[len(r.hashes)&^(TileWidth-1):])
	}
	s.Root = s.root()
	return s
}

// ReadHashes gives the hashes that proofs about the new entries need.
func (e *edge) ReadHashes(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, len(indexes))
	for i, index := range indexes {
		h, err := e.node(index)
		if err != nil {
			return nil, err
		}
		hashes[i] = h
	}
	return hashes, nil
}

func (e *edge) node(index int64) (Hash, error) {
	if h, ok := e.memo[index]; ok {
		return h, nil
	}
	level, n := sumdb.SplitStoredHashIndex(index)
	l, height := level/tileHeight, level%tileHeight
	if l >= len(e.levels) {
		return Hash{}, fmt.Errorf("reading hash %d of level %d: beyond the edge of the tree", n, level)
	}
	r := e.levels[l]
	from, to := n<<uint(height)-r.base, (n+1)<<uint(height)-r.base
	if from < 0 || to > int64(len(r.hashes)) {
		return Hash{}, fmt.Errorf("reading hash %d of level %d: beyond the edge of the tree", n, level)
	}
	if height == 0 {
		return r.hashes[from], nil
	}
	left, err := e.node(sumdb.StoredHashIndex(level-1, 2*n))
	if err != nil {
		return Hash{}, err
	}
	right, err := e.node(sumdb.StoredHashIndex(level-1, 2*n+1))
	if err != nil {
		return Hash{}, err
	}
	if e.memo == nil {
		e.memo = map[int64]Hash{}
	}
	h := sumdb.NodeHash(left, right)
	e.memo[index] = h
	return h, nil
}

// root is that of the whole tree: what the partial tiles stand for, hashed from
// the right.
func (s *State) root() Hash {
	if s.Size == 0 {
		return EmptyRoot()
	}
	var root Hash
	any := false
	for _, hashes := range s.levels {
		for end := len(hashes); end > 0; {
			size := 1 << bits.TrailingZeros(uint(end)) // of the rightmost full subtree
			h := subtree(hashes[end-size : end])
			if any {
				h = sumdb.NodeHash(h, root)
			}
			root, any, end = h, true, end-size
		}
	}
	return root
}

// subtree is the root over a power of two of hashes.
func subtree(hashes []Hash) Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return sumdb.NodeHash(subtree(hashes[:half]), subtree(hashes[half:]))
}

// JoinHashes is a row of hashes as bytes: what a tile is.
func JoinHashes(hashes []Hash) []byte {
	b := make([]byte, 0, len(hashes)*len(Hash{}))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// SplitHashes is the inverse of JoinHashes. Errors match ErrMalformed.
func SplitHashes(b []byte) ([]Hash, error) {
	const size = len(Hash{})
	if len(b)%size != 0 {
		return nil, fmt.Errorf("%w: %d bytes are no row of hashes", ErrMalformed, len(b))
	}
	hashes := make([]Hash, len(b)/size)
	for i := range hashes {
		hashes[i] = Hash(b[i*size:])
	}
	return hashes, nil
}
