package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/netip"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// What the handlers need of others. Every method is safe for concurrent use,
// bounded by its context, and reads committed state only. Unless it says
// otherwise its errors match repo.ErrNotFound (404), repo.ErrConflict (409),
// authz.ErrNotPermitted (403) or one of the "invalid" errors of oci (400); the
// whole text of those goes to the caller. Any other error is answered 500
// with a text of ours, and logged.

// Authenticator says who is asking.
type Authenticator interface {
	// Authenticate returns the principal of a request, authz.Anonymous when it
	// carries no credentials. Errors match authz.ErrUnauthenticated when the
	// credentials are no good, and are *authz.Throttled when they were not
	// looked at because too many were not.
	Authenticate(r *http.Request) (authz.Principal, error)
	// Challenge is the WWW-Authenticate header of a 401 to r. cause is what
	// Authenticate returned, or nil; scope is as in the registry token flow,
	// "" for none.
	Challenge(r *http.Request, cause error, scope string) string
}

// Explainer answers questions about artifacts.
//
// ref names one by tag or digest in a repository, or by digest alone: then
// ref.Repository is zero, and the answer is about the placement that matters
// most to the caller among those it may know of (admitted before attached,
// held, denied and withdrawn; then by repository). The handlers have checked
// nothing: s decides what may be known, per repository.
//
//   - s(r) not ok: nothing is there, repo.ErrNotFound.
//   - Why tells all else that is there, with the reason: to callers who may
//     pull in r, also what they may not pull itself. Of a placement that
//     is held, and not visible to the viewer, it tells only that it is held.
//   - The others tell about what the viewer may see (repo.Viewer.Visible); for
//     the rest the error matches repo.ErrNotFound and its text holds the
//     sentence of the decision, or that it is held.
type Explainer interface {
	// Why explains the decision in force. zone narrows a digest without
	// repository to a zone, "" for all. hypothetical asks what the gate of
	// that zone would say of it now, "" to not ask; nothing is recorded.
	Why(ctx context.Context, s repo.Sight, ref oci.Reference, zone, hypothetical string) (*api.Why, error)
	// WhyAt is Why as of a time in the past; one to come is repo.ErrConflict.
	WhyAt(ctx context.Context, s repo.Sight, ref oci.Reference, zone string, then assess.Then) (*api.Why, error)
	Inventory(ctx context.Context, s repo.Sight, ref oci.Reference) (*api.Inventory, error)
	Findings(ctx context.Context, s repo.Sight, ref oci.Reference) (*api.Findings, error)
	// CheckVEX tells what a VEX document would change if somebody whom the gate
	// believes said it, and changes nothing. Errors match also
	// assess.ErrVEXInvalid.
	CheckVEX(ctx context.Context, s repo.Sight, ref oci.Reference, document []byte) (*api.VEXCheck, error)
	// SBOM renders the inventory. format is "spdx" (2.3) or "cyclonedx" (1.6),
	// both JSON. The same artifact gives the same bytes.
	SBOM(ctx context.Context, s repo.Sight, ref oci.Reference, format string) ([]byte, error)
	// Affected lists placements that s may see and that hold what id names: an
	// advisory or alias ("CVE-2024-1"), or a package URL with or without
	// version. page.After is a Next of an earlier answer, page.Limit 1 to 1 000.
	// An id no advisory has is repo.ErrNotFound; one that touches nothing here
	// is an answer without images.
	Affected(ctx context.Context, s repo.Sight, id string, page repo.Page) (*api.Affected, error)
}

// Lineage tells what images are built on. ref is as for Explainer, and what s may
// not see is not told of.
type Lineage interface {
	// Bases lists images that stand somewhere and that an image is built on.
	Bases(ctx context.Context, s repo.Sight, ref oci.Reference) (*api.Bases, error)
	// Descendants lists placements of images that are built on one. page.After is
	// a Next of an earlier answer, page.Limit 1 to 1 000. Errors match also
	// authz.ErrInvalid.
	Descendants(ctx context.Context, s repo.Sight, ref oci.Reference, page repo.Page) (*api.Descendants, error)
}

// Lister lists what stands in the registry, and tells of nothing that s does not
// see.
type Lister interface {
	// Repositories lists those of a zone, "" for all, in which s sees something that
	// is not evidence. page.After is the name of one.
	Repositories(ctx context.Context, s repo.Sight, zone string, page repo.Page) (*api.Page[api.Repository], error)
	// Artifacts lists what stands in a repository, or in all of a zone, the newest
	// of each repository first. page.After is a Next of an earlier answer, which may
	// have fewer than page.Limit. A repository in which s sees nothing is
	// repo.ErrNotFound.
	Artifacts(ctx context.Context, s repo.Sight, l assess.Listing, page repo.Page) (*api.Page[api.ListedArtifact], error)
}

