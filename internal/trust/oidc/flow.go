package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/peer"
	"github.com/bonded-dev/bonded/internal/trust/answer"
)

// Times of a sign-in. cosign waits two minutes for a browser, and as long as it
// is told for a device.
const (
	flowLife  = 10 * time.Minute
	codeLife  = time.Minute
	pollEvery = 5 * time.Second
)

// FlowKind is where the token goes.
type FlowKind string

// The kinds.
const (
	Device  FlowKind = "device"  // a program that asks again and again
	Browser FlowKind = "browser" // a program that a browser comes back to
)

// FlowState is how far a sign-in is.
type FlowState string

// The states.
const (
	Pending  FlowState = "pending"
	Approved FlowState = "approved"
	Refused  FlowState = "refused"
	Used     FlowState = "used" // its token was handed out
)

// Flow is one sign-in under way. Secrets are in it as hashes.
type Flow struct {
	ID       string // hash of what the client holds
	UserCode string // what a person types
	Kind     FlowKind
	State    FlowState
	Version  int // counted up by Flows.Change

	Client    string
	Challenge string // PKCE, S256
	Nonce     string
	Redirect  string // Browser: where the code goes
	Carried   string // Browser: the client's own state, given back
	Code      string // Browser: hash of the code, once there is one

	From    netip.Addr // who started it, of IPv6 the network
	Made    time.Time
	Expires time.Time
	Polled  time.Time
	Of      Subject // once approved
}

// Bounds of what is kept of sign-ins.
const (
	MaxFlows    = 10_000 // about 10 MiB
	MaxFlowsPer = 20     // of one address
)

// ErrSameCode is returned by Flows.Add when another sign-in has that code. It
// matches ErrBusy.
var ErrSameCode = fmt.Errorf("%w: two of them drew the same code; try again", ErrBusy)

// Room says whether there is room for one more sign-in from an address, where so
// many are under way, and so many from there. Errors match ErrBusy.
func Room(from netip.Addr, all, same int) error {
	switch {
	case all >= MaxFlows:
		return fmt.Errorf("%w on this server; try again in some minutes", ErrBusy)
	case same >= MaxFlowsPer:
		return fmt.Errorf("%w from %s; finish one, or try again in some minutes", ErrBusy, from)
	}
	return nil
}

// idOf is what is kept of a secret.
func idOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// letters are those of user codes: no vowels, so no words, and none that look
// alike (RFC 8628, 6.1).
const letters = "BCDFGHJKLMNPQRSTVWXZ"

// newFlow makes a sign-in, and the secret that its client holds.
func (s *Issuer) newFlow(r *http.Request, kind FlowKind, f url.Values) (flow Flow, secret string, err error) {
	if c := f.Get("client_id"); c != Client {
		return Flow{}, "", no("unauthorized_client", "there is no client %.40q: the one of this issuer is %s", c, Client)
	}
	if m := f.Get("code_challenge_method"); m != "S256" || !challengePattern().MatchString(f.Get("code_challenge")) {
		return Flow{}, "", no("invalid_request", "want a code_challenge with code_challenge_method S256 (RFC 7636)")
	}
	if len(f.Get("nonce")) > maxNonce {
		return Flow{}, "", no("invalid_request", "the nonce has more than %d bytes", maxNonce)
	}
	if secret, err = s.random(32); err != nil {
		return Flow{}, "", err
	}
	code, err := s.userCode()
	if err != nil {
		return Flow{}, "", err
	}
	now := s.o.Clock()
	return Flow{
		ID: idOf(secret), UserCode: code, Kind: kind, State: Pending,
		Client: Client, Challenge: f.Get("code_challenge"), Nonce: f.Get("nonce"),
		From: peer.Network(peer.Addr(r)).Addr(), Made: now, Expires: now.Add(flowLife),
	}, secret, nil
}

// challengePattern is the base64url of a SHA-256.
var challengePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
})

// userCode returns eight letters, 34 bits, which live for ten minutes and are
// tried only by who is logged in.
func (s *Issuer) userCode() (string, error) {
	var out []byte
	for len(out) < 9 {
		var b [1]byte
		if _, err := io.ReadFull(s.o.Rand, b[:]); err != nil {
			return "", fmt.Errorf("reading randomness: %v", err)
		}
		if int(b[0]) >= 240 { // 12 times 20: all letters equally likely
			continue
		}
		if len(out) == 4 {
			out = append(out, '-')
		}
		out = append(out, letters[int(b[0])%len(letters)])
	}
	return string(out), nil
}

