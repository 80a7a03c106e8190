package layer

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// Entry is one entry of the layer, at the place it has in the tree.
type Entry struct {
	Path   string // clean, relative, slash-separated; "" is the root
	Kind   Kind
	Mode   fs.FileMode // permission bits
	Size   int64       // bytes of Body
	Target string      // of a Symlink as written; of a Hardlink a clean path
	Sparse bool        // Body is what the stream stores of the file, not the file
	Body   *Body       // content of a Regular entry, else nil; valid during the visit
	Header Header
}

// Header is what the tar says of an entry, extended headers included.
type Header struct {
	Type         byte  // '0', '1', …; of the oldest tars 0
	Mode         int64 // as written
	UID, GID     int64
	Major, Minor int64             // of devices
	Link         string            // of links, as written
	Xattrs       map[string]string // by name
}

// Body is the content of an entry. It need not be read, or not to its end.
type Body struct {
	s    *stream
	left int64
}

// Read reads the content. When the stream ends inside it the error is that of
// the stream and not io.EOF.
func (b *Body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	q, err := b.s.next(min(b.left, int64(len(p))))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	b.left -= int64(len(q))
	return copy(p, q), err
}

// walker reads the tar stream and builds the summary.
type walker struct {
	stream *stream
	tree   *tree
	sum    *Summary
	budget Budget
	visit  func(*Entry) error

	ext     extension // of the entry to come
	started bool      // a header was understood: this is a tar
}

// errEnd ends the walk inside the stream: the rest is not looked at, but hashed.
var errEnd = errors.New("end of the walk")

// run walks the stream and fills the summary.
func (w *walker) run() error {
	err := w.entries()
	w.alone()
	if errors.Is(err, errEnd) {
		_, err = w.stream.drain()
	}
	var f *fault
	switch {
	case errors.As(err, &f):
		if w.noTar(f) {
			return ErrNotLayer
		}
		w.sum.Gaps.AddFirst(f.why.state, inventory.Gap{Reason: f.why.text})
		if f.whole {
			w.sum.DiffID = w.stream.diffID()
		}
	case err == io.EOF:
		w.sum.DiffID = w.stream.diffID()
	case err != nil:
		return err
	}
	w.sum.Size, w.sum.Uncompressed = w.stream.src.taken.Load(), w.stream.total
	w.tree.finish(w.sum)
	return nil
}

// alone notes extended headers that no entry came after.
func (w *walker) alone() {
	if !w.ext.empty() {
		w.ext.note(paxAlone)
	}
	for _, r := range w.ext.oddities {
		r.add(&w.sum.Gaps, "")
	}
}

// noTar reports whether a stream that f ended was no tar as far as it went. A
// budget that is used up early says nothing about that.
func (w *walker) noTar(f *fault) bool {
	return !w.started && (f.damaged || f.whole && w.stream.total > 0)
}

// entries reads entry after entry until the end of the tar, which is errEnd or
// what ended the stream.
func (w *walker) entries() error {
	for {
		var b block
		n, err := w.stream.readFull(b[:])
		switch {
		case err == io.EOF && n > 0:
			return w.stop(truncatedTar)
		case err != nil:
			return err // io.EOF without an end marker is an end, too
		case b.isZero():
			w.started = true
			return w.end()
		case !b.checksumOK():
			return w.stop(damagedHeader)
		}
		h, ok := parseHeader(&b)
		if !ok {
			return w.stop(damagedHeader)
		}
		w.started = true
		if err := w.header(&h); err != nil {
			return err
		}
	}
}

// stop ends the walk for a reason.
func (w *walker) stop(why reason) error {
	if !w.started {
		return ErrNotLayer
	}
	why.add(&w.sum.Gaps, "")
	return errEnd
}

// end reads what comes after the first block of the end marker: nothing, or a
// second one and zeros to fill a tape block.
func (w *walker) end() error {
	var second block
	n, err := w.stream.readFull(second[:])
	zero := second.isZero()
	switch {
	case err == io.EOF && n > 0:
		truncatedTar.add(&w.sum.Gaps, "")
	case err == nil:
		var rest bool
		rest, err = w.stream.drain()
		zero = zero && rest
	}
	if !zero {
		trailingTar.add(&w.sum.Gaps, "")
	}
	return err
}

