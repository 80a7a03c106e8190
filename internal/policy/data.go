package policy

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy/strictyaml"
)

// ErrDataInvalid matches errors of ParseData.
var ErrDataInvalid = errors.New("not valid data for gates")

// Limits of data.
const (
	maxData      = 1 << 20 // bytes of one document
	maxDataItems = 20_000
	maxDataText  = 1024 // bytes of one text
)

// dataPrefix begins the name of data in expressions.
const dataPrefix = "data."

// dataName is how data is called: as expressions can write it.
var dataName = regexp.MustCompile(`^[a-z][A-Za-z0-9_]*$`)

// Data is what rules look things up in, apart from the rules: a list of texts, or
// a table from texts to texts, that other people keep and change more often. It is
// immutable and safe for concurrent use.
type Data struct {
	name, describe string
	digest         oci.Digest
	text           []byte
	list           []string          // sorted; nil for a table
	table          map[string]string // nil for a list
}

// dataDocument is the text of data, as YAML.
type dataDocument struct {
	APIVersion scalar            `yaml:"apiVersion"`
	Kind       scalar            `yaml:"kind"`
	Name       scalar            `yaml:"name"`
	Describe   string            `yaml:"describe,omitempty"`
	List       []scalar          `yaml:"list,omitempty"`
	Table      map[string]scalar `yaml:"table,omitempty"`
}

// dataKind is what data's text says to be.
const dataKind = "Data"

// ParseData reads data for gates; name is that of its file, for errors, which
// match ErrDataInvalid and have one line per fault.
func ParseData(name string, text []byte) (*Data, error) {
	root, f := strictyaml.Parse(text, maxData)
	doc := &dataDocument{}
	if f == nil {
		f = strictyaml.Decode(root, doc)
	}
	if f != nil {
		return nil, fmt.Errorf("%w: %s:%v", ErrDataInvalid, name, f)
	}
	p := gateParser{}
	d := p.data(doc)
	if len(p.faults) > 0 {
		return nil, faulty(ErrDataInvalid, name, p.faults)
	}
	d.digest, d.text = oci.FromBytes(text), bytes.Clone(text)
	return d, nil
}

func (p *gateParser) data(doc *dataDocument) *Data {
	if doc.APIVersion.text != version {
		p.addf(doc.APIVersion.at, "apiVersion is %s, want %s", oci.Quote(doc.APIVersion.text), version)
	}
	if doc.Kind.text != dataKind {
		p.addf(doc.Kind.at, "kind is %s, want %s", oci.Quote(doc.Kind.text), dataKind)
	}
	if len(doc.Name.text) > maxName || !dataName.MatchString(doc.Name.text) {
		p.addf(doc.Name.at, "name is %s, want a lower-case letter, then letters, digits and \"_\", at most %d: gates write data.NAME", oci.Quote(doc.Name.text), maxName)
	}
	p.checkText(doc.Name.at, "describe", doc.Describe)
	d := &Data{name: doc.Name.text, describe: doc.Describe}
	switch {
	case doc.List != nil && doc.Table != nil, doc.List == nil && doc.Table == nil:
		p.addf(doc.Name.at, "it needs list or table, and not both")
	case len(doc.List) > maxDataItems || len(doc.Table) > maxDataItems:
		p.addf(doc.Name.at, "it has more than %d entries", maxDataItems)
	case doc.List != nil:
		d.list = []string{}
		for _, s := range doc.List {
			p.checkDatum(s)
			d.list = append(d.list, s.text)
		}
		slices.Sort(d.list)
	default:
		d.table = map[string]string{}
		for key, s := range doc.Table {
			p.checkDatum(s)
			d.table[key] = s.text
		}
	}
	return d
}

func (p *gateParser) checkDatum(s scalar) {
	if len(s.text) > maxDataText {
		p.addf(s.at, "a text of %d bytes, at most %d", len(s.text), maxDataText)
	}
}

// Name returns the data's name; gates write data.NAME.
func (d *Data) Name() string { return d.name }

// Describe returns the sentence that says what the data is for, "" when it has none.
func (d *Data) Describe() string { return d.describe }

// Digest returns the SHA-256 of the data's text.
func (d *Data) Digest() oci.Digest { return d.digest }

// Text returns what the data was read from.
func (d *Data) Text() []byte { return bytes.Clone(d.text) }

// Size returns how many entries the data has.
func (d *Data) Size() int { return len(d.list) + len(d.table) }

// variable is the data as expressions see it.
func (d *Data) variable() *cel.Type {
	if d.table != nil {
		return textsMap
	}
	return textList
}

func (d *Data) value() ref.Val {
	if d.table != nil {
		return newTextMap(d.table)
	}
	return newTextList(d.list)
}

// with extends an environment by data.
func withData(base func() (*cel.Env, error), data []*Data) func() (*cel.Env, error) {
	if len(data) == 0 {
		return base
	}
	return func() (*cel.Env, error) {
		e, err := base()
		if err != nil {
			return nil, err
		}
		var opts []cel.EnvOption
		for _, d := range data {
			opts = append(opts, cel.Variable(dataPrefix+d.name, d.variable()))
		}
		return e.Extend(opts...)
	}
}

// Data returns the data that the gate's rules name, by name.
func (g *Gate) Data() []*Data { return slices.Clone(g.data) }

// InForce is what the gate is known by where it is in force: the digest of its
// text, or of that and of its data's. Two gates with the same one decide alike.
func (g *Gate) InForce() oci.Digest {
	if len(g.data) == 0 {
		return g.digest
	}
	var b strings.Builder
	fmt.Fprintln(&b, g.digest)
	for _, d := range g.data {
		fmt.Fprintln(&b, d.name, d.digest)
	}
	return oci.FromBytes([]byte(b.String()))
}

// dataNear says which data a text that names none may mean; "" for none.
func dataNear(text string, data []*Data) string {
	_, name, ok := strings.Cut(text, "undeclared reference to '"+strings.TrimSuffix(dataPrefix, "."))
	if !ok {
		return ""
	}
	if len(data) == 0 {
		return "no data was given"
	}
	var names []string
	for _, d := range data {
		names = append(names, dataPrefix+d.name)
	}
	if near := nearest(strings.Trim(name, ".'"), names); near != "" {
		return "did you mean '" + near + "'?"
	}
	return "there are " + strings.Join(names, ", ")
}

// used returns the data that an expression names.
func (p *gateParser) use(c *compiled) {
	for _, d := range p.given {
		if c.names[dataPrefix+d.name] && !slices.Contains(p.used, d) {
			p.used = append(p.used, d)
		}
	}
}
