package tlog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

func TestPaths(t *testing.T) {
	for _, test := range []struct {
		layout tlog.Layout
		tile   tlog.Tile
		path   string
	}{
		{tlog.PlainEntries, tlog.Tile{Level: 0, N: 0, Width: 256}, "tile/0/000"},
		{tlog.PlainEntries, tlog.Tile{Level: 1, N: 1234067, Width: 256}, "tile/1/x001/x234/067"},
		{tlog.PlainEntries, tlog.Tile{Level: 63, N: 999, Width: 1}, "tile/63/999.p/1"},
		{tlog.PlainEntries, tlog.Tile{Level: 0, N: 1000, Width: 255}, "tile/0/x001/000.p/255"},
		{tlog.PlainEntries, tlog.Tile{Level: tlog.Entries, N: 5, Width: 256}, "tile/entries/005"},
		{tlog.StaticCT, tlog.Tile{Level: tlog.Entries, N: 5001, Width: 7}, "tile/data/x005/001.p/7"},
	} {
		if got := test.tile.Path(test.layout); got != test.path {
			t.Errorf("%+v has the path %s, want %s", test.tile, got, test.path)
		}
		if got, err := tlog.ParsePath(test.layout, test.path); err != nil || got != test.tile {
			t.Errorf("%s is %+v, %v; want %+v", test.path, got, err, test.tile)
		}
	}
	for _, path := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/0000", "tile/0/1000", "tile/0/x000/001", "tile/0/x1/001",
		"tile/00/000", "tile/64/000", "tile/-1/000", "tile/+1/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/",
		"tile/0/000.p/1.p/1", "tile/data/000", "tile/entries/-01", "tile/0/001/000", "tile/0/x001/x000", "/tile/0/000", "tile//000", "tile/0/000/",
		"0/000", "tile/0/../0/000", "tile/0/" + strings.Repeat("x999/", 8) + "999",
	} {
		if got, err := tlog.ParsePath(tlog.PlainEntries, path); !errors.Is(err, tlog.ErrMalformed) {
			t.Errorf("%q is %+v, %v", path, got, err)
		}
	}
}

// FuzzTilePath: what is read is written the same, and x/mod reads it the same.
func FuzzTilePath(f *testing.F) {
	for _, s := range []string{"tile/0/000", "tile/1/x001/x234/067.p/9", "tile/entries/005", "tile/data/x001/000", "tile/0/000.p/256", "tile/63/x999/x999/999"} {
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, path string, ct bool) {
		layout := tlog.PlainEntries
		if ct {
			layout = tlog.StaticCT
		}
		tile, err := tlog.ParsePath(layout, path)
		if err != nil {
			return
		}
		if got := tile.Path(layout); got != path {
			t.Errorf("%q is read as %+v, which is %q", path, tile, got)
		}
		if tile.N < 0 || tile.Width < 1 || tile.Width > 256 {
			t.Errorf("%q is %+v", path, tile)
		}
		if tile.Level == tlog.Entries {
			return
		}
		theirs, err := sumdb.ParseTilePath("tile/8/" + strings.TrimPrefix(path, "tile/"))
		if err != nil || theirs != (sumdb.Tile{H: 8, L: tile.Level, N: tile.N, W: tile.Width}) {
			t.Errorf("%q is %+v here, and %+v, %v there", path, tile, theirs, err)
		}
	})
}

// tileLeaf makes a TileLeaf, and the leaf that goes into the tree.
func tileLeaf(precert bool, cert, pre string, chain int) (bundle []byte, leaf tlog.Hash) {
	opaque := func(b []byte, s string) []byte {
		return append(append(b, byte(len(s)>>16), byte(len(s)>>8), byte(len(s))), s...)
	}
	b := binary.BigEndian.AppendUint64(nil, 1_700_000_000_000)
	if precert {
		b = append(b, 0, 1)
		b = append(b, bytes.Repeat([]byte{7}, 32)...)
	} else {
		b = append(b, 0, 0)
	}
	b = opaque(b, cert)
	b = append(b, 0, 8, 0, 0, 5, 0, 0, 0, 0, 9) // leaf_index 9
	leaf = tlog.LeafHash(append([]byte{0, 0}, b...))
	if precert {
		b = opaque(b, pre)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(32*chain))
	return append(b, bytes.Repeat([]byte{1}, 32*chain)...), leaf
}

