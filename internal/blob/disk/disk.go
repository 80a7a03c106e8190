// Package disk is a content store in a folder.
//
//	blobs/<algorithm>/<first two of hex>/<hex>   what was committed
//	uploads/<id>                                 what is arriving
//	tmp/<hex>.<number>                           what Put is writing
//	boot                                         the start of the machine that uploads are of
//
// A name below blobs is made in one way only: the content is written elsewhere,
// the file is synced, renamed into place, and the folder is synced. So what has
// a name there is complete, and stays when the power goes. Uploads are not
// synced while they arrive: they survive the process, not the power. What a
// power cut leaves of them may be zeros of the right number, so that Open drops
// the uploads of an earlier start of the machine.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Modes of what the store makes: nobody else may read content that no gate
// has judged.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// Store implements blob.Store in a folder. Its Uploads method gives the
// blob.Uploads that commit into it. Two processes that use one folder do not
// harm what is stored, but each must see to it that uploads have one writer.
type Store struct {
	fs      FS
	blobs   string
	uploads string
	tmp     string

	buffers sync.Pool     // of *[bufferSize]byte
	temps   atomic.Uint64 // numbers the files in tmp

	// mu guards durable: the folders whose own names are known to be durable.
	// A folder that was found may have been made by a process that died
	// before syncing its parent, so that each process syncs once.
	mu      sync.Mutex
	durable map[string]bool
}

// Options are what a Store may be told.
type Options struct {
	// FS is the file system. Optional: that of the operating system.
	FS FS
	// Boot names the present start of the machine. Optional: without it the
	// kernel is asked; where it does not tell, each Open counts as a start.
	Boot string
}

var (
	_ blob.Store   = (*Store)(nil)
	_ blob.Sweeper = (*Store)(nil)
)

// Open opens the store in the folder dir, and makes it if it is missing; its
// parent must be there.
func Open(dir string, opts Options) (*Store, error) {
	dir = filepath.Clean(dir)
	s := &Store{
		fs:      opts.FS,
		blobs:   filepath.Join(dir, "blobs"),
		uploads: filepath.Join(dir, "uploads"),
		tmp:     filepath.Join(dir, "tmp"),
		durable: map[string]bool{filepath.Dir(dir): true},
	}
	if s.fs == nil {
		s.fs = OS()
	}
	s.buffers.New = func() any { return new([bufferSize]byte) }
	for _, d := range []string{dir, s.blobs, s.uploads, s.tmp} {
		if err := s.ensureDir(d); err != nil {
			return nil, fmt.Errorf("opening content store %s: %w", dir, err)
		}
	}
	if opts.Boot == "" {
		opts.Boot = kernelBoot()
	}
	if err := s.dropOldUploads(filepath.Join(dir, "boot"), opts.Boot); err != nil {
		return nil, fmt.Errorf("opening content store %s: %w", dir, err)
	}
	return s, nil
}

// ensureDir sees to it that dir, which has a durable parent or is two levels
// below one, exists durably.
func (s *Store) ensureDir(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ensureDirLocked(dir)
}

func (s *Store) ensureDirLocked(dir string) error {
	if s.durable[dir] {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := s.ensureDirLocked(parent); err != nil {
		return err
	}
	if err := s.fs.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.fs.SyncDir(parent); err != nil {
		return err
	}
	s.durable[dir] = true
	return nil
}

// path returns the file of a blob. d is not zero.
func (s *Store) path(d oci.Digest) string {
	return filepath.Join(s.blobs, string(d.Algorithm()), d.Hex()[:2], d.Hex())
}

// Open implements blob.Store. The Content's File is an *os.File.
func (s *Store) Open(ctx context.Context, d oci.Digest) (blob.Content, error) {
	c, err := s.open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", d, missing(err, blob.ErrNotFound))
	}
	return c, nil
}

func (s *Store) open(ctx context.Context, d oci.Digest) (*content, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if d.IsZero() {
		return nil, fs.ErrNotExist
	}
	f, err := s.fs.OpenFile(s.path(d), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return newContent(f)
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, d oci.Digest) (int64, error) {
	size, err := s.stat(ctx, d)
	if err != nil {
		return 0, fmt.Errorf("looking at blob %s: %w", d, missing(err, blob.ErrNotFound))
	}
	return size, nil
}

func (s *Store) stat(ctx context.Context, d oci.Digest) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if d.IsZero() {
		return 0, fs.ErrNotExist
	}
	info, err := s.fs.Stat(s.path(d))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, d oci.Digest, b []byte) error {
	if err := s.put(ctx, d, b); err != nil {
		return fmt.Errorf("putting blob %s: %w", d, full(err))
	}
	return nil
}

