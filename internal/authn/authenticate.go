package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/peer"
	"github.com/bonded-dev/bonded/internal/repo"
)

// seen is a credential that was found to be good. It is not changed once made.
type seen struct {
	principal authz.Principal
	token     string    // id of the long-lived token behind it; "" for nobody's
	expires   time.Time // of the bearer token; zero for a secret
	checked   time.Time // when token and account were looked up
	changes   uint64    // Accounts.changes at that time
}

// fresh reports whether s can be taken for good without looking again.
func (a *Accounts) fresh(s *seen, now time.Time) bool {
	age := now.Sub(s.checked)
	// A clock that was set back makes an age that says nothing.
	return age >= 0 && age < Fresh && s.changes == a.changes.Load()
}

// Authenticate returns who sends a request: authz.Anonymous when it carries no
// credentials. Errors match authz.ErrUnauthenticated, or are *authz.Throttled;
// any other is a fault of the server.
func (a *Accounts) Authenticate(r *http.Request) (authz.Principal, error) {
	headers := r.Header["Authorization"]
	if len(headers) == 0 {
		return authz.Anonymous, nil
	}
	scheme, value, _ := strings.Cut(headers[0], " ")
	switch value = strings.TrimSpace(value); {
	case len(headers) > 1:
		return authz.Principal{}, fmt.Errorf("%w: two sets of credentials in one request", authz.ErrUnauthenticated)
	case strings.EqualFold(scheme, "bearer"):
		return a.bearer(r.Context(), value)
	case strings.EqualFold(scheme, "basic"):
		name, secret, err := basic(value)
		if err != nil {
			return authz.Principal{}, err
		}
		return a.secret(r.Context(), peer.Addr(r), name, secret)
	}
	return authz.Principal{}, fmt.Errorf("%w: credentials of another kind than Bearer and Basic", authz.ErrUnauthenticated)
}

// basic reads the value of a Basic header (RFC 7617).
func basic(value string) (name, secret string, err error) {
	b, err := base64.StdEncoding.DecodeString(value)
	name, secret, ok := strings.Cut(string(b), ":")
	if err != nil || !ok || len(b) > 2*maxInput {
		return "", "", fmt.Errorf("%w: the Basic credentials cannot be read", authz.ErrUnauthenticated)
	}
	return name, secret, nil
}

// bearer authenticates by a short-lived token.
func (a *Accounts) bearer(ctx context.Context, token string) (authz.Principal, error) {
	now, key := a.o.Clock(), sha256.Sum256([]byte(token))
	s, cached := a.cached(key)
	if cached && now.Before(s.expires) && a.fresh(s, now) {
		return s.principal, nil
	}
	c, err := a.signer.verify(token, now, func(id string) (*Key, error) { return a.keys.good(ctx, id, now) })
	if err != nil {
		return authz.Principal{}, err
	}
	s = &seen{token: c.Token, expires: c.Expiry.Time(), checked: now, changes: a.changes.Load()}
	if c.Subject == "" {
		s.principal = authz.Anonymous
	} else if s.principal, err = a.lookUp(ctx, c.Token, c.Subject, "", now); err != nil {
		return authz.Principal{}, err
	}
	s.principal.At, s.principal.Scope = c.IssuedAt.Time(), scopeOf(c.Access)
	a.remember(key, s)
	return s.principal, nil
}

// secret authenticates by name and long-lived secret. Without both it is
// nobody: some clients send empty credentials where they have none.
func (a *Accounts) secret(ctx context.Context, from netip.Addr, name, secret string) (authz.Principal, error) {
	if name == "" && secret == "" {
		return authz.Anonymous, nil
	}
	now := a.o.Clock()
	key := sha256.Sum256([]byte("basic\x00" + name + "\x00" + secret))
	if s, ok := a.cached(key); ok && a.fresh(s, now) {
		return s.principal, nil
	}
	if err := a.attempts.check(from, name, now); err != nil {
		return authz.Principal{}, err
	}
	s := &seen{checked: now, changes: a.changes.Load()}
	var err error
	id, formed := idOf(secret)
	if s.token = id; !formed || len(name) > maxInput {
		err = wrong()
	} else {
		s.principal, err = a.lookUp(ctx, id, name, secret, now)
	}
	if errors.Is(err, authz.ErrUnauthenticated) {
		a.attempts.failed(from, name, now)
	}
	if err != nil {
		return authz.Principal{}, err
	}
	a.remember(key, s)
	return s.principal, nil
}

