package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/sigstore/fulcio/pkg/certificate"
	"github.com/sigstore/fulcio/pkg/challenges"
	"github.com/sigstore/fulcio/pkg/config"
	"github.com/sigstore/fulcio/pkg/identity"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/bonded-dev/bonded/internal/strictjson"
)

// DefaultAudience is what tokens are for where nobody says otherwise: the
// client ID that cosign uses.
const DefaultAudience = "sigstore"

const (
	maxToken   = 16 << 10 // bytes of a token
	maxFetched = 1 << 20  // bytes of what an issuer answers
	maxSubject = 2048     // bytes of a subject, an e-mail address or a name

	fetchTime = 10 * time.Second // for one answer of an issuer
	askAgain  = 15 * time.Second // after one that did not answer
)

// algorithms are the signatures that tokens may have: none with a shared key.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// source is an issuer with its keys.
type source struct {
	url    string
	kind   Kind // "" for the built-in one
	keys   keys
	check  oidc.Config
	site   string               // of builds
	fulcio *config.FulcioConfig // of all others but the built-in one
	spiffe []string             // of the built-in one
	alone  string               // the one subject that it vouches for; "" for any
}

// keys are where an issuer's public keys come from.
type keys interface {
	// get returns the keys as they are now. It fails where they cannot be had,
	// which says nothing of the token.
	get(context.Context) (oidc.KeySet, error)
}

func builtin(o Options) *source {
	return &source{
		url: o.URL, keys: ownKeys{o}, spiffe: o.SPIFFE,
		check: oidc.Config{ClientID: DefaultAudience, SupportedSigningAlgs: []string{oidc.RS256}, Now: o.Clock},
	}
}

func newSource(i Issuer, o Options) (*source, error) {
	if i.Audience == "" {
		i.Audience = DefaultAudience
	}
	if err := i.check(); err != nil {
		return nil, err
	}
	pool, err := i.roots()
	if err != nil {
		return nil, err
	}
	s := &source{
		url: i.URL, kind: i.Kind, site: i.site(), fulcio: i.fulcio(),
		keys:  &discovered{url: i.URL, client: client(pool, o.Transport), clock: o.Clock},
		check: oidc.Config{ClientID: i.Audience, SupportedSigningAlgs: algorithms, Now: o.Clock},
	}
	if i.JWKSFile != "" {
		s.keys = fileKeys{i.JWKSFile}
	}
	return s, nil
}

// verify checks signature, issuer, audience and time of a token.
func (s *source) verify(ctx context.Context, raw string) (*oidc.IDToken, error) {
	set, err := s.keys.get(ctx)
	if err != nil {
		return nil, s.unreachable(err)
	}
	t, err := oidc.NewVerifier(s.url, set, &s.check).Verify(ctx, raw)
	expired := new(oidc.TokenExpiredError)
	switch {
	case err == nil:
		return t, nil
	case errors.As(err, &expired):
		return nil, refuse(http.StatusUnauthorized, "the token ended at %s; get another", expired.Expiry.UTC().Format(time.RFC3339))
	case strings.Contains(err.Error(), "fetching keys"): // go-oidc has no error of its own for it
		return nil, s.unreachable(err)
	}
	return nil, refuse(http.StatusUnauthorized, "the token by %s does not verify: %v", s.url, err)
}

func (s *source) unreachable(err error) error {
	return refuse(http.StatusServiceUnavailable, "the token by %s cannot be checked, because its keys cannot be had: %v; try again, or give the server the keys as a file (jwks_file)", s.url, err)
}

// caller is who a token is of.
type caller struct {
	token     *oidc.IDToken
	id        string // jti
	principal identity.Principal
}

func (c caller) name(cert *x509.Certificate) string {
	if len(cert.EmailAddresses) > 0 {
		return cert.EmailAddresses[0]
	}
	return cert.URIs[0].String()
}

