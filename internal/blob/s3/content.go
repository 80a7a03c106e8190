package s3

import (
	"errors"
	"fmt"
	"io"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// content is an open blob. It is asked for with the first Read, and again
// after a Seek that moves.
type content struct {
	stream stream // its end is the size
	digest oci.Digest
}

func (c *content) Size() int64         { return c.stream.end }
func (c *content) File() io.ReadSeeker { return nil }

// Close gives up what is being read; there is nothing to tell about it.
func (c *content) Close() error {
	c.stream.close()
	return nil
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.stream.at
	case io.SeekEnd:
		offset += c.stream.end
	}
	if offset < 0 {
		return 0, fmt.Errorf("seeking in blob %s: %d is before its start", c.digest, offset)
	}
	if offset != c.stream.at {
		c.stream.close()
		c.stream.at = offset
	}
	return offset, nil
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.stream.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("reading blob %s at %d: %w", c.digest, c.stream.at, missing(err, blob.ErrNotFound))
	}
	return n, err
}

func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading blob %s at %d: negative offset", c.digest, off)
	}
	want := min(int64(len(p)), max(c.Size()-off, 0))
	n, err := c.stream.s.read(c.stream.ctx, c.stream.key, "", p[:want], off)
	switch {
	case err != nil:
		return n, fmt.Errorf("reading blob %s at %d: %w", c.digest, off, missing(err, blob.ErrNotFound))
	case want < int64(len(p)):
		return n, io.EOF
	}
	return n, nil
}
