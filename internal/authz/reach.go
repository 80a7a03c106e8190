package authz

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Reach is a permitted verb of a principal on all repositories that a pattern
// takes, those that are not there yet too. Only CheckReach makes one.
type Reach struct {
	principal Principal
	verb      Verb
	pattern   string
	ok        bool
}

// CheckReach decides whether p may v in every repository that the pattern takes,
// in which "*" stands for a part of one segment and "**" for any number of
// segments. One grant has to take all of them: it may say no where several
// together do. A token that was issued for single repositories reaches none.
func CheckReach(p Principal, v Verb, pattern string) (Reach, error) {
	if !slices.Contains(Verbs(), v) {
		return Reach{}, fmt.Errorf("unknown verb %s", oci.Quote(string(v)))
	}
	if p.Scope == nil && reaches(p.Grants, v, pattern) && (p.Within == nil || reaches(p.Within, v, pattern)) {
		return Reach{principal: p, verb: v, pattern: pattern, ok: true}, nil
	}
	return Reach{}, &Refusal{Principal: p.Name(), Verb: v, Pattern: pattern, Anonymous: p.IsAnonymous()}
}

func reaches(grants []Grant, v Verb, pattern string) bool {
	return slices.ContainsFunc(grants, func(g Grant) bool {
		return slices.Contains(roles[g.Role], v) && takes(strings.Split(g.Pattern, "/"), strings.Split(pattern, "/"))
	})
}

// takes reports whether the pattern of a grant takes all that in takes. A "**" of
// in is at least one character, and may be of any segment from its own on.
func takes(out, in []string) bool {
	for i, o := range out {
		switch {
		case o == "**":
			return i < len(in)
		case i >= len(in) || strings.Contains(in[i], "**"):
			return false
		case o == in[i] || o == "*":
		case strings.Contains(in[i], "*"):
			return false
		default:
			if ok, err := path.Match(o, in[i]); err != nil || !ok {
				return false
			}
		}
	}
	return len(in) == len(out)
}

// Principal returns who acts.
func (r Reach) Principal() Principal { return r.principal }

// Permits returns nil when r is a real Reach of one of the verbs over pattern.
func (r Reach) Permits(pattern string, verbs ...Verb) error {
	if r.ok && r.pattern == pattern && slices.Contains(verbs, r.verb) {
		return nil
	}
	return &Refusal{Principal: r.principal.Name(), Verb: verbs[0], Pattern: pattern, Anonymous: r.principal.IsAnonymous()}
}
