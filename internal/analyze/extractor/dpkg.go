package extractor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// dpkg reads the status database of Debian's package manager, the files that
// distroless images have in its place (one per package, without a state), and
// opkg's, which has the same form (deb-control(5), dpkg-query(1)).
type dpkg struct{}

const (
	dpkgStatus = "var/lib/dpkg/status"
	dpkgParts  = "var/lib/dpkg/status.d/"
)

func (dpkg) Info() analyze.Info {
	return analyze.Info{
		Name: "dpkg", Version: "1", Max: maxDatabase,
		Places: []string{dpkgStatus, strings.TrimSuffix(dpkgParts, "/")},
		Key:    dpkgKey,
	}
}

// dpkgKey: packages of distroless images need no state.
func dpkgKey(path string) string {
	if strings.HasPrefix(path, dpkgParts) {
		return "status.d"
	}
	return ""
}

func (dpkg) Wants(path string, _ fs.FileMode) bool {
	switch path {
	case dpkgStatus, "usr/lib/opkg/status", "var/lib/opkg/status":
		return true
	}
	name, ok := strings.CutPrefix(path, dpkgParts)
	return ok && !strings.Contains(name, "/") && !strings.HasSuffix(name, ".md5sums")
}

func (dpkg) Extract(_ context.Context, f *analyze.File) ([]inventory.Package, error) {
	content, err := f.Bytes()
	if err != nil {
		return nil, err
	}
	var found []inventory.Package
	err = eachStanza(content, true, func(s stanza) error {
		p, present, err := dpkgPackage(s, dpkgKey(f.Path) != "")
		if present {
			found = append(found, p)
		}
		return err
	})
	return found, err
}

// dpkgPackage reads one stanza. present says that files of the package are
// there: it is installed, or on the way to be.
func dpkgPackage(s stanza, stateless bool) (p inventory.Package, present bool, err error) {
	if err := onceEach(s); err != nil {
		return p, false, err
	}
	get := func(key string) string { return string(s.get(key, bytes.EqualFold)) }
	name, version, status := get("Package"), get("Version"), get("Status")
	if name == "" {
		return p, false, errors.New("a package without a name")
	}
	if status != "" || !stateless {
		present, err = dpkgPresent(status)
		if err != nil || !present {
			return p, false, err
		}
	}
	if version == "" {
		return p, false, fmt.Errorf("package %q without a version", name)
	}
	p = inventory.Package{Type: "deb", Name: name, Version: version, Arch: get("Architecture")}
	p.Source, p.SourceVer, err = dpkgSource(get("Source"))
	if p.Source == p.Name {
		p.Source = ""
	}
	if p.SourceVer == p.Version {
		p.SourceVer = ""
	}
	return p, err == nil, err
}

// dpkgPresent reads "want flag state". All states but these two leave files:
// unpacked, half-configured, half-installed, triggers-awaited, triggers-pending.
func dpkgPresent(status string) (bool, error) {
	words := strings.Fields(status)
	if len(words) != 3 {
		return false, fmt.Errorf("state %q is not three words", status)
	}
	return words[2] != "not-installed" && words[2] != "config-files", nil
}

// dpkgSource reads "name" or "name (version)".
func dpkgSource(source string) (name, version string, err error) {
	name, rest, ok := strings.Cut(source, " (")
	if !ok {
		return source, "", nil
	}
	version, ok = strings.CutSuffix(rest, ")")
	if !ok {
		return "", "", fmt.Errorf("source %q has no closing bracket", source)
	}
	return name, version, nil
}

// onceEach refuses a stanza with a field twice, as dpkg does: two packages
// without the empty line between them, of which one would be lost.
func onceEach(s stanza) error {
	for i, f := range s {
		for _, g := range s[:i] {
			if bytes.EqualFold(f.key, g.key) {
				return fmt.Errorf("field %q twice", f.key)
			}
		}
	}
	return nil
}

// dpkgFiles reads the lists of what Debian packages brought.
type dpkgFiles struct{}

func (dpkgFiles) Info() analyze.Info {
	return analyze.Info{Name: "dpkg-files", Version: "1", Max: maxManifest}
}

func (dpkgFiles) Wants(path string, _ fs.FileMode) bool {
	return strings.HasPrefix(path, "var/lib/dpkg/info/") && strings.HasSuffix(path, ".list") ||
		strings.HasPrefix(path, dpkgParts) && strings.HasSuffix(path, ".md5sums")
}

// Claims reads a name a line; in md5sums it comes after the sum.
func (dpkgFiles) Claims(_ context.Context, f *analyze.File, claim func(string)) error {
	content, err := f.Bytes()
	if err != nil {
		return err
	}
	sums := strings.HasSuffix(f.Path, ".md5sums")
	for line := range strings.Lines(string(content)) {
		name := strings.TrimSuffix(line, "\n")
		if sums {
			_, name, _ = strings.Cut(name, "  ")
		}
		if name != "" {
			claim(name)
		}
	}
	return nil
}
