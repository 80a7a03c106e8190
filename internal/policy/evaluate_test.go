package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

const head = "apiVersion: bonded.dev/v1\nkind: Gate\nname: test\naccepts: [image, index]\nenter:\n"

func parse(t testing.TB, text string) *policy.Gate {
	t.Helper()
	g, err := policy.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// input makes the input of a case from what it gives, as policytest has it.
func input(t testing.TB, clause policy.Clause, given string) *policy.Input {
	t.Helper()
	s, err := policytest.Parse("test", fmt.Appendf(nil, "gate: test\ncases: [{case: a, clause: %s, given: {%s}, expect: {outcome: allow}}]", clause, given))
	if err != nil {
		t.Fatal(err)
	}
	return s.Cases[0].Input()
}

func evaluate(t testing.TB, g *policy.Gate, c policy.Clause, in *policy.Input) api.Decision {
	t.Helper()
	d, err := g.Evaluate(t.Context(), c, in)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRuleSuite runs rules that the shipped gates have no use for.
func TestRuleSuite(t *testing.T) {
	g := parse(t, head+`
  - {rule: labelled, says: it says who owns it, require: "'owner' in config.labels && config.labels['owner'] != ''", denied: it has no label owner, remedy: add the label}
  - {rule: env, says: no secret is in its environment, forbid: "config.env.filter(e, e.startsWith('TOKEN='))"}
  - {rule: frozen, says: it is not a holiday, require: "now < timestamp('2026-12-24T00:00:00Z') || now >= timestamp('2027-01-02T00:00:00Z')"}
  - {rule: hours, says: it is daytime, require: "now.getHours() >= 5", recheck: 2h}
  - {rule: few, says: it has few layers, require: layers.size() <= 3}
  - {rule: images, says: it has two platforms, kinds: [index], forbid: "children.filter(c, !c.present)"}
`)
	suite, err := policytest.Parse("rules", []byte(`
gate: test
given: {config: {labels: {owner: "@payments", team: a}}}
cases:
  - case: all is well
    expect: {outcome: allow, validFor: 2h}
  - case: a label is missing
    given: {config: {labels: {team: a}}}
    expect: {outcome: deny, rules: {labelled: deny}, only: true, says: "labelled: it has no label owner; add the label; see:"}
  - case: texts are facts
    given: {config: {labels: {owner: x}, env: [PATH=/bin, "TOKEN=\u001b[31mred"]}}
    expect: {outcome: deny, facts: {env: ["TOKEN=\u001b[31mred"]}, says: "env: TOKEN=\uFFFD[31mred; see"}
  - case: a literal moment
    given: {now: 2026-12-23T23:59:59Z}
    expect: {outcome: allow, validFor: 1s}
  - case: a rule without a sentence for its no
    given: {layers: [{}, {}, {}, {}]}
    expect: {outcome: deny, says: "few: it is not so that it has few layers"}
  - case: a rule for indexes alone
    given: {kind: index, children: [{platform: linux/amd64, absent: true}, {platform: linux/arm64, outcome: allow}]}
    expect: {outcome: deny, rules: {images: deny, platforms: allow}, only: true, says: "images: linux/amd64"}
`))
	if err != nil {
		t.Fatal(err)
	}
	policytest.Run(t, g, suite)
}

// TestNoValue: an expression that cannot be evaluated on an input cannot tell,
// and says why; it takes nothing from what other rules prove.
func TestNoValue(t *testing.T) {
	for _, tc := range []struct{ name, rule, given, want string }{
		{"no such key", `require: "config.labels['owner'] == 'a'"`, "", "cannot tell whether it is so: require (line 6 of the gate) has no value: no such key: owner"},
		{"no such element", `require: "layers[7].size > 0"`, "", "index out of bounds: 7"},
		{"in forbid", `forbid: "findings.filter(f, layers[f.layer].size > 0)"`, "findings: [{id: A, layer: 5}]", "index out of bounds"},
		{"in unknown", `unknown: "layers[7].size > 0"`, "", "unknown (line 6 of the gate) has no value"},
		{"division", `require: "1 / artifact.evidence.size() == 1"`, "", "division by zero"},
		{"time out of range", `require: "now - config.created < duration('1h')", recheck: 1h`, "", "no value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := parse(t, head+"  - {rule: a, says: it is so, "+tc.rule+"}\n")
			d := evaluate(t, g, policy.Enter, input(t, policy.Enter, tc.given))
			last := d.Reasons[len(d.Reasons)-1]
			if d.Outcome != api.CannotTell || last.Outcome != api.CannotTell || !strings.Contains(last.Says, tc.want) {
				t.Errorf("outcome %s: %s, want cannot-tell: %s", d.Outcome, last.Says, tc.want)
			}
		})
	}
}

// TestTooDear: an input above what gates are estimated for meets the limits
// when the rules are asked, one by one and together.
func TestTooDear(t *testing.T) {
	in := input(t, policy.Enter, "")
	long := strings.Repeat("a", 5_000)
	for i := range 10_000 {
		in.Image.Packages = append(in.Image.Packages, inventory.Located{PURL: fmt.Sprint("pkg:deb/", i), Path: long})
	}
	var b strings.Builder
	b.WriteString(head)
	for i := range 9 {
		fmt.Fprintf(&b, "  - {rule: r%d, says: it is so, require: \"packages.all(p, !p.path.startsWith(p.path + 'x'))\"}\n", i)
	}
	b.WriteString("  - {rule: proof, says: it is so, forbid: layers}\n")
	d := evaluate(t, parse(t, b.String()), policy.Enter, in)
	if d.Outcome != api.CannotTell || !strings.Contains(d.Reasons[1].Says, "costs more than 10000000 units on this artifact") {
		t.Errorf("outcome %s: %s", d.Outcome, d.Reasons[1].Says)
	}
	if last := d.Reasons[len(d.Reasons)-1]; !strings.Contains(last.Says, "the rules before it cost more than 60000000 units") {
		t.Errorf("the last rule says: %s", last.Says)
	}
}

// TestContextEnds: an ended context is an error and no outcome, also in the
// middle of a rule.
func TestContextEnds(t *testing.T) {
	g := parse(t, head+`  - {rule: a, says: it is so, require: "packages.all(p, !p.path.matches('a.*b.*c.*d'))"}`+"\n")
	in := input(t, policy.Enter, "")
	long := strings.Repeat("a", 2_000)
	for i := range 20_000 {
		in.Image.Packages = append(in.Image.Packages, inventory.Located{PURL: fmt.Sprint("pkg:deb/", i), Path: long})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := g.Evaluate(ctx, policy.Enter, in); !errors.Is(err, context.Canceled) || d.Outcome != "" {
		t.Errorf("Evaluate with an ended context: %v %v", d.Outcome, err)
	}
	if d, err := g.Evaluate(&endsLater{Context: t.Context(), asks: 1}, policy.Enter, in); !errors.Is(err, context.Canceled) || d.Outcome != "" {
		t.Errorf("Evaluate with a context that ends in a rule: %v %v", d.Outcome, err)
	}
}

// endsLater is a context that has ended once Err was asked so many times.
type endsLater struct {
	context.Context
	asks int
}

func (c *endsLater) Done() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

func (c *endsLater) Err() error {
	if c.asks--; c.asks >= 0 {
		return nil
	}
	return context.Canceled
}

// TestInputsAreRefused: what a caller leaves out is the caller's error.
func TestInputsAreRefused(t *testing.T) {
	g := parse(t, head)
	for _, tc := range []struct {
		name   string
		clause policy.Clause
		change func(*policy.Input)
		want   string
	}{
		{"clause", "leave", func(*policy.Input) {}, `no clause "leave"`},
		{"time", policy.Enter, func(in *policy.Input) { in.Now = time.Time{} }, "no time"},
		{"manifest", policy.Enter, func(in *policy.Input) { in.Manifest = nil }, "no manifest"},
		{"placement", policy.Enter, func(in *policy.Input) { in.Digest = oci.Digest{} }, "no placement"},
		{"other inventory", policy.Enter, func(in *policy.Input) { in.Image.Manifest = oci.FromBytes(nil) }, "the inventory is that of sha256:e3b0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := input(t, policy.Enter, "")
			tc.change(in)
			if _, err := g.Evaluate(t.Context(), tc.clause, in); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Evaluate: %v, want %q", err, tc.want)
			}
		})
	}
}