func (s *Store) put(ctx context.Context, d oci.Digest, b []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := blob.Verify(d, b); err != nil {
		return err
	}
	if there, err := s.there(ctx, d, int64(len(b))); there || err != nil {
		return err
	}
	temp, f, err := s.temp(d.Hex())
	if err != nil {
		return err
	}
	err = writeSynced(f, b)
	if err == nil {
		err = s.place(temp, d)
	}
	if err != nil {
		_ = s.fs.Remove(temp) // Sweep removes what stays
	}
	return err
}

// there reports whether d is stored with that size, and makes sure that this
// is durable: whoever put it there may not have synced the folder yet. The
// folders above were synced before.
func (s *Store) there(ctx context.Context, d oci.Digest, size int64) (bool, error) {
	found, err := s.stat(ctx, d)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	// Another size is damage, and what is at hand is better.
	if err != nil || found != size {
		return false, err
	}
	return true, s.fs.SyncDir(filepath.Dir(s.path(d)))
}

// temp makes a file of a name that nobody else has.
func (s *Store) temp(name string) (string, File, error) {
	for {
		path := filepath.Join(s.tmp, name+"."+strconv.FormatUint(s.temps.Add(1), 10))
		f, err := s.fs.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		if errors.Is(err, fs.ErrExist) {
			continue // of another process, or one that died
		}
		return path, f, err
	}
}

// writeSynced writes b to f, syncs and closes it.
func writeSynced(f File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// place gives the synced file the name of d, durably. If only the last step
// fails, the blob is there and may not be durable; who stores it again learns
// by there. It is not taken back, as somebody may have relied on it by then.
func (s *Store) place(file string, d oci.Digest) error {
	to := s.path(d)
	if err := s.ensureDir(filepath.Dir(to)); err != nil {
		return err
	}
	if err := s.fs.Rename(file, to); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(to))
}

// Delete implements blob.Store. Open contents stay readable.
func (s *Store) Delete(ctx context.Context, d oci.Digest) error {
	err := ctx.Err()
	if err == nil && !d.IsZero() {
		err = s.fs.Remove(s.path(d))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting blob %s: %w", d, err)
	}
	return nil
}

// Walk implements blob.Store. Names that are no digests are passed over.
func (s *Store) Walk(ctx context.Context, fn func(oci.Digest, int64) error) error {
	return s.walk(ctx, s.blobs, func(alg string, _ fs.DirEntry) error {
		return s.walk(ctx, filepath.Join(s.blobs, alg), func(two string, _ fs.DirEntry) error {
			return s.walk(ctx, filepath.Join(s.blobs, alg, two), func(name string, e fs.DirEntry) error {
				d, ok := blob.ParsePath(alg, two, name)
				if !ok {
					return nil
				}
				info, err := stillThere(e)
				if info == nil || err != nil {
					return err
				}
				return fn(d, info.Size())
			})
		})
	})
}

// walk calls fn for what is in the folder, which may be missing or no folder.
func (s *Store) walk(ctx context.Context, dir string, fn func(name string, e fs.DirEntry) error) error {
	entries, err := s.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("walking %s: %w", dir, err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("walking %s: %w", dir, err)
		}
		if err := fn(e.Name(), e); err != nil {
			return err
		}
	}
	return nil
}

// stillThere is e.Info, and nil without an error for what is gone by now.
func stillThere(e fs.DirEntry) (fs.FileInfo, error) {
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}

// Sweep implements blob.Sweeper: it removes what crashes left of Put.
func (s *Store) Sweep(ctx context.Context, before time.Time) (int, error) {
	removed := 0
	err := s.walk(ctx, s.tmp, func(name string, e fs.DirEntry) error {
		info, err := stillThere(e)
		if info == nil || err != nil || !info.ModTime().Before(before) {
			return err
		}
		err = s.fs.Remove(filepath.Join(s.tmp, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err == nil:
			removed++
		}
		return err
	})
	return removed, err
}

// missing makes err match is if it says that a name is missing.
func missing(err, is error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return is
	}
	return err
}

// full makes err match blob.ErrNoSpace if it says that the disk is full.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", blob.ErrNoSpace, err)
	}
	return err
}
