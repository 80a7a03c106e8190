package disk

import (
	"io"
	"io/fs"
	"os"
)

// FS is what the store asks of a file system. Names are those of the operating
// system. Errors are those of package os: fs.ErrNotExist, fs.ErrExist and
// syscall.ENOSPC are told apart.
//
// It is an interface so that disktest can fail any call and cut the power
// after it.
type FS interface {
	// OpenFile is os.OpenFile.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Stat is os.Stat.
	Stat(name string) (fs.FileInfo, error)
	// ReadDir is os.ReadDir: sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Mkdir is os.Mkdir.
	Mkdir(name string, perm fs.FileMode) error
	// Rename is os.Rename within one file system. It is atomic, also when the
	// power goes: ext4, XFS, Btrfs and ZFS are like that.
	Rename(from, to string) error
	// Remove is os.Remove.
	Remove(name string) error
	// SyncDir makes durable which names the folder holds.
	SyncDir(name string) error
}

// File is an open file; *os.File is one.
type File interface {
	io.ReadSeekCloser
	io.ReaderAt
	io.WriterAt
	// Truncate cuts the file to size bytes.
	Truncate(size int64) error
	// Sync makes the content durable, but not the name. After an error it is
	// unknown what is durable, and trying again proves nothing.
	Sync() error
}

// OS returns the file system of the operating system.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // a nil *os.File must not become a non-nil File
	}
	return f, nil
}

func (osFS) Stat(name string) (fs.FileInfo, error)      { return os.Stat(name) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (osFS) Mkdir(name string, perm fs.FileMode) error  { return os.Mkdir(name, perm) }
func (osFS) Rename(from, to string) error               { return os.Rename(from, to) }
func (osFS) Remove(name string) error                   { return os.Remove(name) }

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}
