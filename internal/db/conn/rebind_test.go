package conn

import (
	"regexp"
	"strings"
	"testing"
)

func TestDollars(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"SELECT 1", "SELECT 1"},
		{"SELECT ?", "SELECT $1"},
		{"?,?,?", "$1,$2,$3"},
		{"a = '?' AND b = ?", "a = '?' AND b = $1"},
		{"a = 'it''s ?' AND b = ?", "a = 'it''s ?' AND b = $1"},
		{`"?" = ?`, `"?" = $1`},
		{"x -- why?\n= ?", "x -- why?\n= $1"},
		{"x -- why?", "x -- why?"},
		{"'open ?", "'open ?"},
		{"a - ? - -?", "a - $1 - -$2"},
	} {
		if got := Dollars(tt.in); got != tt.want {
			t.Errorf("Dollars(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzDollars(f *testing.F) {
	for _, s := range []string{"SELECT ?", "a = '?' AND b = ?", "-- ?\n?", `"?"?`, "'''?'?", "???????????"} {
		f.Add(s)
	}
	mark := regexp.MustCompile(`\$[0-9]+`)
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "$") {
			return // then the way back is ambiguous
		}
		// Only question marks change: turned back, the query is what it was, as
		// long as no digit follows a mark.
		got := Dollars(s)
		if regexp.MustCompile(`\?[0-9]`).MatchString(s) {
			return
		}
		if back := mark.ReplaceAllString(got, "?"); back != s {
			t.Errorf("Dollars(%q) = %q, which reads back as %q", s, got, back)
		}
	})
}
