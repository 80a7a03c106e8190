package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Options are what an API works with. All fields but those marked are required.
type Options struct {
	Auth       Authenticator
	Open       authz.Open // Optional: what anyone may do without rights.
	Sight      func(authz.Principal) repo.Sight
	Explain    Explainer
	Lineage    Lineage
	List       Lister
	Promote    Promoter
	Prove      Prover // Optional: nothing is said of proofs.
	Zones      Zones
	Feeds      Feeds
	Audit      Auditor
	Principals Principals
	Enrol      Enroller
	Keys       KeyKeeper
	Trust      Trust
	Revoke     Revoker
	Waivers    Waivers
	Epochs     Epochs
	Custody    Custodian // Optional: there is none.
	Report     Reporter
	Clock      func() time.Time // that of connections: streams end by it when nobody reads them
	Log        *slog.Logger
}

// API serves the management API. It is safe for concurrent use.
type API struct{ o Options }

// New returns an API.
func New(o Options) *API {
	return &API{o}
}

var _ http.Handler = (*API)(nil)

// root is the path that all endpoints are below.
const root = "/api/v1"

// call is one request being answered.
type call struct {
	*API
	w     http.ResponseWriter
	r     *http.Request
	p     authz.Principal
	arg   string // what stands for the {wildcard} of the path
	query url.Values
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Answers depend on who asks, and hold secrets now and then.
	w.Header().Set("Cache-Control", "no-store")
	c := &call{API: a, w: w, r: r}
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

func (c *call) serve() error {
	e, arg, err := find(c.r.Method, c.r.URL.Path)
	if err != nil {
		return err
	}
	c.arg = arg
	if c.query, err = e.parseQuery(c.r.URL.RawQuery); err != nil {
		return err
	}
	if e.access != public {
		if c.p, err = c.o.Auth.Authenticate(c.r); err != nil {
			return err
		}
	}
	if e.access == known && c.p.IsAnonymous() {
		return errLogin
	}
	return e.serve(c)
}

// fail answers with err, unless nobody is left to read it.
func (c *call) fail(err error) {
	if errors.Is(err, context.Canceled) && c.r.Context().Err() != nil {
		return
	}
	a := c.answerTo(err)
	switch {
	case a.status == http.StatusUnauthorized:
		c.w.Header().Set("WWW-Authenticate", c.challenge(err))
	case a.status >= http.StatusInternalServerError:
		c.o.Log.ErrorContext(c.r.Context(), "answering a management request", "method", c.r.Method, "path", c.r.URL.Path, "status", a.status, "error", err)
	}
	a.write(c.w)
}

// challenge says how to come back after a 401 because of err.
func (c *call) challenge(err error) string {
	switch {
	case errors.Is(err, errNarrow) || errors.Is(err, authz.ErrNotPermitted) && c.p.Scope != nil:
		return c.o.Auth.Challenge(c.r, authz.ErrNotPermitted, wholeScope)
	case errors.Is(err, errLogin) || !errors.Is(err, authz.ErrUnauthenticated):
		return c.o.Auth.Challenge(c.r, nil, "")
	}
	return c.o.Auth.Challenge(c.r, err, "")
}

// wider reports whether the account may do what it was refused, and only its
// token was not made for.
func (c *call) wider(err error) bool {
	var refusal *authz.Refusal
	if c.p.Scope == nil || !errors.As(err, &refusal) {
		return false
	}
	whole := c.p
	whole.Scope = nil
	_, err = authz.Check(whole, refusal.Verb, refusal.Repository, c.o.Open)
	return err == nil
}

// wholeScope is the scope of a token for all that its account may do.
const wholeScope = "bonded:api:*"

// administer and readAudit return the act, on the server as a whole.
func (c *call) administer() (authz.Act, error) { return c.onServer(authz.Administer) }
func (c *call) readAudit() (authz.Act, error)  { return c.onServer(authz.ReadAudit) }

func (c *call) onServer(v authz.Verb) (authz.Act, error) {
	return authz.Check(c.p, v, oci.Repository{}, c.o.Open)
}

func (c *call) sight() repo.Sight { return c.o.Sight(c.p) }

// write answers 200 with v as JSON.
func (c *call) write(v any, err error) error { return c.writeStatus(http.StatusOK, v, err) }

func (c *call) writeStatus(status int, v any, err error) error {
	if err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %v", err)
	}
	c.writeBytes(status, "application/json", b)
	return nil
}

// listed makes a list of nothing [] and not null.
func listed[T any](items []T, err error) ([]T, error) {
	if items == nil {
		items = []T{}
	}
	return items, err
}

func (c *call) writeBytes(status int, mediaType string, b []byte) {
	h := c.w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	c.w.WriteHeader(status)
	c.w.Write(b)
}

// find returns the endpoint of a request, and what stands for its wildcard.
// A HEAD is a GET.
func find(method, path string) (*endpoint, string, error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var allow []string
	for i := range endpoints {
		e := &endpoints[i]
		arg, ok := e.match(path)
		if ok && e.method == method {
			return e, arg, nil
		}
		if ok {
			allow = append(allow, e.method)
		}
	}
	if allow != nil {
		slices.Sort(allow)
		return nil, "", &methodError{method, allow}
	}
	return nil, "", fmt.Errorf("%s: %w", oci.Quote(path), errNoEndpoint)
}

// match compares a path with that of the endpoint, in which one segment may be
// a {wildcard} for one that is not empty.
func (e *endpoint) match(path string) (arg string, ok bool) {
	rest, ok := strings.CutPrefix(path, root)
	if !ok {
		return "", false
	}
	want, have := strings.Split(e.path, "/"), strings.Split(rest, "/")
	if len(want) != len(have) {
		return "", false
	}
	for i, w := range want {
		switch {
		case strings.HasPrefix(w, "{") && have[i] != "":
			arg = have[i]
		case w != have[i]:
			return "", false
		}
	}
	return arg, true
}
