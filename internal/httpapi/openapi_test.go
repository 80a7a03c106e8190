package httpapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/api/openapi"
)

var update = flag.Bool("update", false, "write api/openapi/openapi.json and the answers in testdata")

type object map[string]any

// TestOpenAPI makes the description of the API from its table of endpoints, the
// types of package api and their comments, and compares it with the one that
// is served.
func TestOpenAPI(t *testing.T) {
	g := &generator{schemas: object{}, source: readSource(t, "../../api")}
	b, err := json.MarshalIndent(g.document(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.WriteFile("../../api/openapi/openapi.json", b, 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(openapi.JSON), string(b)); diff != "" {
		t.Errorf("the API changed, its description did not; run go test ./internal/httpapi -update (-have +want):\n%s", diff)
	}
}

// Every endpoint can be found, and means what it says.
func TestEndpoints(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range endpoints {
		if seen[e.method+e.path] || e.serve == nil || e.summary == "" || strings.HasSuffix(e.summary, ".") {
			t.Errorf("%s %s", e.method, e.path)
		}
		seen[e.method+e.path] = true
		if e.method == "GET" && e.body != nil || e.needs != "" && e.access != known {
			t.Errorf("%s %s is at odds with itself", e.method, e.path)
		}
		got, arg, err := find(e.method, root+wildcard.ReplaceAllString(e.path, "thing"))
		if err != nil || got.path != e.path || strings.Contains(e.path, "{") != (arg == "thing") {
			t.Errorf("%s %s finds %+v %q %v", e.method, e.path, got, arg, err)
		}
	}
}

var wildcard = regexp.MustCompile(`\{[a-z]+\}`)

type generator struct {
	schemas object
	source  source
}

func (g *generator) document() object {
	paths := object{}
	for _, e := range endpoints {
		path := root + e.path
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(e.method)] = g.operation(e)
	}
	g.schema(typeOf[api.Error]())
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Bonded management API", "version": "1", "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "JSON over HTTPS. Callers authenticate with the name and secret that enrolling gave them (Basic), or with a bearer token of the registry's token flow whose scope is bonded:api:*. Every error is an Error with its HTTP status. Times are RFC 3339.",
		},
		"security": []object{{"secret": []string{}}, {"bearer": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas": g.schemas,
			"securitySchemes": object{
				"secret": object{"type": "http", "scheme": "basic"},
				"bearer": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
			},
			"responses": object{"Error": object{"description": "why not, and the next step", "content": g.content("", typeOf[api.Error]())}},
		},
	}
}

func (g *generator) content(mediaType string, t reflect.Type) object {
	if mediaType == "" {
		mediaType = "application/json"
	}
	schema := object{}
	if t != nil {
		schema = g.schema(t)
	}
	return object{mediaType: object{"schema": schema}}
}

