package layer

import (
	"slices"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// A reason is why a layer is not fully covered. The texts are stored and shown;
// gates and people compare them, so they do not change and carry no operands.
type reason struct {
	state inventory.CoverageState
	text  string
}

func ambiguous(text string) reason { return reason{inventory.CoverageAmbiguous, text} }
func partial(text string) reason   { return reason{inventory.CoveragePartial, text} }

// Why the rest of a layer was not read or not understood.
var (
	overBytes    = partial("more uncompressed data than the budget allows")
	overRatio    = partial("compressed more tightly than the budget allows")
	overTime     = partial("analysis took longer than the budget allows")
	overEntries  = partial("more entries than the budget allows")
	overPath     = partial("a path longer or deeper than the budget allows")
	overNames    = partial("more links, whiteouts and directories than the budget allows")
	overHeader   = partial("an extended header larger than 1 MiB")
	overWindow   = reason{inventory.CoverageNone, "a zstd window larger than the budget allows"}
	damagedGzip  = partial("the gzip stream is damaged or cut short")
	damagedZstd  = partial("the zstd stream is damaged or cut short")
	gaveUp       = partial("the decompressor failed on the stream")
	truncatedTar = ambiguous("the tar stream ends inside an entry")
)

// What unpackers read differently.
var (
	trailingGzip    = ambiguous("data after the gzip stream")
	trailingZstd    = ambiguous("data after the zstd stream")
	trailingTar     = ambiguous("data after the end of the tar stream")
	damagedHeader   = ambiguous("a tar header that is damaged or of no known format")
	oddNumber       = ambiguous("a tar header with a malformed number")
	oddMagic        = ambiguous("a tar header of a rare format")
	oddSize         = ambiguous("an entry that has no content but a size")
	oddType         = ambiguous("an entry of a type that few unpackers know")
	oddName         = ambiguous("a name with a NUL or without any character")
	slashFile       = ambiguous("a file whose name ends in a slash")
	sparseFile      = ambiguous("a sparse file")
	paxMalformed    = ambiguous("a malformed extended header")
	paxTwice        = ambiguous("extended headers that contradict each other")
	paxAlone        = ambiguous("extended headers without an entry")
	paxGlobal       = ambiguous("a global extended header that changes entries")
	paxSize         = ambiguous("a size that differs between header and extended header")
	dotDot          = ambiguous("a name with ..")
	duplicate       = ambiguous("the same path twice")
	belowFile       = ambiguous("an entry below something that is no directory")
	throughLink     = ambiguous("an entry below a symbolic link")
	linkLoop        = ambiguous("an entry below symbolic links that lead in a circle")
	outsideLink     = ambiguous("a hard link to what the layer does not have before it")
	lateWhiteout    = ambiguous("a whiteout of what the same layer brings before it")
	oddWhiteout     = ambiguous("a whiteout that names nothing, or one of aufs")
	deviceWhiteout  = ambiguous("a character device 0/0, which some unpackers take for a whiteout")
	overlayXattr    = ambiguous("an extended attribute that overlay file systems obey")
	oddRoot         = ambiguous("the root as something else than a directory")
	dirAfterEntries = ambiguous("a path that was a directory before")
)

func (r reason) add(g *inventory.Gaps, path string) {
	g.Add(r.state, inventory.Gap{Path: path, Reason: r.text})
}

// oddities is a set of reasons.
type oddities []reason

func (o *oddities) note(r reason) {
	if !slices.Contains(*o, r) {
		*o = append(*o, r)
	}
}
