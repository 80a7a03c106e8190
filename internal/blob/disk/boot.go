package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bonded-dev/bonded/internal/blob"
)

// kernelBoot returns a name of the present start of the machine, which no other
// start has, or "" where the kernel does not tell.
func kernelBoot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// dropOldUploads removes all uploads unless the file says that they are of
// this boot, and makes it say so. Nothing of that is synced: what a power cut
// undoes is done again at the next start, which has another name again.
func (s *Store) dropOldUploads(file, boot string) error {
	before, err := s.readBoot(file)
	if err != nil || boot != "" && before == boot {
		return err
	}
	entries, err := s.fs.ReadDir(s.uploads)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !blob.UploadID(e.Name()).Valid() {
			continue
		}
		if err := s.fs.Remove(filepath.Join(s.uploads, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.writeBoot(file, boot)
}

// maxBoot bounds the name of a boot, in bytes; the kernel's has 36.
const maxBoot = 256

// readBoot returns what the file says, "" if there is none.
func (s *Store) readBoot(file string) (string, error) {
	f, err := s.fs.OpenFile(file, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBoot))
	return string(b), err
}

func (s *Store) writeBoot(file, boot string) error {
	temp, f, err := s.temp("boot")
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(boot), 0); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return s.fs.Rename(temp, file)
}
