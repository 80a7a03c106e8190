package authn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// minTTL is the shortest life of a code or token; package api has the others.
const minTTL = time.Minute

// Limits of an account: how many grants it, or a token, may have, how many
// tokens that are good, and how long a label may be in bytes.
const (
	maxGrants = 100
	maxTokens = 100
	maxLabel  = 200
)

// lifetime reads a Go duration between minTTL and limit; "" is def. Errors
// match authz.ErrInvalid.
func lifetime(s string, def, limit time.Duration) (time.Duration, error) {
	if s == "" {
		return def, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < minTTL || d > limit {
		return 0, fmt.Errorf("%w: a life of %s: want a duration such as 90m or 48h, from %s to %s", authz.ErrInvalid, oci.Quote(s), minTTL, limit)
	}
	return d, nil
}

// parseGrants reads "role=pattern"s; nil stays nil. Errors match
// authz.ErrGrantInvalid.
func parseGrants(ss []string) ([]authz.Grant, error) {
	if len(ss) > maxGrants {
		return nil, fmt.Errorf("%w: %d of them, at most %d", authz.ErrGrantInvalid, len(ss), maxGrants)
	}
	var out []authz.Grant
	if ss != nil {
		out = []authz.Grant{}
	}
	for _, s := range ss {
		g, err := authz.ParseGrant(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out, nil
}

func grantStrings(gs []authz.Grant) []string {
	out := make([]string, len(gs))
	for i, g := range gs {
		out[i] = g.Role + "=" + g.Pattern
	}
	return out
}

// administers returns nil when act permits changing principals.
func administers(act authz.Act) error { return act.Permits(oci.Repository{}, authz.Administer) }

// edit changes an account in one step. fn may return errEqual to leave it.
func (a *Accounts) edit(ctx context.Context, act authz.Act, name, kind string, fn func(*Account) error) (*api.Account, error) {
	if err := administers(act); err != nil {
		return nil, err
	}
	a.editMu.Lock()
	defer a.editMu.Unlock()
	who, err := a.o.Store.Account(ctx, name)
	if err != nil {
		return nil, notFound(err, "account", name)
	}
	switch err := fn(&who); {
	case errors.Is(err, errEqual):
		return a.Account(ctx, name)
	case err != nil:
		return nil, err
	}
	ev, err := a.event(act.Principal(), kind, name)
	if err != nil {
		return nil, err
	}
	for i, g := range grantStrings(who.Grants) {
		ev = ev.With(fmt.Sprintf("grant.%d", i), g)
	}
	err = a.o.Store.PutAccount(ctx, who, ev)
	a.changed() // even after an error: it may have been committed
	if err != nil {
		return nil, err
	}
	return a.Account(ctx, name)
}

// errEqual: there is nothing to change.
var errEqual = errors.New("already so")

// conflict is what stands against a change, in words of its own.
type conflict string

func (c conflict) Error() string { return string(c) }

// Is makes errors.Is(err, repo.ErrConflict) hold.
func (conflict) Is(target error) bool { return target == repo.ErrConflict }

// notFound names what was not found.
func notFound(err error, noun, name string) error {
	if errors.Is(err, repo.ErrNotFound) {
		return fmt.Errorf("no %s %s: %w", noun, oci.Quote(name), repo.ErrNotFound)
	}
	return err
}

// Invite makes an account, or gives one that exists other grants, and returns a
// code by which it enrols. act is one of administer on the server. Errors match
// authz.ErrInvalid, authz.ErrGrantInvalid, authz.ErrNotPermitted, and
// repo.ErrConflict when the account is disabled.
func (a *Accounts) Invite(ctx context.Context, act authz.Act, req api.InviteRequest) (*api.Invite, error) {
	return a.invite(ctx, act, req, false)
}

// InviteFirst is Invite for whoever is to enrol before all others. The code ends
// those that were made so before it. Errors match repo.ErrConflict, too, when
// somebody has enrolled.
func (a *Accounts) InviteFirst(ctx context.Context, act authz.Act, req api.InviteRequest) (*api.Invite, error) {
	return a.invite(ctx, act, req, true)
}

func (a *Accounts) invite(ctx context.Context, act authz.Act, req api.InviteRequest, first bool) (*api.Invite, error) {
	if err := administers(act); err != nil {
		return nil, err
	}
	if err := a.checkName(req.Name); err != nil {
		return nil, err
	}
	ttl, err := lifetime(req.TTL, api.CodeTTL, api.MaxCodeTTL)
	if err != nil {
		return nil, err
	}
	grants, err := parseGrants(append([]string{}, req.Grants...))
	if err != nil {
		return nil, err
	}
	if err := a.invited(ctx, act, req, grants); err != nil {
		return nil, err
	}
	code, err := newCode(a.o.Rand)
	if err != nil {
		return nil, err
	}
	expires := a.o.Clock().Add(ttl).UTC().Truncate(time.Second)
	ev, err := a.event(act.Principal(), "code.made", req.Name)
	if err != nil {
		return nil, err
	}
	if err := a.o.Store.PutCode(ctx, Code{Hash: hashCode(code), Account: req.Name, Expires: expires, First: first}, ev.With("expires", expires.Format(time.RFC3339))); err != nil {
		return nil, err
	}
	return &api.Invite{Name: req.Name, Code: code, Expires: expires}, nil
}

// invited makes or changes the account of an invitation.
func (a *Accounts) invited(ctx context.Context, act authz.Act, req api.InviteRequest, grants []authz.Grant) error {
	_, err := a.o.Store.Account(ctx, req.Name)
	if err == nil {
		_, err = a.edit(ctx, act, req.Name, "principal.changed", func(who *Account) error {
			switch {
			case !who.Disabled.IsZero():
				return conflict("account " + who.Name + " is disabled; enable it first")
			case slices.Equal(who.Grants, grants) && who.Human == req.Human:
				return errEqual
			}
			if err := keepsAdmin(act, who.Name, grants); err != nil {
				return err
			}
			who.Grants, who.Human = grants, req.Human
			return nil
		})
		return err
	}
	if !errors.Is(err, repo.ErrNotFound) {
		return err
	}
	ev, err := a.event(act.Principal(), "principal.made", req.Name)
	if err != nil {
		return err
	}
	for i, g := range grantStrings(grants) {
		ev = ev.With(fmt.Sprintf("grant.%d", i), g)
	}
	return a.o.Store.PutAccount(ctx, Account{Name: req.Name, Human: req.Human, Grants: grants, Created: a.o.Clock()}, ev)
}

// keepsAdmin refuses to let an administrator take its own role away: so there
// is always one.
func keepsAdmin(act authz.Act, name string, grants []authz.Grant) error {
	p := act.Principal()
	if p.Method != "token" || p.Name() != name {
		return nil
	}
	p.Grants = grants
	if _, err := authz.Check(p, authz.Administer, oci.Repository{}, nil); err != nil {
		return conflict(name + " would no longer administer this server; another administrator can do this")
	}
	return nil
}

// Grant adds and removes grants of an account. It works at once.
func (a *Accounts) Grant(ctx context.Context, act authz.Act, name string, req api.GrantRequest) (*api.Account, error) {
	add, err := parseGrants(req.Add)
	if err != nil {
		return nil, err
	}
	remove, err := parseGrants(req.Remove)
	if err != nil {
		return nil, err
	}
	return a.edit(ctx, act, name, "principal.changed", func(who *Account) error {
		grants := slices.DeleteFunc(slices.Clone(who.Grants), func(g authz.Grant) bool { return slices.Contains(remove, g) })
		for _, g := range add {
			if !slices.Contains(grants, g) {
				grants = append(grants, g)
			}
		}
		switch {
		case len(grants) > maxGrants:
			return fmt.Errorf("%w: %d of them, at most %d", authz.ErrGrantInvalid, len(grants), maxGrants)
		case slices.Equal(grants, who.Grants):
			return errEqual
		}
		who.Grants = grants
		return keepsAdmin(act, name, grants)
	})
}

// Disable ends, or gives back, the right of an account to authenticate.
func (a *Accounts) Disable(ctx context.Context, act authz.Act, name string, disabled bool) (*api.Account, error) {
	kind := "principal.enabled"
	if disabled {
		kind = "principal.disabled"
	}
	return a.edit(ctx, act, name, kind, func(who *Account) error {
		if disabled != who.Disabled.IsZero() {
			return errEqual
		}
		who.Disabled = time.Time{}
		if disabled {
			who.Disabled = a.o.Clock()
			return keepsAdmin(act, name, nil)
		}
		return nil
	})
}

// Account returns an account with its tokens. Errors match repo.ErrNotFound.
func (a *Accounts) Account(ctx context.Context, name string) (*api.Account, error) {
	who, err := a.o.Store.Account(ctx, name)
	if err != nil {
		return nil, notFound(err, "account", name)
	}
	tokens, err := a.o.Tokens.Tokens(ctx, name)
	if err != nil {
		return nil, err
	}
	out := shown(who)
	for _, t := range tokens {
		shown := api.Token{ID: t.ID, Label: t.Label, Created: t.Created, Expires: t.Expires, Used: t.Used, Revoked: t.Revoked}
		if t.Scope != nil {
			shown.Scope = grantStrings(t.Scope)
		}
		out.Tokens = append(out.Tokens, shown)
	}
	return &out, nil
}

// Accounts lists accounts by name, without tokens.
func (a *Accounts) Accounts(ctx context.Context, after string, limit int) ([]api.Account, error) {
	found, err := a.o.Store.Accounts(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]api.Account, len(found))
	for i, who := range found {
		out[i] = shown(who)
	}
	return out, nil
}

func shown(who Account) api.Account {
	return api.Account{Name: who.Name, Human: who.Human, Grants: grantStrings(who.Grants), Created: who.Created, Disabled: who.Disabled}
}

// Enrol redeems a one-time code for a token. from is the client's address.
// Errors match authz.ErrUnauthenticated, authz.ErrInvalid,
// authz.ErrGrantInvalid, or are *authz.Throttled.
func (a *Accounts) Enrol(ctx context.Context, req api.EnrolRequest, from netip.Addr) (*api.Enrolled, error) {
	now := a.o.Clock()
	if err := a.attempts.checkCode(from, now); err != nil {
		return nil, err
	}
	secret, t, err := a.newToken(req.Label, req.Scope, req.TTL)
	if err != nil {
		return nil, err
	}
	ev, err := a.event(authz.Anonymous, "principal.enrolled", "")
	if err != nil {
		return nil, err
	}
	if len(req.Code) > maxInput {
		req.Code = ""
	}
	who, err := a.o.Store.RedeemCode(ctx, hashCode(req.Code), now, t, ev.With("token", t.ID))
	if errors.Is(err, repo.ErrNotFound) {
		a.attempts.failedCode(from, now)
		return nil, fmt.Errorf("%w: this code is unknown, was used, or has expired; ask for a new one: bonded principal invite", authz.ErrUnauthenticated)
	}
	if err != nil {
		return nil, err
	}
	return &api.Enrolled{Name: who.Name, Secret: secret, Expires: t.Expires}, nil
}

// newToken makes a token that belongs to nobody yet.
func (a *Accounts) newToken(label string, scope []string, ttl string) (string, Token, error) {
	if len(label) > maxLabel {
		return "", Token{}, fmt.Errorf("%w: a label of %d bytes, at most %d", authz.ErrInvalid, len(label), maxLabel)
	}
	life, err := lifetime(ttl, api.TokenTTL, api.MaxTokenTTL)
	if err != nil {
		return "", Token{}, err
	}
	grants, err := parseGrants(scope)
	if err != nil {
		return "", Token{}, err
	}
	secret, id, hash, err := newSecret(a.o.Rand)
	if err != nil {
		return "", Token{}, err
	}
	now := a.o.Clock().UTC().Truncate(time.Second)
	return secret, Token{ID: id, Hash: hash, Label: label, Scope: grants, Created: now, Expires: now.Add(life)}, nil
}

// NewToken makes a further token of p's own account: no wider than p, and for
// no longer than the token that p came with. Errors match authz.ErrInvalid,
// authz.ErrGrantInvalid, authz.ErrNotPermitted, and repo.ErrConflict when the
// account has too many.
func (a *Accounts) NewToken(ctx context.Context, p authz.Principal, req api.TokenRequest) (*api.Enrolled, error) {
	own, err := a.own(ctx, p)
	if err != nil {
		return nil, err
	}
	secret, t, err := a.newToken(req.Label, req.Scope, req.TTL)
	if err != nil {
		return nil, err
	}
	if t.Scope == nil {
		t.Scope = p.Within
	}
	for _, g := range t.Scope {
		if p.Within != nil && !g.Inside(p.Within) {
			return nil, &authz.Refusal{Principal: p.Name() + ", with a token that is narrower than its account,", Verb: authz.Verb("make a token for " + g.Role + "=" + g.Pattern)}
		}
	}
	if own.Expires.Before(t.Expires) {
		t.Expires = own.Expires
	}
	if err := a.hasRoom(ctx, p.Subject); err != nil {
		return nil, err
	}
	t.Account = p.Subject
	ev, err := a.event(p, "token.made", t.Account)
	if err != nil {
		return nil, err
	}
	if err := a.o.Tokens.PutToken(ctx, t, ev.With("token", t.ID).With("by", own.ID)); err != nil {
		return nil, err
	}
	out := &api.Enrolled{Name: t.Account, Secret: secret, Expires: t.Expires}
	for _, g := range t.Scope {
		if len(req.Scope) > 0 && !g.Inside(p.Grants) {
			out.Beyond = append(out.Beyond, grantStrings([]authz.Grant{g})...)
		}
	}
	return out, nil
}

// own returns the token that p came with. A principal whose bearer token was
// made for a few things only does not manage tokens.
func (a *Accounts) own(ctx context.Context, p authz.Principal) (Token, error) {
	id := p.Claims[claimToken]
	if p.IsAnonymous() || p.Scope != nil || id == "" {
		return Token{}, &authz.Refusal{Principal: p.Name(), Verb: "manage tokens", Anonymous: p.IsAnonymous()}
	}
	return a.o.Store.Token(ctx, id)
}

func (a *Accounts) hasRoom(ctx context.Context, account string) error {
	tokens, err := a.o.Tokens.Tokens(ctx, account)
	if err != nil {
		return err
	}
	now := a.o.Clock()
	tokens = slices.DeleteFunc(tokens, func(t Token) bool { return !t.Revoked.IsZero() || !now.Before(t.Expires) })
	if len(tokens) >= maxTokens {
		return conflict(fmt.Sprintf("account %s has %d tokens that are good, which is the most; revoke some", account, len(tokens)))
	}
	return nil
}

// Revoke ends a token: one of p's own account, or any when p may revoke or
// administer. A token that is narrower than its account ends itself only. It
// works at once. Errors match repo.ErrNotFound: tokens of others are not there.
func (a *Accounts) Revoke(ctx context.Context, p authz.Principal, id string) error {
	t, err := a.o.Store.Token(ctx, id)
	if err != nil {
		return notFound(err, "token", id)
	}
	if !a.mayRevoke(p, t) {
		return notFound(repo.ErrNotFound, "token", id)
	}
	ev, err := a.event(p, "token.revoked", t.Account)
	if err != nil {
		return err
	}
	err = a.o.Tokens.RevokeToken(ctx, id, a.o.Clock(), ev.With("token", id))
	a.changed() // even after an error: it may have been committed
	return err
}

func (a *Accounts) mayRevoke(p authz.Principal, t Token) bool {
	for _, v := range []authz.Verb{authz.Revoke, authz.Administer} {
		if _, err := authz.Check(p, v, oci.Repository{}, nil); err == nil {
			return true
		}
	}
	return p.Method == "token" && p.Subject == t.Account && p.Scope == nil && (p.Within == nil || p.Claims[claimToken] == t.ID)
}
