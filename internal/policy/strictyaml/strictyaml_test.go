package strictyaml_test

import (
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/policy/strictyaml"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"too long", strings.Repeat("# x\n", 20_000), "1:1: 80000 bytes, at most 65536"},
		{"not UTF-8", "a: \xc3(", "1:1: not UTF-8"},
		{"nothing", "# only a comment\n", "1:1: there is nothing in it"},
		{"two documents", "a: 1\n---\nb: 2\n", "1:1: want one YAML document, found 2"},
		{"unclosed", "a: [1, 2\n", "1:4: sequence end token ']' not found"},
		{"repeated key", "a: 1\na: 2\n", "2:1: mapping key \"a\" already defined at [1:1]"},
		{"anchor", "a: &x [1]\nb: 2\n", "1:4: anchors"},
		{"alias", "a: *x\n", "1:4: anchors"},
		{"merge", "<<: {a: 1}\n", "1:1: anchors"},
		{"tag", "a: !!int \"1\"\n", "1:4: anchors"},
		// Each of these costs the YAML library seconds or more.
		{"deep list", strings.Repeat("[", 65_000), "1:21: nested deeper than 20"},
		{"deep map", strings.Repeat("{a: ", 16_000), "1:81: nested deeper than 20"},
		{"deep block list", strings.Repeat("- ", 32_000), "1:41: nested deeper than 20"},
		{"deep over lines", strings.Repeat("[\n", 30_000), "21:1: nested deeper than 20"},
		{"deep by indentation", indented(200), "nested deeper than 20"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, f := strictyaml.Parse([]byte(tc.text), 64<<10)
			if f == nil || !strings.Contains(f.Error(), tc.want) {
				t.Errorf("Parse: %v, want %q", f, tc.want)
			}
		})
	}
}

func indented(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// TestDecode: unknown keys are refused, and what a node does not name stays.
func TestDecode(t *testing.T) {
	type pair struct{ A, B string }
	v := pair{A: "old", B: "old"}
	root, f := strictyaml.Parse([]byte("a: new\n"), 100)
	if f != nil {
		t.Fatal(f)
	}
	if f := strictyaml.Decode(root, &v); f != nil || v != (pair{"new", "old"}) {
		t.Errorf("Decode: %v, %v", v, f)
	}
	if root, f = strictyaml.Parse([]byte("a: new\nc: new\n"), 100); f != nil {
		t.Fatal(f)
	}
	if f := strictyaml.Decode(root, &v); f == nil || f.Error() != `2:1: unknown field "c"` {
		t.Errorf("Decode of an unknown key: %v", f)
	}
	if f := strictyaml.Decode(root, v); f == nil {
		t.Error("Decode into what is no pointer gives no fault")
	}
}
