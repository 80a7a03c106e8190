package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/authn"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/ca"
	"github.com/bonded-dev/bonded/internal/trust/oidc"
)

// trustRoutes puts the services below their prefixes. Who may use which is the
// service's own to say: tokens and certificates are for who proves who it is,
// and the rest is for everybody, as in every Sigstore.
func (s *Server) trustRoutes(mux *http.ServeMux) {
	t, paced := s.trust, newPace(s.config.Trust.Requests, s.clock, s.metrics)
	for prefix, h := range map[string]http.Handler{
		trust.PathOIDC:   t.issuer,
		trust.PathFulcio: paced.wrap("fulcio", t.ca),
		trust.PathRekor:  paced.wrap("rekor", t.rekor.Handler(s.log)),
		trust.PathCT:     t.ct.Handler(s.log),
		trust.PathTSA:    paced.wrap("tsa", t.tsa.Handler(s.log)),
		trust.PathTUF:    t.tuf,

		trust.PathNotation: paced.wrap("notation", t.ca.ServeNotation()),
	} {
		mux.Handle(prefix+"/", http.StripPrefix(prefix, h))
	}
	mux.HandleFunc(pathWitness+"/", t.serveWitness)
}

// secrets is authn as the issuer needs it: a secret is NAME:SECRET, or a
// bearer token of this server.
type secrets struct{ accounts *authn.Accounts }

func (a secrets) Authenticate(r *http.Request, secret string) (authz.Principal, error) {
	asked := r.Clone(r.Context())
	asked.Header = http.Header{}
	if name, own, ok := strings.Cut(secret, ":"); ok {
		asked.SetBasicAuth(name, own)
	} else {
		asked.Header.Set("Authorization", "Bearer "+secret)
	}
	p, err := a.accounts.Authenticate(asked)
	if throttled := new(authz.Throttled); errors.As(err, &throttled) {
		return p, fmt.Errorf("%w: %w", authz.ErrUnauthenticated, err)
	}
	return p, err
}

// tokenIssued records an identity token before it is handed out.
func (s *Server) tokenIssued(ctx context.Context, i oidc.Issued) error {
	e, err := s.event(authz.Principal{Subject: i.Principal, Method: string(i.How)}, "identity.issued")
	if err != nil {
		return err
	}
	e = e.With("token", i.ID).With("subject", i.Subject).With("audience", i.Audience).With("expires", i.Expires.UTC().Format(time.RFC3339))
	if i.Email != "" {
		e = e.With("email", i.Email)
	}
	if i.From.IsValid() {
		e = e.With("from", i.From.String())
	}
	return s.record(ctx, e)
}

// certificateIssued records a certificate before it is handed out.
func (s *Server) certificateIssued(ctx context.Context, i ca.Issued) error {
	e, err := s.event(authz.Principal{Issuer: i.Issuer, Subject: i.Subject, Method: "identity-token"}, "certificate.issued")
	if err != nil {
		return err
	}
	e = e.With("name", i.Name).With("serial", i.Certificate.SerialNumber.Text(16)).With("expires", i.Certificate.NotAfter.UTC().Format(time.RFC3339))
	if i.TokenID != "" {
		e = e.With("token", i.TokenID)
	}
	if i.Use != ca.Sigstore {
		e = e.With("use", string(i.Use))
	}
	return s.record(ctx, e)
}

// distrusted says why what somebody signs now would not count, "" where it would.
func (s *Server) distrusted(ctx context.Context, who evidence.Identity) (why string, err error) {
	now := evidence.Signature{Identity: who, At: s.clock()}
	err = s.db.View(ctx, func(tx *db.Tx) error {
		list, err := tx.Distrust(ctx)
		for i := range list {
			if list[i].Covers(&now) {
				why = list[i].String()
			}
		}
		return err
	})
	return why, err
}
