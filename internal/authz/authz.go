// Package authz decides who may do what where, and is the only package that
// does. It is pure: no I/O, no clock. Its yes is an Act, a value that nothing
// else can make; flows take an Act and ask it what it permits, so that a
// change of state without a decision does not compile.
package authz

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Verb is something that can be done. The table is closed.
type Verb string

// The verbs. Those that act on the whole server take the zero repository.
const (
	Pull               Verb = "pull"                 // read what is admitted
	PullFromQuarantine Verb = "pull-from-quarantine" // read what is held, denied or withdrawn, and whatever stands in a quarantine
	Push               Verb = "push"                 // bring an artifact into the intake
	Attach             Verb = "attach"               // add evidence to what one can see
	Delete             Verb = "delete"               // remove what stands in no gated zone
	Withdraw           Verb = "withdraw"             // remove what stands in a gated zone
	Acquire            Verb = "acquire"              // bring in from another registry
	Release            Verb = "release"              // let a held placement in by hand
	Reject             Verb = "reject"               // refuse a held placement by hand
	Approve            Verb = "approve"              // add an approval
	Waive              Verb = "waive"                // grant a waiver
	Promote            Verb = "promote"              // ask for the next zone; the repository is the target
	Hold               Verb = "hold"                 // stop promotion of a placement
	Export             Verb = "export"               // take content and evidence out in a bundle
	SignAs             Verb = "sign-as"              // sign with an identity of the server
	Revoke             Verb = "revoke"               // end trust in a digest, key, identity or token
	ReadAudit          Verb = "read-audit"           // read audit events
	Administer         Verb = "administer"           // principals, feeds, gates, server
)

// Verbs lists all verbs in the order of the documentation.
func Verbs() []Verb {
	return []Verb{Pull, PullFromQuarantine, Push, Attach, Delete, Withdraw, Acquire, Release, Reject, Approve,
		Waive, Promote, Hold, Export, SignAs, Revoke, ReadAudit, Administer}
}

// roles are the shipped bundles of verbs.
var roles = map[string][]Verb{
	"reader":    {Pull},
	"developer": {Pull, Push, Attach, Delete, Promote},
	"publisher": {Pull, Push, Attach, Promote, Acquire},
	"operator":  {Pull, PullFromQuarantine, Push, Attach, Delete, Withdraw, Acquire, Promote, Hold, Export},
	"security":  {Pull, PullFromQuarantine, Attach, Withdraw, Release, Reject, Approve, Waive, Hold, Export, Revoke, ReadAudit},
	"auditor":   {Pull, PullFromQuarantine, ReadAudit, Export},
	"admin":     Verbs(),
}

// Roles returns the names of the shipped roles, sorted, with their verbs.
func Roles() map[string][]Verb {
	m := make(map[string][]Verb, len(roles))
	for k, v := range roles {
		m[k] = slices.Clone(v)
	}
	return m
}

// Grant gives a role inside the repositories that Pattern matches. A pattern
// is a repository path in which "*" stands for one segment and a closing "**"
// for any number of them: "dev/**", "production/payments/*", "**".
type Grant struct {
	Role    string `json:"role"`
	Pattern string `json:"pattern"`
}

// ErrGrantInvalid matches errors of Check on a grant.
var ErrGrantInvalid = errors.New("not a valid grant")

// ParseGrant reads "role=pattern", or "role" alone for "role=**".
func ParseGrant(s string) (Grant, error) {
	role, pattern, ok := strings.Cut(s, "=")
	if !ok {
		pattern = "**"
	}
	g := Grant{role, pattern}
	return g, g.Check()
}

