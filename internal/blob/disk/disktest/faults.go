package disktest

import (
	"io/fs"
	"os"
	"sync"

	"github.com/bonded-dev/bonded/internal/blob/disk"
)

// When says how much of a failing call happens.
type When int

// A failing call has no effect, has half of it where it writes bytes and none
// elsewhere, or has all of it and fails nonetheless.
const (
	Before When = iota
	Half
	After
)

// Faults is a disk.FS that fails one call to another: of the file system
// itself, or of a file that it opened. As on Linux, a Sync that failed is not
// made good by another: that one succeeds and does nothing.
type Faults struct {
	// FS is what is wrapped.
	FS disk.FS
	// At is the call that fails, the first being 1. 0 means none.
	At int
	// When says how much of it happens.
	When When
	// Err is what it says.
	Err error

	mu    sync.Mutex
	calls int
	lost  map[string]bool // files of which a Sync failed, by name
}

var _ disk.FS = (*Faults)(nil)

// Calls returns how many calls there were.
func (f *Faults) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// fails counts a call and reports whether it is the one to fail.
func (f *Faults) fails() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return f.calls == f.At
}

// do makes one call.
func (f *Faults) do(call func() error) error {
	if !f.fails() {
		return call()
	}
	if f.When == After {
		if err := call(); err != nil {
			return err
		}
	}
	return f.Err
}

// OpenFile implements disk.FS.
func (f *Faults) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	var opened disk.File
	err := f.do(func() (err error) {
		opened, err = f.FS.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		if opened != nil {
			opened.Close()
		}
		return nil, err
	}
	if flag&os.O_EXCL != 0 {
		f.setLost(name, false)
	}
	return &faultyFile{opened, f, name}, nil
}

// Stat implements disk.FS.
func (f *Faults) Stat(name string) (info fs.FileInfo, err error) {
	err = f.do(func() (err error) {
		info, err = f.FS.Stat(name)
		return err
	})
	return info, err
}

// ReadDir implements disk.FS.
func (f *Faults) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = f.do(func() (err error) {
		entries, err = f.FS.ReadDir(name)
		return err
	})
	return entries, err
}

// Mkdir implements disk.FS.
func (f *Faults) Mkdir(name string, perm fs.FileMode) error {
	return f.do(func() error { return f.FS.Mkdir(name, perm) })
}

// Rename implements disk.FS.
func (f *Faults) Rename(from, to string) error {
	return f.do(func() error {
		if err := f.FS.Rename(from, to); err != nil {
			return err
		}
		f.setLost(to, f.isLost(from))
		return nil
	})
}

// Remove implements disk.FS.
func (f *Faults) Remove(name string) error {
	return f.do(func() error { return f.FS.Remove(name) })
}

// SyncDir implements disk.FS.
func (f *Faults) SyncDir(name string) error {
	return f.do(func() error { return f.FS.SyncDir(name) })
}

func (f *Faults) isLost(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost[name]
}

func (f *Faults) setLost(name string, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost == nil {
		f.lost = map[string]bool{}
	}
	f.lost[name] = lost
}

// faultyFile is a file opened by Faults. Read, Seek and ReadAt of the file
// itself count as calls, too.
type faultyFile struct {
	disk.File
	f    *Faults
	name string
}

func (f *faultyFile) Read(p []byte) (n int, err error) {
	err = f.f.do(func() (err error) {
		n, err = f.File.Read(p)
		return err
	})
	return n, err
}

func (f *faultyFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.f.do(func() (err error) {
		n, err = f.File.ReadAt(p, off)
		return err
	})
	return n, err
}

func (f *faultyFile) Seek(offset int64, whence int) (at int64, err error) {
	err = f.f.do(func() (err error) {
		at, err = f.File.Seek(offset, whence)
		return err
	})
	return at, err
}

// WriteAt tells how much was written; after a full write that fails it is
// silent about it, as a device may be.
func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if !f.f.fails() {
		return f.File.WriteAt(p, off)
	}
	n := 0
	switch f.f.When {
	case Half:
		n, _ = f.File.WriteAt(p[:len(p)/2], off)
	case After:
		_, _ = f.File.WriteAt(p, off)
	}
	return n, f.f.Err
}

func (f *faultyFile) Truncate(size int64) error {
	return f.f.do(func() error { return f.File.Truncate(size) })
}

func (f *faultyFile) Sync() error {
	if f.f.isLost(f.name) {
		return nil
	}
	err := f.f.do(f.File.Sync)
	if err != nil {
		f.f.setLost(f.name, true)
	}
	return err
}

// Close closes the file also when it is the call that fails.
func (f *faultyFile) Close() error {
	fails := f.f.fails()
	if err := f.File.Close(); err != nil {
		return err
	}
	if fails {
		return f.f.Err
	}
	return nil
}
