package authz

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
)

func grants(ss ...string) []Grant { return with(ss...).Grants }

func TestWithinNarrows(t *testing.T) {
	a, b := oci.MustRepository("dev/a"), oci.MustRepository("dev/b")
	p := with("developer=dev/**")
	p.Within = grants("reader=dev/a", "admin=production/**")
	for _, tt := range []struct {
		v    Verb
		repo oci.Repository
		want bool
	}{{Pull, a, true}, {Push, a, false}, {Pull, b, false}, {Pull, oci.MustRepository("production/a"), false}} {
		if _, err := Check(p, tt.v, tt.repo, nil); (err == nil) != tt.want {
			t.Errorf("%s in %s: %v", tt.v, tt.repo, err)
		}
	}
	p.Within = []Grant{}
	if _, err := Check(p, Pull, a, nil); err == nil {
		t.Error("within nothing, and permitted")
	}
}

func TestInsideSeveral(t *testing.T) {
	if !grants("operator=dev/**")[0].Inside(grants("operator=dev/**", "reader")) || grants("admin")[0].Inside(grants("operator", "security", "developer")) {
		t.Error("several grants together")
	}
}

func TestInside(t *testing.T) {
	for _, tt := range []struct {
		in, out string
		want    bool
	}{
		{"reader", "admin", true},
		{"admin", "reader", false},
		{"reader=dev/**", "developer=dev/**", true},
		{"reader=dev/app", "developer=dev/**", true},
		{"reader=dev/*", "developer=dev/**", true},
		{"reader=dev/*/x", "developer=*/**", true},
		{"reader=dev/app", "reader=dev/*", true},
		{"reader=dev/pay*", "reader=dev/*", true},
		{"reader=dev/payments", "reader=dev/pay*", true},
		{"reader", "reader=dev/**", false},
		{"reader=dev/**", "reader=dev/*", false},
		{"reader=dev", "reader=dev/**", false},
		{"reader=dev/a/b", "reader=dev/*", false},
		{"reader=dev/a", "reader=dev/*/b", false},
		{"reader=dev/p*", "reader=dev/pay*", false},
		{"reader=dev/pay*", "reader=dev/p*", false}, // it is, but it need not be seen
		{"security=dev/**", "operator=dev/**", false},
	} {
		if got := grants(tt.in)[0].Inside(grants("reader=elsewhere/x", tt.out)); got != tt.want {
			t.Errorf("%s inside %s: %v", tt.in, tt.out, got)
		}
	}
}
