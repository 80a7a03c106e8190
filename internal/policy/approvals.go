package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// approvals: people said yes.
type approvals struct {
	count     int
	by        []string // names, and "group:NAME"; empty for whoever may approve
	notPusher bool
}

func (p *gateParser) approvals(t *ruleText) check {
	c := approvals{count: max(1, t.Approvals.Count), notPusher: t.Approvals.NotTheOneWhoPushed}
	if n := t.Approvals.Count; n < 0 || n > maxPeople {
		p.addf(t.Rule.at, "rule %s: approvals: count is %d, want 1 to %d", t.Rule.text, n, maxPeople)
	}
	for _, s := range t.Approvals.By {
		if name := strings.TrimPrefix(s.text, groupPrefix); name == "" || strings.ContainsAny(name, "* ") {
			p.addf(s.at, "rule %s: approvals: by has %s, want the name of a principal, or group:NAME", t.Rule.text, oci.Quote(s.text))
		}
		c.by = append(c.by, s.text)
	}
	if named := len(c.by); named > 0 && !slices.ContainsFunc(c.by, isGroup) && named < c.count {
		p.addf(t.Approvals.By[0].at, "rule %s: approvals: %d people have to approve, and by names %d", t.Rule.text, c.count, named)
	}
	return c
}

// ReadsApprovals reports whether a rule looks at approvals.
func (g *Gate) ReadsApprovals() bool {
	for _, rules := range [][]rule{g.enter, g.stay} {
		for i := range rules {
			if _, ok := rules[i].check.(approvals); ok {
				return true
			}
		}
	}
	return false
}

func (c approvals) look(e *evaluation) (found, open []item) {
	v := e.view
	if c.notPusher && len(v.Arrivals) == 0 {
		return nil, []item{textItem("nobody knows who pushed it")}
	}
	counted := map[string]bool{}
	for i := range v.Approvals {
		w := &v.Approvals[i]
		switch {
		case !c.counts(&w.By):
			open = append(open, textItem("the yes of %s does not count here", w.By.Name))
		case c.notPusher && v.pushed(w.By.Name):
			open = append(open, textItem("the yes of %s does not count: who pushed it cannot approve it", w.By.Name))
		case !counted[w.By.Name]:
			counted[w.By.Name] = true
			text := "approved by " + w.By.Name
			if w.Reason != "" {
				text += ": " + w.Reason
			}
			open = append(open, textItem("%s", text))
		}
	}
	if len(counted) >= c.count {
		return nil, nil
	}
	return nil, append([]item{textItem("%d of %d approvals", len(counted), c.count)}, open...)
}

// counts reports whether the rule asks for this person's yes.
func (c approvals) counts(by *evidence.Grantor) bool {
	return len(c.by) == 0 || slices.Contains(c.by, by.Name) ||
		slices.ContainsFunc(by.Groups, func(g string) bool { return slices.Contains(c.by, groupPrefix+g) })
}

// pushed reports whether somebody of that name pushed it, here or on its way here.
func (v *view) pushed(name string) bool {
	return slices.ContainsFunc(v.Arrivals, func(a evidence.Arrival) bool { return a.By == name })
}

func (c approvals) texts() readyTexts {
	who := "whoever may approve here"
	if len(c.by) > 0 {
		who = strings.Join(c.by, " or ")
	}
	says := "it is approved by " + who
	if c.count > 1 {
		says += fmt.Sprintf(", %d of them", c.count)
	}
	if c.notPusher {
		says += ", and not by who pushed it"
	}
	return readyTexts{says: says, unclear: "it waits to be approved by " + who, remedy: "have it approved: bonded approve"}
}

// compareWords orders by ID, which is unique.
func compareWords(a, b *evidence.Word) int { return cmp.Compare(a.ID, b.ID) }
