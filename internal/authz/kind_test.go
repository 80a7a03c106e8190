package authz_test

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
)

func TestKind(t *testing.T) {
	human := map[string]string{"human": "true"}
	for _, tt := range []struct {
		p    authz.Principal
		want evidence.Bringer
	}{
		{authz.Anonymous, evidence.Anonymous},
		{authz.Principal{}, evidence.Anonymous},
		{authz.Internal("mirror"), evidence.Internal},
		{authz.Principal{Issuer: "bonded", Subject: "ann", Method: "token", Claims: human}, evidence.Human},
		{authz.Principal{Issuer: "bonded", Subject: "ci", Method: "token"}, evidence.Machine},
		{authz.Principal{Issuer: "bonded", Subject: "ci", Method: "else"}, evidence.Nobody},
		{authz.Principal{Issuer: "https://idp.example", Subject: "7", Method: "token", Claims: map[string]string{"email": "ann@example.com"}}, evidence.Human},
		{authz.Principal{Issuer: "https://idp.example", Subject: "7", Method: "token"}, evidence.Nobody},
		{authz.Principal{Issuer: "https://idp.example", Subject: "7", Method: "internal"}, evidence.Nobody},
	} {
		if got := tt.p.Kind(); got != tt.want {
			t.Errorf("%+v is %q, want %q", tt.p, got, tt.want)
		}
	}
}