// header takes one header: part of an extension, or an entry.
func (w *walker) header(h *header) error {
	switch h.typ {
	case 'x', 'g', 'L', 'K':
		return w.extended(h)
	}
	w.ext.apply(h)
	w.ext = extension{}
	if w.sum.Entries++; w.sum.Entries > w.budget.Entries {
		return w.stop(overEntries)
	}
	if w.tree.kept > w.budget.Names {
		return w.stop(overNames)
	}
	return w.entry(h)
}

// extended reads an extended header.
func (w *walker) extended(h *header) error {
	if h.size > maxExtended {
		return w.stop(overHeader)
	}
	for _, r := range h.oddities {
		w.ext.note(r)
	}
	buf := make([]byte, h.size)
	if err := w.inside(w.fullRead(buf)); err != nil {
		return err
	}
	if err := w.padding(h.size); err != nil {
		return err
	}
	switch h.typ {
	case 'x':
		w.ext.addPAX(string(buf))
	case 'g':
		w.ext.addGlobal(string(buf))
	default:
		w.ext.addLong(h.typ, string(buf))
	}
	return nil
}

func (w *walker) fullRead(p []byte) error {
	_, err := w.stream.readFull(p)
	return err
}

// inside turns the end of the stream into what it means inside an entry.
func (w *walker) inside(err error) error {
	if err == io.EOF {
		return w.stop(truncatedTar)
	}
	return err
}

// padding skips to the next block.
func (w *walker) padding(size int64) error {
	return w.inside(w.stream.skip(-size & (blockSize - 1)))
}

// entry places an entry, shows it to the visitor and passes over its content.
func (w *walker) entry(h *header) error {
	kind, stored := w.kind(h)
	for _, r := range h.oddities {
		r.add(&w.sum.Gaps, h.name[:min(len(h.name), w.budget.PathBytes)])
	}
	if h.typ == 'S' {
		if err := w.sparseMap(h); err != nil {
			return err
		}
	}
	body := &Body{s: w.stream, left: stored}
	if h.name != "" {
		if err := w.show(h, kind, body); err != nil {
			return err
		}
	}
	if err := w.inside(w.stream.skip(body.left)); err != nil {
		return err
	}
	return w.padding(stored)
}

func (w *walker) show(h *header, kind Kind, body *Body) error {
	e := &Entry{Kind: kind, Mode: permissions(h.mode), Header: Header{h.typ, h.mode, h.uid, h.gid, h.major, h.minor, h.link, h.xattrs}}
	if kind == Regular {
		e.Body, e.Size, e.Sparse = body, body.left, h.isSparse()
	}
	if !w.tree.place(h.name, h.link, e) {
		return nil
	}
	return w.visit(e)
}

// kind says what an entry is and how many bytes of the stream belong to it, as
// Go's reader sees it, and notes what others could see.
func (w *walker) kind(h *header) (k Kind, stored int64) {
	dir := strings.HasSuffix(h.name, "/")
	if h.name == "" {
		h.note(oddName)
	}
	switch h.typ {
	case 0:
		if dir {
			k = Directory // v7 had no type for it
			break
		}
		return Regular, h.size
	case '0', 'S', '7':
		if dir {
			h.note(slashFile)
		}
		if h.typ == 'S' {
			h.note(sparseFile)
		} else if h.typ == '7' {
			h.note(oddType)
		}
		return Regular, h.size
	case '1':
		k = Hardlink
	case '2':
		k = Symlink
	case '3':
		k = Other
		if h.major == 0 && h.minor == 0 {
			h.note(deviceWhiteout)
		}
	case '4', '6':
		k = Other
	case '5':
		k = Directory
	default:
		h.note(oddType)
		return Other, h.size
	}
	if h.size > 0 {
		h.note(oddSize)
	}
	return k, 0
}

func (h *header) isSparse() bool { return slices.Contains(h.oddities, sparseFile) }

// sparseMap passes over the blocks of an old GNU sparse map that come between
// the header and the content.
func (w *walker) sparseMap(h *header) error {
	for more := h.moreSparse; more; {
		var b block
		if err := w.inside(w.fullRead(b[:])); err != nil {
			return err
		}
		more = b[504] != 0
	}
	return nil
}
