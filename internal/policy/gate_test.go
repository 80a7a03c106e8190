package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/bonded-dev/bonded/internal/oci"
)

// TestParseFaults checks every line that is reported for a bad gate, with its
// place.
func TestParseFaults(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/faults.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(ar.Files); i += 2 {
		text, want := ar.Files[i], ar.Files[i+1]
		t.Run(text.Name, func(t *testing.T) {
			_, err := Parse("g", text.Data)
			if !errors.Is(err, ErrGateInvalid) {
				t.Fatalf("Parse: error %v, want one that matches ErrGateInvalid", err)
			}
			got := strings.TrimPrefix(err.Error(), ErrGateInvalid.Error()+": ")
			got = strings.TrimPrefix(strings.ReplaceAll(got, "\ng:", "\n"), "g:") + "\n"
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseLimits checks the limits that need more text than a table holds.
func TestParseLimits(t *testing.T) {
	const head = "apiVersion: bonded.dev/v1\nkind: Gate\nname: a\naccepts: [image]\n"
	rules := func(n int, require string) string {
		var b strings.Builder
		b.WriteString(head + "enter:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {rule: r%d, says: b, require: %q}\n", i, require)
		}
		return b.String()
	}
	for _, tc := range []struct{ name, text, want string }{
		{"bytes", head + "# " + strings.Repeat("x", MaxGate), "bytes, at most 65536"},
		{"not UTF-8", head + "# \xff", "not UTF-8"},
		{"depth", head + "enter: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), "nested deeper than 20"},
		{"rules", rules(65, "true"), "enter has 65 rules, at most 64"},
		{"cost of all", rules(60, `packages.all(p, !p.name.matches("^a.*b.*c$") || !p.path.matches("^a.*b.*c$"))`), "all expressions together may cost"},
		{"expression", rules(1, strings.Repeat("1", 5000)+" > 1"), "expression code point size exceeds limit"},
		{"nesting of an expression", rules(1, strings.Repeat("(", 600)+"true"+strings.Repeat(")", 600)), "expression recursion limit exceeded"},
		{"sentence", strings.Replace(rules(1, "true"), "says: b", "says: "+strings.Repeat("b", 301), 1), "says has 301 bytes, want one line of at most 300"},
		{"many faults", rules(40, "nope"), "and 20 more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("g", []byte(tc.text))
			if !errors.Is(err, ErrGateInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Parse: %v, want %q", err, tc.want)
			}
		})
	}
}

func TestGateAnswers(t *testing.T) {
	text, err := ShippedText("production")
	if err != nil {
		t.Fatal(err)
	}
	g, err := ShippedGate("production")
	if err != nil {
		t.Fatal(err)
	}
	if g.Name() != "production" || g.Digest() != oci.FromBytes(text) || g.Describe() == "" {
		t.Errorf("gate is %s %s %q", g.Name(), g.Digest(), g.Describe())
	}
	if !g.Accepts(oci.KindChart) || g.Accepts(oci.KindOther) {
		t.Error("production accepts charts, and nothing of kind other")
	}
	if rules := g.Rules(Stay); len(rules) != 3 || rules[0].Name != "fresh-advisories" || rules[0].Says == "" {
		t.Errorf("rules of clause stay are %v", rules)
	}
	if _, err := ShippedGate("prod"); err == nil || !strings.Contains(err.Error(), "there are allow-all, catalog, dev, production, quarantine, staging") {
		t.Errorf("ShippedGate of an unknown name: %v", err)
	}
}
