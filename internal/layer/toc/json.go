package toc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/bonded-dev/bonded/internal/oci"
)

// parse reads the JSON of a table: one object, whose "entries" are the rows. It
// reads r to its end. Errors match ErrUnreadable or are those of add.
func parse(r io.Reader, add func(*Entry) error) error {
	m := &meter{r: bufio.NewReader(r), total: maxTable, left: maxEntry}
	p := &parser{dec: json.NewDecoder(m), meter: m, add: add}
	if err := p.table(); err != nil {
		if p.failed != nil {
			return p.failed
		}
		return unreadable("reading its JSON", err)
	}
	return nil
}

// meter bounds what a decoder reads: of all, and since somebody last set left.
type meter struct {
	r           io.Reader
	total, left int64
}

var errLarge = errors.New("too large")

func (m *meter) Read(p []byte) (int, error) {
	n := min(int64(len(p)), m.total, m.left)
	if n == 0 && len(p) > 0 {
		return 0, errLarge
	}
	got, err := m.r.Read(p[:n])
	m.total -= int64(got)
	m.left -= int64(got)
	return got, err
}

// parser reads one table.
type parser struct {
	dec    *json.Decoder
	meter  *meter
	add    func(*Entry) error
	failed error  // of add
	entry  *Entry // the last; nil before the first
	total  int    // rows
}

// tableKeys are the keys of the table that readers know.
var tableKeys = []string{"version", "entries", "tarSplitDigest"}

func (p *parser) table() error {
	if err := p.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for p.more() {
		key, err := p.key(seen)
		if err != nil {
			return err
		}
		if key == "entries" {
			err = p.entries()
		} else {
			var other json.RawMessage
			err = p.dec.Decode(&other)
		}
		if err != nil {
			return err
		}
	}
	if err := p.delim('}'); err != nil {
		return err
	}
	if !seen["entries"] {
		return errors.New("no entries")
	}
	p.meter.left = maxEntry
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("data after the JSON: %v", err)
	}
	return nil
}

func (p *parser) delim(want json.Delim) error {
	t, err := p.dec.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%v where %v should be", t, want)
	}
	return nil
}

func (p *parser) key(seen map[string]bool) (string, error) {
	t, err := p.dec.Token()
	if err != nil {
		return "", err
	}
	key, _ := t.(string)
	if seen[key] || len(seen) == 100 {
		return "", fmt.Errorf("key %s twice, or too many keys", oci.Quote(key))
	}
	seen[key] = true
	return key, exact(key, tableKeys)
}

// entries reads the list. An entry is complete when the next one begins.
func (p *parser) entries() error {
	if err := p.delim('['); err != nil {
		return err
	}
	for p.more() {
		if p.total++; p.total > maxRows {
			return fmt.Errorf("more than %d entries", maxRows)
		}
		var raw json.RawMessage
		if err := p.dec.Decode(&raw); err != nil {
			return err
		}
		if err := p.row(raw); err != nil {
			return fmt.Errorf("entry %d: %w", p.total, err)
		}
	}
	if err := p.complete(); err != nil {
		return err
	}
	return p.delim(']')
}

func (p *parser) row(raw []byte) error {
	r, err := parseRow(raw)
	switch {
	case err != nil:
		return err
	case r.Type != "chunk":
		if err := p.complete(); err != nil {
			return err
		}
		p.entry, err = entry(r)
		return err
	case p.entry == nil:
		return errors.New("a chunk without a file")
	}
	return p.entry.further(r)
}

func (p *parser) complete() error {
	if p.entry == nil {
		return nil
	}
	if !p.entry.whole() {
		return errors.New("chunks that end before their file")
	}
	p.failed = p.add(p.entry)
	return p.failed
}

// more reports whether there is another element, which may be as large as any.
func (p *parser) more() bool {
	p.meter.left = maxEntry
	return p.dec.More()
}
