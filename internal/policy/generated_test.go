package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"cel.dev/cel-go/common/types"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

// Files that are generated from this package.
const (
	schemaFile = "../../docs/schema/gate.json"
	docsFile   = "../../docs/gates.md"
)

// schema makes the JSON schema of the gate format from its structs and their
// comments.
func schema(t *testing.T) []byte {
	t.Helper()
	r := &jsonschema.Reflector{
		FieldNameTag: "yaml", BaseSchemaID: "https://bonded.dev/schema", ExpandedStruct: true,
		Mapper: func(of reflect.Type) *jsonschema.Schema {
			switch of {
			case reflect.TypeFor[scalar]():
				return &jsonschema.Schema{Type: "string"}
			case reflect.TypeFor[kindText]():
				s := &jsonschema.Schema{Type: "string"}
				for _, k := range allKinds {
					s.Enum = append(s.Enum, string(k))
				}
				return s
			case reflect.TypeFor[duration]():
				return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(h|m|s))+$`, Examples: []any{"72h"}}
			case reflect.TypeFor[moment]():
				return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]+(Z|[+-][0-9:]+))?$`, Examples: []any{"2026-12-01"}}
			case reflect.TypeFor[texts]():
				text := &jsonschema.Schema{Type: "string"}
				return &jsonschema.Schema{OneOf: []*jsonschema.Schema{text, {Type: "array", Items: text}}}
			}
			return nil
		},
		Namer: func(of reflect.Type) string {
			return strings.TrimSuffix(of.Name(), "Text")
		},
	}
	comments := fieldComments(t, "document.go")
	r.LookupComment = func(of reflect.Type, field string) string { return comments[of.Name()+"."+field] }
	s := r.Reflect(&document{})
	s.ID, s.Title = "https://bonded.dev/schema/gate.json", "Gate"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// fieldComments returns the comments of the fields of a file's structs, by
// "type.Field".
func fieldComments(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range s.Fields.List {
				for _, name := range field.Names {
					comments[spec.Name.Name+"."+name.Name] = strings.TrimSpace(strings.ReplaceAll(field.Doc.Text(), "\n", " "))
				}
			}
		}
		return true
	})
	return comments
}

func TestSchemaFile(t *testing.T) {
	CheckFile(t, schemaFile, schema(t))
}

// TestSchemaAgrees: the schema accepts the shipped gates, and refuses what
// Parse refuses for the same reason.
func TestSchemaAgrees(t *testing.T) {
	doc, err := validator.UnmarshalJSON(bytes.NewReader(schema(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("gate.json", doc); err != nil {
		t.Fatal(err)
	}
	sch, err := c.Compile("gate.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Shipped() {
		text, err := ShippedText(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := sch.Validate(asJSON(t, text)); err != nil {
			t.Errorf("gate %s: %v", name, err)
		}
	}
	const head = "apiVersion: bonded.dev/v1\nkind: Gate\nname: a\naccepts: [image]\n"
	for _, text := range []string{
		"{}", head + "entre: []", head + "enter: [{rule: a, sais: b}]", head + "enter: [{rule: A, says: b}]", head + "stay: [{rule: a, says: b, within: {severe: 1h}}]",
		head + "stay: [{rule: a, says: b, then: remove}]", head + "enter: [{rule: a, says: b, recheck: 3 days}]", head + "enter: [{rule: a, says: b, kinds: [images]}]",
		head + "unreadLayers: maybe", head + "effective: {from: soon}", head + "waive: {people: 99}",
		head + "enter: [{rule: a, maxSeverity: {severity: terrible}}]",
	} {
		if err := sch.Validate(asJSON(t, []byte(text))); err == nil {
			t.Errorf("the schema accepts %q", text)
		}
		if _, err := Parse("g", []byte(text)); err == nil {
			t.Errorf("Parse accepts %q", text)
		}
	}
}

func asJSON(t *testing.T, text []byte) any {
	t.Helper()
	j, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := validator.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDocs: the tables in docs/gates.md are those of the code.
func TestDocs(t *testing.T) {
	old, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	text := string(old)
	for name, table := range map[string]string{"variables": variablesTable(), "types": typesTables(), "gates": gatesTable(t), "limits": limitsTable()} {
		begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
		before, rest, ok := strings.Cut(text, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no place for %s", docsFile, name)
		}
		text = before + begin + table + end + after
	}
	CheckFile(t, docsFile, []byte(text))
}

func variablesTable() string {
	var b strings.Builder
	b.WriteString("| variable | type | what it is |\n| --- | --- | --- |\n")
	for _, v := range variables {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", v.name, typeName(v.typ), v.doc)
	}
	return b.String()
}

// typeName says a type as expressions spell it.
func typeName(t *types.Type) string {
	return strings.ReplaceAll(strings.ReplaceAll(t.String(), "google.protobuf.Timestamp", "timestamp"), "google.protobuf.Duration", "duration")
}

// TestEverythingIsDocumented: no variable and no member without a word.
func TestEverythingIsDocumented(t *testing.T) {
	for _, v := range variables {
		if v.doc == "" {
			t.Errorf("variable %s has no doc", v.name)
		}
	}
	for _, o := range objectTypes {
		for _, m := range o.members {
			if m.doc == "" {
				t.Errorf("%s.%s has no doc", o.name, m.name)
			}
		}
	}
}

func typesTables() string {
	var b strings.Builder
	for _, t := range objectTypes {
		fmt.Fprintf(&b, "\n**%s**: %s.\n\n| member | type | what it is |\n| --- | --- | --- |\n", t.name, t.doc)
		for _, m := range t.members {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", m.name, typeName(m.typ), m.doc)
		}
	}
	return b.String() + "\n"
}

func gatesTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| gate | what it is for | to come in | to stay |\n| --- | --- | --- | --- |\n")
	for _, name := range Shipped() {
		g, err := ShippedGate(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, g.Describe(), ruleNames(g.Rules(Enter)), ruleNames(g.Rules(Stay)))
	}
	return b.String()
}

func ruleNames(rules []RuleText) string {
	var names []string
	for _, r := range rules {
		names = append(names, "`"+r.Name+"`")
	}
	if names == nil {
		return "–"
	}
	return strings.Join(names, ", ")
}

func limitsTable() string {
	return fmt.Sprintf(`| what | limit |
| --- | --- |
| text of a gate | %d KiB |
| rules of a clause | %d |
| one expression | %d characters, %d nodes, loops nested %d deep |
| cost of one expression, estimated and when asked | %d units |
| cost of all expressions of a gate, estimated and when asked | %d units |
| facts listed per rule | %d |
| one text of a fact | %d bytes; a longer one ends with how many bytes more it has: they are in the inventory, the advisory or the evidence that it is from |
`, MaxGate>>10, maxRules, maxExpression, maxNodes, maxNesting, MaxCost, MaxGateCost, maxFacts, maxFactText)
}

// CheckFile compares with a file, or writes it under -update.
func CheckFile(t *testing.T, path string, got []byte) {
	t.Helper()
	if *Update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the code says; go test ./internal/policy -update rewrites it (-want +got):\n%s", path, diff)
	}
}
