package extractor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	configpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	scalibr "github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/log"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// scalibrVersion is part of the version of every wrapped extractor. It is the
// version of the module in go.mod, which a test compares.
const scalibrVersion = "0.5.3"

// silence keeps osv-scalibr from writing what foreign files say to the
// process's log. Its logger is a variable of the package: it is set once, before
// any of its extractors is there.
var silence sync.Once

func quiet() { silence.Do(func() { log.SetLogger(noLog{}) }) }

type noLog struct{}

func (noLog) Errorf(string, ...any) {}
func (noLog) Error(...any)          {}
func (noLog) Warnf(string, ...any)  {}
func (noLog) Warn(...any)           {}
func (noLog) Infof(string, ...any)  {}
func (noLog) Info(...any)           {}
func (noLog) Debugf(string, ...any) {}
func (noLog) Debug(...any)          {}

// wrapped is one extractor of osv-scalibr. What it wants is decided here: on
// disk it would take more than images need, or look for files next to it.
type wrapped struct {
	info  analyze.Info
	wants func(path string, mode fs.FileMode) bool
	inner filesystem.Extractor
	// unversioned says that packages without a version are normal.
	unversioned bool
	// lines says that a line above 64 KiB would end the file without an error:
	// that is checked here.
	lines bool
	// always says that a file without a package is damaged.
	always bool
}

// wrap fills in what all have in common. It panics when the extractor does not
// take its configuration, which is a mistake of the program.
func wrap(w wrapped, make func(*configpb.PluginConfig) (filesystem.Extractor, error)) analyze.Extractor {
	inner, err := make(&configpb.PluginConfig{})
	if err != nil {
		panic(fmt.Sprintf("extractor: making %s: %v", w.info.Name, err))
	}
	w.inner = inner
	w.info.Version += "+scalibr" + scalibrVersion
	return w
}

func (w wrapped) Info() analyze.Info { return w.info }

func (w wrapped) Wants(path string, mode fs.FileMode) bool { return w.wants(path, mode) }

func (w wrapped) Extract(ctx context.Context, f *analyze.File) ([]inventory.Package, error) {
	if w.lines {
		if err := checkLines(f); err != nil {
			return nil, err
		}
	}
	out, err := w.inner.Extract(ctx, &filesystem.ScanInput{
		FS: noFiles{}, Path: f.Path, Info: fileInfo{f}, Reader: f.Reader(),
	})
	var found []inventory.Package
	for _, p := range out.Packages {
		if p == nil || onlyForDevelopment(p) {
			continue
		}
		q, bad := convert(p)
		if bad == nil && q.Version == "" && !w.unversioned {
			bad = fmt.Errorf("package %q without a version", q.Name)
		}
		if bad != nil {
			err = errors.Join(err, bad)
			continue
		}
		found = append(found, q)
	}
	if w.always && err == nil && len(out.Packages) == 0 {
		err = errors.New("no package")
	}
	return found, err
}

// checkLines refuses a file with a line that a bufio.Scanner does not take.
func checkLines(f *analyze.File) error {
	b, err := f.Bytes()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if len(line) >= 64<<10 {
			return analyze.Reason("a line longer than 64 KiB")
		}
	}
	return nil
}

// onlyForDevelopment: lock files list what developers need beside what is
// installed in an image. Where it is installed all the same, its own files say
// so.
func onlyForDevelopment(p *scalibr.Package) bool {
	m, ok := p.Metadata.(interface{ DepGroups() []string })
	if !ok || len(m.DepGroups()) == 0 {
		return false
	}
	for _, g := range m.DepGroups() {
		if g != "dev" {
			return false
		}
	}
	return true
}

// ecosystems by the purl types that wrapped extractors give.
var ecosystems = map[string]string{
	"npm": "npm", "git": "npm", "pypi": "PyPI", "gem": "RubyGems",
}

func convert(p *scalibr.Package) (inventory.Package, error) {
	q := inventory.Package{Type: p.PURLType, Name: p.Name, Version: p.Version, Ecosystem: ecosystems[p.PURLType]}
	if q.Ecosystem == "" {
		return q, fmt.Errorf("package %q of unknown type %q", p.Name, p.PURLType)
	}
	switch p.PURLType {
	case "git": // an npm package out of a repository
		q.Type = "npm"
		q.Namespace, q.Name = cutScope(p.Name)
	case "npm":
		q.Namespace, q.Name = cutScope(p.Name)
	}
	return q, nil
}

// cutScope splits "@scope/name".
func cutScope(name string) (scope, rest string) {
	if scope, rest, ok := strings.Cut(name, "/"); ok && strings.HasPrefix(scope, "@") {
		return scope, rest
	}
	return "", name
}

// noFiles is the file system of an extractor that must do with its one file.
type noFiles struct{}

func (noFiles) Open(name string) (fs.File, error) { return nil, notThere("open", name) }

func (noFiles) ReadDir(name string) ([]fs.DirEntry, error) { return nil, notThere("readdir", name) }

func (noFiles) Stat(name string) (fs.FileInfo, error) { return nil, notThere("stat", name) }

func notThere(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// fileInfo is a File as an fs.FileInfo.
type fileInfo struct{ f *analyze.File }

func (i fileInfo) Name() string       { return path.Base(i.f.Path) }
func (i fileInfo) Size() int64        { return i.f.Size }
func (i fileInfo) Mode() fs.FileMode  { return i.f.Mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return false }
func (i fileInfo) Sys() any           { return nil }
