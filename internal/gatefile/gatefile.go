// Package gatefile reads gates, and the data they look things up in, from files.
package gatefile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
)

// maxFile is the largest file that is read, in bytes; package policy has the
// limits that count.
const maxFile = 4 << 20

// Read reads a gate that may name data. Errors match those of os, or
// policy.ErrGateInvalid.
func Read(path string, data ...*policy.Data) (*policy.Gate, []byte, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading gate: %w", err)
	}
	g, err := policy.Parse(path, text, data...)
	return g, text, err
}

// ReadData reads data, one a file, with distinct names. Errors match those of
// os, or policy.ErrDataInvalid.
func ReadData(paths ...string) ([]*policy.Data, error) {
	var all []*policy.Data
	files := map[string]string{}
	for _, path := range paths {
		text, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading data of gates: %w", err)
		}
		d, err := policy.ParseData(path, text)
		if err != nil {
			return nil, err
		}
		if before, twice := files[d.Name()]; twice {
			return nil, fmt.Errorf("%w: %s and %s are both called %s", policy.ErrDataInvalid, before, path, oci.Quote(d.Name()))
		}
		files[d.Name()] = path
		all = append(all, d)
	}
	return all, nil
}

func readFile(path string) (text []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return text, err
}
