package analyze

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bonded-dev/bonded/internal/layer"
	"github.com/bonded-dev/bonded/internal/oci"
)

// inMemory is the size above which a file that is looked into goes to disk.
const inMemory = 4 << 20

// headSize is how much of a file is read to see what it is.
const headSize = 512

// capture holds the one file of a layer that is being looked into: the head
// first, the rest when somebody wants it.
type capture struct {
	dir  string
	buf  []byte   // content, or the start of what is in file
	file *os.File // nil while the content fits in buf
	body *layer.Body
	err  error // of body: the stream ended inside the file
}

// start reads the head of an entry.
func (c *capture) start(e *layer.Entry) (head []byte) {
	c.drop()
	c.body, c.err = e.Body, nil
	if cap(c.buf) == 0 {
		c.buf = make([]byte, 0, 64<<10)
	}
	c.buf = c.buf[:0]
	c.read(min(e.Size, headSize))
	return c.buf
}

// read appends n bytes of the body to buf.
func (c *capture) read(n int64) {
	at := len(c.buf)
	if need := at + int(n); need > cap(c.buf) {
		bigger := make([]byte, at, min(max(need, 2*cap(c.buf)), inMemory))
		copy(bigger, c.buf)
		c.buf = bigger
	}
	c.buf = c.buf[:at+int(n)]
	if _, err := io.ReadFull(c.body, c.buf[at:]); err != nil {
		c.err = err
	}
}

// whole reads the rest. ok is false when the stream ended inside the file; an
// error is ours.
func (c *capture) whole(e *layer.Entry) (f *File, ok bool, err error) {
	if e.Size <= inMemory {
		c.read(e.Size - int64(len(c.buf)))
		if c.err != nil {
			return nil, false, nil //nolint:nilerr // the end of the stream is told by ok
		}
		return &File{e.Path, e.Mode, e.Size, bytes.NewReader(c.buf)}, true, nil
	}
	if err := c.spill(); err != nil {
		return nil, false, fmt.Errorf("keeping %s for a closer look: %w", oci.Quote(e.Path), err)
	}
	if c.err != nil {
		return nil, false, nil //nolint:nilerr // the end of the stream is told by ok
	}
	return &File{e.Path, e.Mode, e.Size, c.file}, true, nil
}

// spill moves the content to a file without a name.
func (c *capture) spill() error {
	f, err := os.CreateTemp(c.dir, "bonded-analyze-*")
	if err != nil {
		return err
	}
	c.file = f
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if _, err := f.Write(c.buf); err != nil {
		return err
	}
	_, err = io.Copy(f, &bodyReader{c})
	if c.err != nil {
		return nil //nolint:nilerr // it is the stream's, kept in c.err, and not the disk's
	}
	return err
}

// bodyReader keeps the errors of the stream apart from those of the disk.
type bodyReader struct{ c *capture }

func (r *bodyReader) Read(p []byte) (int, error) {
	n, err := r.c.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.c.err = err
	}
	return n, err
}

// drop lets go of the file on disk.
func (c *capture) drop() {
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}
