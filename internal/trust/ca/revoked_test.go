package ca

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	fulciopb "github.com/sigstore/fulcio/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// TestRevokedGetsNothing: by Fulcio's API, which is told why, and as little where
// nobody can say who is revoked.
func TestRevokedGetsNothing(t *testing.T) {
	for _, test := range []struct {
		name, why string
		err       error
		status    int
		says      string
	}{
		{name: "trusted", status: 200, says: "BEGIN CERTIFICATE"},
		{name: "revoked", why: "identity ann@example.com was revoked: stolen", status: 403, says: `"message":"no certificate: identity ann@example.com was revoked: stolen"`},
		{name: "unknown", err: errors.New("the database is away"), status: 500, says: "could not be issued"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.a.o.Revoked = func(_ context.Context, who evidence.Identity) (string, error) {
				if who.Issuer != own || who.Subject != "ann@example.com" {
					t.Errorf("asked about %+v", who)
				}
				return test.why, test.err
			}
			body, err := protojson.Marshal(&fulciopb.CreateSigningCertificateRequest{
				Credentials: &fulciopb.Credentials{Credentials: &fulciopb.Credentials_OidcIdentityToken{OidcIdentityToken: w.token(ann)}},
				Key:         &fulciopb.CreateSigningCertificateRequest_CertificateSigningRequest{CertificateSigningRequest: asked(t, newHolder(t).key)},
			})
			if err != nil {
				t.Fatal(err)
			}
			rec := httptest.NewRecorder()
			w.a.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/api/v2/signingCert", bytes.NewReader(body)))
			if got := rec.Body.String(); rec.Code != test.status || !strings.Contains(got, test.says) || strings.Contains(got, "database") {
				t.Errorf("%d %s", rec.Code, got)
			}
			if issued := test.status == http.StatusOK; (w.log.added == 1) != issued || (len(w.issued) == 1) != issued {
				t.Errorf("%d logged, %d audited", w.log.added, len(w.issued))
			}
		})
	}
}