// TestInventoryOfOtherLayers: a layer that the inventory does not speak of is
// not analysed, whatever else the inventory holds.
func TestInventoryOfOtherLayers(t *testing.T) {
	g, err := policy.ShippedGate("production")
	if err != nil {
		t.Fatal(err)
	}
	in := input(t, policy.Enter, "layers: [{}, {}]")
	in.Image.Layers = in.Image.Layers[:1]
	if d := evaluate(t, g, policy.Enter, in); d.Outcome != api.CannotTell {
		t.Errorf("an inventory that lacks a layer gives %s", d.Outcome)
	}
	in = input(t, policy.Enter, "layers: [{}, {}]")
	in.Image.Layers[1].Digest = oci.FromBytes([]byte("something else"))
	if d := evaluate(t, g, policy.Enter, in); d.Outcome != api.CannotTell {
		t.Errorf("an inventory of another layer gives %s", d.Outcome)
	}
}

// TestDecisionGolden fixes the whole of one decision.
func TestDecisionGolden(t *testing.T) {
	g, err := policy.ShippedGate("production")
	if err != nil {
		t.Fatal(err)
	}
	in := input(t, policy.Stay, `admitted: 100h, pushedBy: ci, evidence: 2, promised: {no-fault-with-fix: 90h},
  findings: [{id: DEBIAN-CVE-2026-1, aliases: [CVE-2026-1], severity: critical, package: curl, version: "1", fixed: "2", summary: a bug}, {id: GO-1, severity: medium, package: x/net, version: v0.1.0, fixed: v0.2.0, known: 800h}]`)
	got, err := json.MarshalIndent(evaluate(t, g, policy.Stay, in), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	policy.CheckFile(t, "testdata/decision.golden.json", append(got, '\n'))
}

// shuffle permutes every list of the input that is a set.
func shuffle(r *rand.Rand, in *policy.Input) *policy.Input {
	c := *in
	c.Findings = shuffled(r, in.Findings)
	c.Unchecked = shuffled(r, in.Unchecked)
	c.Children = shuffled(r, in.Children)
	c.Evidence = shuffled(r, in.Evidence)
	if in.Image != nil {
		im := *in.Image
		im.Packages = shuffled(r, im.Packages)
		c.Image = &im
	}
	return &c
}

func shuffled[T any](r *rand.Rand, s []T) []T {
	s = slices.Clone(s)
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	return s
}

func encode(t testing.TB, d api.Decision) string {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestOrderDoesNotMatter: a permutation of the input gives the same bytes, for
// the corpus and for random inputs, and leaves its input alone.
func TestOrderDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	order := parse(t, head+`
  - {rule: first, says: the first is low, require: "findings.size() == 0 || findings[0].severity == 'low'"}
  - {rule: labels, says: b, forbid: "config.labels.map(k, k)"}
  - {rule: each, says: b, forbid: "packages.filter(p, p.name != 'x')"}
`)
	for i := range 300 {
		in := randomInput(r)
		before := encode(t, evaluate(t, order, policy.Enter, in))
		for range 3 {
			if after := encode(t, evaluate(t, order, policy.Enter, shuffle(r, in))); after != before {
				t.Fatalf("input %d: a permutation changed the decision:\n%s", i, cmp.Diff(before, after))
			}
		}
	}
	forEachShipped(t, func(g *policy.Gate, c policy.Clause) {
		for i := range 40 {
			in := randomInput(r)
			if a, b := encode(t, evaluate(t, g, c, in)), encode(t, evaluate(t, g, c, shuffle(r, in))); a != b {
				t.Fatalf("gate %s, input %d: a permutation changed the decision:\n%s", g.Name(), i, cmp.Diff(a, b))
			}
		}
	})
}

func forEachShipped(t *testing.T, f func(*policy.Gate, policy.Clause)) {
	t.Helper()
	for _, name := range policy.Shipped() {
		g, err := policy.ShippedGate(name)
		if err != nil {
			t.Fatal(err)
		}
		f(g, policy.Enter)
		f(g, policy.Stay)
	}
}

// rank orders outcomes from best to worst.
func rank(o api.Outcome) int {
	return map[api.Outcome]int{api.Allow: 0, api.CannotTell: 1, api.Deny: 2}[o]
}

// TestMoreFindingsAreNoBetter: adding a finding never makes the outcome of a
// shipped gate better, and never lets anything stay longer.
func TestMoreFindingsAreNoBetter(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	forEachShipped(t, func(g *policy.Gate, c policy.Clause) {
		for i := range 100 {
			in := randomInput(r)
			worse := *in
			worse.Findings = append(slices.Clone(in.Findings), randomFinding(r, in.Now))
			before, after := evaluate(t, g, c, in), evaluate(t, g, c, &worse)
			if rank(after.Outcome) < rank(before.Outcome) {
				t.Fatalf("gate %s, input %d: %s became %s", g.Name(), i, before.Outcome, after.Outcome)
			}
			if !before.StayUntil.IsZero() && (after.StayUntil.IsZero() || after.StayUntil.After(before.StayUntil)) {
				t.Fatalf("gate %s, input %d: the deadline %s became %s", g.Name(), i, before.StayUntil, after.StayUntil)
			}
		}
	})
}

// TestWorstReasonWins: the outcome is the worst of the reasons', a deny before
// what cannot be told.
func TestWorstReasonWins(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	forEachShipped(t, func(g *policy.Gate, c policy.Clause) {
		for range 100 {
			d := evaluate(t, g, c, randomInput(r))
			worst := 0
			for _, reason := range d.Reasons {
				worst = max(worst, rank(reason.Outcome))
			}
			if rank(d.Outcome) != worst {
				t.Fatalf("gate %s: outcome %s of %v", g.Name(), d.Outcome, d.Reasons)
			}
		}
	})
}

// TestValidUntilHolds: before ValidUntil, time alone changes neither outcome
// nor whether the placement may stay.
func TestValidUntilHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	forEachShipped(t, func(g *policy.Gate, c policy.Clause) {
		for i := range 60 {
			in := randomInput(r)
			d := evaluate(t, g, c, in)
			if !d.ValidUntil.IsZero() && !d.ValidUntil.After(d.DecidedAt) {
				t.Fatalf("gate %s, input %d: valid until %s, decided at %s", g.Name(), i, d.ValidUntil, d.DecidedAt)
			}
			end := d.ValidUntil
			if end.IsZero() {
				end = in.Now.Add(20_000 * time.Hour)
			}
			for _, at := range []time.Time{in.Now.Add(time.Duration(r.Int64N(int64(end.Sub(in.Now))))), end.Add(-time.Microsecond)} {
				later := *in
				later.Now, later.Promised = at, policy.Promises(&d)
				l := evaluate(t, g, c, &later)
				standsBefore, _ := policy.Stands(&d, d.DecidedAt)
				standsLater, _ := policy.Stands(&l, at)
				if l.Outcome != d.Outcome || standsLater != standsBefore {
					t.Fatalf("gate %s, input %d: %s (stays %t) at %s became %s (stays %t) at %s, before %s", g.Name(), i, d.Outcome, standsBefore, d.DecidedAt, l.Outcome, standsLater, at, d.ValidUntil)
				}
			}
		}
	})
}

