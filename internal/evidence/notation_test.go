package evidence_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/evidence"
)

func TestNotationName(t *testing.T) {
	for _, test := range []struct{ subject, want string }{
		{"ann@example.com", "ann@example.com"},
		{"https://github.com/acme/app/.github/workflows/a.yml@refs/heads/main", "https://github.com/acme/app/.github/workflows/a.yml@refs/heads/main"},
		{"a+b@example.com", "a%2Bb@example.com"},
		{"https://i.example/a%20b", "https://i.example/a%2520b"},
		{`x,O=other+CN=y;z="q"\,#<>`, "x%2CO%3Dother%2BCN%3Dy%3Bz%3D%22q%22%5C%2C%23%3C%3E"},
		{" ann ", "%20ann%20"},
		{"ännchen", "%C3%A4nnchen"},
	} {
		name := evidence.Identity{Issuer: "https://i.example", Subject: test.subject}.NotationName()
		if want := "CN=" + test.want + ",O=https://i.example,ST=Notation,C=ZZ"; name.String() != want {
			t.Errorf("%q is %s, want %s", test.subject, name, want)
		}
	}
}

// FuzzNotationName: a name says one identity, whatever that has in it, and
// survives its two encodings.
func FuzzNotationName(f *testing.F) {
	for _, s := range []string{"ann@example.com", "a,O=b", `a\2C`, "%2C", "#x", "", " ", "\x00", "ä", "=#"} {
		f.Add(s, "https://i.example")
		f.Add("ann", s)
	}
	f.Fuzz(func(t *testing.T, subject, issuer string) {
		name := evidence.Identity{Issuer: issuer, Subject: subject}.NotationName()
		if decoded(name.CommonName) != subject || decoded(name.Organization[0]) != issuer {
			t.Fatalf("%q of %q became %s", subject, issuer, name)
		}
		if strings.ContainsAny(name.CommonName+name.Organization[0], " ,+\"\\<>;=#\x00") {
			t.Fatalf("a special character in %s", name)
		}
		der, err := asn1.Marshal(name.ToRDNSequence())
		if err != nil {
			t.Fatal(err)
		}
		var seq pkix.RDNSequence
		if _, err := asn1.Unmarshal(der, &seq); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(name.String(), seq.String()); diff != "" {
			t.Error(diff)
		}
	})
}

// decoded undoes the percent-encoding.
func decoded(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		n := strings.IndexByte("0123456789ABCDEF", s[i+1])<<4 | strings.IndexByte("0123456789ABCDEF", s[i+2])
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String()
}
