package analyze

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/layer"
	"github.com/bonded-dev/bonded/internal/layer/toc"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Reasons of gaps that only layers with a table of contents have. All of them
// make a layer ambiguous.
const (
	tocUnreadable = "a table of contents that cannot be read, or that its readers could understand differently"
	tocElsewhere  = "a table of contents that is kept elsewhere"
	tocMore       = "the table of contents lists what the layer does not have"
	tocLess       = "the table of contents does not list what the layer has"
	tocOther      = "the table of contents describes this otherwise"
	tocContent    = "the table of contents gives other content"
	tocUnknown    = "a table of contents is announced that was not found to say what the layer says"
)

// maxDifferences is how many differences of a table are looked for.
const maxDifferences = 20

// announcements are the annotations of a layer's descriptor that name the
// digest of its table of contents.
var announcements = []string{
	"containerd.io/snapshot/stargz/toc.digest",
	"io.github.containers.zstd-chunked.manifest-checksum",
	"io.containers.zstd-chunked.manifest-checksum",
}

// tables compares the tables of contents that a layer has with what its tar
// says. Differences become gaps of sum. It returns the digests of the tables
// without any. A layer that the walk did not understand as a whole is not
// looked at again: there is nothing that a table could be compared with.
//
// Errors are those of r and ctx.
func (a *Analyzer) tables(ctx context.Context, r io.ReadSeeker, sum *layer.Summary) ([]oci.Digest, error) {
	var good []oci.Digest
	for _, place := range toc.Find(sum.Tail, sum.Size) {
		if sum.DiffID.IsZero() || sum.Gaps.State() != inventory.CoverageFull {
			return nil, nil
		}
		if place.Form == toc.Elsewhere {
			sum.Gaps.Add(inventory.CoverageAmbiguous, inventory.Gap{Reason: tocElsewhere})
			return nil, nil
		}
		digests, err := a.table(ctx, r, place, sum)
		if err != nil {
			return nil, fmt.Errorf("comparing a table of contents: %w", err)
		}
		good = append(good, digests...)
	}
	return good, nil
}

// table compares one table and returns its digests if it says the same.
func (a *Analyzer) table(ctx context.Context, r io.ReadSeeker, place toc.Place, sum *layer.Summary) ([]oci.Digest, error) {
	c := &contents{form: place.Form, sum: sum, entries: map[inventory.PathKey]*expected{}, whiteouts: map[inventory.PathKey]struct{}{}}
	digests, err := toc.Read(r, place, c.add)
	switch {
	case errors.Is(err, toc.ErrUnreadable):
		a.o.Log.DebugContext(ctx, "a table of contents could not be read", "diff_id", sum.DiffID, "error", err)
		c.note("", tocUnreadable)
	case err != nil && !errors.Is(err, errDifferences):
		return nil, err
	case c.found == 0:
		err = a.compare(ctx, r, c)
	}
	if c.found > 0 {
		return nil, nil
	}
	return digests, err
}

// compare reads the layer a second time, with the table at hand.
func (a *Analyzer) compare(ctx context.Context, r io.ReadSeeker, c *contents) error {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	again, err := layer.Walk(ctx, r, layer.Options{Budget: a.o.Budget, Now: a.o.Now}, c.visit)
	switch {
	case errors.Is(err, errDifferences):
		return nil
	case err != nil:
		return err
	case again.DiffID.IsZero():
		c.sum.Gaps.Merge(&again.Gaps) // there was no time for it
		c.found++
		return nil
	case again.DiffID != c.sum.DiffID:
		return fmt.Errorf("%s was read the second time, %s the first", again.DiffID, c.sum.DiffID)
	}
	c.rest()
	return nil
}

// contents is what a table says, while it is compared with the layer.
type contents struct {
	form      toc.Form
	sum       *layer.Summary
	entries   map[inventory.PathKey]*expected
	whiteouts map[inventory.PathKey]struct{} // by their own names
	found     int                            // differences
	buf       []byte
}

// expected is what a table says of one path. It is small, as there are many.
type expected struct {
	meta   toc.Sum  // of what describe writes
	whole  *toc.Sum // nil when the chunks say it all
	chunks []toc.Chunk
	seen   bool // in the layer
}

// errDifferences ends a comparison that has found enough.
var errDifferences = errors.New("too many differences")

// note notes a difference.
func (c *contents) note(path, reason string) {
	c.sum.Gaps.Add(inventory.CoverageAmbiguous, inventory.Gap{Path: path, Reason: reason})
	c.found++
}

// differ notes a difference and returns errDifferences when it is the last.
func (c *contents) differ(path, reason string) error {
	c.note(path, reason)
	if c.found >= maxDifferences {
		return errDifferences
	}
	return nil
}

