package tuf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/bonded-dev/bonded/internal/durable"
)

// Dir is a Store in a folder, for servers that share it or are alone.
type Dir struct {
	path string
	mu   sync.Mutex // flock is between processes
}

// NewDir returns the store in a folder, which the first Put makes.
func NewDir(path string) *Dir { return &Dir{path: path} }

func (d *Dir) file(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%.100q: %w", name, fs.ErrNotExist)
	}
	return filepath.Join(d.path, name), nil
}

// Get returns a file.
func (d *Dir) Get(_ context.Context, name string) ([]byte, error) {
	file, err := d.file(name)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// Put writes a file.
func (d *Dir) Put(_ context.Context, name string, b []byte) error {
	file, err := d.file(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(file, b, 0o600)
}

// Replace writes a file if it is the old one.
func (d *Dir) Replace(ctx context.Context, name string, old, b []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return err
	}
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %v", d.path, err)
	}
	have, err := d.Get(ctx, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(have, old) || (have == nil) != (old == nil) {
		return ErrRaced
	}
	return d.Put(ctx, name, b)
}
