package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
)

func TestSentence(t *testing.T) {
	digest := oci.FromBytes(nil)
	at := time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)
	see := "; see: bonded why production/payments/api@" + digest.String()
	decision := func(clause string, o api.Outcome, reasons ...api.Reason) api.Decision {
		d := api.Decision{Repository: "production/payments/api", Zone: "production", Digest: digest.String(), Clause: clause, Outcome: o, DecidedAt: at, Reasons: reasons}
		for _, r := range reasons {
			d.StayUntil = r.Until
		}
		return d
	}
	deny := api.Reason{Rule: "no-x", Outcome: api.Deny, Says: "CVE-1 in a 1 (fixed in 2)", Remedy: "update a to 2"}
	open := api.Reason{Rule: "fresh", Outcome: api.CannotTell, Says: "advisories are old"}
	allow := api.Reason{Rule: "ok", Outcome: api.Allow, Says: "fine"}
	with := func(r api.Reason, act string, until time.Time) api.Reason {
		r.Act, r.Until = act, until
		return r
	}
	for _, tc := range []struct {
		d    api.Decision
		want string
	}{
		{decision("enter", api.Allow, allow), "production accepts payments/api@sha256:e3b0…b855"},
		{decision("enter", api.Deny, allow, open, deny), "production refuses payments/api@sha256:e3b0…b855: no-x: CVE-1 in a 1 (fixed in 2); update a to 2" + see},
		{decision("enter", api.Deny, deny, api.Reason{Rule: "b", Outcome: api.Deny}, api.Reason{Rule: "c", Outcome: api.Deny}), "production refuses payments/api@sha256:e3b0…b855: no-x: CVE-1 in a 1 (fixed in 2); also b, c; update a to 2" + see},
		{decision("enter", api.CannotTell, allow, open), "production holds payments/api@sha256:e3b0…b855: fresh: advisories are old" + see},
		{decision("stay", api.Allow, allow), "production keeps payments/api@sha256:e3b0…b855"},
		{decision("stay", api.CannotTell, open), "production keeps, in doubt, payments/api@sha256:e3b0…b855: fresh: advisories are old" + see},
		{decision("stay", api.Deny, with(deny, "keep", time.Time{})), "production keeps, with a warning, payments/api@sha256:e3b0…b855: no-x: CVE-1 in a 1 (fixed in 2); update a to 2" + see},
		{decision("stay", api.Deny, with(deny, "deadline", at.Add(time.Hour))), "production keeps until 2026-11-22T07:00:00Z payments/api@sha256:e3b0…b855: no-x: CVE-1 in a 1 (fixed in 2); update a to 2" + see},
		{decision("stay", api.Deny, with(deny, "deadline", at)), "production withdraws payments/api@sha256:e3b0…b855: no-x: CVE-1 in a 1 (fixed in 2); update a to 2" + see},
		{decision("stay", api.Deny, with(deny, "withdraw", time.Time{})), "production withdraws payments/api@sha256:e3b0…b855: no-x: CVE-1 in a 1 (fixed in 2); update a to 2" + see},
		{api.Decision{}, "  "},
	} {
		if got := policy.Sentence(&tc.d); got != tc.want && tc.d.Zone != "" {
			t.Errorf("Sentence:\n got %s\nwant %s", got, tc.want)
		}
	}
}

func TestBrief(t *testing.T) {
	digest := oci.FromBytes(nil).String()
	for _, tc := range []struct {
		f    api.Fact
		want string
	}{
		{api.Fact{ID: "CVE-1", Severity: "high", Package: "a", Version: "1", Fixed: "2", Where: "layer 1 of 1", Text: "a bug"}, "CVE-1 in a 1 (fixed in 2)"},
		{api.Fact{ID: "CVE-1", Severity: "high", Package: "a"}, "CVE-1 in a (no fix known)"},
		{api.Fact{ID: "pkg:npm/a@1", Package: "a", Version: "1", Text: "no advisories"}, "a 1: no advisories"},
		{api.Fact{ID: digest, Where: "layer 1 of 2", Text: "ambiguous"}, "layer 1 of 2: ambiguous"},
		{api.Fact{ID: digest}, "sha256:e3b0…b855"},
		{api.Fact{ID: "usr/bin/a", Where: "layer 1 of 2", Text: "too large"}, "usr/bin/a (layer 1 of 2): too large"},
		{api.Fact{ID: "TOKEN=x"}, "TOKEN=x"},
		{api.Fact{ID: "a\x1b[2Jb\u202ec\nd\u2028e"}, "a\uFFFD[2Jb\uFFFDc d\uFFFDe"},
		{api.Fact{ID: "bad \xff\xfe utf-8"}, "bad \uFFFD utf-8"},
	} {
		if got := policy.Brief(tc.f); got != tc.want {
			t.Errorf("Brief(%+v): %q, want %q", tc.f, got, tc.want)
		}
	}
	if got := policy.Brief(api.Fact{ID: strings.Repeat("ä", 5000)}); len(got) > 210 || !strings.HasSuffix(got, "ä…") {
		t.Errorf("Brief of a long text has %d bytes", len(got))
	}
}

// TestLead: what a reason says is its lead and its facts in short.
func TestLead(t *testing.T) {
	g, err := policy.ShippedGate("production")
	if err != nil {
		t.Fatal(err)
	}
	in := input(t, policy.Enter, `layers: [{coverage: ambiguous}, {coverage: ambiguous}], findings: [{id: CVE-1, severity: high, package: a, version: "1", fixed: "2"}]`)
	d := evaluate(t, g, policy.Enter, in)
	want := map[string]string{"unambiguous": "another unpacker could read it differently", "no-severe-with-fix": "", "fresh-advisories": "advisories were loaded within the last 72 hours"}
	for i := range d.Reasons {
		r := &d.Reasons[i]
		if lead, ok := want[r.Rule]; ok && policy.Lead(r) != lead {
			t.Errorf("Lead of %s (%s): %q, want %q", r.Rule, r.Says, policy.Lead(r), lead)
		}
	}
}

// TestManyFacts: a reason lists the worst twenty and counts the rest.
func TestManyFacts(t *testing.T) {
	g := parse(t, head+"  - {rule: none, says: there are none, forbid: findings}\n")
	in := input(t, policy.Enter, "")
	base := input(t, policy.Enter, "findings: [{id: CVE-1, severity: low, package: a}, {id: CVE-2, severity: critical, package: a}]").Findings
	for range 30 {
		in.Findings = append(in.Findings, base[0])
	}
	in.Findings = append(in.Findings, base[1])
	d := evaluate(t, g, policy.Enter, in)
	r := d.Reasons[len(d.Reasons)-1]
	if len(r.Facts) != 20 || r.More != 11 || r.Facts[0].ID != "CVE-2" {
		t.Errorf("%d facts, first %s, %d more; want 20, CVE-2, 11", len(r.Facts), r.Facts[0].ID, r.More)
	}
}
