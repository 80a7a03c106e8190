package oidc

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/answer"
)

// Subject is who a token is of, as the token says it.
type Subject struct {
	Principal string // name of the principal
	Sub       string // a URI: below the issuer's URL, a SPIFFE ID, or the server's own
	Email     string // a verified address; "" where there is none
	// Certificate is the SHA-256 of the client certificate behind it (RFC 8705,
	// 3.1), in base64url; "" where there is none.
	Certificate string
}

// claims is the payload of a token (OpenID Connect Core 1.0, 2).
type claims struct {
	Issuer    string        `json:"iss"`
	Subject   string        `json:"sub"`
	Audience  string        `json:"aud"`
	Expires   int64         `json:"exp"`
	Issued    int64         `json:"iat"`
	NotBefore int64         `json:"nbf"`
	ID        string        `json:"jti"`
	Nonce     string        `json:"nonce,omitempty"`
	Email     string        `json:"email,omitempty"`
	Verified  bool          `json:"email_verified,omitempty"`
	Bound     *confirmation `json:"cnf,omitempty"`
}

type confirmation struct {
	Thumbprint string `json:"x5t#S256"`
}

// Server is the name of the part of the server that signs what it says: its
// identity is the server's own.
const Server = "sign"

// address is a name that is an e-mail address. Names of accounts have a
// narrow alphabet already; those of other issuers have not.
var address = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9._+-]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}$`)
})

// SubjectOf says what a token of a principal is of. A person is an e-mail
// address where the account is named by one, or where the issuer of a foreign one
// verified it; everybody has a URI below this issuer. Errors match
// ErrNotAnIdentity: a token that was narrowed to some repositories does not speak
// for its account.
func (s *Issuer) SubjectOf(p authz.Principal) (Subject, error) {
	switch {
	case p.IsAnonymous():
		return Subject{}, fmt.Errorf("%w: nobody authenticated; log in first", ErrNotAnIdentity)
	case p.Scope != nil:
		return Subject{}, fmt.Errorf("%w: this is a token for repositories; send the account's own secret", ErrNotAnIdentity)
	case p.Within != nil:
		return Subject{}, fmt.Errorf("%w: this secret is narrowed to part of what %s may do; send one that is not", ErrNotAnIdentity, p.Name())
	}
	kind, human := "machines", p.Claims["human"] == "true"
	foreign := p.Issuer != "bonded" && p.Issuer != ""
	if human || foreign && p.Claims["email"] != "" {
		kind = "people"
	}
	if p.Method == "internal" {
		kind = "server"
	}
	sub := Subject{Principal: p.Name(), Sub: s.o.URL + "/" + kind + "/" + url.PathEscape(p.Name())}
	switch {
	case p.Method == "internal" && p.Subject == Server:
		sub.Sub, _ = trust.IdentityOf(s.o.Server)
	case foreign && p.Claims["email_verified"] == "true" && address().MatchString(p.Claims["email"]):
		sub.Email = p.Claims["email"]
	case !foreign && human && address().MatchString(p.Subject):
		sub.Email = p.Subject
	}
	return sub, nil
}

// request is a token to be made.
type request struct {
	of       Subject
	issuer   string // "" for the URL of this one
	audience string
	nonce    string
	how      How
	from     netip.Addr
}

// Mint returns a token of a part of the server itself, such as what signs its
// decisions. The principal is authz.Internal's. Errors match ErrNotAnIdentity.
func (s *Issuer) Mint(ctx context.Context, p authz.Principal) (string, error) {
	if p.Method != "internal" {
		return "", fmt.Errorf("%w: %s is no part of the server", ErrNotAnIdentity, p.Name())
	}
	of, err := s.SubjectOf(p)
	if err != nil {
		return "", err
	}
	r := request{of: of, audience: Audience, how: ByServer}
	if p.Subject == Server {
		_, r.issuer = trust.IdentityOf(s.o.Server)
	}
	return s.mint(ctx, r)
}

// mint makes a token, once audit has it.
func (s *Issuer) mint(ctx context.Context, r request) (string, error) {
	id, err := s.random(16)
	if err != nil {
		return "", err
	}
	now := s.o.Clock()
	end := now.Add(s.o.Life)
	c := claims{
		Issuer: cmp.Or(r.issuer, s.o.URL), Subject: r.of.Sub, Audience: r.audience, Expires: end.Unix(), Issued: now.Unix(), NotBefore: now.Unix(),
		ID: id, Nonce: r.nonce, Email: r.of.Email, Verified: r.of.Email != "",
	}
	if r.of.Certificate != "" {
		c.Bound = &confirmation{r.of.Certificate}
	}
	token, err := s.sign(c)
	if err != nil {
		return "", err
	}
	err = s.o.Audit(ctx, Issued{
		ID: id, Principal: r.of.Principal, Subject: r.of.Sub, Email: r.of.Email, Audience: r.audience, How: r.how, From: r.from, Expires: end,
	})
	if err != nil {
		return "", fmt.Errorf("recording a token: %w", err)
	}
	return token, nil
}

// sign returns a JWS in compact form (RFC 7515, 3.1). RS256 is the one
// algorithm that cosign takes as a raw token.
func (s *Issuer) sign(c claims) (string, error) {
	key := s.o.Keys.Key(trust.Issuer)
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": key.ID()})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(text))
	sig, err := key.Signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// random returns n random bytes in hex.
func (s *Issuer) random(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.o.Rand, b); err != nil {
		return "", fmt.Errorf("reading randomness: %v", err)
	}
	return hex.EncodeToString(b), nil
}

// getKeys serves the public keys (RFC 7517), those of rotated ones as long as
// their tokens may be out.
func (s *Issuer) getKeys(w http.ResponseWriter, r *http.Request) {
	var set jose.JSONWebKeySet
	for _, p := range s.o.Keys.Issuers(s.o.Clock()) {
		pub, err := x509.ParsePKIXPublicKey(p.SPKI)
		if err != nil {
			s.o.Log.ErrorContext(r.Context(), "reading the issuer's keys", "err", err)
			http.Error(w, "the keys cannot be read", http.StatusInternalServerError)
			return
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: pub, KeyID: p.ID(), Algorithm: "RS256", Use: "sig"})
	}
	w.Header().Set("Cache-Control", "public, max-age="+fmt.Sprint(int(time.Minute.Seconds())))
	answer.JSON(w, http.StatusOK, set)
}

// getDiscovery serves what clients need to know (OpenID Connect Discovery 1.0,
// 3; RFC 8628, 4; RFC 8705, 3.3).
func (s *Issuer) getDiscovery(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=60")
	methods := []string{"none"}
	grants := []string{grantCode, grantDevice, grantExchange}
	if s.o.Certificates != nil {
		methods, grants = append(methods, "tls_client_auth"), append(grants, grantClient)
	}
	answer.JSON(w, http.StatusOK, map[string]any{
		"issuer":                                     s.o.URL,
		"authorization_endpoint":                     s.o.URL + "/auth",
		"token_endpoint":                             s.o.URL + "/token",
		"device_authorization_endpoint":              s.o.URL + "/device/code",
		"jwks_uri":                                   s.o.URL + "/keys",
		"response_types_supported":                   []string{"code"},
		"response_modes_supported":                   []string{"query"},
		"grant_types_supported":                      grants,
		"subject_types_supported":                    []string{"public"},
		"id_token_signing_alg_values_supported":      []string{"RS256"},
		"scopes_supported":                           []string{"openid", "email"},
		"claims_supported":                           []string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "email", "email_verified"},
		"code_challenge_methods_supported":           []string{"S256"},
		"token_endpoint_auth_methods_supported":      methods,
		"tls_client_certificate_bound_access_tokens": s.o.Certificates != nil,
	})
}
