package trust

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Record is what a folder says about its instance before any key is opened.
type Record struct {
	Origin  string
	Written time.Time // changes with each rotation
	Logs    []Public  // the keys that a log was ever signed by, oldest first
}

// Peek reads the record of a folder. Errors match ErrNone or ErrUnusable.
func Peek(dir string) (Record, error) {
	rec, err := readRecord(dir, recordName)
	if err != nil {
		return Record{}, err
	}
	info, err := os.Stat(filepath.Join(dir, recordName))
	if err != nil {
		return Record{}, fmt.Errorf("opening the trust folder %s: %w", dir, errors.Join(ErrUnusable, err))
	}
	r := Record{Origin: rec.Origin, Written: info.ModTime()}
	for _, l := range rec.Logs {
		r.Logs = append(r.Logs, l.public())
	}
	return r, nil
}