// Zones tells how the registry is cut and judged. Any authenticated caller may
// know.
type Zones interface {
	Zones(ctx context.Context) ([]api.Zone, error) // sorted by name
	Gates(ctx context.Context) ([]api.Gate, error) // sorted by name
	Gate(ctx context.Context, name string) (*api.Gate, error)
	// Preview tells what another gate would make of what stands in a zone, and
	// records nothing. act is one of administer on the server. tell is called from
	// one goroutine and may block for a while; it is never given Done or Error. A
	// text that is no gate, or that cannot be in force here, is authz.ErrInvalid.
	Preview(ctx context.Context, act authz.Act, req api.PreviewRequest, tell func(api.PreviewProgress)) (*api.Preview, error)
}

// Feeds tells about advisories and loads them.
type Feeds interface {
	Feeds(ctx context.Context) ([]api.Feed, error) // sorted by name
	// Update loads the feeds asked for that changed and publishes a snapshot if
	// any did. act is one of administer on the server. progress is called from
	// one goroutine and may block for a while; it is never given Done or Error.
	// When ctx ends before the snapshot is published, nothing has changed. An
	// update that runs already is repo.ErrConflict.
	Update(ctx context.Context, act authz.Act, req api.FeedUpdate, progress func(api.FeedProgress)) (*api.Snapshot, error)
	// Load is Update from a folder, sent as a tar that is read while nothing
	// else is loaded; acceptLoss takes feeds that lost many records. A stream
	// that is no such folder is authz.ErrInvalid.
	Load(ctx context.Context, act authz.Act, folder io.Reader, acceptLoss bool, progress func(api.FeedProgress)) (*api.Snapshot, error)
	// Drop puts out of force what was loaded from a folder. act as for Update.
	// What is configured is repo.ErrConflict.
	Drop(ctx context.Context, act authz.Act, name string) (*api.Snapshot, error)
}

// Auditor reads the audit log; audit.Rows has the first two methods.
type Auditor interface {
	// Latest returns the newest entries that match, newest first.
	Latest(ctx context.Context, f audit.Filter, limit int) ([]audit.Entry, error)
	// Entries returns entries with Seq > after, in order.
	Entries(ctx context.Context, after int64, limit int) ([]audit.Entry, error)
	// Verify rebuilds the log. What is wrong with it is no error, but in the answer.
	Verify(ctx context.Context) (*api.AuditCheck, error)
}

// Principals keeps who may authenticate. Those that change something take an
// act of administer on the server, or the principal that changes its own.
// Errors match also authz.ErrInvalid and authz.ErrGrantInvalid.
type Principals interface {
	Accounts(ctx context.Context, after string, limit int) ([]api.Account, error) // by name, without tokens
	Account(ctx context.Context, name string) (*api.Account, error)               // with tokens
	// Invite makes the account, or replaces its grants when it exists, and
	// gives a code to enrol with.
	Invite(ctx context.Context, act authz.Act, req api.InviteRequest) (*api.Invite, error)
	Grant(ctx context.Context, act authz.Act, name string, req api.GrantRequest) (*api.Account, error)
	// Disable ends, or gives back, the right to authenticate. It works at once.
	Disable(ctx context.Context, act authz.Act, name string, disabled bool) (*api.Account, error)
	// NewToken makes a further token of p's own account, no wider than p.
	NewToken(ctx context.Context, p authz.Principal, req api.TokenRequest) (*api.Enrolled, error)
	// Revoke ends a token: of p's own account, or of any when p may revoke or
	// administer.
	Revoke(ctx context.Context, p authz.Principal, id string) error
}

// KeyKeeper keeps the key that bearer tokens are signed with.
type KeyKeeper interface {
	// RotateKey replaces it at once; tokens under the one before stay good until
	// they end. act is one of administer on the server. Another that was made at
	// the same time is repo.ErrConflict.
	RotateKey(ctx context.Context, act authz.Act) (*api.SigningKey, error)
}

// Enroller turns one-time codes into tokens.
type Enroller interface {
	// Enrol redeems a code once. from is the client's address. Errors match
	// authz.ErrUnauthenticated for a code that is unknown, used or expired,
	// authz.ErrInvalid and authz.ErrGrantInvalid for what else is asked, and
	// are *authz.Throttled after too many wrong codes.
	Enrol(ctx context.Context, req api.EnrolRequest, from netip.Addr) (*api.Enrolled, error)
}

// Reporter tells how the server is.
type Reporter interface {
	Health(ctx context.Context) (*api.Health, error)
}
