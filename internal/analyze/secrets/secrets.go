// Package secrets is a searcher: it finds credentials in the text of layers
// while they are read.
//
// What it knows are rules, as data (rules.go): the rare text that a credential
// begins with, a pattern, and what sorts out examples. One pass over a file
// looks for the beginnings of all rules at once; a pattern is asked only where
// one stands. Some files are credentials by their name, and are small: those are
// asked as a whole.
//
// What is found is named by rule, path, line and fingerprint. The credential
// itself leaves the buffer that it was read into nowhere. Files that are not
// text are passed over: what is compiled or packed into them is not found.
package secrets

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// Limits of a search.
const (
	maxFile  = 64 << 20 // bytes of one file
	maxLayer = 4 << 30  // bytes of text of one layer
	maxAsked = 64 << 20 // bytes that patterns of one layer are asked about
	maxFound = 100      // secrets of one file
)

// Reasons of files that were not searched to their end.
const (
	longFile  analyze.Reason = "more than 64 MiB of text"
	longLayer analyze.Reason = "more text in one layer than is searched"
	manyAsked analyze.Reason = "more that looks like secrets in one layer than is looked at"
	manyFound analyze.Reason = "more than 100 secrets in one file"
)

// Scanner finds secrets. It is safe for concurrent use.
type Scanner struct{ table *table }

// New returns a Scanner that knows all rules.
func New() *Scanner { return &Scanner{newTable(contentRules())} }

// Info describes the search. Its version grows with every change that can find
// something else.
func (s *Scanner) Info() analyze.Info {
	return analyze.Info{Name: "secrets", Version: "1", Max: maxFile}
}

// Layer begins the search through a layer.
func (s *Scanner) Layer() analyze.Search {
	return &search{table: s.table, asked: maxAsked, text: maxLayer}
}

// Text searches a short text.
func (s *Scanner) Text(path, text string) []inventory.Secret {
	x := &search{table: s.table, asked: maxAsked, text: maxLayer}
	f := &file{search: x, path: path, line: 1}
	b := []byte(text)
	f.scan(b, 0, len(b), environmentRules())
	return f.found
}

// The window that a file is read through. A pattern sees what is in it from its
// beginning on, at most ahead bytes; behind is kept when the window moves, and
// longer than the beginning of any rule.
const (
	windowSize = 256 << 10
	ahead      = 16 << 10
	behind     = 64
)

// search is the search through one layer.
type search struct {
	table *table
	buf   []byte
	asked int // bytes that patterns may still be asked about
	text  int // bytes that may still be read
}

// file is the search through one file.
type file struct {
	*search
	path    string
	found   []inventory.Secret
	line    int // of the byte at counted
	counted int
	why     analyze.Reason
}

// File searches a file: see analyze.Search.
func (s *search) File(path string, head []byte, rest io.Reader) ([]inventory.Secret, analyze.Reason, error) {
	if !isText(head) {
		return nil, "", nil
	}
	found, why, err := s.file(path, head, rest)
	if len(found) > 0 && isPublished(path) {
		return nil, "", err
	}
	return found, why, err
}

// file searches a file that is text.
func (s *search) file(path string, head []byte, rest io.Reader) ([]inventory.Secret, analyze.Reason, error) {
	if s.buf == nil {
		s.buf = make([]byte, 0, windowSize)
	}
	f := &file{search: s, path: path, line: 1}
	b := append(s.buf[:0], head...)
	at := 0
	for total := 0; ; {
		n, err := io.ReadFull(rest, b[len(b):cap(b)])
		b = b[:len(b)+n]
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return f.found, f.why, err
		}
		if total == 0 {
			f.named(b)
		}
		total += n
		limit := len(b)
		if !ended {
			limit -= ahead
		}
		at = f.scan(b, at, limit, nil)
		s.text -= n
		switch {
		case f.why != "" || ended:
			return f.found, f.why, nil
		case total > maxFile:
			return f.found, longFile, nil
		case s.text < 0:
			return f.found, longLayer, nil
		}
		b, at = f.slide(b, at)
	}
}

