package policy

import (
	"testing"

	"github.com/bonded-dev/bonded/api"
)

func TestCompareVersions(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"0.7.0", "0.53.0", -1}, {"1.10", "1.9", 1}, {"1.0", "1.0", 0}, {"1.0", "1.0.1", -1}, {"01.2", "1.2", 0},
		{"3.0.11-1~deb12u2", "3.0.15-1~deb12u1", -1}, {"1.0~rc1", "1.0", -1}, {"1:1.0", "1:2.0", -1}, {"", "1", -1},
	} {
		if got := compareVersions(tt.a, tt.b); got != tt.want {
			t.Errorf("%s to %s: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := compareVersions(tt.b, tt.a); got != -tt.want {
			t.Errorf("%s to %s: %d, want %d", tt.b, tt.a, got, -tt.want)
		}
	}
}

// TestRemedyMendsAll: the remedy names the version in which all that is known
// of the package is mended.
func TestRemedyMendsAll(t *testing.T) {
	fact := func(pkg, fixed string) item {
		return item{fact: api.Fact{Package: pkg, Version: "0.1.0", Fixed: fixed}}
	}
	got := mending([]item{fact("net", "0.7.0"), fact("net", "0.53.0"), fact("text", "9.0.0"), fact("net", "")})
	if got.Package != "net" || got.Fixed != "0.53.0" {
		t.Errorf("remedy for %+v", got)
	}
}

// TestRemedyCountsOthers: a remedy for one of several packages says that there
// are more.
func TestRemedyCountsOthers(t *testing.T) {
	fact := func(pkg string) item { return item{fact: api.Fact{Package: pkg, Fixed: "2"}} }
	for _, tt := range []struct {
		remedy string
		found  []item
		want   string
	}{
		{"update {package} to {fixed}", []item{fact("a"), fact("a")}, "update a to 2"},
		{"update {package} to {fixed}", []item{fact("a"), fact("b"), fact("b")}, "update a to 2, and likewise 1 other package"},
		{"update {package} to {fixed}", []item{fact("a"), fact("b"), fact("c")}, "update a to 2, and likewise 2 other packages"},
		{"build it again", []item{fact("a"), fact("b")}, "build it again"},
		{"see {where}", []item{fact("a"), fact("b")}, ""},
	} {
		if got := remedyFor(tt.remedy, tt.found); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.remedy, got, tt.want)
		}
	}
}
