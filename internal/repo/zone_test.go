package repo

import (
	"errors"
	"testing"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/authz/authztest"
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

func TestSeesItsOwn(t *testing.T) {
	for _, state := range []State{Held, Denied, Admitted, Attached, Withdrawn, Removed} {
		p := &Placement{State: state, BroughtBy: "ann", Hidden: true}
		if got, want := (Viewer{Principal: "ann", Own: true}).Visible(p), state == Held || state == Denied || state == Admitted; got != want {
			t.Errorf("%s to who brought it: %v", state, got)
		}
		for _, v := range []Viewer{{Own: true}, {Principal: "bob", Own: true}} {
			if v.Visible(p) {
				t.Errorf("%s to %+v", state, v)
			}
		}
	}
}

func TestSight(t *testing.T) {
	z := DefaultZones()
	z["incoming"] = Zone{Name: "incoming", Gate: QuarantineName}
	z["sandbox"] = Zone{Name: "sandbox", Sandbox: true}
	open := func(r oci.Repository, v authz.Verb) bool { return r.Zone() == "sandbox" && v == authz.Push }
	who := func(grants ...string) authz.Principal { return authztest.Person("ann", grants...) }
	for _, tt := range []struct {
		name string
		p    authz.Principal
		r    string
		want Viewer
		ok   bool
	}{
		{"a reader in a zone", who("reader"), "dev/app", Viewer{Principal: "ann"}, true},
		{"a reader elsewhere", who("reader=dev/**"), "catalog/app", Viewer{Principal: "ann"}, false},
		{"a reader in quarantine", who("reader"), "quarantine/app", Viewer{Principal: "ann", Own: true}, true},
		{"a publisher in quarantine", who("publisher"), "quarantine/app", Viewer{Principal: "ann", Own: true}, true},
		{"a reader where the gate is that of quarantine", who("reader"), "incoming/app", Viewer{Principal: "ann", Own: true}, true},
		{"who sees quarantine", who("auditor"), "quarantine/app", Viewer{Principal: "ann", Quarantine: true}, true},
		{"who pushes there only", who("developer=dev/**"), "quarantine/app", Viewer{Principal: "ann", Own: true}, false},
		{"an administrator in a zone that is configured no more", who("admin"), "gone/app", Viewer{}, false},
		{"anybody", authz.Anonymous, "dev/app", Viewer{}, false},
		{"anybody in a sandbox", authz.Anonymous, "sandbox/app", Viewer{Principal: "anonymous"}, false},
	} {
		if got, ok := z.Sight(tt.p, open)(oci.MustRepository(tt.r)); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %+v, %v", tt.name, got, ok)
		}
	}
}
