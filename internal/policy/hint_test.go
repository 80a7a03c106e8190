package policy

import "testing"

func TestHint(t *testing.T) {
	for text, want := range map[string]string{
		"undefined field 'sevrity'":                              "undefined field 'sevrity' (did you mean 'severity'?)",
		"undefined field 'licence'":                              "undefined field 'licence' (did you mean 'licenses'?)",
		"undefined field 'colour'":                               "undefined field 'colour'",
		`unknown field "forbd"`:                                  `unknown field "forbd" (did you mean 'forbid'?)`,
		`unknown field "Rule"`:                                   `unknown field "Rule" (did you mean 'rule'?)`,
		`unknown field "zone"`:                                   `unknown field "zone"`,
		"Syntax error: token recognition error at: '= '":         `"=" is no operator: write "==" to compare`,
		"found no matching overload for '_&&_' applied to '(x)'": "found no matching overload for '_&&_' applied to '(x)'",
	} {
		if got := hint(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestHintsOfGates(t *testing.T) {
	const head = "apiVersion: bonded.dev/v1\nkind: Gate\nname: x\naccepts: [image]\nenter:\n  - rule: a\n    says: b\n    "
	for rest, want := range map[string]string{
		`forbid: findings.filter(f, f.severity = "high")`: `not a valid gate: g:8:43: rule a: forbid, line 1, column 31: "=" is no operator: write "==" to compare`,
		`forbd: findings`:                   `not a valid gate: g:8:5: unknown field "forbd" (did you mean 'forbid'?)`,
		"forbid: findings\n\tdenied: it is": "not a valid gate: g:9:1: a tab: YAML is indented with spaces",
	} {
		if _, err := Parse("g", []byte(head+rest+"\n")); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", rest, err, want)
		}
	}
}
