package extractor

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/google/osv-scalibr/extractor/filesystem/language/python/wheelegg"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ruby/gemspec"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// pythonMetadata are the ends of paths of what describes an installed package.
var pythonMetadata = []string{".dist-info/METADATA", ".egg-info", ".egg-info/PKG-INFO", "EGG-INFO/PKG-INFO"}

func isPythonMetadata(p string, _ fs.FileMode) bool {
	for _, end := range pythonMetadata {
		if strings.HasSuffix(p, end) {
			return true
		}
	}
	return false
}

// python reads the metadata of installed packages.
func python() analyze.Extractor {
	return wrap(wrapped{
		info:  analyze.Info{Name: "python", Version: "1", Max: maxManifest},
		wants: isPythonMetadata,
	}, wheelegg.New)
}

// pythonArchive reads packages that are used, or only lie there, as archives.
type pythonArchive struct{ metadata analyze.Extractor }

func (pythonArchive) Info() analyze.Info {
	return analyze.Info{Name: "python-archive", Version: "1+scalibr" + scalibrVersion, Max: maxBinary, Magic: []string{"PK"}}
}

func (pythonArchive) Wants(p string, _ fs.FileMode) bool {
	return strings.HasSuffix(p, ".egg") || strings.HasSuffix(p, ".whl")
}

func (x pythonArchive) Extract(ctx context.Context, f *analyze.File) ([]inventory.Package, error) {
	z, err := openZip(f, f.Size)
	if err != nil {
		return nil, err
	}
	var found []inventory.Package
	var errs []error
	for _, e := range z.File {
		if !isPythonMetadata(e.Name, 0) {
			continue
		}
		text, err := zipText(e)
		if err == nil {
			var some []inventory.Package
			some, err = x.metadata.Extract(ctx, analyze.NewFile(e.Name, 0, text))
			found = append(found, some...)
		}
		errs = append(errs, err)
	}
	return found, errors.Join(errs...)
}

// gem reads the specifications of installed Ruby gems. Those that lie in a
// gem's own folder compute their version.
func gem() analyze.Extractor {
	return wrap(wrapped{
		info: analyze.Info{Name: "gem", Version: "1", Max: maxManifest},
		wants: func(p string, _ fs.FileMode) bool {
			dir := path.Base(path.Dir(p))
			return strings.HasSuffix(p, ".gemspec") && (dir == "specifications" || dir == "default")
		},
		lines:  true,
		always: true,
	}, gemspec.New)
}
