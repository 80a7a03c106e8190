package ca

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/bonded-dev/bonded/internal/authz"
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
