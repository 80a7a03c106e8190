package layer

import "time"

// Budget bounds what reading one layer may cost. What exceeds it is a gap in
// the coverage, so the class is part of the identity of what was found out.
type Budget struct {
	Class string // names the budget in stored facts; another limit needs another name

	Uncompressed int64         // bytes of the uncompressed stream
	Ratio        int64         // uncompressed bytes per compressed byte, checked above RatioFrom
	RatioFrom    int64         // uncompressed bytes
	Entries      int           // tar entries
	PathBytes    int           // length of a path or link target
	PathDepth    int           // components of a path
	Names        int64         // bytes of names that are kept: links with targets, whiteouts, and directories without an entry
	Window       int64         // bytes of zstd history; frames that want more are not read
	File         int64         // bytes of one file that is looked into
	Time         time.Duration // wall clock, not counting waits for bytes
}

// Standard returns the budget of class "standard", wide enough for every image
// that people are known to run: machine-learning images have layers of 10 GB,
// package trees of node and Python half a million files.
func Standard() Budget {
	return Budget{
		Class:        "standard",
		Uncompressed: 32 << 30,
		Ratio:        200,
		RatioFrom:    1 << 30,
		Entries:      1_000_000,
		PathBytes:    4096, // PATH_MAX
		PathDepth:    128,
		Names:        64 << 20,
		Window:       32 << 20,
		File:         256 << 20,
		Time:         15 * time.Minute,
	}
}
