// Package strictjson is a reading of JSON that every reader must agree with.
//
// What is signed is bytes, and what is judged is their meaning: a document
// that two parsers understand differently would be verified by the one and
// obeyed by the other. Parse therefore refuses what parsers differ in:
// duplicate keys, keys that differ in case only from one the caller reads,
// invalid UTF-8, lone surrogates, numbers no float64 holds, and data after the
// end. Values are looked up by exact key.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrInvalid marks bytes that are no JSON document or one that could be read
// in more than one way; ErrLimit a document that is larger or deeper than is
// read, which says nothing about whether it is good.
var (
	ErrInvalid = errors.New("not JSON with one meaning")
	ErrLimit   = errors.New("over a limit")
)

// Limits bound a document. A zero field means its default.
type Limits struct {
	Bytes  int // default 16 MiB
	Depth  int // of nesting; default 64
	Values int // of all objects, arrays and scalars together; default 2,000,000
}

// Defaults of Limits.
const (
	defaultBytes  = 16 << 20
	defaultDepth  = 64
	defaultValues = 2_000_000
	// maxNumber bounds the characters of one number.
	maxNumber = 64
)

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = defaultBytes
	}
	if l.Depth == 0 {
		l.Depth = defaultDepth
	}
	if l.Values == 0 {
		l.Values = defaultValues
	}
	return l
}

// Parse checks raw as a whole and returns its value. Errors match ErrInvalid or
// ErrLimit. The value keeps raw, which must not change.
func Parse(raw []byte, limits Limits) (Value, error) {
	limits = limits.withDefaults()
	if len(raw) > limits.Bytes {
		return Value{}, fmt.Errorf("%w: %d bytes, at most %d are read", ErrLimit, len(raw), limits.Bytes)
	}
	if !utf8.Valid(raw) {
		return Value{}, fmt.Errorf("%w: it is not UTF-8", ErrInvalid)
	}
	s := scanner{raw: raw, limits: limits}
	s.space()
	start := s.at
	if err := s.value(0); err != nil {
		return Value{}, err
	}
	end := s.at
	s.space()
	if s.at != len(raw) {
		return Value{}, s.invalid("data after the document")
	}
	return Value{raw: raw[start:end]}, nil
}

// scanner walks a document once.
type scanner struct {
	raw    []byte
	at     int
	values int
	limits Limits
	keys   []string // of all open objects, innermost last
}

func (s *scanner) invalid(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrInvalid, what, s.at)
}

func (s *scanner) space() {
	for s.at < len(s.raw) {
		switch s.raw[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// peek returns the byte at hand, 0 at the end; 0 starts no token.
func (s *scanner) peek() byte {
	if s.at < len(s.raw) {
		return s.raw[s.at]
	}
	return 0
}

func (s *scanner) value(depth int) error {
	s.values++
	if depth > s.limits.Depth {
		return fmt.Errorf("%w: nested deeper than %d", ErrLimit, s.limits.Depth)
	}
	if s.values > s.limits.Values {
		return fmt.Errorf("%w: more than %d values", ErrLimit, s.limits.Values)
	}
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if strings.HasPrefix(string(s.raw[s.at:min(len(s.raw), s.at+5)]), word) {
			s.at += len(word)
			return nil
		}
	}
	return s.invalid("no value")
}

func (s *scanner) object(depth int) error {
	first := len(s.keys)
	defer func() { s.keys = s.keys[:first] }()
	s.at++
	s.space()
	if s.peek() == '}' {
		s.at++
		return nil
	}
	var seen map[string]bool // made when there are too many to compare in turn
	for {
		s.space()
		if s.peek() != '"' {
			return s.invalid("no key")
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		if seen, err = s.unique(key, first, seen); err != nil {
			return err
		}
		s.space()
		if s.peek() != ':' {
			return s.invalid("no colon")
		}
		s.at++
		s.space()
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if more, err := s.comma('}'); !more {
			return err
		}
	}
}

// comma goes past a comma, after which more must follow, or past the end of what
// is open.
func (s *scanner) comma(end byte) (more bool, err error) {
	s.space()
	switch s.peek() {
	case ',':
		s.at++
		return true, nil
	case end:
		s.at++
		return false, nil
	}
	return false, s.invalid("neither a comma nor " + string(end))
}

// manyKeys is how many keys are compared in turn before a set pays.
const manyKeys = 16

// unique adds key to those of the innermost object, which start at first.
func (s *scanner) unique(key string, first int, seen map[string]bool) (map[string]bool, error) {
	duplicate := false
	if seen != nil {
		duplicate = seen[key]
		seen[key] = true
	} else {
		for _, k := range s.keys[first:] {
			duplicate = duplicate || k == key
		}
		if len(s.keys)-first == manyKeys {
			seen = make(map[string]bool, 2*manyKeys)
			for _, k := range s.keys[first:] {
				seen[k] = true
			}
			seen[key] = true
		}
	}
	if duplicate {
		return seen, s.invalid(fmt.Sprintf("duplicate key %.100q", key))
	}
	s.keys = append(s.keys, key)
	return seen, nil
}

func (s *scanner) array(depth int) error {
	s.at++
	s.space()
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for {
		s.space()
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if more, err := s.comma(']'); !more {
			return err
		}
	}
}

// str reads a string and returns what it says.
func (s *scanner) str() (string, error) {
	start := s.at
	s.at++
	plain := true
	for s.at < len(s.raw) {
		switch c := s.raw[s.at]; {
		case c == '"':
			s.at++
			if plain {
				return string(s.raw[start+1 : s.at-1]), nil
			}
			text, ok := unquote(s.raw[start:s.at])
			if !ok {
				return "", s.invalid("a string with an escape that means nothing")
			}
			return text, nil
		case c == '\\':
			plain = false
			s.at += 2
		case c < ' ':
			return "", s.invalid("a control character in a string")
		default:
			s.at++
		}
	}
	s.at = len(s.raw)
	return "", s.invalid("a string does not end")
}

// unquote decodes a quoted string. A surrogate without its other half would
// become U+FFFD, and so would any other: two keys, one meaning.
func unquote(quoted []byte) (string, bool) {
	var text string
	if json.Unmarshal(quoted, &text) != nil {
		return "", false
	}
	if strings.ContainsRune(text, unicode.ReplacementChar) {
		escaped := strings.ToLower(string(quoted))
		if strings.Count(text, "\ufffd") != strings.Count(escaped, "\ufffd")+strings.Count(escaped, `\ufffd`) {
			return "", false
		}
	}
	return text, true
}

func (s *scanner) number() error {
	start := s.at
	for s.at < len(s.raw) && strings.IndexByte("+-.0123456789eE", s.raw[s.at]) >= 0 {
		s.at++
	}
	text := s.raw[start:s.at]
	if len(text) > maxNumber {
		return s.invalid(fmt.Sprintf("a number of more than %d characters", maxNumber))
	}
	if !json.Valid(text) {
		return s.invalid("no number")
	}
	if _, err := strconv.ParseFloat(string(text), 64); err != nil {
		return s.invalid("a number that is too large")
	}
	return nil
}
