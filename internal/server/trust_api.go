package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/oidc"
)

// Trust tells what the server signs with.
func (t *trusted) Trust(ctx context.Context) (*api.Trust, error) {
	guard := t.instance.Places()
	out := &api.Trust{
		Origin: t.instance.Origin(), URL: t.instance.URL(), Version: t.instance.Version(), Weakest: guard.Weakest.String(),
		Keys: []api.KeyPlace{}, Logs: t.states(), Endings: []api.Ending{}, ForkProtection: t.protection(), Problem: t.keeper.check(), Anchors: t.anchors(),
	}
	var err error
	if _, out.RootChecksum, err = t.tuf.FirstRoot(ctx); err != nil {
		return nil, err
	}
	if out.Witness, err = t.witnessState(ctx); err != nil {
		return nil, err
	}
	for _, k := range guard.Keys {
		out.Keys = append(out.Keys, api.KeyPlace{Slot: string(k.Slot), Place: k.Place.String(), Strength: k.Place.Strength.String(), ID: t.instance.Key(k.Slot).ID()})
	}
	for _, e := range t.endings(ctx) {
		out.Endings = append(out.Endings, api.Ending{What: e.What, At: e.At.UTC()})
	}
	notes := map[string]string{}
	t.keeper.trustNotes(notes)
	for what, why := range notes {
		out.Warnings = append(out.Warnings, what+": "+why)
	}
	slices.Sort(out.Warnings)
	return out, nil
}

// states says how the logs are.
func (t *trusted) states() []api.LogState {
	all := []api.LogState{}
	for _, l := range t.logs {
		st := l.Status()
		all = append(all, api.LogState{Name: l.name, Origin: l.o.Origin, Key: fmt.Sprint(l.verifier()), Size: st.Size, Published: st.Published})
	}
	return all
}

// endings are when what clients trust ends, the soonest first.
func (t *trusted) endings(ctx context.Context) []trust.Expiry {
	all := t.instance.Expiries()
	if more, err := t.tuf.Expiries(ctx); err == nil { // else the keeper says why
		all = append(all, more...)
	}
	slices.SortFunc(all, func(a, b trust.Expiry) int { return a.At.Compare(b.At) })
	return all
}

// SignIn finds a sign-in.
func (t *trusted) SignIn(ctx context.Context, code string) (*api.SignIn, error) {
	f, err := t.issuer.Find(ctx, code)
	return signIn(f), signInError(err)
}

// SettleSignIn approves or refuses one.
func (t *trusted) SettleSignIn(ctx context.Context, p authz.Principal, code string, approve bool) (*api.SignIn, error) {
	settle := t.issuer.Refuse
	if approve {
		settle = func(ctx context.Context, code string) (oidc.Flow, error) { return t.issuer.Approve(ctx, p, code) }
	}
	f, err := settle(ctx, code)
	return signIn(f), signInError(err)
}

func signIn(f oidc.Flow) *api.SignIn {
	out := &api.SignIn{Code: f.UserCode, Kind: string(f.Kind), State: string(f.State), Started: f.Made.UTC(), Expires: f.Expires.UTC(), Identity: f.Of.Sub}
	if f.From.IsValid() {
		out.From = f.From.String()
	}
	if f.Of.Email != "" {
		out.Identity = f.Of.Email
	}
	return out
}

// signInError gives an error of the issuer its kind for the API.
func signInError(err error) error {
	switch {
	case errors.Is(err, oidc.ErrNoFlow):
		return fmt.Errorf("%w: %w; codes live ten minutes", repo.ErrNotFound, err)
	case errors.Is(err, oidc.ErrSettled):
		return fmt.Errorf("%w: %w", repo.ErrConflict, err)
	case errors.Is(err, oidc.ErrNotAnIdentity):
		return fmt.Errorf("%w: %w", authz.ErrNotPermitted, err)
	}
	return err
}
