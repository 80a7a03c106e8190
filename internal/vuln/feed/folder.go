package feed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

const (
	archiveName = "all.zip"
	listName    = "ecosystems.txt"
)

var sourceName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}(/[a-z]+)?$`)
})

// origin opens the source for reading.
func (r *run) origin() (origin, error) {
	if !sourceName().MatchString(r.src.Name) {
		return nil, fmt.Errorf("name %s of the source has other characters than letters, digits, dots, underscores and hyphens", oci.Quote(r.src.Name))
	}
	scheme, _, isURL := strings.Cut(r.src.Location, "://")
	switch {
	case isURL && scheme == "https":
		return newRemote(r)
	case isURL:
		return nil, fmt.Errorf("%s is neither an https URL nor a folder: advisories are not fetched over %s, where anybody can change them", r.src.display(), oci.Quote(scheme))
	}
	return &local{root: r.src.Location, run: r}, nil
}

// local is a folder.
type local struct {
	*run
	root string
}

// feeds returns the folders with an archive or with records in them. The list
// that osv.dev publishes is not asked: a copy may hold some of them only.
func (l *local) feeds(ctx context.Context) ([]string, error) {
	folders, err := l.folders(ctx)
	if err == nil && len(folders) == 0 {
		err = fmt.Errorf("folder %s holds no ECOSYSTEM/%s, no ECOSYSTEM/ID.json and no ID.json", l.root, archiveName)
	}
	return folders, err
}

// folders is feeds of a folder that may have none.
func (l *local) folders(ctx context.Context) ([]string, error) {
	entries, err := os.ReadDir(l.root)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of advisories: %w", err)
	}
	var folders []string
	loose := false
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if isDocument(e.Name()) || e.Name() == forms[vuln.EndOfLife].folder {
			continue
		}
		if strings.HasSuffix(e.Name(), ".json") {
			loose = true
			continue
		}
		if dir := filepath.Join(l.root, e.Name()); hasArchive(dir) || hasRecords(dir) {
			folders = append(folders, e.Name())
		}
	}
	folders = usable(folders)
	switch {
	case len(folders) > 0:
		return folders, nil
	case loose:
		return []string{""}, nil
	}
	return nil, nil
}

func hasArchive(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, archiveName))
	return err == nil && info.Mode().IsRegular()
}

func hasRecords(dir string) bool {
	names, err := recordNames(dir)
	return err == nil && len(names) > 0
}

// recordNames returns the names of the record files of a folder, sorted.
func recordNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of advisories: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && !isDocument(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// usable returns the names that can be those of ecosystems, sorted, without
// "Debian:12" where there is "Debian", which holds all of its releases, and
// without what no package belongs to.
func usable(names []string) []string {
	var out []string
	for _, n := range names {
		base := vuln.BaseEcosystem(n)
		switch {
		case n == "" || len(n) > 100 || n[0] == '.' || n[0] == '[' || n == "GIT" || strings.ContainsFunc(n, unprintable):
		case base != n && slices.Contains(names, base):
		default:
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func unprintable(c rune) bool { return c < ' ' || c > '~' || c == '/' || c == '\\' }

// open returns the archive, or the loose files. The validator of an archive in
// a folder is its digest: a copy may carry the time of another.
func (l *local) open(ctx context.Context, folder string, state *vuln.FeedState) (documents, error) {
	dir := filepath.Join(l.root, folder)
	if folder == "" || !hasArchive(dir) {
		names, err := recordNames(dir)
		return &loose{root: dir, names: names}, err
	}
	f, err := os.Open(filepath.Join(dir, archiveName))
	if err != nil {
		return nil, fmt.Errorf("opening the archive: %w", err)
	}
	a, err := l.archive(ctx, f, folder, state)
	if err != nil || a == nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

func (l *local) archive(ctx context.Context, f *os.File, folder string, state *vuln.FeedState) (documents, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the archive: %w", err)
	}
	if info.Size() > l.opts.Limits.Archive {
		return nil, fmt.Errorf("the archive has %d bytes, more than %d", info.Size(), l.opts.Limits.Archive)
	}
	h := sha256.New()
	name := l.src.Name + "/" + folder
	if _, err := io.Copy(h, &meter{ctx: ctx, r: f, fn: func(n int64) {
		l.opts.Progress(Progress{Feed: name, Step: "fetch", Done: n, Total: info.Size()})
	}}); err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	etag := oci.SHA256.FromHash(h).String()
	if etag == state.ETag {
		return nil, nil
	}
	a, err := openArchive(f, info.Size(), l.opts.Limits)
	if err != nil {
		return nil, err
	}
	a.etag, a.close = etag, f.Close
	return a, nil
}

// meter reports how much was read, each MiB, and stops when ctx ends.
type meter struct {
	ctx  context.Context
	r    io.Reader
	fn   func(n int64)
	tick func() // optional, at every read
	n    int64
	told int64
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, context.Cause(m.ctx)
	}
	n, err := m.r.Read(p)
	if m.tick != nil && n > 0 {
		m.tick()
	}
	if m.n += int64(n); m.n-m.told >= 1<<20 {
		m.told = m.n
		m.fn(m.n)
	}
	return n, err
}

// loose is a folder of ID.json files.
type loose struct {
	root  string
	names []string
}

func (l *loose) count() int { return len(l.names) }

func (l *loose) each(ctx context.Context, fn func(name string, raw []byte) error) error {
	var buf buffer
	for _, name := range l.names {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		raw, err := readFile(&buf, filepath.Join(l.root, name))
		if err != nil {
			return err
		}
		if err := fn(name, raw); err != nil {
			return err
		}
	}
	return nil
}

// readFile returns nil for a file that is too large.
func readFile(buf *buffer, path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s was removed while the folder was read", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a record: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening a record: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	raw, err := buf.read(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return raw, nil
}

func (l *loose) validators() (etag, lastModified string) { return "", "" }

func (l *loose) Close() error { return nil }
