package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

const (
	teams = "apiVersion: bonded.dev/v1\nkind: Data\nname: teams\ndescribe: Who owns what.\ntable: {payments: ann, ledger: bob}\n"
	users = "apiVersion: bonded.dev/v1\nkind: Data\nname: users\nlist: [\"1000\", \"65532\"]\n"
	byTab = "apiVersion: bonded.dev/v1\nkind: Gate\nname: owned\naccepts: [image]\nenter:\n  - rule: known-user\n    says: it runs as a user whom we know\n    require: config.user in data.users\n" +
		"  - rule: owned\n    says: whoever owns it has brought it\n    require: artifact.path in data.teams && data.teams[artifact.path] == pushedBy\n"
)

func parseData(t *testing.T, text string) *policy.Data {
	t.Helper()
	d, err := policy.ParseData("data.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestData: rules look things up in data, and a gate with other data is another.
func TestData(t *testing.T) {
	table, list := parseData(t, teams), parseData(t, users)
	g, err := policy.Parse("owned", []byte(byTab), list, table)
	if err != nil {
		t.Fatal(err)
	}
	suite, err := policytest.Parse("owned", []byte(`gate: owned
given: {repository: owned/payments, pushedBy: ann, config: {user: "1000"}}
cases:
  - case: a known user, by the owner
    expect: {outcome: allow}
  - case: by somebody else
    given: {pushedBy: bob}
    expect: {outcome: deny, rules: {owned: deny}, only: true}
  - case: owned by nobody
    given: {repository: owned/other}
    expect: {outcome: deny, rules: {owned: deny}, only: true}
  - case: another user
    given: {config: {user: "0"}}
    expect: {outcome: deny, rules: {known-user: deny}, only: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	policytest.Run(t, g, suite)
	var d api.Decision
	if d, err = g.Evaluate(t.Context(), policy.Enter, suite.Cases[0].Input()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{table.Digest().String(), list.Digest().String()}, d.Inputs.Data); diff != "" {
		t.Errorf("data of the decision (-want +got):\n%s", diff)
	}
	other, err := policy.Parse("owned", []byte(byTab), parseData(t, strings.Replace(users, "1000", "1001", 1)), table)
	if err != nil {
		t.Fatal(err)
	}
	unused, err := policy.Parse("owned", []byte(byTab), list, table, parseData(t, strings.Replace(users, "name: users", "name: others", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if g.Digest() != other.Digest() || g.InForce() == other.InForce() || g.InForce() != unused.InForce() {
		t.Errorf("in force as %s, with other data as %s, with more data as %s", g.InForce().Short(), other.InForce().Short(), unused.InForce().Short())
	}
}

// TestDataFaults: what data is not, and what a gate cannot name.
func TestDataFaults(t *testing.T) {
	const head = "apiVersion: bonded.dev/v1\nkind: Data\nname: a\n"
	for text, want := range map[string]string{
		"":                            "1:1: there is nothing in it",
		head:                          "3:7: it needs list or table, and not both",
		head + "list: [a]\ntable: {}": "it needs list or table",
		head + "list: [{}]":           "4:8: want a text",
		head + "list: [1]":            "4:8: want a text, found integer; put it in quotes",
		head + "lists: [a]":           `4:1: unknown field "lists"`,
		strings.Replace(head, "name: a", "name: a-b", 1) + "list: [a]": "3:7: name is",
	} {
		if _, err := policy.ParseData("d", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, tc := range []struct {
		require, want string
		data          []*policy.Data
	}{
		{"config.user in data.users", "no data was given", nil},
		{"config.user in data.usres", "did you mean 'data.users'?", []*policy.Data{parseData(t, users)}},
		{"data.users == 'a'", "found no matching overload", []*policy.Data{parseData(t, users)}},
	} {
		_, err := policy.Parse("g", []byte("apiVersion: bonded.dev/v1\nkind: Gate\nname: g\naccepts: [image]\nenter: [{rule: a, says: b, require: \""+tc.require+"\"}]"), tc.data...)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.require, err, tc.want)
		}
	}
}

// FuzzParseData: whatever is read as data can be looked up in.
func FuzzParseData(f *testing.F) {
	f.Add(teams)
	f.Add(users)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := policy.ParseData("d", []byte(text))
		if err != nil {
			return
		}
		if d.Name() == "" || d.Digest().IsZero() {
			t.Errorf("data without a name: %q", text)
		}
	})
}
