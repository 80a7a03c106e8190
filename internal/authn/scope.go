package authn

import (
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Limits of what one token may be asked for: scopes, and bytes of each.
const (
	maxScopes   = 50
	maxScopeLen = 512
)

// resource is one scope of the registry token flow, "type:name:actions", in a
// request as well as in a token.
type resource struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// The resources that are known, beside "repository".
const (
	catalogType, catalogName = "registry", "catalog" // Docker's listing of repositories
	wholeType, wholeName     = "bonded", "api"       // everything the account may do, for the management API
)

func (r resource) String() string {
	return r.Type + ":" + r.Name + ":" + strings.Join(r.Actions, ",")
}

// parseScopes reads the scope parameters of a request, each of which may hold
// several, separated by spaces. What is no scope, or more than there may be,
// is left out: it gives nothing.
func parseScopes(params []string) []resource {
	var out []resource
	for _, p := range params {
		for s := range strings.FieldsSeq(p) {
			if r, ok := parseScope(s); ok && len(out) < maxScopes {
				out = append(out, r)
			}
		}
	}
	return out
}

// parseScope reads one. A type may carry a class in parentheses, which says
// nothing here; a name may hold colons, actions may not.
func parseScope(s string) (resource, bool) {
	kind, rest, _ := strings.Cut(s, ":")
	i := strings.LastIndexByte(rest, ':')
	if i < 1 || len(s) > maxScopeLen {
		return resource{}, false
	}
	kind, _, _ = strings.Cut(kind, "(")
	r := resource{Type: kind, Name: rest[:i]}
	for a := range strings.SplitSeq(rest[i+1:], ",") {
		if a != "" && !slices.Contains(r.Actions, a) {
			r.Actions = append(r.Actions, a)
		}
	}
	return r, len(r.Actions) > 0
}

// actions are those of a repository, with the verbs that each stands for: any
// of them suffices to be given the action, and it gives all of them.
var actions = []struct {
	name  string
	verbs []authz.Verb
}{
	{"pull", []authz.Verb{authz.Pull, authz.PullFromQuarantine}},
	{"push", []authz.Verb{authz.Push, authz.Attach}},
	{"delete", []authz.Verb{authz.Delete, authz.Withdraw}},
}

// grantable returns what p gets of what was asked for: never more than p may
// do, and no error when that is less, as the token flow has it.
func grantable(p authz.Principal, open authz.Open, asked []resource) []resource {
	out := []resource{}
	for _, r := range asked {
		if r.Actions = given(p, open, r); len(r.Actions) > 0 {
			out = append(out, r)
		}
	}
	return out
}

func given(p authz.Principal, open authz.Open, r resource) []string {
	all := slices.Contains(r.Actions, "*")
	switch {
	case r.Type == wholeType && r.Name == wholeName && all && !p.IsAnonymous():
		return []string{"*"}
	case r.Type == catalogType && r.Name == catalogName && all:
		return []string{"*"}
	case r.Type != "repository":
		return nil
	}
	name, err := oci.ParseRepository(r.Name)
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range actions {
		if (all || slices.Contains(r.Actions, a.name)) && mayAny(p, open, name, a.verbs) {
			out = append(out, a.name)
		}
	}
	return out
}

func mayAny(p authz.Principal, open authz.Open, r oci.Repository, verbs []authz.Verb) bool {
	return slices.ContainsFunc(verbs, func(v authz.Verb) bool {
		_, err := authz.Check(p, v, r, open)
		return err == nil
	})
}

// scopeOf turns what a token was made for into what it narrows its principal
// to; nil for one that narrows nothing.
func scopeOf(rs []resource) []authz.Scope {
	out := []authz.Scope{}
	for _, r := range rs {
		switch r.Type {
		case wholeType:
			return nil
		case catalogType:
			out = append(out, authz.Scope{Verbs: []authz.Verb{authz.Pull}})
			continue
		}
		name, err := oci.ParseRepository(r.Name)
		if err != nil {
			continue
		}
		s := authz.Scope{Repository: name}
		for _, a := range actions {
			if slices.Contains(r.Actions, a.name) {
				s.Verbs = append(s.Verbs, a.verbs...)
			}
		}
		out = append(out, s)
	}
	return out
}