func (g *generator) operation(e endpoint) object {
	status := e.status
	if status == 0 {
		status = 200
	}
	ok := object{"description": "done"}
	if status != 204 {
		ok["content"] = g.content(e.mediaType, e.answer)
	}
	if strings.HasSuffix(e.path, "/sbom") {
		ok["content"].(object)[cycloneDXType] = object{"schema": object{}}
	}
	op := object{"operationId": operationID(e), "summary": e.summary, "responses": object{strconv.Itoa(status): ok, "default": object{"$ref": "#/components/responses/Error"}}}
	var params []object
	if w := wildcard.FindString(e.path); w != "" {
		params = append(params, object{"name": strings.Trim(w, "{}"), "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range e.query {
		schema := object{"type": "string"}
		if p.number {
			schema["type"] = "integer"
		}
		if p.values != nil {
			schema["enum"] = p.values
		}
		param := object{"name": p.name, "in": "query", "description": p.about, "schema": schema}
		if p.required {
			param["required"] = true
		}
		params = append(params, param)
	}
	if params != nil {
		op["parameters"] = params
	}
	if e.body != nil || e.bodyType != "" {
		op["requestBody"] = object{"required": true, "content": g.content(e.bodyType, e.body)}
	}
	if e.needs != "" {
		op["description"] = "Needs the verb " + e.needs + " on the server."
	}
	if e.access == public {
		op["security"] = []object{}
	}
	return op
}

// operationID is method and path in one word: "postFeedsUpdate".
func operationID(e endpoint) string {
	id := strings.ToLower(e.method)
	for _, word := range strings.FieldsFunc(e.path, func(r rune) bool { return !('a' <= r && r <= 'z') }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	return id
}

// schema describes a type; structs of package api are named.
func (g *generator) schema(t reflect.Type) object {
	switch {
	case t == typeOf[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == typeOf[json.RawMessage]():
		return object{} // any value
	case t == typeOf[[]byte]():
		return object{"type": "string", "format": "byte"} // base64
	case t.Kind() == reflect.Pointer:
		return g.schema(t.Elem())
	case t.Kind() == reflect.Struct:
		name := typeName(t)
		if g.schemas[name] == nil {
			g.schemas[name] = object{} // for types that contain themselves
			g.schemas[name] = g.fields(t)
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	switch t.Kind() {
	case reflect.Slice:
		return object{"type": "array", "items": g.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": g.schema(t.Elem())}
	case reflect.Interface:
		return object{} // any value
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		s := object{"type": "string"}
		if values := g.source.constants[t.Name()]; values != nil {
			s["enum"] = values
		}
		return s
	}
	panic("no schema for " + t.String())
}

// typeName is the Go name; Page[…Event] is EventPage.
func typeName(t reflect.Type) string {
	name := t.Name()
	if i := strings.IndexByte(name, '['); i > 0 {
		inner := name[i+1 : len(name)-1]
		return inner[strings.LastIndexByte(inner, '.')+1:] + name[:i]
	}
	return name
}

func (g *generator) fields(t reflect.Type) object {
	base, _, _ := strings.Cut(t.Name(), "[")
	props, required := object{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "-" {
			continue
		}
		owner := base
		if len(f.Index) > 1 {
			owner = t.FieldByIndex(f.Index[:len(f.Index)-1]).Type.Name()
		}
		schema := g.schema(f.Type)
		if about := g.source.comments[owner+"."+f.Name]; about != "" {
			schema["description"] = about
		}
		props[name] = schema
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	s := object{"type": "object", "properties": props}
	if len(required) > 0 {
		s["required"] = required
	}
	if about := g.source.comments[base]; about != "" {
		s["description"] = about
	}
	return s
}

// source is what the Go files of a package say beside its types: comments by
// type and "Type.Field", and the constants of each string type.
type source struct {
	comments  map[string]string
	constants map[string][]string
}

func readSource(t *testing.T, dir string) source {
	t.Helper()
	s := source{map[string]string{}, map[string][]string{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal("no source", err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if gen, ok := d.(*ast.GenDecl); ok {
				s.take(gen)
			}
		}
	}
	return s
}

func (s source) take(gen *ast.GenDecl) {
	for _, spec := range gen.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			s.comments[spec.Name.Name] = oneLine(gen.Doc.Text())
			if st, ok := spec.Type.(*ast.StructType); ok {
				s.takeFields(spec.Name.Name, st)
			}
		case *ast.ValueSpec:
			typ, ok := spec.Type.(*ast.Ident)
			if !ok || gen.Tok != token.CONST {
				continue
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok {
					s.constants[typ.Name] = append(s.constants[typ.Name], strings.Trim(lit.Value, `"`))
				}
			}
		}
	}
}

func (s source) takeFields(owner string, st *ast.StructType) {
	for _, f := range st.Fields.List {
		about := f.Doc.Text()
		if about == "" {
			about = f.Comment.Text()
		}
		for _, n := range f.Names {
			s.comments[owner+"."+n.Name] = oneLine(about)
		}
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestOpenAPIIsServed(t *testing.T) {
	if !json.Valid(openapi.JSON) || bytes.Contains(openapi.JSON, []byte("No schema")) {
		t.Error("no description")
	}
}

// TestLives: the description says of codes and tokens what holds.
func TestLives(t *testing.T) {
	comments := readSource(t, "../../api").comments
	for field, want := range map[string]string{
		"EnrolRequest.TTL":  fmt.Sprintf("default %dh (%d days), at most %dh", api.TokenTTL/time.Hour, api.TokenTTL/(24*time.Hour), api.MaxTokenTTL/time.Hour),
		"InviteRequest.TTL": fmt.Sprintf("default %dm, at most %dh", api.CodeTTL/time.Minute, api.MaxCodeTTL/time.Hour),
	} {
		if !strings.HasSuffix(comments[field], want) {
			t.Errorf("%s says %q, want %q", field, comments[field], want)
		}
	}
}