// TestToldDeadlinesHold: judging again and again, as a caller does, keeps the
// deadline that was told first while the findings stay the same.
func TestToldDeadlinesHold(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	g, err := policy.ShippedGate("production")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		in := randomInput(r)
		in.Promised = nil
		first := evaluate(t, g, policy.Stay, in)
		if !first.StayUntil.IsZero() && !first.StayUntil.After(in.Now) {
			t.Fatalf("input %d: the first decision withdraws at once: %s", i, policy.Sentence(&first))
		}
		d := first
		for range 5 {
			in.Promised = policy.Promises(&d)
			in.Now = in.Now.Add(time.Duration(r.Int64N(int64(30 * time.Hour))))
			if d = evaluate(t, g, policy.Stay, in); !d.StayUntil.Equal(first.StayUntil) {
				t.Fatalf("input %d: told %s, and at %s it is %s", i, first.StayUntil, in.Now, d.StayUntil)
			}
		}
	}
}

// randomInput makes an image, mostly clean, with some of everything.
func randomInput(r *rand.Rand) *policy.Input {
	now := time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC).Add(time.Duration(r.IntN(1000)) * time.Minute)
	s := func(n int) string { return fmt.Sprint(r.IntN(n)) }
	in := &policy.Input{
		Repository: oci.MustRepository("production/a"), Digest: oci.FromBytes([]byte("m")), Zone: "production", Kind: oci.KindImage, Now: now,
		Manifest: &oci.Manifest{MediaType: oci.MediaTypeManifest}, Config: &oci.ImageConfig{}, Image: &inventory.Image{},
		AdmittedAt: now.Add(-time.Duration(r.IntN(2000)) * time.Hour), Engine: "test",
	}
	in.Config.Config.Labels = map[string]string{"a" + s(9): s(9), "b" + s(9): s(9), "c": s(9)}
	in.Snapshot = evidence.Snapshot{Seq: 1, Digest: oci.FromBytes([]byte(s(9))), At: now.Add(-time.Duration(r.IntN(100)-5) * time.Hour), Advisories: r.IntN(6)}
	for i := range r.IntN(4) {
		d := oci.FromBytes(fmt.Append(nil, "layer", i))
		state := []inventory.CoverageState{"full", "full", "full", "full", "partial", "ambiguous", "none"}[r.IntN(7)]
		in.Manifest.Layers = append(in.Manifest.Layers, oci.Descriptor{Digest: d})
		in.Image.Layers = append(in.Image.Layers, inventory.LayerCoverage{Digest: d, DiffIDOK: r.IntN(20) > 0, Coverage: inventory.Coverage{State: state}})
	}
	for range r.IntN(6) {
		in.Image.Packages = append(in.Image.Packages, inventory.Located{PURL: s(4), Path: s(4), Layer: r.IntN(3), Package: inventory.Package{Name: s(3), Ecosystem: []string{"Go", "Go", "Go", ""}[r.IntN(4)]}})
	}
	for range r.IntN(5) {
		in.Findings = append(in.Findings, randomFinding(r, now))
	}
	for range r.IntN(3) * r.IntN(2) {
		in.Unchecked = append(in.Unchecked, policy.Unchecked{Package: inventory.Located{PURL: s(4), Package: inventory.Package{Name: s(3), Version: s(2)}}, Reason: s(2)})
	}
	return in
}

func randomFinding(r *rand.Rand, now time.Time) evidence.Finding {
	s := func(n int) string { return fmt.Sprint(r.IntN(n)) }
	severities := []evidence.Severity{"unknown", "negligible", "low", "medium", "high", "critical", "", "severe"}
	f := evidence.Finding{
		ID: "GO-" + s(5), Aliases: []string{"CVE-" + s(5)}, Severity: severities[r.IntN(len(severities))], Package: s(3), Version: s(3),
		Path: s(3), Layer: r.IntN(4), Fixed: []string{"", "2"}[r.IntN(2)], Malicious: r.IntN(12) == 0, Summary: s(3),
	}
	if r.IntN(8) > 0 {
		f.Known = now.Add(-time.Duration(r.IntN(2000)) * time.Hour)
	}
	if r.IntN(3) == 0 {
		f.Since = now.Add(-time.Duration(r.IntN(200)) * time.Hour)
	}
	return f
}
