package policy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/bonded-dev/bonded/internal/policy"
)

// FuzzParse: whatever the text, Parse gives a gate that can be asked, or an
// error that matches ErrGateInvalid.
func FuzzParse(f *testing.F) {
	for _, name := range policy.Shipped() {
		text, err := policy.ShippedText(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	ar, err := txtar.ParseFile("testdata/faults.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for i := 0; i < len(ar.Files); i += 2 {
		f.Add(ar.Files[i].Data)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := policy.Parse("fuzz", text)
		if err != nil {
			if !errors.Is(err, policy.ErrGateInvalid) || g != nil {
				t.Fatalf("Parse: %v, %v", g, err)
			}
			return
		}
		r := rand.New(rand.NewPCG(1, uint64(len(text))))
		evaluate(t, g, policy.Enter, randomInput(r))
		evaluate(t, g, policy.Stay, randomInput(r))
	})
}

// FuzzEvaluate: an expression that is accepted gives one of the outcomes and
// the same bytes again for the same input in another order, and never a
// sentence with control characters.
func FuzzEvaluate(f *testing.F) {
	for _, x := range []string{
		"true", "findings.all(f, f.severity != 'critical' || f.fixed == '')", "layers[3].size > 2", "config.labels.exists(k, config.labels[k] == '3')",
		"findings.map(f, f.cve)[0] < 'CVE-3'", "packages.filter(p, p.layer < 2).size() % artifact.evidence.size() == 0", "snapshot.age < duration('72h')",
		"findings", "findings.filter(f, f.malicious)", "config.labels.map(k, k + config.labels[k])", "coverage.gaps", "unchecked.filter(u, u.name == '1')",
		"snapshot.ecosystems.map(e, e.replace('o', 'oooo').upperAscii())", "sets.intersects(findings.map(f, f.package), packages.map(p, p.name))",
		"'\\u202e'.split('')", "[findings, findings][1]", "string(now).matches('^20..-')", "double(findings.size()) / 0.0 > 1.0", "layers.map(l, l.digest)",
	} {
		f.Add(x, uint64(len(x)))
	}
	f.Fuzz(func(t *testing.T, expression string, seed uint64) {
		if !utf8.ValidString(expression) {
			return
		}
		for _, key := range []string{"require", "forbid", "unknown"} {
			g, err := policy.Parse("fuzz", fmt.Appendf(nil, "%s  - {rule: a, says: b, recheck: 1h, %s: %q}\n", head, key, expression))
			if err != nil {
				continue
			}
			r := rand.New(rand.NewPCG(seed, seed))
			in := randomInput(r)
			d := evaluate(t, g, policy.Enter, in)
			if again := evaluate(t, g, policy.Enter, shuffle(r, in)); encode(t, again) != encode(t, d) {
				t.Fatalf("%s: %q: the order of the input changes the decision", key, expression)
			}
			if s := policy.Sentence(&d); s != policy.Printable(s) {
				t.Fatalf("%s: %q: the sentence %q has control characters", key, expression, s)
			}
		}
	})
}