// normal returns a user code as it was shown, however it was typed.
func normal(code string) string {
	code = strings.Map(func(r rune) rune {
		if strings.ContainsRune(letters, r) {
			return r
		}
		return -1
	}, strings.ToUpper(code))
	if len(code) != 8 {
		return ""
	}
	return code[:4] + "-" + code[4:]
}

// Find returns the sign-in of a user code, for a person to look at before
// approving: who started it, from where and when. Errors match ErrNoFlow.
func (s *Issuer) Find(ctx context.Context, code string) (Flow, error) {
	flow, err := s.o.Flows.ByUserCode(ctx, normal(code))
	if err == nil && !s.o.Clock().Before(flow.Expires) {
		err = ErrNoFlow
	}
	if err != nil {
		return Flow{}, fmt.Errorf("finding sign-in %.20q: %w", code, err)
	}
	return flow, nil
}

// Approve lets the sign-in of a user code go on as the principal. Errors match
// ErrNoFlow, ErrSettled or ErrNotAnIdentity.
func (s *Issuer) Approve(ctx context.Context, p authz.Principal, code string) (Flow, error) {
	of, err := s.SubjectOf(p)
	if err != nil {
		return Flow{}, err
	}
	return s.settle(ctx, code, func(f *Flow) { f.State, f.Of = Approved, of })
}

// Refuse ends the sign-in of a user code. Errors match ErrNoFlow or ErrSettled.
func (s *Issuer) Refuse(ctx context.Context, code string) (Flow, error) {
	return s.settle(ctx, code, func(f *Flow) { f.State = Refused })
}

func (s *Issuer) settle(ctx context.Context, code string, change func(*Flow)) (Flow, error) {
	for {
		flow, err := s.Find(ctx, code)
		if err != nil {
			return Flow{}, err
		}
		if flow.State != Pending {
			return flow, fmt.Errorf("settling sign-in %s: %w: it was %s", flow.UserCode, ErrSettled, flow.State)
		}
		change(&flow)
		err = s.o.Flows.Change(ctx, flow)
		if errors.Is(err, ErrRaced) { // with a poll
			continue
		}
		return flow, err
	}
}

