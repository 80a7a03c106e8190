package authz

import (
	"errors"
	"testing"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// TestReach: a verb over a pattern needs one grant that takes all of it.
func TestReach(t *testing.T) {
	for _, tt := range []struct {
		grant, pattern string
		want           bool
	}{
		{"**", "production/**", true},
		{"production/**", "production/**", true},
		{"production/**", "production/payments/*", true},
		{"production/**", "production/pay**", true},
		{"production/**", "production", false},
		{"production/**", "staging/**", false},
		{"production/payments/**", "production/payments/api", true},
		{"production/payments/**", "production/payments", false},
		{"production/payments/**", "production/pay*/api", false},
		{"production/payments/**", "production/payments**", false},
		{"production/payments/**", "production/**", false},
		{"production/payments/**", "production/**/api", false},
		{"production/*", "production/*", true},
		{"production/*", "production/a*", true},
		{"production/*", "production/a**", false},
		{"production/*", "production/a/b", false},
		{"production/*/api", "production/*/api", true},
		{"production/team-*", "production/team-a", true},
		{"production/team-*", "production/team-*", true},
		{"production/team-*", "production/team-*b", false},
		{"production/team-*", "production/*", false},
		{"production/payments/api", "production/payments/api", true},
		{"production/payments/api", "production/payments/*", false},
	} {
		p := Principal{Issuer: "bonded", Subject: "sam", Method: "token", Grants: []Grant{{"security", tt.grant}}}
		r, err := CheckReach(p, Waive, tt.pattern)
		if got := err == nil; got != tt.want || got != (r.Permits(tt.pattern, Waive) == nil) {
			t.Errorf("security=%s over %s: %v", tt.grant, tt.pattern, err)
		}
		if err != nil && !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%v", err)
		}
		if r.Permits(tt.pattern+"x", Waive) == nil || r.Permits(tt.pattern, Revoke) == nil {
			t.Errorf("what was permitted over %s permits more", tt.pattern)
		}
		p.Within = []Grant{{"reader", "**"}}
		if _, err := CheckReach(p, Waive, tt.pattern); err == nil {
			t.Errorf("a token of a reader waives over %s", tt.pattern)
		}
		p.Within, p.Scope = nil, []Scope{{Repository: oci.MustRepository("production/payments/api"), Verbs: []Verb{Waive}}}
		if _, err := CheckReach(p, Waive, tt.pattern); err == nil {
			t.Errorf("a token of one repository waives over %s", tt.pattern)
		}
	}
	if (Reach{}).Permits("", "") == nil {
		t.Error("the zero Reach permits something")
	}
}

// FuzzReach: what a grant reaches by a pattern it gives in each repository that the
// pattern takes.
func FuzzReach(f *testing.F) {
	for _, s := range [][3]string{
		{"production/**", "production/**", "production/a/b"}, {"production/*/api", "production/*/api", "production/a/api"},
		{"production/team-*", "production/team-*", "production/team-a"}, {"production/*", "production/a**", "production/ab/c"},
		{"**", "production/**/x", "production/a/x"}, {"production/a/**", "production/a*", "production/a/b"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, grant, pattern, name string) {
		g := Grant{"security", grant}
		takes, err := evidence.ParsePattern(pattern)
		if err != nil || g.Check() != nil {
			return
		}
		r, err := oci.ParseRepository(name)
		if err != nil || !takes.Match(name) {
			return
		}
		p := Principal{Issuer: "bonded", Subject: "sam", Method: "token", Grants: []Grant{g}}
		if _, err := CheckReach(p, Waive, pattern); err != nil {
			return
		}
		if _, err := Check(p, Waive, r, nil); err != nil {
			t.Errorf("%s reaches %s, and %s not: %v", grant, pattern, name, err)
		}
	})
}
