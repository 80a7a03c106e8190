package ca

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/trust/oidc"
)

type anyone struct{ authz.Principal }

func (a anyone) Authenticate(*http.Request, string) (authz.Principal, error) { return a.Principal, nil }

// TestBuiltInIssuer has the tokens of the real issuer, whose claims this
// package reads.
func TestBuiltInIssuer(t *testing.T) {
	w := newWorld(t)
	issuer, err := oidc.New(oidc.Options{
		URL: own, Keys: w.i, Who: anyone{}, Flows: oidc.NewMemory(func() time.Time { return w.now }), Clock: func() time.Time { return w.now },
		Audit: func(context.Context, oidc.Issued) error { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w.a)
	defer server.Close()
	token, err := issuer.Mint(t.Context(), authz.Internal("decisions"))
	if err != nil {
		t.Fatal(err)
	}
	keypair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sign.NewFulcio(&sign.FulcioOptions{BaseURL: server.URL}).GetCertificate(t.Context(), keypair, &sign.CertificateProviderOptions{IDToken: token}); err != nil {
		t.Fatal(err)
	}
	if len(w.issued) != 1 || w.issued[0].Name != own+"/server/decisions" {
		t.Errorf("issued %+v", w.issued)
	}
}

// TestServerIsNotRevoked: a pattern that takes the server in does not keep it from
// signing what it decides, nor does a database that cannot be read.
func TestServerIsNotRevoked(t *testing.T) {
	w := newWorld(t)
	for _, answer := range []error{nil, errors.New("the database is away")} {
		w.a.o.Revoked = func(context.Context, evidence.Identity) (string, error) { return "identity ** was revoked", answer }
		sub := "https://bonded.example/server"
		if s, err := w.issue(w.token(claims{"sub": sub}), sub); err != nil || s.SubjectAlternativeName != sub {
			t.Errorf("the server itself: %v", err)
		}
		for _, sub := range []string{"https://bonded.example/server/x", "https://bonded.example/oidc/machines/ci"} {
			if _, err := w.issue(w.token(claims{"sub": sub}), sub); err == nil {
				t.Errorf("%s, with %v", sub, answer)
			}
		}
	}
}

// TestMovedServer: a server that moved keeps its name, by an issuer that vouches
// for nobody else, and that nobody else can be.
func TestMovedServer(t *testing.T) {
	w := newWorld(t)
	const moved = "https://new.example/oidc"
	var revoked string
	clock := func() time.Time { return w.now }
	o := Options{
		Keys: w.i, Tokens: w.i, CT: w.log, URL: moved, Server: "https://bonded.example", Clock: clock, Log: slog.New(slog.DiscardHandler),
		Audit:   func(context.Context, Issued) error { return nil },
		Revoked: func(context.Context, evidence.Identity) (string, error) { return revoked, nil },
	}
	var err error
	if w.a, err = New(o); err != nil {
		t.Fatal(err)
	}
	issuer, err := oidc.New(oidc.Options{
		URL: moved, Server: o.Server, Keys: w.i, Who: anyone{}, Flows: oidc.NewMemory(clock), Clock: clock,
		Audit: func(context.Context, oidc.Issued) error { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string][2]string{
		oidc.Server: {"https://bonded.example/server", own}, "decisions": {moved + "/server/decisions", moved},
	} {
		token, err := issuer.Mint(t.Context(), authz.Internal(part))
		if err != nil {
			t.Fatal(err)
		}
		s, err := w.issue(token, want[0])
		if err != nil || s.SubjectAlternativeName != want[0] || s.Issuer != want[1] {
			t.Errorf("%s is %s by %s, want %s: %v", part, s.SubjectAlternativeName, s.Issuer, want, err)
		}
	}
	revoked = "identity ** was revoked"
	for part, want := range map[string]struct{ name, says string }{
		oidc.Server: {name: "https://bonded.example/server"}, "decisions": {moved + "/server/decisions", "was revoked"},
	} {
		token, err := issuer.Mint(t.Context(), authz.Internal(part))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.issue(token, want.name); (err == nil) != (want.says == "") || err != nil && !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s, where everybody is revoked: %v", part, err)
		}
	}
	for _, sub := range []string{"https://bonded.example/server/x", "https://bonded.example/oidc/people/ann", "spiffe://prod.example/a"} {
		if _, err := w.issue(w.token(claims{"sub": sub}), sub); err == nil || !strings.Contains(err.Error(), "of the server itself") {
			t.Errorf("%s by the name of the server: %v", sub, err)
		}
	}
	o.Issuers = []Issuer{{URL: own, Kind: URI}}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("another server, where this one was, as an issuer: %v", err)
	}
}