// postDeviceCode starts a sign-in of a device (RFC 8628, 3.1).
func (s *Issuer) postDeviceCode(w http.ResponseWriter, r *http.Request) {
	f, err := readForm(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	flow, secret, err := s.newFlow(r, Device, f)
	if err == nil {
		err = s.o.Flows.Add(r.Context(), flow)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer.JSON(w, http.StatusOK, map[string]any{
		"device_code":               secret,
		"user_code":                 flow.UserCode,
		"verification_uri":          s.o.URL + "/device",
		"verification_uri_complete": s.o.URL + "/device?user_code=" + flow.UserCode,
		"expires_in":                int(flowLife / time.Second),
		"interval":                  int(pollEvery / time.Second),
	})
}

// getDevice says what to do with a user code. Nothing of the request is shown
// but a code of the right form.
func (s *Issuer) getDevice(w http.ResponseWriter, r *http.Request) {
	code := normal(r.URL.Query().Get("user_code"))
	if code == "" {
		code = "CODE"
	}
	text(w, http.StatusOK, "To sign in, run this where you are logged in with bonded:\n\n    bonded trust approve %s\n\nApprove it only if you have just started this yourself.\n", code)
}

// getAuth starts a sign-in of a browser (RFC 6749, 4.1.1).
func (s *Issuer) getAuth(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if err := checkForm(q); err != nil {
		text(w, http.StatusBadRequest, "The sign-in cannot start: %v.\n", err)
		return
	}
	redirect := q.Get("redirect_uri")
	if !loopback(redirect) && redirect != outOfBand {
		// Not sent back: whoever wrote it may not be the client (RFC 6749, 4.1.2.1).
		text(w, http.StatusBadRequest, "The sign-in cannot start: redirect_uri must be http://localhost:PORT/auth/callback, or %s.\n", outOfBand)
		return
	}
	if t := q.Get("response_type"); t != "code" {
		text(w, http.StatusBadRequest, "The sign-in cannot start: response_type must be code.\n")
		return
	}
	flow, secret, err := s.newFlow(r, Browser, q)
	flow.Redirect, flow.Carried = redirect, q.Get("state")
	if err == nil {
		err = s.o.Flows.Add(r.Context(), flow)
	}
	if e := new(oauthError); errors.As(err, &e) {
		text(w, e.status, "The sign-in cannot start: %v.\n", err)
		return
	}
	if err != nil {
		s.o.Log.WarnContext(r.Context(), "starting a sign-in", "err", err)
		text(w, http.StatusServiceUnavailable, "The sign-in cannot start now; try again in a minute.\n")
		return
	}
	s.waiting(w, flow, secret)
}

// outOfBand is the redirect of a client that no browser can come back to: the
// page shows the code.
const outOfBand = "urn:ietf:wg:oauth:2.0:oob"

// loopback reports whether a redirect stays on the client's machine (RFC 8252,
// 7.3).
func loopback(redirect string) bool {
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || u.Path != "/auth/callback" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// waiting shows what to do, and has the browser ask again.
func (s *Issuer) waiting(w http.ResponseWriter, flow Flow, secret string) {
	w.Header().Set("Refresh", "2; url="+s.o.URL+"/auth/wait?session="+secret)
	text(w, http.StatusOK, "To sign in, run this where you are logged in with bonded:\n\n    bonded trust approve %s\n\nApprove it only if you have just started this yourself. This page goes on by itself.\n", flow.UserCode)
}

// getAuthWait sends the browser back to its client once the sign-in is settled.
func (s *Issuer) getAuthWait(w http.ResponseWriter, r *http.Request) {
	secret := r.URL.Query().Get("session")
	flow, err := s.o.Flows.ByID(r.Context(), idOf(secret))
	switch {
	case errors.Is(err, ErrNoFlow) || err == nil && (flow.Kind != Browser || !s.o.Clock().Before(flow.Expires)):
		text(w, http.StatusNotFound, "There is no such sign-in, or it took too long. Start again.\n")
	case err != nil:
		s.o.Log.ErrorContext(r.Context(), "looking up a sign-in", "err", err)
		text(w, http.StatusServiceUnavailable, "The sign-in cannot be looked up now; load this page again.\n")
	case flow.State == Pending:
		s.waiting(w, flow, secret)
	case flow.State == Refused:
		s.back(w, r, flow, url.Values{"error": {"access_denied"}, "error_description": {"the sign-in was refused"}})
	case flow.State == Used || flow.Code != "":
		text(w, http.StatusOK, "You are signed in. This page can be closed.\n")
	default:
		s.giveCode(w, r, flow)
	}
}

// giveCode makes the code of an approved sign-in, once.
func (s *Issuer) giveCode(w http.ResponseWriter, r *http.Request, flow Flow) {
	code, err := s.random(32)
	if err == nil {
		flow.Code, flow.Expires = idOf(code), s.o.Clock().Add(codeLife)
		err = s.o.Flows.Change(r.Context(), flow)
	}
	if err != nil {
		s.o.Log.WarnContext(r.Context(), "giving a sign-in its code", "err", err)
		text(w, http.StatusServiceUnavailable, "The sign-in cannot go on now; load this page again.\n")
		return
	}
	s.back(w, r, flow, url.Values{"code": {flow.ID + "." + code}})
}

// back sends the browser to its client, or shows the code where there is no
// way there.
func (s *Issuer) back(w http.ResponseWriter, r *http.Request, flow Flow, with url.Values) {
	if flow.Redirect == outOfBand {
		if code := with.Get("code"); code != "" {
			text(w, http.StatusOK, "Enter this verification code:\n\n    %s\n", code)
			return
		}
		text(w, http.StatusForbidden, "The sign-in was refused.\n")
		return
	}
	if flow.Carried != "" {
		with.Set("state", flow.Carried)
	}
	http.Redirect(w, r, flow.Redirect+"?"+with.Encode(), http.StatusSeeOther)
}

// text writes a page of plain text.
func text(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, format, args...) // the client went away
}
