package extractor

import (
	"context"
	"io/fs"
	"slices"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// database is a package database that is known and not read: that it is there
// is a gap, as an image without packages would look clean.
type database struct{ info analyze.Info }

func unread(name string, places ...string) analyze.Extractor {
	return database{analyze.Info{Name: name, Version: "1", Max: 1 << 62, Places: places}}
}

func (d database) Info() analyze.Info { return d.info }

func (d database) Wants(path string, _ fs.FileMode) bool { return slices.Contains(d.info.Places, path) }

func (d database) Extract(context.Context, *analyze.File) ([]inventory.Package, error) {
	return nil, analyze.Reason("a package database of a kind that is not read")
}
