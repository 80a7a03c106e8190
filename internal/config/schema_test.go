package config_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
)

var update = flag.Bool("update", false, "rewrite schema.json and docs/schema/config.json")

// TestSchema holds the published schema against the struct.
func TestSchema(t *testing.T) {
	want := generate(t)
	for _, name := range []string{"schema.json", filepath.Join("..", "..", "docs", "schema", "config.json")} {
		if *update {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is stale, run go test ./internal/config -update: %s", name, diff)
		}
	}
	if !*update && !bytes.Equal(config.Schema(), want) {
		t.Error("Schema() is not what is published")
	}
}

// generate makes the schema from the types, their comments and the defaults.
func generate(t *testing.T) []byte {
	t.Helper()
	r := &jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, DoNotReference: true, Anonymous: true, Mapper: scalar}
	if err := r.AddGoComments("github.com/bonded-dev/bonded/internal/config", "./", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	s := r.Reflect(&config.Config{})
	s.ID = "https://bonded.dev/schema/config.json"
	s.Title = "Configuration of bonded serve"
	unwrap(s)
	defaults(s, reflect.ValueOf(config.Default()))
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// scalar gives our own types the form they have in a file.
func scalar(typ reflect.Type) *jsonschema.Schema {
	switch typ {
	case reflect.TypeFor[config.Size]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "string", Pattern: `^[0-9]+ *(B|[kMGT]B|[KMGT]iB)?$`}, {Type: "integer", Minimum: "0"},
		}}
	case reflect.TypeFor[config.Duration](), reflect.TypeFor[*config.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+d|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`}
	case reflect.TypeFor[config.Path]():
		return &jsonschema.Schema{Type: "string"}
	}
	return nil
}

// unwrap joins the lines of comments: a schema has no line width.
func unwrap(s *jsonschema.Schema) {
	s.Description = strings.Join(strings.Fields(s.Description), " ")
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		unwrap(p.Value)
	}
	if s.Items != nil && s.Items.Properties != nil {
		unwrap(s.Items)
	}
}

// defaults notes the values of Default where they are not zero.
func defaults(s *jsonschema.Schema, v reflect.Value) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		p, ok := s.Properties.Get(name)
		if !ok || v.Field(i).IsZero() {
			continue
		}
		switch v.Field(i).Kind() {
		case reflect.Struct:
			defaults(p, v.Field(i))
		case reflect.Slice:
		default:
			p.Default = v.Field(i).Interface()
		}
	}
}

// TestSchemaDescribesAll: every field says what it means and what it is
// without being set.
func TestSchemaDescribesAll(t *testing.T) {
	var s any
	if err := json.Unmarshal(config.Schema(), &s); err != nil {
		t.Fatal(err)
	}
	fields := 0
	var walk func(path string, s map[string]any)
	walk = func(path string, s map[string]any) {
		props, _ := s["properties"].(map[string]any)
		for name, p := range props {
			p := p.(map[string]any)
			fields++
			text, _ := p["description"].(string)
			if !strings.Contains(text, "Optional") && !strings.Contains(text, "Needed") && !strings.Contains(text, "is needed") && !strings.Contains(text, "one of") && !strings.Contains(path, "feeds") {
				t.Errorf("%s.%s does not say whether it is optional: %q", path, name, text)
			}
			walk(path+"."+name, p)
			if items, ok := p["items"].(map[string]any); ok {
				walk(path+"."+name, items)
			}
		}
	}
	walk("", s.(map[string]any))
	if fields < 50 {
		t.Errorf("only %d fields are described", fields)
	}
}

// TestVariables pins the names that people write into unit files.
func TestVariables(t *testing.T) {
	got := strings.Join(config.Variables(), "\n")
	for _, want := range []string{"BONDED_SERVER_LISTEN", "BONDED_SERVER_URL", "BONDED_SERVER_DATA", "BONDED_TLS_HOSTS", "BONDED_DATABASE_POSTGRES_URL_FILE", "BONDED_CONTENT_S3_SECRET_KEY_FILE", "BONDED_LIMITS_BLOB", "BONDED_METRICS_LISTEN"} {
		if !strings.Contains(got, want+"\n") && !strings.HasSuffix(got, want) {
			t.Errorf("%s is not among\n%s", want, got)
		}
	}
}
