package house

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// namedTest is a test that docs/security/threats.md says stands against a threat.
var namedTest = regexp.MustCompile("\\| `([a-z0-9/-]+)` (Test\\w+)((?:, Test\\w+)*) \\|")

// TestThreats holds the tests of docs/security/threats.md to those that exist.
func TestThreats(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("../..", "docs/security/threats.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := namedTest.FindAllSubmatch(doc, -1)
	if len(found) < 30 {
		t.Fatalf("found %d tests in docs/security/threats.md: its form has changed", len(found))
	}
	each := regexp.MustCompile(`Test\w+`)
	for _, m := range found {
		var all []byte
		files, err := filepath.Glob(filepath.Join("../..", string(m[1]), "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("threats.md names tests in %s, where there are none", m[1])
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		for _, name := range each.FindAll(append(m[2], m[3]...), -1) {
			if !bytes.Contains(all, append(append([]byte("func "), name...), "(t *testing.T)"...)) {
				t.Errorf("threats.md names %s in %s, which does not exist", name, m[1])
			}
		}
	}
}