// lookUp returns the principal of a long-lived token of that account, if both
// are good now. secret is what must match it, "" when that was settled before.
// account may be "" where the secret alone says who it is.
func (a *Accounts) lookUp(ctx context.Context, id, account, secret string, now time.Time) (authz.Principal, error) {
	t, err := a.o.Store.Token(ctx, id)
	if errors.Is(err, repo.ErrNotFound) {
		return authz.Principal{}, wrong()
	}
	if err != nil {
		return authz.Principal{}, err
	}
	if secret != "" && !t.matches(secret) || account != "" && t.Account != account {
		return authz.Principal{}, wrong()
	}
	// From here on the caller has shown that the token is its own, and may know
	// what is wrong with it.
	who, err := a.o.Store.Account(ctx, t.Account)
	switch {
	case err != nil:
		return authz.Principal{}, fmt.Errorf("reading the account of token %s: %v", t.ID, err) // one without an account is a fault of ours
	case !who.Disabled.IsZero():
		return authz.Principal{}, fmt.Errorf("%w: account %s was disabled; ask an administrator", authz.ErrUnauthenticated, who.Name)
	case !t.Revoked.IsZero():
		return authz.Principal{}, fmt.Errorf("%w: token %s was revoked; ask for a new code", authz.ErrUnauthenticated, t.ID)
	case !now.Before(t.Expires):
		return authz.Principal{}, fmt.Errorf("%w: token %s expired %s; ask for a new code", authz.ErrUnauthenticated, t.ID, t.Expires.UTC().Format(time.RFC3339))
	case t.Created.After(now.Add(leeway)):
		return authz.Principal{}, fmt.Errorf("%w: token %s is from the future; the server's clock was set back", authz.ErrUnauthenticated, t.ID)
	}
	a.touch(ctx, t, now)
	return principalOf(who, t, now), nil
}

func principalOf(who Account, t Token, now time.Time) authz.Principal {
	p := authz.Principal{Issuer: "bonded", Subject: who.Name, Method: "token", At: now, Grants: who.Grants, Within: t.Scope, Claims: map[string]string{claimToken: t.ID}}
	if who.Human {
		p.Claims["human"] = "true"
	}
	return p
}

// claimToken is the claim that names the long-lived token behind a principal.
const claimToken = "token"

// touch notes that a token was used, to within an hour.
func (a *Accounts) touch(ctx context.Context, t Token, now time.Time) {
	if now.Sub(t.Used) < time.Hour {
		return
	}
	if err := a.o.Tokens.TouchToken(ctx, t.ID, now); err != nil && ctx.Err() == nil {
		a.o.Log.WarnContext(ctx, "noting the use of a token", "token", t.ID, "error", err)
	}
}

func (a *Accounts) cached(key [32]byte) (*seen, bool) {
	a.cacheMu.Lock()
	defer a.cacheMu.Unlock()
	return a.cache.get(key)
}

func (a *Accounts) remember(key [32]byte, s *seen) {
	a.cacheMu.Lock()
	defer a.cacheMu.Unlock()
	a.cache.put(key, s)
}

// changed makes this process look at everybody again.
func (a *Accounts) changed() { a.changes.Add(1) }

// Challenge is the WWW-Authenticate header of a 401 to r: where to get a
// bearer token, and for what (RFC 6750; Docker registry token flow). cause is
// why the credentials of r did not do, nil when it had none.
func (a *Accounts) Challenge(r *http.Request, cause error, scope string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `Bearer realm="%s/token",service="%s"`, a.base(r), quotable(a.o.Service))
	if scope != "" {
		fmt.Fprintf(&b, `,scope="%s"`, quotable(scope))
	}
	switch {
	case errors.Is(cause, authz.ErrNotPermitted):
		b.WriteString(`,error="insufficient_scope"`)
	case cause != nil:
		b.WriteString(`,error="invalid_token"`)
	}
	return b.String()
}

// base is the URL under which r reached the server.
func (a *Accounts) base(r *http.Request) string {
	if a.o.URL != "" {
		return strings.TrimSuffix(a.o.URL, "/")
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + quotable(r.Host)
}

// quotable leaves out what would end a quoted string.
func quotable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '"' || c == '\\' || c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s)
}
