package feed

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bonded-dev/bonded/internal/lifecycle"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// ErrFolder matches errors about a stream that is no folder of advisories.
var ErrFolder = errors.New("not a folder of advisories")

// Sent is what Send is about to write.
type Sent struct {
	Files int
	Bytes int64 // of the files; the stream is a little longer
}

// Sendable returns what Send would write of a folder.
func Sendable(ctx context.Context, dir string) (Sent, error) {
	var s Sent
	err := eachSent(ctx, dir, func(_ string, info fs.FileInfo) error {
		s.Files++
		s.Bytes += info.Size()
		return nil
	})
	return s, err
}

// Send writes what a load would read of a folder to w, as a tar for Receive:
// archives where there are some, else records.
func Send(ctx context.Context, w io.Writer, dir string) error {
	out := tar.NewWriter(w)
	err := eachSent(ctx, dir, func(name string, info fs.FileInfo) error { return sendFile(out, dir, name, info.Size()) })
	if err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("sending the folder of advisories: %w", err)
	}
	return nil
}

func sendFile(out *tar.Writer, dir, name string, size int64) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("sending the folder of advisories: %w", err)
	}
	defer f.Close()
	err = out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Size: size, Mode: 0o600})
	if err == nil {
		_, err = io.CopyN(out, f, size)
	}
	if err != nil {
		return fmt.Errorf("sending %s: %w", name, err)
	}
	return nil
}

// eachSent calls fn for the files of a folder that a load would read.
func eachSent(ctx context.Context, dir string, fn func(name string, info fs.FileInfo) error) error {
	formats, err := FormatsIn(ctx, dir)
	if err != nil {
		return err
	}
	for _, format := range formats {
		if format == vuln.OSV {
			continue
		}
		if err := eachOfDocument(dir, forms[format], fn); err != nil {
			return err
		}
	}
	folders, err := (&local{root: dir}).folders(ctx)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		names := []string{archiveName}
		if folder == "" || !hasArchive(filepath.Join(dir, folder)) {
			if names, err = recordNames(filepath.Join(dir, folder)); err != nil {
				return err
			}
		}
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			name = filepath.Join(folder, name)
			if err := sent(dir, name, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachOfDocument calls fn for the file of a folder that a load of the form would read.
func eachOfDocument(dir string, f form, fn func(name string, info fs.FileInfo) error) error {
	path, err := f.find(dir)
	if err != nil {
		return err
	}
	if f.folder == "" {
		return sent(dir, filepath.Base(path), fn)
	}
	for _, name := range append([]string{strings.TrimSuffix(productList, ".json")}, lifecycle.Products()...) {
		name, err = filepath.Rel(dir, filepath.Join(path, name+".json"))
		if err == nil {
			err = sent(dir, name, fn)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func sent(dir, name string, fn func(name string, info fs.FileInfo) error) error {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("reading the folder of advisories: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("reading the folder of advisories: %s is no file", name)
	}
	return fn(name, info)
}

// Bounds of what Receive takes.
const (
	maxReceived      = 8 << 30 // bytes of the files of a folder; all of osv.dev is 1.2 GB
	maxReceivedFiles = 2_000_000
)

// Receive writes a folder that Send wrote into dir, which is empty. Errors
// match ErrFolder where the stream is at fault, and what it ended with.
func Receive(ctx context.Context, r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("receiving advisories: %w", err)
	}
	defer root.Close() //nolint:errcheck // a folder that was read
	in := tar.NewReader(r)
	var files int
	var total int64
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("receiving advisories: %w: %w", ErrFolder, err)
		}
		files++
		if total += h.Size; total > maxReceived || files > maxReceivedFiles {
			return fmt.Errorf("receiving advisories: %w: more than %d files or %d bytes", ErrFolder, maxReceivedFiles, int64(maxReceived))
		}
		if err := receiveFile(root, in, h); err != nil {
			return err
		}
	}
	if files == 0 {
		return fmt.Errorf("receiving advisories: %w: it holds no file", ErrFolder)
	}
	return nil
}

// sparse reports whether a file is longer than what the stream has of it: a few
// bytes would fill the disk.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// receivable reports whether Send writes files of that name and kind.
func receivable(h *tar.Header) bool {
	folder, name, below := strings.Cut(h.Name, "/")
	if !below {
		folder, name = "", h.Name
	}
	switch {
	case h.Typeflag != tar.TypeReg || sparse(h) || len(name) > 200 || strings.ContainsFunc(name, unprintable) || !filepath.IsLocal(h.Name):
		return false
	case below && len(usable([]string{folder})) == 0:
		return false
	}
	return strings.HasSuffix(name, ".json") || below && name == archiveName || !below && isDocument(name)
}

func receiveFile(root *os.Root, in io.Reader, h *tar.Header) error {
	if !receivable(h) {
		return fmt.Errorf("receiving advisories: %w: it holds %s, and not only ECOSYSTEM/%s, ECOSYSTEM/ID.json, ID.json and what is named as CISA or FIRST do", ErrFolder, oci.Quote(h.Name), archiveName)
	}
	if folder, _, below := strings.Cut(h.Name, "/"); below {
		if err := root.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("receiving advisories: %w", err)
		}
	}
	f, err := root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("receiving advisories: %w: it holds %s twice", ErrFolder, oci.Quote(h.Name))
	}
	if err != nil {
		return fmt.Errorf("receiving advisories: %w", err)
	}
	n, err := io.Copy(f, in)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	var written *fs.PathError
	switch {
	case errors.As(err, &written): // our disk's fault
		return fmt.Errorf("receiving advisories: %w", err)
	case err != nil || n < h.Size:
		return fmt.Errorf("receiving %s: %w: it ends early: %w", oci.Quote(h.Name), ErrFolder, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return nil
}
