package tlog_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// stored is a tree as x/mod keeps it: the other opinion.
type stored []sumdb.Hash

func (s stored) ReadHashes(indexes []int64) ([]sumdb.Hash, error) {
	out := make([]sumdb.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = s[x]
	}
	return out, nil
}

func (s *stored) add(t *testing.T, n int64, leaf sumdb.Hash) {
	t.Helper()
	hashes, err := sumdb.StoredHashesForRecordHash(n, leaf, *s)
	if err != nil {
		t.Fatal(err)
	}
	*s = append(*s, hashes...)
}

// TestPlan holds steps of many sizes against x/mod and transparency-dev/merkle.
func TestPlan(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	state, want := tlog.EmptyState(), stored(nil)
	tiles := map[tlog.Tile]oci.Digest{}
	var bundle []byte
	for size := 0; size < 140_000; {
		n := []int{1, 2, 3, 100, 255, 256, 257, 1000}[rng.IntN(8)]
		if size > 3000 {
			n = 22_000 + rng.IntN(3)
		}
		entries := tlogtest.Entries(size, n)
		p := state.Plan(entries)
		for i, e := range entries {
			want.add(t, int64(size+i), e.Leaf)
			if bundle = append(bundle, e.Bundle...); (size+i+1)%256 == 0 {
				tiles[tlog.Tile{Level: tlog.Entries, N: int64((size + i) / 256)}] = oci.FromBytes(bundle)
				bundle = nil
			}
		}
		size += n
		expectPlan(t, state, p, entries, want, tiles)
		state = p.Next
	}
	if len(tiles) == 0 {
		t.Error("no full tiles")
	}
}

func expectPlan(t *testing.T, before *tlog.State, p *tlog.Plan, entries []tlog.Entry, want stored, bundles map[tlog.Tile]oci.Digest) {
	t.Helper()
	root, err := sumdb.TreeHash(p.Next.Size, want)
	if err != nil || root != p.Next.Root || p.Next.Size != before.Size+int64(len(entries)) {
		t.Fatalf("%d entries have the root %s (%v), the plan has %d with %s", before.Size+int64(len(entries)), root, err, p.Next.Size, p.Next.Root)
	}
	blobs := map[oci.Digest][]byte{}
	for _, b := range p.Blobs {
		blobs[b.Digest] = b.Bytes
	}
	news := 0
	for _, tile := range sumdb.NewTiles(8, before.Size, p.Next.Size) {
		if tile.W < 256 {
			continue
		}
		data, err := sumdb.ReadTileData(tile, want)
		if err != nil {
			t.Fatal(err)
		}
		var f tlog.Full
		for _, f = range p.Full {
			if f.Level == tile.L && f.N == tile.N {
				break
			}
		}
		news++
		if f.Level != tile.L || f.N != tile.N || !bytes.Equal(blobs[f.Hashes], data) || f.Root != want[sumdb.StoredHashIndex(8*(f.Level+1), f.N)] {
			t.Fatalf("the plan from %d to %d has not the full tile %s", before.Size, p.Next.Size, tile.Path())
		}
		if f.Level == 0 && f.Entries != bundles[tlog.Tile{Level: tlog.Entries, N: f.N}] {
			t.Fatalf("the plan from %d to %d has another bundle %d", before.Size, p.Next.Size, f.N)
		}
	}
	if news != len(p.Full) {
		t.Errorf("the plan from %d to %d has %d full tiles, want %d", before.Size, p.Next.Size, len(p.Full), news)
	}
	if from := max(before.Size, p.Next.Size&^255); p.Tail.Start != from && len(p.Tail.Leaves) > 0 || p.Tail.Start+int64(len(p.Tail.Leaves)) != p.Next.Size {
		t.Errorf("the plan from %d to %d has a tail of %d from %d", before.Size, p.Next.Size, len(p.Tail.Leaves), p.Tail.Start)
	}
	for i := 0; i < len(entries); i += 1 + len(entries)/7 {
		index := before.Size + int64(i)
		path, err := p.ProveNew(index)
		if err != nil {
			t.Fatalf("proving %d of %d: %v", index, p.Next.Size, err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(p.Next.Size), entries[i].Leaf[:], raw(path), p.Next.Root[:]); err != nil {
			t.Fatalf("proof of %d of %d: %v", index, p.Next.Size, err)
		}
	}
}

func raw(hashes []tlog.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

// TestPlanLeavesItsState: a plan that is not taken changes nothing.
func TestPlanLeavesItsState(t *testing.T) {
	state := tlog.EmptyState().Plan(tlogtest.Entries(0, 250)).Next
	a := state.Plan(tlogtest.Entries(1000, 300)).Next
	state.Plan(tlogtest.Entries(2000, 300))
	if b := state.Plan(tlogtest.Entries(1000, 300)).Next; b.Root != a.Root {
		t.Error("the same entries after the same state give two roots")
	}
}
