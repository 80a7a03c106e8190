package policy_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

// TestEvidenceSuite runs the rules about evidence: each of the ready-made ones,
// and expressions, in all three outcomes.
func TestEvidenceSuite(t *testing.T) {
	text, err := os.ReadFile("testdata/evidence.yaml")
	if err != nil {
		t.Fatal(err)
	}
	g, err := policy.Parse("evidence", text)
	if err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile("testdata/evidence.gate.test")
	if err != nil {
		t.Fatal(err)
	}
	suite, err := policytest.Parse("testdata/evidence.gate.test", text)
	if err != nil {
		t.Fatal(err)
	}
	policytest.Run(t, g, suite)
}

// TestPresenceNeverCounts: whoever writes a gate says who is to have signed.
func TestPresenceNeverCounts(t *testing.T) {
	for _, tc := range []struct{ name, rule, want string }{
		{"count of a list", `require: signatures.size() > 0`, "found no matching overload for 'size'"},
		{"any of a list", `require: "signatures.exists(s, s.anchor == 'a')"`, "cannot be range of a comprehension"},
		{"compared with another", `require: "signatures.by('a', artifact.annotations['i'], '**').size() > 0"`, "by takes texts that are written out"},
		{"put together", `require: "signatures.by('a', 'https://' + 'x', '**').size() > 0"`, "by takes texts that are written out"},
		{"any issuer", `require: "signatures.by('a', '**', '**').size() > 0"`, "the host of an issuer must be written out"},
		{"look-alike pattern", `require: "signatures.by('a', 'https://i.example', '*example.com').size() > 0"`, "would match look-alikes"},
		{"nobody", `require: "signatures.by('').size() > 0"`, "by has an empty argument"},
		{"no anchor", `signedBy: {subject: a@example.com}`, "a signer needs an anchor"},
		{"anyone an issuer knows", `signedBy: {anchor: a, issuer: "https://i.example"}`, "lets in everyone it knows"},
		{"any issuer, ready-made", `signedBy: {anchor: a, issuer: "**", subject: a@example.com}`, "the host of an issuer must be written out"},
		{"look-alike subject", `signedBy: {anchor: a, issuer: "https://i.example", subject: [b@example.com, "*example.com"]}`, "would match look-alikes"},
		{"empty subject", `signedBy: {anchor: a, issuer: "https://i.example", subject: ""}`, "subject is empty"},
		{"too many", `signedBy: {anchor: a, count: 65}`, "count is 65"},
		{"provenance of anyone", `provenance: {minLevel: 3}`, "provenance.signedBy is missing"},
		{"level", `provenance: {signedBy: {anchor: a}, minLevel: 4}`, "minLevel is 4"},
		{"statement of anyone", `hasStatement: {kind: test}`, "hasStatement.signedBy is missing"},
		{"statement of any kind", `hasStatement: {signedBy: {anchor: a}}`, "needs kind or type"},
		{"kind", `hasStatement: {signedBy: {anchor: a}, kind: tests}`, `kind is "tests"`},
		{"where", `hasStatement: {signedBy: {anchor: a}, kind: test, where: statement.test.result}`, "where gives string, want bool"},
		{"where of a result that never is", `hasStatement: {signedBy: {anchor: a}, kind: test, where: "statement.test.result == 'PASSED'"}`, "result is never"},
		{"missing", `signedBy: {anchor: a, missing: wait}`, "missing is \"wait\""},
		{"two in one", `{signedBy: {anchor: a}, require: "true"}`, "stands alone"},
		{"typo", `signedBy: {anchor: a, subjects: b@example.com}`, "did you mean 'subject'?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rule := "  - {rule: a, says: b, " + strings.TrimPrefix(tc.rule, "{") + "\n"
			if !strings.HasPrefix(tc.rule, "{") {
				rule = "  - rule: a\n    says: b\n    " + tc.rule + "\n"
			}
			_, err := policy.Parse("g", []byte(head+rule))
			if !errors.Is(err, policy.ErrGateInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// TestSigners: a gate tells whom it names, for who has to know their anchors.
func TestSigners(t *testing.T) {
	g := parse(t, head+`
  - {rule: a, says: b, signedBy: {anchor: one, issuer: "https://i.example", subject: [a@example.com, b@example.com]}}
  - {rule: c, says: b, require: "statements.by('two', 'CN=x').exists(s, s.kind == 'sbom')"}
`)
	var got []string
	for _, s := range g.Signers() {
		got = append(got, s.Anchor+" "+s.Subject.String())
	}
	if want := "one a@example.com,one b@example.com,two CN=x"; strings.Join(got, ",") != want {
		t.Errorf("signers %v, want %s", got, want)
	}
}

// TestSignedStatementIsNoSignature: who signs that an image is bad has not
// signed the image.
func TestSignedStatementIsNoSignature(t *testing.T) {
	g := parse(t, head+"  - {rule: a, says: b, signedBy: {anchor: keys}}\n")
	in := input(t, policy.Enter, `signatures: [{anchor: keys, key: ab, statement: {type: x, kind: unknown, size: 0}}]`)
	in.Verified.Anchors = []policy.Anchor{{Name: "keys"}}
	if d := evaluate(t, g, policy.Enter, in); d.Outcome != "cannot-tell" {
		t.Errorf("it counts: %+v", d)
	}
	in.Verified.Signatures[0].Statement = (*evidence.Statement)(nil)
	d := evaluate(t, g, policy.Enter, in)
	if d.Outcome != "allow" {
		t.Errorf("it does not count: %+v", d)
	}
	if r := d.Reasons[len(d.Reasons)-1]; len(r.Evidence) != 1 || r.Evidence[0] != in.Verified.Signatures[0].Referrer.String() {
		t.Errorf("relied on %v", r.Evidence)
	}
}
