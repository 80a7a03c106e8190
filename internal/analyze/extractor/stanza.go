package extractor

import (
	"bytes"
	"errors"
	"fmt"
)

// A stanza is one record of a database: its fields in order.
type stanza []field

type field struct{ key, value []byte }

// get returns the value of a key, compared as equal says; nil when it has none.
func (s stanza) get(key string, equal func(a, b []byte) bool) []byte {
	for _, f := range s {
		if equal(f.key, []byte(key)) {
			return f.value
		}
	}
	return nil
}

var errNoField = errors.New("a line that is no field")

// eachStanza calls fn for the stanzas of a database: lines "key:value", ended
// by an empty line. With folded, lines that begin with a blank go on with the
// value before; their text is dropped, as no value that matters is that long.
// The slices are parts of content; fn must not keep the stanza.
func eachStanza(content []byte, folded bool, fn func(stanza) error) error {
	var s stanza
	flush := func() error {
		if len(s) == 0 {
			return nil
		}
		err := fn(s)
		s = s[:0]
		return err
	}
	for n := 1; len(content) > 0; n++ {
		line, rest, _ := bytes.Cut(content, []byte{'\n'})
		content = rest
		switch {
		case len(line) == 0:
			if err := flush(); err != nil {
				return fmt.Errorf("before line %d: %w", n, err)
			}
			continue
		case folded && (line[0] == ' ' || line[0] == '\t'):
			if len(s) == 0 {
				return fmt.Errorf("line %d: %w", n, errNoField)
			}
			continue
		}
		key, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || len(key) == 0 || bytes.IndexByte(line, 0) >= 0 {
			return fmt.Errorf("line %d: %w", n, errNoField)
		}
		s = append(s, field{key, bytes.TrimSpace(value)})
	}
	return flush()
}
