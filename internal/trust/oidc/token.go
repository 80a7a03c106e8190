package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/peer"
	"github.com/bonded-dev/bonded/internal/trust/answer"
)

// Grant types (RFC 6749, 8628, 8693).
const (
	grantCode     = "authorization_code"
	grantClient   = "client_credentials"
	grantDevice   = "urn:ietf:params:oauth:grant-type:device_code"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// Token types (RFC 8693, 3).
const (
	typeID     = "urn:ietf:params:oauth:token-type:id_token"
	typeAccess = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT    = "urn:ietf:params:oauth:token-type:jwt"
)

const (
	maxForm  = 64 << 10 // bytes of a request
	maxField = 8 << 10  // bytes of one of its fields
	maxNonce = 256
)

// oauthError is a no in the words of RFC 6749, 5.2.
type oauthError struct {
	status     int
	code, text string
}

func (e *oauthError) Error() string { return e.text }

func no(code, format string, args ...any) error {
	status := http.StatusBadRequest
	if code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	return &oauthError{status, code, fmt.Sprintf(format, args...)}
}

// readForm reads a form with limits; a field that is there twice is refused
// (RFC 6749, 3.2).
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, no("invalid_request", "the form cannot be read; it has at most %d bytes of application/x-www-form-urlencoded", maxForm)
	}
	return r.PostForm, checkForm(r.PostForm)
}

func checkForm(f url.Values) error {
	for name, values := range f {
		if len(values) > 1 && name != "audience" && name != "resource" {
			return no("invalid_request", "%.40q is there %d times", name, len(values))
		}
		for _, v := range values {
			if len(v) > maxField {
				return no("invalid_request", "%.40q has more than %d bytes", name, maxField)
			}
		}
	}
	if len(f["audience"]) > 1 {
		return no("invalid_target", "a token is for one audience")
	}
	return nil
}

