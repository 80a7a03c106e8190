package tlog

import (
	"fmt"
	"strconv"
	"strings"
)

// TileWidth is how many hashes, or entries, a full tile has.
const TileWidth = 256

const (
	tileHeight = 8 // of the subtree a tile stands for
	// maxLevel is the highest level of tiles a log of 63 bits can have.
	maxLevel = 7
	// maxSize bounds sizes that are read: 2^62 entries. It keeps index arithmetic,
	// which doubles them, from overflowing.
	maxSize = 1 << 62
)

// Entries is the level of tiles that are bundles of entries.
const Entries = -1

// Tile names a tile: Width hashes of full subtrees of 256^Level entries, or with
// level Entries that many entries, from number N*256 on.
type Tile struct {
	Level int
	N     int64
	Width int // 1 to 256; less than 256 in a partial tile
}

// Path is where a tile is found below the prefix of a log:
// tile/<L>/<N>[.p/<W>], with N in groups of three digits.
func (t Tile) Path(l Layout) string {
	level := l.folder()
	if t.Level != Entries {
		level = strconv.Itoa(t.Level)
	}
	n := fmt.Sprintf("%03d", t.N%1000)
	for rest := t.N / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/%s", rest%1000, n)
	}
	if t.Width < TileWidth {
		n += ".p/" + strconv.Itoa(t.Width)
	}
	return "tile/" + level + "/" + n
}

// ParsePath reads the path of a tile. There is one path for each tile; others
// are errors, which match ErrMalformed.
func ParsePath(l Layout, path string) (Tile, error) {
	bad := func() (Tile, error) { return Tile{}, fmt.Errorf("%w: %.80q is no path of a tile", ErrMalformed, path) }
	level, rest, ok := strings.Cut(strings.TrimPrefix(path, "tile/"), "/")
	if !ok || len(path) > 80 {
		return bad()
	}
	t := Tile{Level: Entries, Width: TileWidth}
	if level != l.folder() {
		n, err := strconv.ParseUint(level, 10, 6)
		if err != nil {
			return bad()
		}
		t.Level = int(n)
	}
	if number, width, partial := strings.Cut(rest, ".p/"); partial {
		w, err := strconv.ParseUint(width, 10, 8)
		if err != nil || w == 0 {
			return bad()
		}
		rest, t.Width = number, int(w)
	}
	for _, group := range strings.Split(rest, "/") {
		n, err := strconv.ParseUint(strings.TrimPrefix(group, "x"), 10, 10)
		if err != nil || n > 999 || t.N > maxSize/1000 {
			return bad()
		}
		t.N = t.N*1000 + int64(n)
	}
	if t.Path(l) != path {
		return bad()
	}
	return t, nil
}

// end is the size of the smallest log that has t; false when none can.
func (t Tile) end() (int64, bool) {
	shift := uint(tileHeight * max(t.Level, 0))
	if t.Level > maxLevel || t.N < 0 || t.N >= maxSize/TileWidth {
		return 0, false
	}
	last := t.N*TileWidth + int64(t.Width)
	if last > maxSize>>shift {
		return 0, false
	}
	return last << shift, true
}

// widthAt is how wide tile n of a level is in a log of the given size: 0 to 256.
func widthAt(size int64, level int, n int64) int {
	return int(min(max((size>>uint(tileHeight*max(level, 0)))-n*TileWidth, 0), TileWidth))
}
