// Package oidc is the built-in issuer of identity tokens: whoever is enrolled
// with this server, or has a client certificate that it trusts, gets a token that
// lasts minutes and is for signing, and for nothing else here.
//
// It keeps no passwords and shows no form. A program exchanges the secret that
// it has; a person with a browser or a device approves the sign-in on the command
// line, where that person is logged in already.
package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/trust"
)

// Audience is what tokens are for where nobody asks for another: cosign's
// client ID.
const Audience = "sigstore"

// Client is the client ID of cosign and of every other program; it is public
// and has no secret.
const Client = "sigstore"

// DefaultLife is how long a token is good.
const DefaultLife = 5 * time.Minute

// Errors that callers may test for.
var (
	// ErrNoFlow: a code that no sign-in has, or no longer.
	ErrNoFlow = errors.New("no such sign-in")
	// ErrSettled: a sign-in that was approved, refused or used already.
	ErrSettled = errors.New("settled already")
	// ErrBusy: too many sign-ins are under way.
	ErrBusy = errors.New("too many sign-ins are under way")
	// ErrRaced is returned by Flows.Change when another change came first.
	ErrRaced = errors.New("changed meanwhile")
	// ErrNotAnIdentity: a principal that no identity token is made for.
	ErrNotAnIdentity = errors.New("no identity token for this")
)

// Keys are the keys that tokens are signed with; trust.Instance is one.
type Keys interface {
	// Key returns the key in use, of slot trust.Issuer.
	Key(trust.Slot) trust.Key
	// Issuers returns it and those before it whose tokens are still good.
	Issuers(at time.Time) []trust.Public
}

// Authenticator finds out who a secret is of.
type Authenticator interface {
	// Authenticate returns the principal of a secret, or of a bearer token, of
	// this server. r is the request that it came with, for limits by address.
	// Errors match authz.ErrUnauthenticated where the secret is not good.
	Authenticate(r *http.Request, secret string) (authz.Principal, error)
}

// Flows keeps sign-ins under way, for minutes. It is safe for concurrent use,
// and by several processes where there are several; the suite oidctest admits
// one.
type Flows interface {
	// Add keeps a new one, where Room has it, and drops those that ended. Errors
	// match ErrBusy.
	Add(ctx context.Context, f Flow) error
	// ByID and ByUserCode find one; it may have ended. Errors match ErrNoFlow.
	ByID(ctx context.Context, id string) (Flow, error)
	ByUserCode(ctx context.Context, code string) (Flow, error)
	// Change replaces the flow of that ID whose Version is f's, and counts it up.
	// Errors match ErrRaced or ErrNoFlow.
	Change(ctx context.Context, f Flow) error
}

// How says how somebody got a token.
type How string

// The ways.
const (
	ByExchange    How = "token-exchange"
	ByCertificate How = "client-certificate"
	ByDevice      How = "device"
	ByBrowser     How = "browser"
	ByServer      How = "server" // minted for a part of the server itself
)

// Issued is a token that is about to be handed out.
type Issued struct {
	ID        string // jti
	Principal string // name of who gets it
	Subject   string // sub
	Email     string // "" where it has none
	Audience  string
	How       How
	From      netip.Addr // zero for ByServer
	Expires   time.Time
}

// Options are what an issuer works with. All fields but those marked are
// required.
type Options struct {
	// URL is the issuer's, as clients and tokens have it, without a slash at
	// the end.
	URL string
	// Server is the URL that the server is known by; its own tokens, which it
	// asks nobody for, are by the issuer there. Optional. Default: URL without
	// its path.
	Server string
	Keys   Keys
	Who    Authenticator
	Flows  Flows
	// Certificates says which client certificates are taken. Optional. Default:
	// none.
	Certificates *Certificates
	// Audiences are further ones that tokens may be asked for. Optional.
	Audiences []string
	// Audit is told of every token before it is handed out; its error keeps it
	// back.
	Audit func(context.Context, Issued) error
	Clock func() time.Time
	Log   *slog.Logger
	// Life is how long a token is good. Optional. Default DefaultLife.
	Life time.Duration
	// Rand is the source of randomness. Optional. Default crypto/rand.Reader.
	Rand io.Reader
}

// Issuer issues identity tokens. It is safe for concurrent use.
type Issuer struct {
	o   Options
	mux http.Handler
}

// New returns an issuer.
func New(o Options) (*Issuer, error) {
	if u, err := url.Parse(o.URL); err != nil || u.Host == "" || strings.HasSuffix(o.URL, "/") || u.RawQuery != "" {
		return nil, fmt.Errorf("making the issuer: %.200q is no URL of an issuer: want https://HOST[/PATH]", o.URL)
	}
	if o.Life <= 0 {
		o.Life = DefaultLife
	}
	if o.Server == "" {
		o.Server = strings.TrimSuffix(o.URL, trust.PathOIDC)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	s := &Issuer{o: o}
	s.mux = s.routes()
	return s, nil
}

// URL is the issuer's, as tokens have it.
func (s *Issuer) URL() string { return s.o.URL }

func (s *Issuer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", s.getDiscovery)
	mux.HandleFunc("GET /keys", s.getKeys)
	mux.HandleFunc("POST /token", s.postToken)
	mux.HandleFunc("POST /device/code", s.postDeviceCode)
	mux.HandleFunc("GET /device", s.getDevice)
	mux.HandleFunc("GET /auth", s.getAuth)
	mux.HandleFunc("GET /auth/wait", s.getAuthWait)
	return mux
}

// ServeHTTP serves the issuer below its URL's path.
func (s *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

func (s *Issuer) mayBeFor(audience string) bool {
	return audience == Audience || slices.Contains(s.o.Audiences, audience)
}