// authenticate verifies a token by the issuer that it names, and makes of it
// what Fulcio does. Errors that are the caller's are a *Refusal.
func (a *Authority) authenticate(ctx context.Context, raw string) (caller, error) {
	if raw == "" {
		return caller{}, refuse(http.StatusUnauthorized, "there is no identity token: send one as credentials.oidcIdentityToken, or as Authorization: Bearer")
	}
	claimed, err := claimedIssuer(raw)
	if err != nil {
		return caller{}, err
	}
	s, ok := a.issuers[claimed]
	if !ok {
		return caller{}, refuse(http.StatusUnauthorized, "tokens by %.200q are not taken here; issuers that are: %s", claimed, strings.Join(a.names(), ", "))
	}
	t, err := s.verify(ctx, raw)
	if err != nil {
		return caller{}, err
	}
	c := caller{token: t}
	if c.id, err = s.fits(t); err != nil {
		return caller{}, err
	}
	if c.principal, err = s.principal(ctx, t); err != nil {
		return caller{}, refuse(http.StatusForbidden, "the token by %s names nobody who can sign: %v", s.url, err)
	}
	return c, nil
}

func (a *Authority) names() []string {
	var all []string
	for u := range a.issuers {
		all = append(all, u)
	}
	slices.Sort(all)
	return all
}

// claimedIssuer reads who a token says it is by, before anything is verified.
func claimedIssuer(raw string) (string, error) {
	parts := strings.Split(raw, ".")
	if len(raw) > maxToken || len(parts) != 3 {
		return "", refuse(http.StatusUnauthorized, "that is no identity token: want a signed JWT of at most %d bytes", maxToken)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err != nil || json.Unmarshal(b, &claims) != nil {
		return "", refuse(http.StatusUnauthorized, "that is no identity token: its claims are not JSON in base64url")
	}
	doc, err := strictjson.Parse(b, strictjson.Limits{Bytes: maxToken})
	if err == nil {
		err = doc.Exact(readClaims...)
	}
	if err != nil {
		return "", refuse(http.StatusUnauthorized, "the claims of the token can be read in more than one way: %v", err)
	}
	return claims.Issuer, nil
}

// readClaims are the claims that are read by encoding/json, for which EMAIL would
// be email: an issuer may let people make claims of their own.
var readClaims = []string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "email", "email_verified", "kubernetes.io", "_claim_names", "_claim_sources"}

// fits refuses a token that verifies and that no certificate should be made
// of, and returns its ID.
func (s *source) fits(t *oidc.IDToken) (id string, err error) {
	var claims struct {
		ID         string `json:"jti"`
		Email      string `json:"email"`
		Kubernetes struct {
			Namespace      string `json:"namespace"`
			ServiceAccount struct {
				Name string `json:"name"`
			} `json:"serviceaccount"`
		} `json:"kubernetes.io"`
	}
	if err := t.Claims(&claims); err != nil {
		return "", refuse(http.StatusUnauthorized, "the claims of the token cannot be read: %v", err)
	}
	switch {
	case t.Subject == "" || len(t.Subject) > maxSubject || len(claims.Email) > maxSubject:
		return "", refuse(http.StatusForbidden, "the token's subject is empty, or it has more than %d bytes", maxSubject)
	case s.alone != "" && t.Subject != s.alone:
		return "", refuse(http.StatusForbidden, "tokens by %s are of the server itself: it was there once, and is known by that; ask the issuer where it is now", s.url)
	case strings.ContainsFunc(t.Subject+claims.Email, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", refuse(http.StatusForbidden, "the token's subject has control characters")
	case s.kind == Kubernetes && (claims.Kubernetes.Namespace == "" || claims.Kubernetes.ServiceAccount.Name == ""):
		return "", refuse(http.StatusForbidden, "the token is of no service account: want the claim kubernetes.io with namespace and serviceaccount")
	case s.kind == Jenkins && !sameHost(t.Subject, s.url):
		return "", refuse(http.StatusForbidden, "the token's subject %.200q is not below %s: leave the subject of Jenkins' OpenID Connect plug-in at ${JOB_URL}", t.Subject, s.url)
	}
	return claims.ID, nil
}

func sameHost(subject, issuer string) bool {
	a, err := url.Parse(subject)
	if err != nil {
		return false
	}
	b, err := url.Parse(issuer)
	return err == nil && a.Scheme == b.Scheme && a.Host == b.Host && a.User == nil
}

func (s *source) principal(ctx context.Context, t *oidc.IDToken) (identity.Principal, error) {
	switch {
	case s.kind == "":
		return s.own(t)
	case builds[s.kind] != nil:
		return newBuild(s.kind, s.site, t)
	}
	return challenges.PrincipalFromIDToken(config.With(ctx, s.fulcio), t)
}

// enrolled is who the built-in issuer vouches for: a person by an e-mail
// address, or anything by a URI.
type enrolled struct {
	issuer, subject, email string
	uri                    *url.URL
}

func (s *source) own(t *oidc.IDToken) (identity.Principal, error) {
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}
	if err := t.Claims(&claims); err != nil {
		return nil, err
	}
	if claims.Email != "" {
		if !claims.Verified {
			return nil, errors.New("its e-mail address is not verified")
		}
		return enrolled{issuer: s.url, subject: t.Subject, email: claims.Email}, nil
	}
	u, err := url.Parse(t.Subject)
	if err != nil {
		return nil, fmt.Errorf("its subject %.200q is no URI", t.Subject)
	}
	if u.Scheme == "spiffe" {
		id, err := spiffeid.FromString(t.Subject)
		if err != nil || !slices.Contains(s.spiffe, id.TrustDomain().Name()) {
			return nil, fmt.Errorf("its subject %.200q is in no SPIFFE trust domain of this server", t.Subject)
		}
	} else if !sameHost(t.Subject, s.url) {
		return nil, fmt.Errorf("its subject %.200q is not on the issuer's host", t.Subject)
	}
	return enrolled{issuer: s.url, subject: t.Subject, uri: u}, nil
}

