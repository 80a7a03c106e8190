package authz

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
)

func with(grants ...string) Principal {
	p := Principal{Issuer: "bonded", Subject: "ann", Method: "token"}
	for _, g := range grants {
		grant, err := ParseGrant(g)
		if err != nil {
			panic(err)
		}
		p.Grants = append(p.Grants, grant)
	}
	return p
}

func TestCheck(t *testing.T) {
	dev, prod := oci.MustRepository("dev/app"), oci.MustRepository("production/payments/api")
	for _, tt := range []struct {
		name string
		p    Principal
		v    Verb
		repo oci.Repository
		want bool
	}{
		{"reader pulls", with("reader"), Pull, dev, true},
		{"reader does not push", with("reader"), Push, dev, false},
		{"reader sees no quarantine", with("reader"), PullFromQuarantine, dev, false},
		{"developer pushes where granted", with("developer=dev/**"), Push, dev, true},
		{"and nowhere else", with("developer=dev/**"), Push, prod, false},
		{"one segment", with("reader=production/*"), Pull, prod, false},
		{"two segments", with("reader=production/*/api"), Pull, prod, true},
		{"part of a segment", with("reader=production/pay*/api"), Pull, prod, true},
		{"a zone alone does not cover what is in it", with("reader=dev"), Pull, dev, false},
		{"** wants something after it", with("reader=dev/app/**"), Pull, dev, false},
		{"server needs **", with("admin=dev/**"), Administer, oci.Repository{}, false},
		{"administrator of the server", with("admin"), Administer, oci.Repository{}, true},
		{"developer withdraws nothing", with("developer"), Withdraw, prod, false},
		{"several grants add up", with("reader=production/**", "developer=dev/**"), Push, dev, true},
		{"anonymous", Anonymous, Pull, dev, false},
		{"unknown verb", with("admin"), Verb("fly"), dev, false},
	} {
		act, err := Check(tt.p, tt.v, tt.repo, nil)
		if (err == nil) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := act.Permits(tt.repo, tt.v) == nil; got != tt.want {
			t.Errorf("%s: the act permits: %v", tt.name, got)
		}
	}
}

func TestScopeNarrows(t *testing.T) {
	a, b := oci.MustRepository("dev/a"), oci.MustRepository("dev/b")
	p := with("developer")
	p.Scope = []Scope{{Repository: a, Verbs: []Verb{Pull}}}
	for _, tt := range []struct {
		v    Verb
		repo oci.Repository
		want bool
	}{{Pull, a, true}, {Push, a, false}, {Pull, b, false}} {
		if _, err := Check(p, tt.v, tt.repo, nil); (err == nil) != tt.want {
			t.Errorf("%s in %s: %v", tt.v, tt.repo, err)
		}
	}
	p.Scope = []Scope{}
	if _, err := Check(p, Pull, a, nil); err == nil {
		t.Error("an empty scope permits nothing")
	}
	p = with("reader")
	p.Scope = []Scope{{Repository: a, Verbs: []Verb{Push}}}
	if _, err := Check(p, Push, a, nil); err == nil {
		t.Error("a scope gave more than the grants")
	}
}

func TestActIsForOnePlaceAndVerb(t *testing.T) {
	a, b := oci.MustRepository("dev/a"), oci.MustRepository("dev/b")
	act, err := Check(with("admin"), Push, a, nil)
	if err != nil {
		t.Fatal(err)
	}
	if act.Permits(a, Pull) == nil || act.Permits(b, Push) == nil || act.Permits(oci.Repository{}, Push) == nil {
		t.Error("an act permits another verb or place")
	}
	if err := (Act{}).Permits(oci.Repository{}, Pull); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("the zero act: %v", err)
	}
}

func TestOpenIsForRepositoriesOnly(t *testing.T) {
	open := func(r oci.Repository, v Verb) bool { return r.Zone() == "sandbox" && v == Push }
	if _, err := Check(Anonymous, Push, oci.MustRepository("sandbox/x"), open); err != nil {
		t.Error(err)
	}
	for _, r := range []oci.Repository{oci.MustRepository("dev/x"), {}} {
		if _, err := Check(Anonymous, Push, r, open); err == nil {
			t.Errorf("open in %q", r)
		}
	}
}

func TestRefusalSaysTheNextStep(t *testing.T) {
	_, err := Check(Anonymous, Push, oci.MustRepository("dev/x"), nil)
	if err == nil || !strings.Contains(err.Error(), "log in") {
		t.Errorf("%v", err)
	}
	_, err = Check(with("reader"), Push, oci.MustRepository("dev/x"), nil)
	if err == nil || !strings.Contains(err.Error(), "bonded principal grant ann") {
		t.Errorf("%v", err)
	}
}

func TestParseGrant(t *testing.T) {
	for _, bad := range []string{"king", "reader=", "reader=/x", "reader=a//b", "reader=**/a", "reader=a**", "reader=[a]", `reader=a\*`} {
		if _, err := ParseGrant(bad); !errors.Is(err, ErrGrantInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestAdminHasEveryVerb(t *testing.T) {
	for _, v := range Verbs() {
		if !slices.Contains(Roles()["admin"], v) {
			t.Errorf("admin lacks %s", v)
		}
	}
	if len(Verbs()) != 18 {
		t.Errorf("%d verbs", len(Verbs()))
	}
}