// postToken answers the token endpoint.
func (s *Issuer) postToken(w http.ResponseWriter, r *http.Request) {
	f, err := readForm(w, r)
	var out map[string]any
	if err == nil {
		switch g := f.Get("grant_type"); g {
		case grantExchange:
			out, err = s.exchange(r, f)
		case grantClient:
			out, err = s.byCertificate(r, f)
		case grantDevice:
			out, err = s.byDevice(r, f)
		case grantCode:
			out, err = s.byCode(r, f)
		default:
			err = no("unsupported_grant_type", "%.80q is not offered: want %s, %s, %s or %s", g, grantExchange, grantClient, grantDevice, grantCode)
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Pragma", "no-cache")
	answer.JSON(w, http.StatusOK, out)
}

// fail answers with an error; one of ours is logged and not shown.
func (s *Issuer) fail(w http.ResponseWriter, r *http.Request, err error) {
	e, often := new(oauthError), new(authz.Throttled)
	switch {
	case errors.As(err, &e):
	case errors.As(err, &often):
		w.Header().Set("Retry-After", strconv.Itoa(int(often.After/time.Second)+1))
		e = &oauthError{http.StatusTooManyRequests, "temporarily_unavailable", err.Error()}
	case errors.Is(err, authz.ErrUnauthenticated):
		e = &oauthError{http.StatusBadRequest, "invalid_grant", err.Error()}
	case errors.Is(err, ErrNotAnIdentity):
		e = &oauthError{http.StatusBadRequest, "invalid_grant", err.Error()}
	case errors.Is(err, ErrBusy):
		w.Header().Set("Retry-After", "60")
		e = &oauthError{http.StatusServiceUnavailable, "temporarily_unavailable", err.Error()}
	default:
		s.o.Log.ErrorContext(r.Context(), "issuing a token", "err", err)
		e = &oauthError{http.StatusInternalServerError, "server_error", "the token could not be issued; try again, or ask who runs this server to look into its log"}
	}
	answer.JSON(w, e.status, map[string]string{"error": e.code, "error_description": e.text})
}

// tokenAnswer is what all grants answer. The identity token stands for the
// access token too, which clients want to see and nothing here takes.
func (s *Issuer) tokenAnswer(token string) map[string]any {
	return map[string]any{"access_token": token, "id_token": token, "token_type": "Bearer", "expires_in": int(s.o.Life / time.Second)}
}

// target returns the audience that is asked for.
func (s *Issuer) target(f url.Values) (string, error) {
	a := f.Get("audience")
	if a == "" {
		a = Audience
	}
	if !s.mayBeFor(a) {
		return "", no("invalid_target", "tokens for %.100q are not issued here; leave audience out, or ask for %s", a, Audience)
	}
	return a, nil
}

// exchange makes a token of a secret (RFC 8693, 2.1).
func (s *Issuer) exchange(r *http.Request, f url.Values) (map[string]any, error) {
	audience, err := s.target(f)
	if err != nil {
		return nil, err
	}
	if t := f.Get("requested_token_type"); t != "" && t != typeID && t != typeJWT {
		return nil, no("invalid_request", "requested_token_type %.80q is not issued here: want %s", t, typeID)
	}
	if t := f.Get("subject_token_type"); t != typeAccess && t != typeJWT {
		return nil, no("invalid_request", "subject_token_type %.80q is not taken: want %s", t, typeAccess)
	}
	if f.Get("actor_token") != "" {
		return nil, no("invalid_request", "nobody acts for another here: leave actor_token out")
	}
	secret := f.Get("subject_token")
	if secret == "" {
		return nil, no("invalid_request", "there is no subject_token: send the account's secret")
	}
	p, err := s.o.Who.Authenticate(r, secret)
	if err != nil {
		return nil, err
	}
	of, err := s.SubjectOf(p)
	if err != nil {
		return nil, err
	}
	token, err := s.mint(r.Context(), request{of: of, audience: audience, how: ByExchange, from: peer.Addr(r)})
	if err != nil {
		return nil, err
	}
	out := s.tokenAnswer(token)
	out["issued_token_type"], out["token_type"] = typeID, "N_A" // RFC 8693, 2.2.1: it is no access token
	return out, nil
}

// byCertificate makes a token of a TLS client certificate (RFC 8705, 2.1).
func (s *Issuer) byCertificate(r *http.Request, f url.Values) (map[string]any, error) {
	audience, err := s.target(f)
	if err != nil {
		return nil, err
	}
	if s.o.Certificates == nil {
		return nil, no("unauthorized_client", "client certificates are not set up on this server")
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, no("invalid_client", "no client certificate came with the connection (curl --cert FILE --key FILE); a proxy in between keeps it")
	}
	of, err := s.o.Certificates.subject(s.o.URL, r.TLS.PeerCertificates, s.o.Clock())
	if err != nil {
		return nil, err
	}
	token, err := s.mint(r.Context(), request{of: of, audience: audience, how: ByCertificate, from: peer.Addr(r)})
	if err != nil {
		return nil, err
	}
	return s.tokenAnswer(token), nil
}

// byDevice answers a client that waits for an approval (RFC 8628, 3.4).
func (s *Issuer) byDevice(r *http.Request, f url.Values) (map[string]any, error) {
	flow, err := s.o.Flows.ByID(r.Context(), idOf(f.Get("device_code")))
	if errors.Is(err, ErrNoFlow) || err == nil && (flow.Kind != Device || flow.Client != f.Get("client_id")) {
		return nil, no("invalid_grant", "there is no such device_code; start again")
	}
	if err != nil {
		return nil, err
	}
	now := s.o.Clock()
	switch {
	case !now.Before(flow.Expires):
		return nil, no("expired_token", "nobody approved within %s; start again", flowLife)
	case flow.State == Refused:
		return nil, no("access_denied", "the sign-in was refused")
	case flow.State == Used:
		return nil, no("invalid_grant", "the device_code was used already")
	case flow.State == Pending:
		return nil, s.poll(r.Context(), flow, now)
	case !proves(flow.Challenge, f.Get("code_verifier")):
		return nil, no("invalid_grant", "the code_verifier is not the one of this sign-in")
	}
	return s.redeem(r, flow, ByDevice)
}

// poll tells a client to wait, and one that asks too often to ask less.
func (s *Issuer) poll(ctx context.Context, flow Flow, now time.Time) error {
	early := now.Sub(flow.Polled) < pollEvery
	flow.Polled = now
	if err := s.o.Flows.Change(ctx, flow); err != nil && !errors.Is(err, ErrRaced) {
		return err
	}
	if early {
		return no("slow_down", "ask every %s", pollEvery)
	}
	return no("authorization_pending", "waiting for bonded trust approve %s", flow.UserCode)
}

// byCode answers a client whose browser brought it a code (RFC 6749, 4.1.3;
// RFC 7636, 4.6).
func (s *Issuer) byCode(r *http.Request, f url.Values) (map[string]any, error) {
	id, code, _ := strings.Cut(f.Get("code"), ".")
	flow, err := s.o.Flows.ByID(r.Context(), id)
	if errors.Is(err, ErrNoFlow) || err == nil && (flow.Kind != Browser || flow.Code == "" || subtle.ConstantTimeCompare([]byte(flow.Code), []byte(idOf(code))) != 1) {
		return nil, no("invalid_grant", "there is no such code; start again")
	}
	if err != nil {
		return nil, err
	}
	switch {
	case flow.State != Approved || !s.o.Clock().Before(flow.Expires):
		return nil, no("invalid_grant", "the code was used already, or it is too old")
	case flow.Client != clientOf(r, f):
		return nil, no("invalid_grant", "the code is of another client")
	case flow.Redirect != f.Get("redirect_uri"):
		return nil, no("invalid_grant", "the code was sent to another redirect_uri")
	case !proves(flow.Challenge, f.Get("code_verifier")):
		return nil, no("invalid_grant", "the code_verifier is not the one of this sign-in")
	}
	return s.redeem(r, flow, ByBrowser)
}

// clientOf returns the client ID, which libraries send either way (RFC 6749,
// 2.3.1). There is no secret to check.
func clientOf(r *http.Request, f url.Values) string {
	if name, _, ok := r.BasicAuth(); ok {
		return name
	}
	return f.Get("client_id")
}

// redeem marks an approved flow as used, which happens once, and makes its
// token.
func (s *Issuer) redeem(r *http.Request, flow Flow, how How) (map[string]any, error) {
	flow.State = Used
	err := s.o.Flows.Change(r.Context(), flow)
	if errors.Is(err, ErrRaced) || errors.Is(err, ErrNoFlow) {
		return nil, no("invalid_grant", "the code was used already")
	}
	if err != nil {
		return nil, err
	}
	token, err := s.mint(r.Context(), request{of: flow.Of, audience: Audience, nonce: flow.Nonce, how: how, from: peer.Addr(r)})
	if err != nil {
		return nil, err
	}
	return s.tokenAnswer(token), nil
}

// proves checks a PKCE verifier against the challenge (RFC 7636, 4.6).
func proves(challenge, verifier string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return verifier != "" && subtle.ConstantTimeCompare([]byte(challenge), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) == 1
}