// add takes an entry of the table. The layer must have something at its path.
func (c *contents) add(e *toc.Entry) error {
	dir, base := path.Split(e.Name)
	if name, ok := strings.CutPrefix(base, ".wh."); ok {
		return c.whiteout(e, strings.TrimSuffix(dir, "/"), name)
	}
	key := inventory.KeyOf(e.Name)
	if c.sum.Paths.Marks(key)&(inventory.MarkFile|inventory.MarkDir) == 0 {
		return c.differ(e.Name, tocMore)
	}
	x := &expected{
		meta:   describe(e.Type, layer.Header{Mode: e.Mode, UID: e.UID, GID: e.GID, Major: e.Major, Minor: e.Minor, Link: e.Link, Xattrs: e.Xattrs}, e.Size),
		chunks: e.Chunks,
	}
	if len(e.Chunks) != 1 || e.Digest != nil && e.Chunks[0].Sum != *e.Digest {
		x.whole = e.Digest
	}
	if old := c.entries[key]; old != nil && (e.Type != "dir" || old.meta != x.meta) {
		return c.differ(e.Name, tocOther)
	}
	c.entries[key] = x
	return nil
}

// whiteout takes a whiteout of the table. The walk does not visit those.
func (c *contents) whiteout(e *toc.Entry, dir, name string) error {
	mark, at := inventory.MarkRemoved, path.Join(dir, name)
	if name == ".wh..opq" {
		mark, at = inventory.MarkOpaque, dir
	}
	if c.sum.Paths.Marks(inventory.KeyOf(at))&mark == 0 {
		return c.differ(e.Name, tocMore)
	}
	c.whiteouts[inventory.KeyOf(e.Name)] = struct{}{}
	return nil
}

// describe names all of an entry but its path and content.
func describe(typ string, h layer.Header, size int64) toc.Sum {
	const bits = 0o7777 // what is above tells the type a second time
	var e encoder
	e.text(typ)
	e.number(size)
	e.number(h.Mode & bits)
	e.number(h.UID)
	e.number(h.GID)
	switch typ {
	case "symlink":
		e.text(h.Link)
	case "hardlink":
		e.text(path.Clean("/" + h.Link))
	case "char", "block":
		e.number(h.Major)
		e.number(h.Minor)
	}
	for _, k := range slices.Sorted(maps.Keys(h.Xattrs)) {
		e.texts(k, h.Xattrs[k])
	}
	return sha256.Sum256(e.b)
}

// typeOf returns what tables call the type of an entry.
func typeOf(e *layer.Entry) string {
	switch e.Kind {
	case layer.Regular:
		return "reg"
	case layer.Directory:
		return "dir"
	}
	return map[byte]string{'1': "hardlink", '2': "symlink", '3': "char", '4': "block", '6': "fifo"}[e.Header.Type]
}

// visit takes an entry of the layer.
func (c *contents) visit(e *layer.Entry) error {
	x := c.entries[inventory.KeyOf(e.Path)]
	if x == nil {
		if c.form == toc.Stargz && e.Path == toc.IndexName && e.Kind == layer.Regular {
			return nil // it does not list itself
		}
		return c.differ(e.Path, tocLess)
	}
	x.seen = true
	if describe(typeOf(e), e.Header, e.Size) != x.meta {
		return c.differ(e.Path, tocOther)
	}
	if e.Body == nil {
		return nil
	}
	same, err := c.holds(x, e.Body)
	if err == nil && !same {
		return c.differ(e.Path, tocContent)
	}
	return err
}

// holds reports whether content is what the table says it is.
func (c *contents) holds(x *expected, body io.Reader) (bool, error) {
	if c.buf == nil {
		c.buf = make([]byte, 128<<10)
	}
	whole, part := sha256.New(), sha256.New()
	if x.whole != nil {
		body = io.TeeReader(body, whole)
	}
	for i := range x.chunks {
		chunk := &x.chunks[i]
		part.Reset()
		to := io.Writer(part)
		var z onlyZeros
		if chunk.Zero {
			to = &z
		}
		if _, err := io.CopyBuffer(to, io.LimitReader(body, chunk.Size), c.buf); err != nil {
			return false, err
		}
		if chunk.Zero && z.other || !chunk.Zero && toc.Sum(part.Sum(nil)) != chunk.Sum {
			return false, nil
		}
	}
	return x.whole == nil || toc.Sum(whole.Sum(nil)) == *x.whole, nil
}

// onlyZeros notes whether anything else is written to it.
type onlyZeros struct{ other bool }

func (z *onlyZeros) Write(p []byte) (int, error) {
	z.other = z.other || len(bytes.TrimLeft(p, "\x00")) > 0
	return len(p), nil
}

// rest notes what only one of the two has, once the layer was read. Paths of
// the table that the layer has not were found before.
func (c *contents) rest() {
	for _, x := range c.entries {
		if !x.seen {
			c.note("", tocMore)
			break
		}
	}
	if len(c.whiteouts) != len(c.sum.Whiteouts)+len(c.sum.Opaque) {
		c.note("", tocLess)
	}
}

// announced returns the gap of a layer whose descriptor announces a table that
// is not one of those that were compared.
func announced(d *oci.Descriptor, l *inventory.Layer) (gap inventory.Gap, ok bool) {
	for _, key := range announcements {
		text, there := d.Annotations[key]
		if !there {
			continue
		}
		digest, err := oci.ParseDigest(text)
		if err != nil || !slices.Contains(l.Contents, digest) {
			return inventory.Gap{Reason: tocUnknown}, true
		}
	}
	return gap, false
}
