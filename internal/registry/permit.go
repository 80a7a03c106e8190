package registry

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// loginError is a 401: with a login, or another token, it may work. cause
// matches authz.ErrNotPermitted when the token that came is too narrow.
type loginError struct{ cause error }

func (e *loginError) Error() string {
	var refusal *authz.Refusal
	switch {
	case errors.As(e.cause, &refusal) && refusal.Repository.IsZero():
		return "this token was not issued for listing repositories; get another from the token endpoint"
	case errors.As(e.cause, &refusal):
		return fmt.Sprintf("this token was not issued for %s in %s; get another from the token endpoint", refusal.Verb, refusal.Repository)
	}
	return "authentication required; log in first: bonded login, or docker login"
}

// Is makes errors.Is(err, authz.ErrUnauthenticated) hold.
func (e *loginError) Is(target error) bool { return target == authz.ErrUnauthenticated }

// challenged is what a Challenge should say about err.
func challenged(err error) error {
	var login *loginError
	if errors.As(err, &login) {
		return login.cause
	}
	return err
}

// scope is what a token for this request would need.
func (c *call) scope() string {
	switch {
	case c.Op == Catalog:
		return "registry:catalog:*"
	case c.Repository.IsZero():
		return ""
	}
	scope := scopeOf(c.Repository, ops[c.Op].actions)
	if c.Mount && !c.From.IsZero() && c.From != c.Repository {
		scope += " " + scopeOf(c.From, "pull")
	}
	return scope
}

func scopeOf(r oci.Repository, actions string) string {
	return "repository:" + r.String() + ":" + actions
}

// wider reports whether c's account may do what its token was not made for:
// then the client should get another token and come again.
func (c *call) wider(r oci.Repository, verbs ...authz.Verb) bool {
	if c.p.Scope == nil {
		return false
	}
	whole := c.p
	whole.Scope = nil
	for _, v := range verbs {
		if _, err := authz.Check(whole, v, r, c.o.Open); err == nil {
			return true
		}
	}
	return false
}

// read returns how the caller looks at the repository. To who may not pull
// there, nothing is there.
func (c *call) read() (repo.Viewer, error) {
	v, ok := c.sight()(c.Repository)
	switch {
	case ok:
		return v, nil
	case c.p.IsAnonymous():
		return v, &loginError{}
	case c.wider(c.Repository, authz.Pull, authz.PullFromQuarantine):
		_, err := authz.Check(c.p, authz.Pull, c.Repository, c.o.Open)
		return v, &loginError{cause: err}
	}
	return v, &fault{http.StatusNotFound, nameUnknown, fmt.Sprintf("no repository %s that %s can see; %s", c.Repository, c.p.Name(),
		"if it should be there, ask an administrator for a role with pull: bonded principal grant "+c.p.Name()+" reader="+c.Repository.String()), ""}
}

func (c *call) sight() repo.Sight { return c.o.Sight(c.p) }

// permit returns an act of the first of verbs that the caller may do in the
// repository.
func (c *call) permit(verbs ...authz.Verb) (authz.Act, error) {
	acts, err := c.acts(verbs...)
	if err != nil {
		return authz.Act{}, err
	}
	return acts[0], nil
}

// acts returns those of verbs that the caller may do in the repository, at
// least one.
func (c *call) acts(verbs ...authz.Verb) ([]authz.Act, error) {
	var acts []authz.Act
	var refusal error
	for _, v := range verbs {
		act, err := authz.Check(c.p, v, c.Repository, c.o.Open)
		if err == nil {
			acts = append(acts, act)
		} else if refusal == nil {
			refusal = err
		}
	}
	switch {
	case len(acts) > 0:
		return acts, nil
	case c.p.IsAnonymous():
		return nil, &loginError{}
	case c.wider(c.Repository, verbs...):
		return nil, &loginError{cause: refusal}
	}
	return nil, refusal
}
