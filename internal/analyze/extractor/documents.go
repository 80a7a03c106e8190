package extractor

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// nuget reads NAME.deps.json, which lies beside every .NET program and names
// what it loads.
type nuget struct{}

func (nuget) Info() analyze.Info {
	return analyze.Info{Name: "nuget", Version: "1", Max: maxManifest}
}

func (nuget) Wants(path string, _ fs.FileMode) bool { return strings.HasSuffix(path, ".deps.json") }

func (nuget) Extract(_ context.Context, f *analyze.File) ([]inventory.Package, error) {
	var doc struct {
		RuntimeTarget json.RawMessage `json:"runtimeTarget"`
		Libraries     map[string]struct {
			Type string `json:"type"`
		} `json:"libraries"`
	}
	if err := decode(f, &doc); err != nil {
		return nil, err
	}
	if doc.RuntimeTarget == nil {
		return nil, nil // other tools name files so, too
	}
	var found []inventory.Package
	for id, lib := range doc.Libraries {
		if lib.Type != "package" {
			continue // the program itself, and parts of the runtime
		}
		name, version, ok := strings.Cut(id, "/")
		if !ok || version == "" {
			return found, fmt.Errorf("library %q without a version", id)
		}
		found = append(found, inventory.Package{Type: "nuget", Name: name, Version: version, Ecosystem: "NuGet"})
	}
	return found, nil
}

// composer reads what Composer writes when it installs PHP packages.
type composer struct{}

func (composer) Info() analyze.Info {
	return analyze.Info{Name: "composer", Version: "1", Max: maxDatabase}
}

func (composer) Wants(path string, _ fs.FileMode) bool {
	return strings.HasSuffix("/"+path, "/vendor/composer/installed.json")
}

func (composer) Extract(_ context.Context, f *analyze.File) ([]inventory.Package, error) {
	type pkg struct {
		Name    string   `json:"name"`
		Version string   `json:"version"`
		License []string `json:"license"`
	}
	var raw json.RawMessage
	if err := decode(f, &raw); err != nil {
		return nil, err
	}
	var list []pkg // Composer 1
	if raw[0] != '[' {
		var doc struct { // Composer 2
			Packages *[]pkg `json:"packages"`
		}
		if err := json.Unmarshal(raw, &doc); err != nil {
			return nil, err
		}
		if doc.Packages == nil {
			return nil, fmt.Errorf("no list of packages")
		}
		list = *doc.Packages
	} else if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	var found []inventory.Package
	for _, p := range list {
		vendor, name, ok := strings.Cut(p.Name, "/")
		if !ok || p.Version == "" {
			return found, fmt.Errorf("package %q without vendor or version", p.Name)
		}
		found = append(found, inventory.Package{
			Type: "composer", Namespace: vendor, Name: name, Version: p.Version, Licenses: p.License, Ecosystem: "Packagist",
		})
	}
	return found, nil
}

// decode reads a JSON document.
func decode(f *analyze.File, v any) error {
	b, err := f.Bytes()
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