// Check reports whether the role exists and the pattern is well formed.
func (g Grant) Check() error {
	if _, ok := roles[g.Role]; !ok {
		return fmt.Errorf("%w: no role %s; roles are reader, developer, publisher, operator, security, auditor, admin", ErrGrantInvalid, oci.Quote(g.Role))
	}
	for i, seg := range strings.Split(g.Pattern, "/") {
		last := i == strings.Count(g.Pattern, "/")
		if seg == "" || (strings.Contains(seg, "**") && (seg != "**" || !last)) || strings.ContainsAny(seg, `[]\?`) {
			return fmt.Errorf("%w: pattern %s: want path segments, * for one, ** at the end for the rest", ErrGrantInvalid, oci.Quote(g.Pattern))
		}
	}
	return nil
}

func (g Grant) covers(repo oci.Repository) bool {
	if g.Pattern == "**" {
		return true
	}
	if repo.IsZero() {
		return false
	}
	want, have := strings.Split(g.Pattern, "/"), strings.Split(repo.String(), "/")
	for i, w := range want {
		if w == "**" {
			return len(have) > i
		}
		if i >= len(have) {
			return false
		}
		if ok, err := path.Match(w, have[i]); err != nil || !ok {
			return false
		}
	}
	return len(have) == len(want)
}

// Principal is who acts. Every way to authenticate ends in one of these.
type Principal struct {
	Issuer  string            `json:"issuer"`           // who vouches: "bonded" for enrolled ones, an OIDC issuer's URL, …
	Subject string            `json:"subject"`          // unique at the issuer
	Method  string            `json:"method"`           // how: "token", "anonymous", "internal", …
	Claims  map[string]string `json:"claims,omitempty"` // what the issuer says beyond that
	At      time.Time         `json:"at,omitzero"`      // when it authenticated
	Grants  []Grant           `json:"grants,omitempty"`
	// Within narrows the grants to what a long-lived token was made for: a verb
	// must be given by both. nil means all of them.
	Within []Grant `json:"within,omitempty"`
	// Scope narrows the grants to what a token was issued for; nil means all of them.
	Scope []Scope `json:"scope,omitempty"`
}

// Scope is a repository and the verbs a token was issued for there. The zero
// repository stands for the server.
type Scope struct {
	Repository oci.Repository `json:"repository"`
	Verbs      []Verb         `json:"verbs"`
}

// Anonymous is who has not authenticated.
var Anonymous = Principal{Issuer: "bonded", Subject: "anonymous", Method: "anonymous"}

// Internal is the server itself acting on its own, such as re-judging; part
// names which of its parts.
func Internal(part string) Principal {
	return Principal{Issuer: "bonded", Subject: part, Method: "internal", Grants: []Grant{{Role: "admin", Pattern: "**"}}}
}

// Name is "subject" for principals of this server, "issuer#subject" for others.
func (p Principal) Name() string {
	if p.Issuer == "bonded" || p.Issuer == "" {
		return p.Subject
	}
	return p.Issuer + "#" + p.Subject
}

// claimGroups holds the groups that the issuer says a principal is in, one a line.
const claimGroups = "groups"

// InGroups returns claims with the groups that a principal is in.
func InGroups(claims map[string]string, groups []string) map[string]string {
	if len(groups) == 0 {
		return claims
	}
	with := map[string]string{claimGroups: strings.Join(groups, "\n")}
	maps.Copy(with, claims)
	return with
}

// Groups returns the groups that p is in, as its issuer says.
func (p Principal) Groups() []string {
	if p.Claims[claimGroups] == "" {
		return nil
	}
	return strings.Split(p.Claims[claimGroups], "\n")
}

// IsAnonymous reports whether nobody authenticated.
func (p Principal) IsAnonymous() bool { return p.Method == "anonymous" || p.Method == "" }

// Open says what anyone may do in a zone without rights, such as the sandbox
// of a development server.
type Open func(repo oci.Repository, v Verb) bool

// Act is a permitted verb of a principal on a repository. Only Check makes one.
type Act struct {
	principal Principal
	verb      Verb
	repo      oci.Repository
	ok        bool
}

