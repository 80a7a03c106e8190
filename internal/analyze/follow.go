package analyze

import (
	"fmt"
	"io"
	"sync"
)

// Follower reads an upload while it still grows: an io.ReadSeeker that waits where
// the bytes end and goes on when there are more. It keeps nothing in memory;
// the bytes stay where they are stored. One goroutine reads, another tells it
// how far the upload has come.
type Follower struct {
	readAt func(p []byte, off int64) (int, error)
	off    int64 // of the next Read; the reader's alone

	mu   sync.Mutex
	more sync.Cond // size, done or err has changed
	size int64     // bytes that readAt can give
	done bool      // size is final
	err  error     // why there is no more
}

// NewFollower returns a Follower of an upload that has no bytes yet. readAt
// gives any bytes below the size that Grow or Finish said, as io.ReaderAt does.
func NewFollower(readAt func(p []byte, off int64) (int, error)) *Follower {
	f := &Follower{readAt: readAt}
	f.more.L = &f.mu
	return f
}

// Seek goes to offset, counted from the start of the upload: whence is
// io.SeekStart.
func (f *Follower) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset < 0 {
		return 0, fmt.Errorf("seeking in an upload to %d from %d: only places from its start are known", offset, whence)
	}
	f.off = offset
	return offset, nil
}

// Grow says that the upload has size bytes now. A smaller size than before is
// ignored, as notices may overtake each other.
func (f *Follower) Grow(size int64) {
	f.change(func() { f.size = max(f.size, size) })
}

// Finish says that the upload is complete with size bytes.
func (f *Follower) Finish(size int64) {
	f.change(func() { f.size, f.done = size, true })
}

// Abort makes this and every further Read fail with err, which is not nil. The
// first Abort counts.
func (f *Follower) Abort(err error) {
	f.change(func() {
		if f.err == nil {
			f.err = err
		}
	})
}

func (f *Follower) change(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	f.more.Broadcast()
}

// Read implements io.Reader. It returns io.EOF at the final size only.
func (f *Follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	end, err := f.wait()
	if err != nil {
		return 0, err
	}
	if left := end - f.off; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := f.readAt(p, f.off)
	f.off += int64(n)
	switch {
	case n > 0:
		return n, nil
	case err == nil || err == io.EOF:
		return 0, fmt.Errorf("reading an upload at byte %d of %d: %w", f.off, end, io.ErrUnexpectedEOF)
	}
	return 0, err
}

// wait blocks until there are bytes to read and returns where they end.
func (f *Follower) wait() (end int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.err != nil:
			return 0, f.err
		case f.off < f.size:
			return f.size, nil
		case f.done && f.off > f.size:
			return 0, fmt.Errorf("reading an upload: it ended at byte %d after byte %d was read", f.size, f.off)
		case f.done:
			return 0, io.EOF
		}
		f.more.Wait()
	}
}
