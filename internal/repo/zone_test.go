package repo

import (
	"errors"
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
)

func TestZones(t *testing.T) {
	z := DefaultZones()
	if err := z.Check(); err != nil {
		t.Fatal(err)
	}
	if zone, err := z.Of(oci.MustRepository("production/payments/api")); err != nil || zone.Name != "production" || !zone.Gated() {
		t.Errorf("%v, %v", zone, err)
	}
	for _, bad := range []string{"nowhere/app", "production"} {
		if _, err := z.Of(oci.MustRepository(bad)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for name, bad := range map[string]Zone{
		"no gate":              {Name: "x"},
		"a sandbox with gate":  {Name: "x", Sandbox: true, Gate: "dev"},
		"from nowhere":         {Name: "x", Gate: "dev", From: []string{"y"}},
		"a sandbox with a way": {Name: "x", Sandbox: true, From: []string{"dev"}},
	} {
		z := DefaultZones()
		z["x"] = bad
		if err := z.Check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	z["sandbox"] = Zone{Name: "sandbox", Sandbox: true}
	z["x"] = Zone{Name: "x", Gate: "dev", From: []string{"sandbox"}}
	if err := z.Check(); err == nil {
		t.Error("a sandbox is a source of promotion")
	}
}

func TestVisible(t *testing.T) {
	for _, tt := range []struct {
		state                       State
		nobody, bringer, quarantine bool
	}{
		{Held, false, true, true},
		{Denied, false, true, true},
		{Admitted, true, true, true},
		{Attached, true, true, true},
		{Withdrawn, false, false, true},
		{Removed, false, false, false},
	} {
		p := &Placement{State: tt.state, BroughtBy: "ann"}
		for _, v := range []struct {
			viewer Viewer
			want   bool
		}{{Viewer{}, tt.nobody}, {Viewer{Principal: "bob"}, tt.nobody}, {Viewer{Principal: "ann"}, tt.bringer}, {Viewer{Quarantine: true}, tt.quarantine}} {
			if got := v.viewer.Visible(p); got != v.want {
				t.Errorf("%s to %+v: %v", tt.state, v.viewer, got)
			}
		}
	}
	if (Viewer{}).Visible(&Placement{State: Held}) {
		t.Error("nobody sees what nobody brought")
	}
}
