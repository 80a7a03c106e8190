package disk

import (
	"errors"
	"io"
	"os"
)

// content is an open blob.
type content struct {
	handle
	size int64
}

// handle is embedded in content, which has a method of the name File.
type handle = File

// newContent takes over f, also when it fails.
func newContent(f File) (*content, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &content{f, size}, nil
}

// Size implements blob.Content.
func (c *content) Size() int64 { return c.size }

// File implements blob.Content.
func (c *content) File() io.ReadSeeker {
	if f, ok := c.handle.(*os.File); ok {
		return f
	}
	return nil
}
