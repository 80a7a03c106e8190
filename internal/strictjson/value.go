package strictjson

import (
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Value is one value of a document that Parse has checked. The zero Value is
// what is not there, and answers every question with nothing.
type Value struct{ raw []byte }

// Raw returns the bytes of v as they stand, nil for what is not there.
func (v Value) Raw() json.RawMessage { return json.RawMessage(v.raw) }

// Exists reports whether v is there and is not null.
func (v Value) Exists() bool { return len(v.raw) > 0 && v.raw[0] != 'n' }

// IsObject reports whether v is an object, IsArray whether it is an array.
func (v Value) IsObject() bool { return len(v.raw) > 0 && v.raw[0] == '{' }

// IsArray reports whether v is an array.
func (v Value) IsArray() bool { return len(v.raw) > 0 && v.raw[0] == '[' }

// IsString reports whether v is a string.
func (v Value) IsString() bool { return len(v.raw) > 0 && v.raw[0] == '"' }

// String returns what the string v says, "" when v is no string.
func (v Value) String() string {
	if !v.IsString() {
		return ""
	}
	inner := v.raw[1 : len(v.raw)-1]
	if !strings.Contains(string(inner), `\`) {
		return string(inner)
	}
	text, _ := unquote(v.raw)
	return text
}

// Text returns v as people would write it: a string without quotes, anything
// else as it stands, "" for null and what is not there.
func (v Value) Text() string {
	switch {
	case v.IsString():
		return v.String()
	case !v.Exists():
		return ""
	}
	return string(v.raw)
}

// Int returns the whole number v; ok is false for anything else.
func (v Value) Int() (n int64, ok bool) {
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	return n, err == nil
}

// Bool reports whether v is true.
func (v Value) Bool() bool { return len(v.raw) > 0 && v.raw[0] == 't' }

// Get follows keys from object to object. Keys are compared exactly. What is
// not there, or is no object, gives the zero Value.
func (v Value) Get(keys ...string) Value {
	for _, key := range keys {
		found := Value{}
		for k, field := range v.Fields() {
			if k == key {
				found = field
				break
			}
		}
		v = found
	}
	return v
}

// Fields yields the fields of the object v in order, nothing for other values.
func (v Value) Fields() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if !v.IsObject() {
			return
		}
		s := scanner{raw: v.raw, at: 1}
		for s.more('}') {
			key, _ := s.str()
			s.space()
			s.at++ // the colon
			if !yield(key, s.skip()) {
				return
			}
		}
	}
}

// Elements yields the elements of the array v in order, nothing for other
// values.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if !v.IsArray() {
			return
		}
		s := scanner{raw: v.raw, at: 1}
		for s.more(']') {
			if !yield(s.skip()) {
				return
			}
		}
	}
}

// Len returns how many elements the array v, or fields the object v, has.
func (v Value) Len() int {
	n := 0
	for range v.Elements() {
		n++
	}
	for range v.Fields() {
		n++
	}
	return n
}

// Exact refuses an object with a key that differs from one of keys in case
// only: encoding/json would take it for that key, other readers would not.
func (v Value) Exact(keys ...string) error {
	for k := range v.Fields() {
		for _, want := range keys {
			if k != want && strings.EqualFold(k, want) {
				return fmt.Errorf("%w: key %.100q differs from %q in case only", ErrInvalid, k, want)
			}
		}
	}
	return nil
}

// more moves to the next element or key of a checked container.
func (s *scanner) more(end byte) bool {
	s.space()
	if s.peek() == ',' {
		s.at++
		s.space()
	}
	return s.at < len(s.raw) && s.peek() != end
}

// skip moves behind a value of a checked document and returns it.
func (s *scanner) skip() Value {
	s.space()
	start, depth := s.at, 0
	for s.at < len(s.raw) {
		switch s.raw[s.at] {
		case '"':
			s.skipString()
			if depth == 0 {
				return Value{raw: s.raw[start:s.at]}
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return Value{raw: s.raw[start:s.at]}
			}
			if depth--; depth == 0 {
				s.at++
				return Value{raw: s.raw[start:s.at]}
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return Value{raw: s.raw[start:s.at]}
			}
		}
		s.at++
	}
	return Value{raw: s.raw[start:s.at]}
}

func (s *scanner) skipString() {
	for s.at++; s.at < len(s.raw); s.at++ {
		switch s.raw[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return
		}
	}
}
