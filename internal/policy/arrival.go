package policy

import (
	"cmp"
	"slices"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Arrived returns arrivals, which are in order, as decisions name them.
func Arrived(all []evidence.Arrival) []api.Arrival {
	var names []api.Arrival
	for _, a := range all {
		names = append(names, api.Arrival{Repository: a.Repository.String(), By: a.By, Kind: string(a.Kind), At: stamp(a.At)})
	}
	return names
}

// settled returns arrivals with times as the wire carries them.
func settled(all []evidence.Arrival) []evidence.Arrival {
	all = slices.Clone(all)
	for i := range all {
		all[i].At = stamp(all[i].At)
	}
	return all
}

func compareArrivals(a, b *evidence.Arrival) int {
	return cmp.Or(
		cmp.Compare(a.Repository.String(), b.Repository.String()), a.At.Compare(b.At), cmp.Compare(a.By, b.By), cmp.Compare(a.Kind, b.Kind),
	)
}

// broughtBy is what those are who pushed it: of several kinds the one that says
// most against its having been made by a machine, and Nobody where that cannot be
// ruled out.
func (v *view) broughtBy() evidence.Bringer {
	has := func(k evidence.Bringer) bool {
		return slices.ContainsFunc(v.Arrivals, func(a evidence.Arrival) bool { return a.Kind == k })
	}
	for _, k := range []evidence.Bringer{evidence.Anonymous, evidence.Human, evidence.Nobody, evidence.Machine, evidence.Internal} {
		if has(k) {
			return k
		}
	}
	return evidence.Nobody
}

var arrivalType = typeOver("Arrival", "the first push of it into a repository", []memberOf[evidence.Arrival]{
	{"repository", types.StringType, "into which it was pushed", func(a *evidence.Arrival) ref.Val { return types.String(a.Repository.String()) }},
	{"by", types.StringType, "name of the principal", func(a *evidence.Arrival) ref.Val { return types.String(a.By) }},
	{"kind", types.StringType, "what that was then: `human`, `machine`, `internal` (the server itself) or `anonymous`; empty when nobody knows", func(a *evidence.Arrival) ref.Val { return types.String(a.Kind) }},
	{"at", types.TimestampType, "when", func(a *evidence.Arrival) ref.Val { return types.Timestamp{Time: a.At} }},
}...)

// pushedBy: all who pushed it, on its way here, are of some kinds.
type pushedBy struct{ kinds []evidence.Bringer }

func (p *gateParser) pushedBy(t *ruleText) check {
	var c pushedBy
	for _, k := range t.PushedBy.Kind {
		kind := evidence.Bringer(k.text)
		if !slices.Contains(evidence.Bringers(), kind) {
			p.addf(k.at, "rule %s: pushedBy: kind is %s, want human, machine, internal or anonymous", t.Rule.text, oci.Quote(k.text))
		}
		c.kinds = append(c.kinds, kind)
	}
	if len(c.kinds) == 0 {
		p.addf(t.Rule.at, "rule %s: pushedBy needs kind: who may push it, as in kind: machine", t.Rule.text)
	}
	return c
}

func (c pushedBy) look(e *evaluation) (found, open []item) {
	v := e.view
	if len(v.Arrivals) == 0 {
		open = append(open, textItem("nobody knows who pushed it"))
	}
	for _, a := range v.Arrivals {
		on := a.At.Format(time.RFC3339)
		switch {
		case a.Kind == evidence.Nobody:
			open = append(open, textItem("nobody knows what %s is, who brought it into %s on %s", a.By, a.Repository, on))
		case !slices.Contains(c.kinds, a.Kind):
			found = append(found, textItem("%s (%s) pushed it into %s on %s", a.By, a.Kind, a.Repository, on))
		}
	}
	return found, open
}

func (c pushedBy) texts() readyTexts {
	who := ""
	for i, k := range c.kinds {
		if i > 0 {
			who += " or "
		}
		who += string(k)
	}
	return readyTexts{
		says: "whoever pushed it on its way here is " + who, denied: "it was pushed by somebody else", unclear: "it is not known who pushed it",
		remedy: "build it again, and let the pipeline push that",
	}
}
