package extractor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// apk reads the database of Alpine's package manager
// (https://wiki.alpinelinux.org/wiki/Apk_spec#Installed_Database_V2).
type apk struct{}

var apkPlaces = []string{"lib/apk/db/installed", "usr/lib/apk/db/installed", "var/lib/apk/db/installed"}

func (apk) Info() analyze.Info {
	return analyze.Info{Name: "apk", Version: "1", Max: maxDatabase, Places: apkPlaces}
}

func (apk) Wants(path string, _ fs.FileMode) bool { return slices.Contains(apkPlaces, path) }

func (apk) Extract(_ context.Context, f *analyze.File) ([]inventory.Package, error) {
	content, err := f.Bytes()
	if err != nil {
		return nil, err
	}
	var found []inventory.Package
	err = eachStanza(content, false, func(s stanza) error {
		p, err := apkPackage(s)
		if err == nil {
			found = append(found, p)
		}
		return err
	})
	return found, err
}

func apkPackage(s stanza) (p inventory.Package, err error) {
	get := func(key string) string { return string(s.get(key, bytes.Equal)) }
	if err := onceOf(s, "P", "V", "A", "o"); err != nil {
		return p, err
	}
	p = inventory.Package{Type: "apk", Name: get("P"), Version: get("V"), Arch: get("A"), Source: get("o")}
	switch {
	case p.Name == "":
		return p, errors.New("a package without a name")
	case p.Version == "":
		return p, fmt.Errorf("package %q without a version", p.Name)
	case p.Source == p.Name:
		p.Source = ""
	}
	if l := get("L"); l != "" {
		p.Licenses = []string{l}
	}
	return p, nil
}

// onceOf refuses a stanza that has one of the keys twice; keys of files come
// once for each file.
func onceOf(s stanza, keys ...string) error {
	for _, key := range keys {
		n := 0
		for _, f := range s {
			if string(f.key) == key {
				n++
			}
		}
		if n > 1 {
			return fmt.Errorf("field %q twice", key)
		}
	}
	return nil
}

// apkFiles reads what Alpine packages brought: the same database lists it.
type apkFiles struct{}

func (apkFiles) Info() analyze.Info {
	return analyze.Info{Name: "apk-files", Version: "1", Max: maxDatabase}
}

func (apkFiles) Wants(path string, _ fs.FileMode) bool { return slices.Contains(apkPlaces, path) }

// Claims reads "F:" lines, which name a directory, and "R:" lines, which name a
// file in the one before.
func (apkFiles) Claims(_ context.Context, f *analyze.File, claim func(string)) error {
	content, err := f.Bytes()
	if err != nil {
		return err
	}
	dir := ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if d, ok := strings.CutPrefix(line, "F:"); ok {
			dir = d
		} else if name, ok := strings.CutPrefix(line, "R:"); ok {
			claim(dir + "/" + name)
		}
	}
	return nil
}
