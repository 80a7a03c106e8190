package vuln

import (
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/lifecycle"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
)

// threatened writes to a finding what is known of it beside its record.
func threatened(f *evidence.Finding, known threat.Known) {
	of := known.Of(append([]string{f.ID}, f.Aliases...)...)
	f.Exploited, f.ExploitDue, f.Ransomware, f.EPSS, f.Percentile = of.Exploited, of.Due, of.Ransomware, of.EPSS, of.Percentile
}

// Lifecycles returns how long the releases in an image are maintained, the operating
// system first, each once. What no data tells of is not there.
func (x *Index) Lifecycles(im *inventory.Image) []evidence.Lifecycle {
	var all []evidence.Lifecycle
	add := func(r lifecycle.Release, ok bool) {
		if l := evidence.Lifecycle(r); ok && !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	add(x.threats.Ends.OfSystem(im.Distro.ID, im.Distro.VersionID))
	n := len(all)
	for i := range im.Packages {
		p := &im.Packages[i].Package
		add(x.threats.Ends.OfPackage(p.Type, strings.TrimPrefix(p.Namespace+"/"+p.Name, "/"), p.Version))
	}
	slices.SortFunc(all[n:], func(a, b evidence.Lifecycle) int {
		return strings.Compare(a.Product+"\x00"+a.Version, b.Product+"\x00"+b.Version)
	})
	return all
}
