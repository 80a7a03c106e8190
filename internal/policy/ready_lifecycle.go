package policy

import (
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// lifecycleText says how long contents must be maintained, as YAML.
type lifecycleText struct {
	// How long it has to be maintained yet: "720h" denies a month before the end.
	For duration `yaml:"for,omitempty"`
	// Whether maintenance counts that is paid for, or by others: extended support.
	Extended bool `yaml:"extended,omitempty"`
}

// maintained: the release of its operating system, and of what it runs on, is
// maintained by somebody, and will be for some time.
type maintained struct {
	ahead    time.Duration
	extended bool
}

func (c maintained) look(e *evaluation) (found, open []item) {
	v := e.view
	system := false
	for i := range v.Lifecycle {
		l := &v.Lifecycle[i]
		system = system || l.What == "os"
		end := stamp(c.end(l))
		switch {
		case end.IsZero() && l.Ended:
			found = append(found, textItem("%s %s is not maintained any more: it has %s", l.Product, l.Cycle, l.Version))
		case end.IsZero():
		case !end.Add(-c.ahead).After(v.Now):
			found = append(found, textItem("%s %s is maintained until %s: it has %s", l.Product, l.Cycle, end.AddDate(0, 0, -1).Format(time.DateOnly), l.Version))
		default:
			e.changesAt(end.Add(-c.ahead))
		}
	}
	switch {
	case v.Image == nil:
		open = v.notAnalysed()
	case v.Snapshot.Lifecycles.IsZero():
		open = append(open, textItem("nothing that tells when releases end was ever loaded"))
	case !system && v.Image.Distro.ID != "" && v.Image.Distro.VersionID != "":
		open = append(open, textItem("nobody tells when %s %s ends", v.Image.Distro.ID, v.Image.Distro.VersionID))
	}
	return found, open
}

// end is when a release ends for the rule; zero when it does not, or nobody tells.
func (c maintained) end(l *evidence.Lifecycle) time.Time {
	if c.extended && l.Extended.After(l.Ends) {
		return l.Extended
	}
	return l.Ends
}

func (c maintained) texts() readyTexts {
	says := "its releases are maintained"
	if c.ahead > 0 {
		says += fmt.Sprintf(", and will be for %s", c.ahead)
	}
	return readyTexts{says: says, unclear: "nobody can tell how long its releases are maintained", remedy: "build it on a release that is maintained"}
}

// Lifecycles reports whether the gate asks how long releases are maintained.
func (g *Gate) Lifecycles() bool {
	for _, rules := range [][]rule{g.enter, g.stay} {
		for i := range rules {
			_, asks := rules[i].check.(maintained)
			for _, x := range []*expression{rules[i].require, rules[i].forbid, rules[i].unknown} {
				asks = asks || x != nil && x.names["lifecycle"]
			}
			if asks {
				return true
			}
		}
	}
	return false
}