// Name is the challenge that a caller signs.
func (e enrolled) Name(context.Context) string {
	if e.email != "" {
		return e.email
	}
	return e.subject
}

// Embed writes the principal into a certificate.
func (e enrolled) Embed(_ context.Context, cert *x509.Certificate) error {
	if e.email != "" {
		cert.EmailAddresses = []string{e.email}
	} else {
		cert.URIs = []*url.URL{e.uri}
	}
	var err error
	cert.ExtraExtensions, err = certificate.Extensions{Issuer: e.issuer, Subject: e.subject}.Render()
	return err
}

// ownKeys are the keys of the built-in issuer, as they are now.
type ownKeys struct{ o Options }

func (k ownKeys) get(context.Context) (oidc.KeySet, error) {
	var set oidc.StaticKeySet
	for _, p := range k.o.Tokens.Issuers(k.o.Clock()) {
		pub, err := x509.ParsePKIXPublicKey(p.SPKI)
		if err != nil {
			return nil, fmt.Errorf("reading the issuer's keys: %v", err)
		}
		set.PublicKeys = append(set.PublicKeys, pub)
	}
	return &set, nil
}

// fileKeys are keys in a file (RFC 7517), which is read for each token: it is
// small, and whoever replaces it need tell nobody.
type fileKeys struct{ path string }

func (k fileKeys) get(context.Context) (oidc.KeySet, error) {
	b, err := os.ReadFile(k.path)
	if err != nil {
		return nil, err
	}
	pubs, err := parseJWKS(b)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %v", k.path, err)
	}
	return &oidc.StaticKeySet{PublicKeys: pubs}, nil
}

func parseJWKS(b []byte) ([]crypto.PublicKey, error) {
	if len(b) > maxFetched {
		return nil, fmt.Errorf("it has more than %d bytes", maxFetched)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, err
	}
	var pubs []crypto.PublicKey
	for _, k := range set.Keys {
		if k.IsPublic() && k.Valid() && k.Use != "enc" {
			pubs = append(pubs, k.Key)
		}
	}
	if len(pubs) == 0 {
		return nil, errors.New("it holds no public key for signatures")
	}
	return pubs, nil
}

// discovered are keys that the issuer is asked for when its first token comes.
type discovered struct {
	url    string
	client *http.Client
	clock  func() time.Time

	mu     sync.Mutex // held while the issuer is asked: one question at a time
	keys   oidc.KeySet
	failed time.Time // when it last did not answer
	why    error
}

