package authn

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/peer"
)

// maxForm bounds the body of a token request, in bytes.
const maxForm = 64 << 10

// formTime is how long a client may take to send it: anybody may ask.
const formTime = 30 * time.Second

// granted is the answer of the token endpoint: Docker's token and OAuth 2's
// are one document.
type granted struct {
	Token     string    `json:"token"`
	Access    string    `json:"access_token"`
	Type      string    `json:"token_type"`
	ExpiresIn int       `json:"expires_in"` // seconds
	IssuedAt  time.Time `json:"issued_at"`
	Scope     string    `json:"scope,omitempty"`
	Refresh   string    `json:"refresh_token,omitempty"`
}

// tokenRequest is what both forms of the flow ask.
type tokenRequest struct {
	name, secret string
	bySecret     bool // refresh_token: the secret alone says who it is
	scopes       []string
	offline      bool
}

// ServeToken is the token endpoint of the registry: GET with Basic credentials
// (Docker Registry v2 authentication) or POST with a form (OAuth 2, RFC 6749).
// Without credentials it gives tokens for what anyone may do. What is asked
// for and not permitted is left out of the token, as the flow has it: the
// registry then says what is missing.
//
// The refresh token is the secret itself: it is as long-lived, ends with it,
// and the client holds it already.
func (a *Accounts) ServeToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	in, err := a.tokenRequest(w, r)
	if err != nil {
		writeTokenError(w, err)
		return
	}
	p, err := a.identify(r, in)
	if err == nil {
		err = a.grant(w, r, p, in)
	}
	if err != nil {
		if !isClients(err) {
			a.o.Log.ErrorContext(r.Context(), "answering a token request", "error", err)
		}
		writeTokenError(w, err)
	}
}

// formError is a request for a token that cannot be read; code is RFC 6749's.
type formError struct {
	status     int
	code, text string
}

func (e *formError) Error() string { return e.text }

func (a *Accounts) tokenRequest(w http.ResponseWriter, r *http.Request) (in tokenRequest, err error) {
	switch r.Method {
	case http.MethodGet:
		q := r.URL.Query()
		in.scopes, in.offline = q["scope"], q.Get("offline_token") == "true"
		return in, in.basic(r)
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		// A connection that knows no deadlines is bounded by the server alone.
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Now().Add(formTime)) //nolint:forbidigo // a deadline is a moment of this machine, whatever clock there is
		err := r.ParseForm()
		_ = control.SetReadDeadline(time.Time{})
		if err != nil {
			return in, &formError{http.StatusBadRequest, "invalid_request", "the form cannot be read"}
		}
		return in, in.form(r, r.PostForm)
	}
	w.Header().Set("Allow", "GET, POST")
	return in, &formError{http.StatusMethodNotAllowed, "invalid_request", "the token endpoint takes GET and POST"}
}

func (in *tokenRequest) basic(r *http.Request) (err error) {
	h := r.Header.Get("Authorization")
	if h == "" {
		return nil
	}
	scheme, value, _ := strings.Cut(h, " ")
	if !strings.EqualFold(scheme, "basic") {
		return &formError{http.StatusBadRequest, "invalid_request", "the token endpoint takes Basic credentials: the account's name and secret"}
	}
	in.name, in.secret, err = basic(strings.TrimSpace(value))
	return err
}

func (in *tokenRequest) form(r *http.Request, f url.Values) error {
	in.scopes, in.offline = f["scope"], f.Get("access_type") == "offline"
	switch f.Get("grant_type") {
	case "password":
		in.name, in.secret = f.Get("username"), f.Get("password")
		return nil
	case "refresh_token":
		in.secret, in.bySecret = f.Get("refresh_token"), true
		if in.secret == "" {
			return &formError{http.StatusBadRequest, "invalid_request", "the refresh_token is missing"}
		}
		return nil
	case "", "client_credentials":
		return in.basic(r)
	}
	return &formError{http.StatusBadRequest, "unsupported_grant_type", "the token endpoint knows the grant types password and refresh_token"}
}

func (a *Accounts) identify(r *http.Request, in tokenRequest) (authz.Principal, error) {
	ctx, from := r.Context(), peer.Addr(r)
	if !in.bySecret {
		return a.secret(ctx, from, in.name, in.secret)
	}
	id, formed := idOf(in.secret)
	if !formed {
		a.attempts.failed(from, "", a.o.Clock())
		return authz.Principal{}, wrong()
	}
	t, err := a.o.Store.Token(ctx, id)
	if err != nil {
		// An unknown one fails as a wrong one does, and is counted.
		return a.secret(ctx, from, "?", in.secret)
	}
	return a.secret(ctx, from, t.Account, in.secret)
}

// grant answers with a token for p.
func (a *Accounts) grant(w http.ResponseWriter, r *http.Request, p authz.Principal, in tokenRequest) error {
	access, now := grantable(p, a.o.Open, parseScopes(in.scopes)), a.o.Clock()
	id, err := a.random()
	if err != nil {
		return err
	}
	account := ""
	if !p.IsAnonymous() {
		account = p.Subject
	}
	key, err := a.keys.newest(r.Context(), now)
	if err != nil {
		return err
	}
	token, err := a.signer.sign(key, id, account, p.Claims[claimToken], access, now)
	if err != nil {
		return err
	}
	out := granted{Token: token, Access: token, Type: "Bearer", ExpiresIn: int(a.o.BearerTTL / time.Second), IssuedAt: now.UTC().Truncate(time.Second)}
	for i, one := range access {
		if i > 0 {
			out.Scope += " "
		}
		out.Scope += one.String()
	}
	if in.offline && account != "" {
		out.Refresh = in.secret
	}
	return writeJSON(w, http.StatusOK, out)
}

// isClients reports whether an error is the client's, not ours.
func isClients(err error) bool {
	var form *formError
	var throttled *authz.Throttled
	return errors.As(err, &form) || errors.As(err, &throttled) || errors.Is(err, authz.ErrUnauthenticated)
}

// tokenError is an error in the words of the registry and of OAuth 2 at once.
type tokenError struct {
	Errors      []codedError `json:"errors"`
	Error       string       `json:"error"`
	Description string       `json:"error_description"`
}

type codedError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func writeTokenError(w http.ResponseWriter, err error) {
	var form *formError
	var throttled *authz.Throttled
	status, code, oauth, text := http.StatusInternalServerError, "UNKNOWN", "server_error", "the server could not do this; try again, and tell the operator when it stays"
	switch {
	case errors.As(err, &form):
		status, code, oauth, text = form.status, "UNSUPPORTED", form.code, form.text
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", strconv.Itoa(int((throttled.After+time.Second-1)/time.Second)))
		status, code, oauth, text = http.StatusTooManyRequests, "TOOMANYREQUESTS", "temporarily_unavailable", throttled.Error()
	case errors.Is(err, authz.ErrUnauthenticated):
		w.Header().Set("WWW-Authenticate", `Basic realm="Bonded"`)
		status, code, oauth, text = http.StatusUnauthorized, "UNAUTHORIZED", "invalid_grant", err.Error()
	}
	// Nothing is left to tell a client that is gone.
	_ = writeJSON(w, status, tokenError{[]codedError{{code, text}}, oauth, text})
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b)
	return nil
}
