package vuln

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/lifecycle"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
)

const releases = `{"debian":[{"cycle":"12","eol":"2026-07-11","extendedSupport":"2028-06-30","lts":false},{"cycle":"13","eol":"2028-08-09"}],
"go":[{"cycle":"1.22","eol":true,"support":true},{"cycle":"1.26","eol":false}],"postgresql":[{"cycle":"16","eol":"2028-11-09"},{"cycle":"9.6","eol":"2021-11-11"}],
"alpine-linux":[{"cycle":"3.20","eol":"2026-04-01"}],"x y":[{"cycle":"1","eol":true}],"django":[{"cycle":"5.2","eol":"soon"}]}`

func packaged(typ, name, version string) inventory.Located {
	return inventory.Located{Package: inventory.Package{Type: typ, Name: name, Version: version}}
}

func TestLifecycles(t *testing.T) {
	d, _, err := lifecycle.Parse(strings.NewReader(releases))
	if err != nil {
		t.Fatal(err)
	}
	x := NewBuilder().Index(evidence.Snapshot{}).Beside(evidence.Snapshot{}, threat.Known{Ends: d})
	at := func(y int, m time.Month, day int) time.Time { return time.Date(y, m, day, 0, 0, 0, 0, time.UTC) }
	debian := evidence.Lifecycle{What: "os", Product: "debian", Cycle: "12", Version: "12", Ends: at(2026, 7, 12), Extended: at(2028, 7, 1)}
	for name, test := range map[string]struct {
		image inventory.Image
		want  []evidence.Lifecycle
	}{
		"debian": {inventory.Image{Distro: inventory.Distro{ID: "debian", VersionID: "12"}}, []evidence.Lifecycle{debian}},
		"alpine": {inventory.Image{Distro: inventory.Distro{ID: "alpine", VersionID: "3.20.1"}},
			[]evidence.Lifecycle{{What: "os", Product: "alpine-linux", Cycle: "3.20", Version: "3.20.1", Ends: at(2026, 4, 2)}}},
		"rolling": {inventory.Image{Distro: inventory.Distro{ID: "debian"}}, nil},
		"unheard": {inventory.Image{Distro: inventory.Distro{ID: "debian", VersionID: "99"}}, nil},
		"scratch": {inventory.Image{Packages: []inventory.Located{
			packaged("golang", "stdlib", "1.22.3"), packaged("golang", "stdlib", "v1.26.8"), packaged("golang", "stdlib", "1.22.3"), packaged("golang", "else", "1.22.3"),
		}}, []evidence.Lifecycle{{What: "runtime", Product: "go", Cycle: "1.22", Version: "1.22.3", Ended: true}, {What: "runtime", Product: "go", Cycle: "1.26", Version: "1.26.8"}}},
		"the distribution's, and another's": {inventory.Image{Distro: inventory.Distro{ID: "debian", VersionID: "12"}, Packages: []inventory.Located{
			packaged("deb", "postgresql-15", "15.8-0+deb12u1"), packaged("deb", "postgresql-16", "1:16.4-1.pgdg120+1"), packaged("deb", "postgresql-9.6", "9.6.24-1.pgdg120+1"),
		}}, []evidence.Lifecycle{
			debian, {What: "runtime", Product: "postgresql", Cycle: "16", Version: "16.4", Ends: at(2028, 11, 10)},
			{What: "runtime", Product: "postgresql", Cycle: "9.6", Version: "9.6.24", Ends: at(2021, 11, 12)},
		}},
	} {
		if diff := cmp.Diff(test.want, x.Lifecycles(&test.image)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := NewBuilder().Index(evidence.Snapshot{}).Lifecycles(&inventory.Image{Distro: inventory.Distro{ID: "debian", VersionID: "12"}}); got != nil {
		t.Errorf("nothing was loaded: %v", got)
	}
}