func TestSplit(t *testing.T) {
	a, leafA := tileLeaf(false, "a certificate", "", 2)
	b, leafB := tileLeaf(true, "to be signed", "a precertificate", 0)
	both := append(bytes.Clone(a), b...)
	entries, err := tlog.StaticCT.Split(both, 2)
	if err != nil || len(entries) != 2 || entries[0].Leaf != leafA || entries[1].Leaf != leafB || !bytes.Equal(entries[1].Data, b) {
		t.Errorf("two certificates: %+v, %v", entries, err)
	}
	plain := append(tlogtest.Entry("").Bundle, tlogtest.Entry("x").Bundle...)
	entries, err = tlog.PlainEntries.Split(plain, 2)
	if err != nil || len(entries) != 2 || len(entries[0].Data) != 0 || string(entries[1].Data) != "x" || entries[1].Leaf != tlog.LeafHash([]byte("x")) {
		t.Errorf("two entries: %+v, %v", entries, err)
	}
	for _, test := range []struct {
		name   string
		layout tlog.Layout
		bundle []byte
		width  int
	}{
		{"cut", tlog.StaticCT, both[:len(both)-1], 2},
		{"more", tlog.StaticCT, append(bytes.Clone(both), 0), 2},
		{"fewer", tlog.StaticCT, both, 3},
		{"another type", tlog.StaticCT, append(bytes.Clone(a[:9]), append([]byte{2}, a[10:]...)...), 1},
		{"a chain of halves", tlog.StaticCT, append(bytes.Clone(b[:len(b)-2]), append([]byte{0, 31}, make([]byte, 31)...)...), 1},
		{"cut", tlog.PlainEntries, plain[:4], 2},
		{"cut in a length", tlog.PlainEntries, plain[:3], 2},
		{"more", tlog.PlainEntries, plain, 1},
		{"nothing", tlog.PlainEntries, nil, 1},
	} {
		if _, err := test.layout.Split(test.bundle, test.width); !errors.Is(err, tlog.ErrMalformed) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := tlog.Plain(make([]byte, tlog.MaxEntry)); err != nil {
		t.Error(err)
	}
	if _, err := tlog.Plain(make([]byte, tlog.MaxEntry+1)); !errors.Is(err, tlog.ErrTooLarge) {
		t.Errorf("an entry of 64 KiB: %v", err)
	}
}

// FuzzSplit: entries that are read are those that were written.
func FuzzSplit(f *testing.F) {
	a, _ := tileLeaf(false, "a certificate", "", 2)
	b, _ := tileLeaf(true, "to be signed", "a precertificate", 1)
	f.Add(append(a, b...), 2, true)
	f.Add(append(tlogtest.Entry("x").Bundle, tlogtest.Entry("").Bundle...), 2, false)
	f.Add([]byte{0, 5, 1}, 1, false)
	f.Fuzz(func(t *testing.T, bundle []byte, width int, ct bool) {
		width = max(min(width, tlog.TileWidth), 0)
		layout := tlog.PlainEntries
		if ct {
			layout = tlog.StaticCT
		}
		entries, err := layout.Split(bundle, width)
		if err != nil {
			if !errors.Is(err, tlog.ErrMalformed) {
				t.Error(err)
			}
			return
		}
		var again []byte
		for _, e := range entries {
			if ct {
				again = append(again, e.Data...)
			} else {
				again = append(again, tlogtest.Entry(string(e.Data)).Bundle...)
			}
		}
		if len(entries) != width || !bytes.Equal(again, bundle) {
			t.Errorf("%x is read as %d entries, which are %x", bundle, len(entries), again)
		}
	})
}
