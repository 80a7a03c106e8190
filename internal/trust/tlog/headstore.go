package tlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
)

// HeadStore keeps the newest head of each log where no backup restores it:
// another disk than the database's. It is what tells a restored database from a
// current one.
type HeadStore interface {
	// Load returns the checkpoint that was last saved, nil when there is none.
	Load(ctx context.Context, origin string) ([]byte, error)
	// Save replaces it. On return it is durable; after an error, or a crash, the
	// one from before is there, or this one. A smaller one than is there is not saved.
	Save(ctx context.Context, origin string, checkpoint []byte) error
}

// Files is what a HeadFolder asks of a file system.
type Files interface {
	// ReadFile is os.ReadFile.
	ReadFile(name string) ([]byte, error)
	// WriteFile makes a file, or empties it, and returns when b is durable in it.
	WriteFile(name string, b []byte) error
	// Rename is os.Rename.
	Rename(from, to string) error
	// SyncDir makes durable which names the folder holds.
	SyncDir(name string) error
}

// HeadFolder is a HeadStore of one file for each log. One process uses it.
type HeadFolder struct {
	path  string
	files Files
	mu    sync.Mutex // one Save at a time
}

// NewHeadFolder uses a folder that exists: one that does not is on a disk that is
// not mounted, and is not made. Without files it is that of the operating system.
func NewHeadFolder(path string, files Files) (*HeadFolder, error) {
	if files == nil {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("opening the head store %s: it is no folder; make it, on another disk than the database, or mount that disk: %w", path, errors.Join(err, fs.ErrNotExist))
		}
		files = osFiles{}
	}
	return &HeadFolder{path: path, files: files}, nil
}

func (h *HeadFolder) file(origin string) string {
	return filepath.Join(h.path, url.PathEscape(origin)+".checkpoint")
}

// Load implements HeadStore.
func (h *HeadFolder) Load(_ context.Context, origin string) ([]byte, error) {
	b, err := h.files.ReadFile(h.file(origin))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the head store: %w", err)
	}
	return b, nil
}

// Save implements HeadStore.
func (h *HeadFolder) Save(ctx context.Context, origin string, checkpoint []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	next, err := checkpointOf(checkpoint)
	if err != nil {
		return err
	}
	before, err := h.Load(ctx, origin)
	if err != nil {
		return err
	}
	if before != nil {
		c, err := checkpointOf(before)
		if err != nil {
			return fmt.Errorf("reading the head store: %s: %w", h.file(origin), err)
		}
		if c.Size >= next.Size {
			return nil
		}
	}
	if err := h.replace(h.file(origin), checkpoint); err != nil {
		return fmt.Errorf("writing the head store: %w", err)
	}
	return nil
}

func (h *HeadFolder) replace(name string, b []byte) error {
	if err := h.files.WriteFile(name+".new", b); err != nil {
		return err
	}
	if err := h.files.Rename(name+".new", name); err != nil {
		return err
	}
	return h.files.SyncDir(h.path)
}

type osFiles struct{}

func (osFiles) ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }
func (osFiles) Rename(from, to string) error         { return os.Rename(from, to) }

func (osFiles) WriteFile(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (osFiles) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