func (d *discovered) get(ctx context.Context) (oidc.KeySet, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys != nil {
		return d.keys, nil
	}
	if wait := askAgain - d.clock().Sub(d.failed); d.why != nil && wait > 0 {
		return nil, fmt.Errorf("%v (asked again in %s)", d.why, wait.Round(time.Second))
	}
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, d.client), d.url)
	var about struct {
		Keys string `json:"jwks_uri"`
	}
	if err == nil {
		err = p.Claims(&about)
	}
	if err == nil {
		err = mayKeep(d.url, about.Keys)
	}
	if err != nil {
		if ctx.Err() == nil { // who asked may have gone away
			d.failed, d.why = d.clock(), err
		}
		return nil, err
	}
	// The set outlives this request; each of its fetches is bounded by the client.
	sparing := *d.client
	sparing.Transport = &seldom{to: d.client.Transport, clock: d.clock}
	d.keys, d.why = oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), &sparing), about.Keys), nil
	return d.keys, nil
}

// mayKeep refuses where an issuer says that its keys are: it must not have us ask
// services of this machine or of the network around it that it cannot reach itself.
func mayKeep(issuer, keys string) error {
	of, err := url.Parse(issuer)
	if err != nil {
		return err
	}
	at, err := url.Parse(keys)
	switch {
	case err != nil || at.User != nil || at.Scheme != "https" && at.Scheme != of.Scheme:
		return fmt.Errorf("it has its keys at %.200q: want https", keys)
	case at.Host != of.Host && (local(at.Hostname()) || net.ParseIP(at.Hostname()) != nil):
		return fmt.Errorf("it has its keys at %.200q: want a host by its name, or the issuer's own", keys)
	}
	return nil
}

// client fetches what issuers publish: small answers, in time, from the host
// that was asked.
func client(pool *x509.CertPool, base http.RoundTripper) *http.Client {
	if pool != nil {
		base = transport(pool)
	}
	return &http.Client{
		Timeout:   fetchTime,
		Transport: short{base},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme || len(via) > 3 {
				return fmt.Errorf("it sends on to %s", r.URL.Host)
			}
			return nil
		},
	}
}

// transport trusts the authorities of a pool, nil for those of the system.
func transport(pool *x509.CertPool) http.RoundTripper {
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment, IdleConnTimeout: time.Minute}
}

// seldom asks for keys again only after askAgain, and until then answers what it was
// answered. Everybody can send tokens with signatures that no key made, each of which
// has go-oidc ask again; an issuer that is asked too often answers nobody here.
type seldom struct {
	to    http.RoundTripper
	clock func() time.Time

	mu   sync.Mutex // guards all below, and is held while it asks
	at   time.Time
	resp http.Response // without its body
	body []byte
	err  error
}

func (s *seldom) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := s.clock().Sub(s.at); s.at.IsZero() || age < 0 || age >= askAgain {
		resp, err := s.to.RoundTrip(r)
		if err == nil {
			s.resp = *resp
			s.body, err = io.ReadAll(resp.Body)
			err = errors.Join(err, resp.Body.Close())
		}
		s.at, s.err = s.clock(), err
	}
	if s.err != nil {
		return nil, s.err
	}
	resp := s.resp
	resp.Request, resp.Body = r, io.NopCloser(bytes.NewReader(s.body))
	return &resp, nil
}

// short bounds answers. What is no document of an issuer ends here: the errors of
// go-oidc would quote it, to whoever sent the token.
type short struct{ to http.RoundTripper }

func (s short) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.to.RoundTrip(r)
	if err != nil || resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return resp, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxFetched+1))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answers with status %d", resp.StatusCode)
	case len(b) > maxFetched:
		return nil, fmt.Errorf("its answer has more than %d bytes", maxFetched)
	case json.Unmarshal(b, new(jose.JSONWebKeySet)) != nil:
		return nil, errors.New("its answer is no JSON of an issuer, or has keys that cannot be read")
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, nil
}