// Refusal says no. It matches ErrNotPermitted.
type Refusal struct {
	Principal  string
	Verb       Verb
	Repository oci.Repository
	Pattern    string // all repositories that it takes, where that was asked
	Anonymous  bool   // authenticating may help
}

// ErrNotPermitted matches every Refusal.
var ErrNotPermitted = errors.New("not permitted")

func (r *Refusal) Error() string {
	where := "on this server"
	switch {
	case r.Pattern != "":
		where = "in all of " + r.Pattern
	case !r.Repository.IsZero():
		where = "in " + r.Repository.String()
	}
	next := "ask an administrator for a role with that verb: bonded principal grant " + r.Principal + " ROLE=PATTERN"
	if r.Anonymous {
		next = "log in first: bonded login, or docker login"
	}
	return fmt.Sprintf("%s may not %s %s; %s", r.Principal, r.Verb, where, next)
}

// Is makes errors.Is(err, ErrNotPermitted) hold.
func (r *Refusal) Is(target error) bool { return target == ErrNotPermitted }

// Check decides whether p may v in repo (zero: on the server). open may be nil.
func Check(p Principal, v Verb, repo oci.Repository, open Open) (Act, error) {
	if !slices.Contains(Verbs(), v) {
		return Act{}, fmt.Errorf("unknown verb %s", oci.Quote(string(v)))
	}
	if open != nil && !repo.IsZero() && open(repo, v) || p.granted(v, repo) && p.inScope(v, repo) {
		return Act{principal: p, verb: v, repo: repo, ok: true}, nil
	}
	return Act{}, &Refusal{Principal: p.Name(), Verb: v, Repository: repo, Anonymous: p.IsAnonymous()}
}

func (p Principal) granted(v Verb, repo oci.Repository) bool {
	return anyGives(p.Grants, v, repo) && (p.Within == nil || anyGives(p.Within, v, repo))
}

func anyGives(grants []Grant, v Verb, repo oci.Repository) bool {
	for _, g := range grants {
		if g.covers(repo) && slices.Contains(roles[g.Role], v) {
			return true
		}
	}
	return false
}

// Inside reports whether grants give all that g gives, each verb by one of them.
// It may say no where the patterns of several together hold that of g.
func (g Grant) Inside(grants []Grant) bool {
	for _, v := range roles[g.Role] {
		given := slices.ContainsFunc(grants, func(o Grant) bool {
			return slices.Contains(roles[o.Role], v) && patternInside(strings.Split(g.Pattern, "/"), strings.Split(o.Pattern, "/"))
		})
		if !given {
			return false
		}
	}
	return true
}

// patternInside compares segment by segment: "**" holds all that has at least
// one more segment, "*" one segment, and a segment with a star in it only
// itself.
func patternInside(in, out []string) bool {
	for i, o := range out {
		if o == "**" {
			return i < len(in)
		}
		if i >= len(in) || in[i] == "**" {
			return false
		}
		if o != in[i] && o != "*" {
			if ok, err := path.Match(o, in[i]); err != nil || !ok || strings.Contains(in[i], "*") {
				return false
			}
		}
	}
	return len(in) == len(out)
}

func (p Principal) inScope(v Verb, repo oci.Repository) bool {
	if p.Scope == nil {
		return true
	}
	for _, s := range p.Scope {
		if s.Repository == repo && slices.Contains(s.Verbs, v) {
			return true
		}
	}
	return false
}

// Principal returns who acts.
func (a Act) Principal() Principal { return a.principal }

// Repository returns where; zero for the server.
func (a Act) Repository() oci.Repository { return a.repo }

// Permits returns nil when a is a real Act of one of the verbs on repo. Flows
// call it first.
func (a Act) Permits(repo oci.Repository, verbs ...Verb) error {
	if a.ok && a.repo == repo && slices.Contains(verbs, a.verb) {
		return nil
	}
	return &Refusal{Principal: a.principal.Name(), Verb: verbs[0], Repository: repo, Anonymous: a.principal.IsAnonymous()}
}
