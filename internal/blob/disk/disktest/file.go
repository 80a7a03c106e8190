package disktest

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// Stat implements disk.FS.
func (d *Disk) Stat(name string) (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, n, err := d.find(name)
	if err == nil && n == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return n.info(filepath.Base(name)), nil
}

// ReadDir implements disk.FS.
func (d *Disk) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, n, err := d.find(name)
	if err == nil && (n == nil || n.dir == nil) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	var entries []fs.DirEntry
	for name, child := range n.dir {
		entries = append(entries, fs.FileInfoToDirEntry(child.info(name)))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func (n *node) info(name string) info { return info{name, int64(len(n.written)), n.mode, n.modified} }

// info implements fs.FileInfo.
type info struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.modified }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// file implements disk.File on a Disk. A file whose name is removed lives on
// in those who have it open.
type file struct {
	disk *Disk
	node *node
	name string
	at   int64

	writable bool
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	switch {
	case f.disk.off:
		return 0, pathError("read", f.name, ErrPower)
	case off < 0:
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	return bytes.NewReader(f.node.written).ReadAt(p, off)
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	r := bytes.NewReader(f.node.written)
	if whence == io.SeekCurrent {
		offset, whence = f.at+offset, io.SeekStart
	}
	at, err := r.Seek(offset, whence)
	if f.disk.off {
		err = ErrPower
	}
	if err != nil {
		return 0, pathError("seek", f.name, err)
	}
	f.at = at
	return at, nil
}

// changing is Disk.changing for a file that may be written.
func (f *file) changing() error {
	if !f.writable {
		return fs.ErrPermission
	}
	return f.disk.changing()
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.changing(); err != nil {
		return 0, pathError("write", f.name, err)
	}
	f.node.resize(max(int64(len(f.node.written)), off+int64(len(p))))
	f.node.modified = f.disk.now()
	return copy(f.node.written[off:], p), nil
}

func (f *file) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.changing(); err != nil {
		return pathError("truncate", f.name, err)
	}
	f.node.resize(size)
	f.node.modified = f.disk.now()
	return nil
}

// resize cuts the file or fills it up with zeros.
func (n *node) resize(size int64) {
	if size <= int64(len(n.written)) {
		n.written = n.written[:size]
		return
	}
	n.written = append(n.written, make([]byte, size-int64(len(n.written)))...)
}

func (f *file) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.changing(); err != nil {
		return pathError("sync", f.name, err)
	}
	f.node.syncedBytes = bytes.Clone(f.node.written)
	return nil
}

// Close never fails: that the power went was told by the calls before it.
func (f *file) Close() error { return nil }
