package evidence

import (
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"alice@example.com", "alice@example.com", true},
		{"alice@example.com", "Alice@example.com", false},
		{"alice@example.com", "alice@example.com.evil.net", false},
		{"alice@example.com", "malice@example.com", false},
		{"*@example.com", "bob@example.com", true},
		{"*@example.com", "bob@evilexample.com", false},
		{"*@example.com", "bob@example.com.evil.net", false},
		{"*@example.com", "bob@evil.net@example.com", false},
		{"*@example.com", "@example.com", false},
		{"*@example.com", "b\u00a0ob@example.com", false},
		{"*@*.example.com", "bob@eu.example.com", true},
		{"*@*.example.com", "bob@evil.net/x.example.com", false},
		{"*@*.example.com", "bob@a.b.example.com", false},
		{"https://github.com/org/*/.github/workflows/*@refs/heads/main", "https://github.com/org/app/.github/workflows/build.yml@refs/heads/main", true},
		{"https://github.com/org/*/.github/workflows/*@refs/heads/main", "https://github.com/org/app/x/.github/workflows/build.yml@refs/heads/main", false},
		{"https://github.com/org/*/.github/workflows/*@refs/heads/main", "https://github.com/organised/app/.github/workflows/build.yml@refs/heads/main", false},
		{"https://github.com/org/*/.github/workflows/*@refs/heads/main", "https://github.com/org/app/.github/workflows/build.yml@refs/heads/main2", false},
		{"https://github.com/org/*/.github/workflows/*@refs/heads/main", "https://github.com/org/app/.github/workflows/x@refs/heads/main@refs/heads/main", false},
		{"https://github.com/org/*", "https://github.com/org/..", false},
		{"https://github.com/org/**", "https://github.com/org/a/b", true},
		{"https://github.com/org/**", "https://github.com/org/a/../../evil/b", false},
		{"https://github.com/org/**", "https://github.com.evil/org/a", false},
		{"https://*.example.com/x", "https://a.example.com/x", true},
		{"https://*.example.com/x", "https://evil.com/a.example.com/x", false},
		{"https://*.example.com/x", "https://evil.com:1.example.com/x", false},
		{"https://github.com/a*", "https://github.com/a%2fb", false},
		{"https://github.com/\u0430pp", "https://github.com/app", false},
		{"**", "anything/at all", true},
		{"CN=*,O=Acme Inc", "CN=build 7,O=Acme Inc", true},
		{"CN=*,O=Acme Inc", "CN=x,O=Evil,O=Acme Inc", false},
		{"a*b*c*d*e*f*g*h*i", "a" + strings.Repeat("bcdefgh", 500), false},
		{"*", "a/b", false},
		{"", "", false},
		{"x", "", false},
	}
	for _, test := range tests {
		p, err := ParsePattern(test.pattern)
		if err != nil {
			t.Errorf("%q: %v", test.pattern, err)
			continue
		}
		if got := p.Match(test.name); got != test.want {
			t.Errorf("%q matches %q: %v, want %v", test.pattern, test.name, got, test.want)
		}
	}
}

func TestPatternsThatWouldMatchLookAlikes(t *testing.T) {
	for _, text := range []string{
		"*example.com", "*@*example.com", "*@*.com", "*@*", "https://*example.com/x", "https://*/x", "https://**/x",
		"https://**.example.com/", "*/.github/workflows/x.yml", "**/x", "https://*.*.com/x",
	} {
		if p, err := ParsePattern(text); err == nil {
			t.Errorf("%q was taken as %v", text, p)
		}
	}
}

func TestSigner(t *testing.T) {
	sig := &Signature{Anchor: "ours", Identity: Identity{Issuer: "https://idp.example.com", Subject: "alice@example.com", Claims: map[string]string{"sourceRepositoryURI": "https://git.example.com/app"}}}
	right := Signer{Anchor: "ours", Issuer: MustPattern("https://idp.example.com"), Subject: MustPattern("*@example.com"), Claims: map[string]Pattern{"sourceRepositoryURI": MustPattern("https://git.example.com/*")}}
	if err := right.Validate(); err != nil {
		t.Fatal(err)
	}
	if why := right.Mismatch(sig); why != "" {
		t.Fatalf("refused: %s", why)
	}
	tests := []struct {
		change func(*Signer)
		want   string
	}{
		{func(s *Signer) { s.Anchor = "theirs" }, `anchor "ours", wanted is "theirs"`},
		{func(s *Signer) { s.Issuer = MustPattern("https://idp.example.com/") }, "its issuer is"},
		{func(s *Signer) { s.Issuer = Pattern{} }, "names no issuer"},
		{func(s *Signer) { s.Subject = Pattern{} }, "names no subject"},
		{func(s *Signer) { s.Subject = MustPattern("*@example.org") }, `it is by "alice@example.com"`},
		{func(s *Signer) { s.Key = "ab" }, "wanted is key"},
		{func(s *Signer) { s.Claims = map[string]Pattern{"runnerEnvironment": MustPattern("github-hosted")} }, `its runnerEnvironment is ""`},
	}
	for _, test := range tests {
		s := right
		test.change(&s)
		if why := s.Mismatch(sig); !strings.Contains(why, test.want) {
			t.Errorf("got %q, want it to say %q", why, test.want)
		}
	}
	for _, bad := range []Signer{{Subject: MustPattern("a")}, {Anchor: "a", Issuer: MustPattern("**")}, {Anchor: "a", Issuer: MustPattern("https://*.example.com"), Subject: MustPattern("x")}, {Anchor: "a", Issuer: MustPattern("https://x.example")}} {
		if bad.Validate() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("*@example.com", "bob@example.com")
	f.Add("https://github.com/org/**", "https://github.com/org/a/b")
	f.Fuzz(func(t *testing.T, text, name string) {
		if len(text) > 60 || len(name) > 60 {
			return
		}
		p, err := ParsePattern(text)
		if err != nil || !p.Match(name) {
			return
		}
		if !strings.Contains(text, "*") && text != name {
			t.Errorf("%q matched %q", text, name)
		}
		if head, _, _ := strings.Cut(text, "*"); !strings.HasPrefix(name, head) {
			t.Errorf("%q matched %q", text, name)
		}
		if !strings.HasSuffix(name, text[strings.LastIndex(text, "*")+1:]) {
			t.Errorf("%q matched %q", text, name)
		}
	})
}
