package extractor

import (
	"bytes"
	"compress/zlib"
	"context"
	"debug/elf"
	"debug/pe"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// rustBinary reads the dependencies that cargo-auditable writes into programs:
// zlib-compressed JSON in a section
// (https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md).
// osv-scalibr's extractor is not used, as it decompresses without a limit.
type rustBinary struct{}

const (
	rustSection     = ".dep-v0"
	maxRustSection  = 8 << 20
	maxRustDocument = 32 << 20
)

func (rustBinary) Info() analyze.Info {
	return analyze.Info{Name: "rust-binary", Version: "1", Max: maxBinary, Magic: []string{"\x7fELF", "MZ"}}
}

func (rustBinary) Wants(path string, mode fs.FileMode) bool { return isProgram(path, mode) }

func (rustBinary) Extract(_ context.Context, f *analyze.File) ([]inventory.Package, error) {
	packed, err := rustData(f)
	if packed == nil || err != nil {
		return nil, err
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(z, maxRustDocument+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxRustDocument {
		return nil, analyze.Reason("dependencies larger than 32 MiB")
	}
	return rustPackages(text)
}

// rustData returns the section, nil when there is none.
func rustData(f *analyze.File) ([]byte, error) {
	if x, err := elf.NewFile(f); err == nil {
		s := x.Section(rustSection)
		if s == nil {
			return nil, nil
		}
		return readSection(s.FileSize, s.Flags&elf.SHF_COMPRESSED != 0, s.ReaderAt)
	}
	if x, err := pe.NewFile(f); err == nil {
		if s := x.Section(rustSection); s != nil {
			return readSection(uint64(s.Size), false, s.ReaderAt)
		}
	}
	return nil, nil // no program, or a form without such sections
}

func readSection(size uint64, compressed bool, r io.ReaderAt) ([]byte, error) {
	if size > maxRustSection || compressed {
		return nil, analyze.Reason("dependencies in a section of a form that is not read")
	}
	b := make([]byte, size)
	_, err := r.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b, err
}

func rustPackages(text []byte) ([]inventory.Package, error) {
	var doc struct {
		Packages []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			Source  string `json:"source"`
			Kind    string `json:"kind"` // "" is runtime
		} `json:"packages"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	var found []inventory.Package
	for _, p := range doc.Packages {
		if p.Name == "" || p.Version == "" {
			return found, fmt.Errorf("package %q without name or version", p.Name)
		}
		if p.Kind != "build" {
			found = append(found, inventory.Package{Type: "cargo", Name: p.Name, Version: p.Version, Ecosystem: "crates.io"})
		}
	}
	return found, nil
}
