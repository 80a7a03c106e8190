package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/policy"
)

// twentyRules are of the kinds that gates are made of, none narrowed by another.
func twentyRules(t testing.TB) *policy.Gate {
	var b strings.Builder
	b.WriteString(head)
	for i := range 8 {
		fmt.Fprintf(&b, "  - {rule: forbid-%d, says: b, forbid: \"findings.filter(f, f.severity in ['critical', 'high'] && f.fixed == '%d' && !f.malicious)\"}\n", i, i)
		fmt.Fprintf(&b, "  - {rule: require-%d, says: b, require: \"findings.all(f, f.package != 'x%d' || f.score < 9.0)\"}\n", i, i)
	}
	for i := range 4 {
		fmt.Fprintf(&b, "  - {rule: field-%d, says: b, require: \"coverage.state != 'none' && layers.all(l, l.diffIdOk) && snapshot.age < duration('72h') && config.user != 'x%d'\"}\n", i, i)
	}
	return parse(t, b.String())
}

// BenchmarkEvaluate takes 20 rules over growing numbers of findings. The bar is
// 5 ms of CPU at 500.
func BenchmarkEvaluate(b *testing.B) {
	g := twentyRules(b)
	for _, n := range []int{10, 500, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			in := randomInput(r)
			in.Findings = nil
			for range n {
				in.Findings = append(in.Findings, randomFinding(r, in.Now))
			}
			b.ReportAllocs()
			for b.Loop() {
				evaluate(b, g, policy.Enter, in)
			}
		})
	}
}

// BenchmarkShipped takes the production gate over an image as Debian's are.
func BenchmarkShipped(b *testing.B) {
	g, err := policy.ShippedGate("production")
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	in := randomInput(r)
	for range 300 {
		in.Findings = append(in.Findings, randomFinding(r, in.Now))
	}
	for _, c := range []policy.Clause{policy.Enter, policy.Stay} {
		b.Run(string(c), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				evaluate(b, g, c, in)
			}
		})
	}
}

// BenchmarkParse compiles the production gate.
func BenchmarkParse(b *testing.B) {
	text, err := policy.ShippedText("production")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Parse("production", text); err != nil {
			b.Fatal(err)
		}
	}
}
