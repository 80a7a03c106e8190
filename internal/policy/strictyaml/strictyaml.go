// Package strictyaml reads one small YAML document that somebody else wrote:
// under limits, without what makes a document mean more than it says, and with
// the place of every fault.
package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxDepth bounds nesting. The YAML library takes time quadratic in it.
const MaxDepth = 20

// Position counts lines and columns from 1, in characters.
type Position struct{ Line, Column int }

// Fault is something wrong with a document, and where. Types that decode
// themselves may return one.
type Fault struct {
	At   Position
	Text string
}

// Error returns "line:column: text".
func (f *Fault) Error() string { return fmt.Sprintf("%d:%d: %s", f.At.Line, f.At.Column, f.Text) }

// PositionOf returns where a node begins.
func PositionOf(n ast.Node) Position { return positionOf(n.GetToken()) }

func positionOf(tk *token.Token) Position {
	if tk == nil || tk.Position == nil {
		return Position{1, 1}
	}
	return Position{tk.Position.Line, tk.Position.Column}
}

func faultf(tk *token.Token, format string, args ...any) *Fault {
	return &Fault{positionOf(tk), fmt.Sprintf(format, args...)}
}

// Parse reads a text of at most maxBytes as one document. Anchors, aliases,
// merge keys and tags are refused: with them a short text can mean a very long
// one.
func Parse(text []byte, maxBytes int) (root ast.Node, f *Fault) {
	defer recovered(&f)
	switch {
	case len(text) > maxBytes:
		return nil, faultf(nil, "%d bytes, at most %d", len(text), maxBytes)
	case !utf8.Valid(text):
		return nil, faultf(nil, "not UTF-8")
	}
	tokens := lexer.Tokenize(string(text))
	if f := checkTokens(tokens); f != nil {
		return nil, f
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, faultOf(err)
	}
	switch {
	case len(file.Docs) != 1:
		return nil, faultf(nil, "want one YAML document, found %d", len(file.Docs))
	case file.Docs[0].Body == nil:
		return nil, faultf(nil, "there is nothing in it")
	}
	return file.Docs[0].Body, checkDepth(file.Docs[0].Body, 0)
}

// Decode puts the node into v, a pointer, refusing unknown and repeated keys.
// What v holds already and the node does not name stays.
func Decode(n ast.Node, v any) (f *Fault) {
	defer recovered(&f)
	if err := yaml.NodeToValue(n, v, yaml.Strict()); err != nil {
		return faultOf(err)
	}
	return nil
}

// recovered turns a panic into a fault: the YAML library is fed foreign bytes,
// and a panic in it is a text that cannot be read.
func recovered(f **Fault) {
	if r := recover(); r != nil {
		*f = faultf(nil, "the YAML cannot be read: %v", r)
	}
}

// checkTokens refuses, before anything is built, what nests too deep on one
// line, and what the format has no use for. Nesting by indentation is bounded
// by the size of the text.
func checkTokens(tokens token.Tokens) *Fault {
	flow, entries, line := 0, 0, 0
	for _, tk := range tokens {
		if tk.Position != nil && tk.Position.Line != line {
			line, entries = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType:
			return faultf(tk, "anchors, aliases, merge keys and tags are not part of the format: write it out")
		}
		if flow > MaxDepth || entries > MaxDepth {
			return faultf(tk, "nested deeper than %d", MaxDepth)
		}
	}
	return nil
}

func checkDepth(n ast.Node, depth int) *Fault {
	if n == nil {
		return nil
	}
	if depth > MaxDepth {
		return faultf(n.GetToken(), "nested deeper than %d", MaxDepth)
	}
	for _, child := range children(n) {
		if f := checkDepth(child, depth+1); f != nil {
			return f
		}
	}
	return nil
}

func children(n ast.Node) []ast.Node {
	switch v := n.(type) {
	case *ast.MappingNode:
		ns := make([]ast.Node, 0, len(v.Values))
		for _, pair := range v.Values {
			ns = append(ns, pair.Value)
		}
		return ns
	case *ast.MappingValueNode:
		return []ast.Node{v.Value}
	case *ast.SequenceNode:
		return v.Values
	}
	return nil
}

// faultOf takes the place and the plain message out of an error of the YAML
// library.
func faultOf(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	var y yaml.Error
	if errors.As(err, &y) {
		if strings.Contains(y.GetMessage(), "'\t' that cannot start any token") || strings.Contains(y.GetMessage(), "'	' that cannot start any token") {
			return faultf(y.GetToken(), "a tab: YAML is indented with spaces")
		}
		return faultf(y.GetToken(), "%s", y.GetMessage())
	}
	return faultf(nil, "%v", err)
}
