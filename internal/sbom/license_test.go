package sbom

import (
	"strings"
	"testing"
)

func TestReadLicense(t *testing.T) {
	for _, tc := range []struct {
		text, want string
		simple     bool
	}{
		{"MIT", "MIT", true},
		{"mit", "MIT", true},
		{"APACHE-2.0", "Apache-2.0", true},
		{"GPL-2.0+", "GPL-2.0+", true}, // of the list, deprecated
		{"MPL-2.0+", "MPL-2.0+", false},
		{"MIT OR Apache-2.0", "MIT OR Apache-2.0", false},
		{"mit AND (apache-2.0 OR bsd-3-clause)", "MIT AND (Apache-2.0 OR BSD-3-Clause)", false},
		{"GPL-2.0-or-later WITH classpath-exception-2.0", "GPL-2.0-or-later WITH Classpath-exception-2.0", false},
		{"  (MIT)  ", "MIT", true},
		{"((MIT OR ISC))", "MIT OR ISC", false},
		{"(MIT) OR (ISC)", "(MIT) OR (ISC)", false},
		{"", "", false},
		{"()", "", false},
		{"MIT or Apache-2.0", "", false}, // operators are upper case
		{"MIT OR", "", false},
		{"OR MIT", "", false},
		{"MIT Apache-2.0", "", false},
		{"(MIT", "", false},
		{"MIT)", "", false},
		{"MIT WITH", "", false},
		{"MIT WITH MIT", "", false},
		{"Classpath-exception-2.0", "", false},
		{"(MIT OR ISC) WITH Classpath-exception-2.0", "", false},
		{"LicenseRef-mine", "", false}, // refers to nothing in our document
		{"DocumentRef-x:LicenseRef-mine", "", false},
		{"GPL-2+", "", false}, // Debian's own names
		{"BSD", "", false},
		{"+", "", false},
		{"MIT++", "", false},
		{strings.Repeat("(", 33) + "MIT" + strings.Repeat(")", 33), "", false},
		{strings.Repeat("(", 32) + "MIT" + strings.Repeat(")", 32), "MIT", true},
		{strings.Repeat("MIT OR ", 200) + "MIT", "", false}, // too long
	} {
		if l := read(tc.text); l.expression != tc.want || l.simple != tc.simple {
			t.Errorf("read(%q): %q, simple %t; want %q, %t", tc.text, l.expression, l.simple, tc.want, tc.simple)
		}
	}
}

func TestLists(t *testing.T) {
	ids := knownIDs()
	if len(ids.licenses) < 480 || len(ids.exceptions) < 40 {
		t.Errorf("%d licences and %d exceptions", len(ids.licenses), len(ids.exceptions))
	}
	for id := range ids.exceptions {
		if _, ok := ids.licenses[id]; ok {
			t.Errorf("%s is both licence and exception", id)
		}
	}
}

// FuzzReadLicense: what is read as an expression is read again as itself, and
// holds nothing but what expressions are made of.
func FuzzReadLicense(f *testing.F) {
	for _, text := range []string{"MIT", "mit AND (apache-2.0 OR isc)", "GPL-2.0-only WITH Classpath-exception-2.0", "((", "MIT+ OR", "LicenseRef-x", "\x00(\xff)"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := read(text)
		if l.expression == "" {
			if ref := l.ref(); len(ref) != len(licenseRefStart)+16 {
				t.Fatalf("reference %q", ref)
			}
			return
		}
		if again := read(l.expression); again.expression != l.expression || again.simple != l.simple {
			t.Fatalf("%q is read as %q, and that as %q", text, l.expression, again.expression)
		}
		if i := strings.IndexFunc(l.expression, func(r rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+-() ", r)
		}); i >= 0 {
			t.Fatalf("%q is read as %q", text, l.expression)
		}
	})
}
