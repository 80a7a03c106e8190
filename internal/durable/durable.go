// Package durable is what it takes for a small file to outlive a power cut.
//
// A file that is written in place can be found empty, or half old and half new,
// and one that was only renamed can be found not there. So the bytes get to the
// disk under another name, take the name, and the name gets to the disk. Nothing
// of this is asked of content, which blob/disk keeps, nor of the heads of logs:
// those name each of their steps, to be broken in tests one by one.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// WriteFile replaces the file, whose folder is there, by one with the bytes b
// and the mode. It returns once they are durable. At every moment, and after an
// error or a power cut, the name has all that it had before or all of b: whoever
// reads needs no lock. Of two at once, one comes last. Errors are those of os. A
// file begun and left by a crash is named ".new-" and a number, and may be removed.
func WriteFile(name string, b []byte, mode os.FileMode) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600: nobody reads it before it has its own
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes the names in a folder durable: what was made, renamed and
// removed there.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
