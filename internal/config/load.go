package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile is the largest configuration file, in bytes.
const maxFile = 1 << 20

// Source says where a configuration comes from: later ones win.
type Source struct {
	// File is a YAML file. Optional.
	File string
	// Env holds "KEY=VALUE" entries, as os.Environ gives them. Optional.
	Env []string
	// Override is called last, for flags. Optional.
	Override func(*Config)
}

// ErrInvalid matches every error about what a configuration says, as opposed
// to a file that cannot be read.
var ErrInvalid = errors.New("configuration is not valid")

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File   string // "" when it is not from a file
	Line   int    // from 1; 0 when unknown
	Column int    // from 1; 0 when unknown
	Field  string // "tls.cert", or the variable's name; "" when it is the syntax
	Why    string // what is wrong and what would be right
}

// String returns "file:line:column: field: why" with the parts that are known.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	return b.String() + p.Why
}

// Problems is an error that holds all that is wrong. It matches ErrInvalid.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Is makes errors.Is(err, ErrInvalid) hold.
func (ps Problems) Is(target error) bool { return target == ErrInvalid }

// Load reads, overlays and checks a configuration. Errors about what it says
// are Problems.
func Load(src Source) (*Config, error) {
	c := Default()
	env := variables(src.Env)
	c.Data = defaultData(env)
	var doc document
	if src.File != "" {
		b, err := readLimited(src.File)
		if err != nil {
			return nil, fmt.Errorf("reading configuration: %w", err)
		}
		if doc, err = decode(src.File, b, &c); err != nil {
			return nil, err
		}
	}
	if ps := overlay(&c, env); len(ps) > 0 {
		return nil, ps
	}
	if src.Override != nil {
		src.Override(&c)
	}
	if ps := c.Check(); len(ps) > 0 {
		return nil, doc.locate(ps)
	}
	return &c, nil
}

func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return b, err
}

// document is a parsed file, to say where a field stands.
type document struct {
	name string
	file *ast.File
}

// decode reads b over what c holds. A file without any content changes nothing.
func decode(name string, b []byte, c *Config) (document, error) {
	doc := document{name: name}
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return doc, Problems{doc.syntax(err)}
	}
	if len(file.Docs) > 1 {
		return doc, Problems{{File: name, Why: fmt.Sprintf("holds %d documents, want one", len(file.Docs))}}
	}
	if len(file.Docs) == 0 || empty(file.Docs[0].Body) {
		return doc, nil
	}
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.DisallowUnknownField()).Decode(c); err != nil {
		return doc, Problems{doc.syntax(err)}
	}
	doc.file = file
	rebase(reflect.ValueOf(c).Elem(), filepath.Dir(name))
	return doc, nil
}

// empty reports whether a document says nothing: the decoder would take that
// for zeros in every field.
func empty(n ast.Node) bool {
	return n == nil || n.Type() == ast.NullType || n.Type() == ast.CommentType
}

// syntax turns an error of the YAML package into a Problem.
func (d document) syntax(err error) Problem {
	p := Problem{File: d.name, Why: err.Error()}
	var value *misplaced
	if errors.As(err, &value) && value.at != nil && value.at.Position != nil {
		p.Line, p.Column = value.at.Position.Line, value.at.Position.Column
		return p
	}
	var at yaml.Error
	if !errors.As(err, &at) {
		return p
	}
	p.Why = at.GetMessage()
	if tok := at.GetToken(); tok != nil && tok.Position != nil {
		p.Line, p.Column = tok.Position.Line, tok.Position.Column
	}
	return p
}

// locate adds file, line and column to problems with fields that the file
// holds.
func (d document) locate(ps Problems) Problems {
	for i := range ps {
		node := d.find(ps[i].Field)
		if node == nil || node.GetToken() == nil {
			continue
		}
		at := node.GetToken().Position
		ps[i].File, ps[i].Line, ps[i].Column = d.name, at.Line, at.Column
	}
	return ps
}

// find returns the value of a field, or nil.
func (d document) find(field string) ast.Node {
	if d.file == nil || field == "" {
		return nil
	}
	path, err := yaml.PathString("$." + field)
	if err != nil {
		return nil
	}
	node, err := path.FilterFile(d.file)
	if err != nil {
		return nil
	}
	return node
}

// rebase makes every relative Path below v relative to dir instead of the
// working folder.
func rebase(v reflect.Value, dir string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			rebase(v.Field(i), dir)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			rebase(v.Elem(), dir)
		}
	case reflect.Slice:
		for i := range v.Len() {
			rebase(v.Index(i), dir)
		}
	case reflect.Map:
		if v.Type().Elem() != reflect.TypeFor[Path]() {
			return
		}
		for _, k := range v.MapKeys() {
			v.SetMapIndex(k, reflect.ValueOf(based(v.MapIndex(k).String(), dir)))
		}
	case reflect.String:
		if v.Type() == reflect.TypeFor[Path]() {
			v.Set(reflect.ValueOf(based(v.String(), dir)))
		}
	}
}

func based(p, dir string) Path {
	if p == "" || filepath.IsAbs(p) {
		return Path(p)
	}
	return Path(filepath.Join(dir, p))
}
