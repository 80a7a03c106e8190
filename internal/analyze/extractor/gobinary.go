package extractor

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"io/fs"
	"path"
	"runtime/debug"
	"strings"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// goBinary reads the modules that the Go linker writes into programs. A program
// built without modules (GOPATH mode, as Debian does) tells of its Go version
// only.
type goBinary struct{}

// Magic of programs: ELF, PE, Mach-O (both byte orders, 32 and 64 bits, fat).
var programs = []string{
	"\x7fELF", "MZ",
	"\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe",
}

func (goBinary) Info() analyze.Info {
	return analyze.Info{Name: "go-binary", Version: "1", Max: maxBinary, Magic: programs}
}

func (goBinary) Wants(path string, mode fs.FileMode) bool { return isProgram(path, mode) }

// isProgram: by the bits of the mode, or by what Windows and plug-ins are named.
func isProgram(name string, mode fs.FileMode) bool {
	if mode&0o111 != 0 {
		return true
	}
	switch path.Ext(name) {
	case ".exe", ".dll", ".so":
		return true
	}
	return false
}

func (goBinary) Extract(_ context.Context, f *analyze.File) ([]inventory.Package, error) {
	info, err := buildinfo.Read(f)
	if err != nil {
		if hasSection(f, ".go.buildinfo") {
			return nil, analyze.Reason("a Go program whose build information is damaged")
		}
		return nil, nil // some other program
	}
	return goPackages(info), nil
}

// hasSection reports whether f is an ELF file with that section.
func hasSection(f *analyze.File, name string) bool {
	x, err := elf.NewFile(f)
	return err == nil && x.Section(name) != nil
}

func goPackages(info *buildinfo.BuildInfo) []inventory.Package {
	found := []inventory.Package{goModule("stdlib", goVersion(info.GoVersion))}
	if info.Main.Path != "" {
		found = append(found, goModule(info.Main.Path, info.Main.Version))
	}
	for _, m := range info.Deps {
		found = append(found, goReplaced(m))
	}
	return found
}

func goModule(path, version string) inventory.Package {
	if version == "(devel)" {
		version = "" // built from a checkout
	}
	return inventory.Package{Type: "golang", Name: path, Version: strings.TrimPrefix(version, "v"), Ecosystem: "Go"}
}

// goReplaced: a replacement by another module is that module; one by a folder
// is the module with code that nobody knows.
func goReplaced(m *debug.Module) inventory.Package {
	r := m.Replace
	switch {
	case r == nil:
		return goModule(m.Path, m.Version)
	case r.Version == "":
		return goModule(m.Path, "")
	}
	return goModule(r.Path, r.Version)
}

// goVersion turns "go1.22.1 X:boringcrypto" into "1.22.1", "go1.21rc2" into
// "1.21.0-rc.2" as advisories write it, and what is between releases into "".
func goVersion(v string) string {
	v, _, _ = strings.Cut(v, " ")
	v, ok := strings.CutPrefix(v, "go")
	if !ok {
		return ""
	}
	for _, pre := range []string{"rc", "beta"} {
		if release, n, ok := strings.Cut(v, pre); ok {
			if strings.Count(release, ".") == 1 {
				release += ".0"
			}
			return release + "-" + pre + "." + n
		}
	}
	return v
}
