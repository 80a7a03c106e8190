package custody

import (
	"maps"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/verify"
)

// partsOf are the parts of a file that statements and events tell, by name.
func partsOf(f *api.Custody) map[string]*api.CustodyPart {
	return map[string]*api.CustodyPart{
		"source": &f.Source, "build": &f.Build, "acquire": &f.Acquire, "analysis": &f.Analysis, "approvals": &f.Approvals, "promotions": &f.Promotions,
	}
}

// tell has the parts name the statements of a referrer that verified.
func tell(f *api.Custody, found verify.Result, who identity) {
	for _, sig := range found.Signatures {
		if sig.Statement == nil {
			continue
		}
		for name, p := range partsOf(f) {
			how := tellings[name]
			if how.says == nil || how.server && (sig.Anchor != OwnAnchor || !who.signed(&sig)) {
				continue
			}
			s := api.CustodyStatement{Referrer: sig.Referrer.String(), Envelope: sig.Envelope.String(), Type: sig.Statement.Type, Says: how.says(sig.Statement)}
			if s.Says != "" && !slices.Contains(p.Statements, s) {
				p.Statements = append(p.Statements, s)
			}
		}
	}
}

// tellEvent has the parts name an event; events come in order.
func tellEvent(f *api.Custody, seq int64, kind string) {
	parts := partsOf(f)
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if slices.Contains(tellings[name].kinds, kind) {
			parts[name].Events = append(parts[name].Events, seq)
		}
	}
}