// slide drops what is done with from the window, but for a little that stands
// behind.
func (f *file) slide(b []byte, at int) ([]byte, int) {
	gone := max(at-behind, 0)
	f.lineAt(b, gone)
	f.counted = 0
	n := copy(b, b[gone:])
	return b[:n], at - gone
}

// lineAt returns the line that the byte at i stands in. i never goes back.
func (f *file) lineAt(b []byte, i int) int {
	if i > f.counted {
		f.line += bytes.Count(b[f.counted:i], []byte{'\n'})
		f.counted = i
	}
	return f.line
}

// scan asks the rules whose beginning stands from at on before limit, and
// returns where to go on. more are rules that are asked about all of b.
func (f *file) scan(b []byte, at, limit int, more []fileRule) int {
	for i := range more {
		f.ask(&more[i], b)
	}
	for at < limit && f.why == "" {
		i, ok := f.table.next(b, at, limit)
		if !ok {
			return i
		}
		at = i + step
		for _, c := range f.table.at(b, i) {
			start := i - c.offset
			if start < 0 || !bytes.HasPrefix(b[start:], c.begin) {
				continue
			}
			if end := f.try(c.rule, b, start); end > 0 {
				at = max(at, end)
				break
			}
		}
	}
	return at
}

// try asks a rule whose beginning stands at start, and returns the end of what
// it found, 0 for nothing.
func (f *file) try(r *rule, b []byte, start int) int {
	if !r.within && start > 0 && isWord(b[start-1]) {
		return 0
	}
	window := b[start:min(start+r.window, len(b))]
	if !bytes.Contains(window[:min(len(window), 64)], r.near) {
		return 0
	}
	if f.asked -= len(window); f.asked < 0 {
		f.why = manyAsked
		return 0
	}
	m := r.pattern.FindSubmatchIndex(window)
	if m == nil {
		return 0
	}
	from, to := m[0], m[1]
	if len(m) > 2 && m[2] >= 0 {
		from, to = m[2], m[3]
	}
	secret := window[from:to]
	if r.clean != nil {
		secret = r.clean(secret)
	}
	if len(secret) == 0 || !r.keeps(secret) {
		return 0
	}
	f.add(r.id, f.lineAt(b, start), secret, r.chosen)
	return start + m[1]
}

// ask asks a rule of a whole file about what there is of it.
func (f *file) ask(r *fileRule, b []byte) {
	f.asked -= len(b)
	for _, m := range r.pattern.FindAllSubmatchIndex(b, maxFound) {
		secret := b[m[2]:m[3]]
		if r.keeps(secret) {
			f.add(r.id, 1+bytes.Count(b[:m[2]], []byte{'\n'}), secret, r.chosen)
		}
	}
}

// named asks the rules about files of this name.
func (f *file) named(b []byte) {
	for i := range namedRules() {
		if r := &namedRules()[i]; r.isNamed(f.path) {
			f.ask(r, b[:min(len(b), maxNamed)])
		}
	}
}

// maxNamed is how much of a file is looked at for the sake of its name.
const maxNamed = 64 << 10

// add notes a secret. Of two in one line that tell of the same, what its form
// tells says more than what the name of its file does.
func (f *file) add(id string, line int, secret []byte, chosen bool) {
	if len(f.found) >= maxFound {
		f.why = manyFound
		return
	}
	s := inventory.Secret{Rule: id, Path: f.path, Line: line}
	if !chosen {
		sum := sha256.Sum256(secret)
		if s.Fingerprint = hex.EncodeToString(sum[:8]); slices.Contains(wellKnown, s.Fingerprint) {
			return
		}
	}
	same := slices.IndexFunc(f.found, func(o inventory.Secret) bool { return o.Line == line && o.Fingerprint == "" })
	if same >= 0 {
		if !chosen {
			f.found[same] = s
		}
		return
	}
	f.found = append(f.found, s)
}

// isText reports whether a file that begins so is text: it has no zero byte and
// hardly another control character.
func isText(head []byte) bool {
	if bytes.IndexByte(head, 0) >= 0 {
		return false
	}
	odd := 0
	for _, c := range head {
		if c < '\t' || c > '\r' && c < ' ' && c != 0x1b {
			odd++
		}
	}
	return odd*20 <= len(head)
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}
