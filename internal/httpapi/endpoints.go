package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
)

// access says who gets as far as the handler.
type access int

const (
	public access = iota // credentials are not even looked at
	anyone               // the handler, or who it asks, decides
	known                // authenticated
)

// endpoint is one method of one path, as it is served and as it is described.
type endpoint struct {
	method, path string // the path below root
	access       access
	needs        string // verb on the server, for the description; "" where it depends
	summary      string
	query        []parameter
	body         reflect.Type // nil for none, or where bodyType says what it is
	bodyType     string       // media type of a body that is no JSON; "" means application/json
	answer       reflect.Type // nil for none
	status       int          // of success; 0 means 200
	mediaType    string       // of the answer; "" means application/json
	serve        func(*call) error
}

// parameter is one parameter of a query.
type parameter struct {
	name     string
	about    string
	required bool
	values   []string // that it may have; nil for any
	number   bool
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

var (
	refParam   = parameter{name: "ref", about: "repository[:tag][@digest], or a digest alone", required: true}
	afterParam = parameter{name: "after", about: "next of the page before"}
	limitParam = parameter{name: "limit", about: "entries on the page, 1 to 1000; 100 when absent", number: true}
)

// endpoints is the whole API. It is filled here and only read.
var endpoints = []endpoint{
	{method: "GET", path: "/why", access: anyone, summary: "Explain the decision about an artifact", query: []parameter{
		refParam, {name: "zone", about: "narrows a digest alone to a zone"}, {name: "hypothetical", about: "asks the gate of this zone, and records nothing"}, proofParam,
		{name: "at", about: "as of this time, RFC 3339"}, {name: "replay", about: "makes the decision of that time, or of now, again from what is stored; needs a name", values: []string{"true"}},
	}, answer: typeOf[api.Why](), serve: (*call).why},
	{method: "GET", path: "/inventory", access: anyone, summary: "List what is inside an artifact", query: []parameter{refParam}, answer: typeOf[api.Inventory](), serve: (*call).inventory},
	{method: "GET", path: "/findings", access: anyone, summary: "List what is wrong with an artifact", query: []parameter{refParam}, answer: typeOf[api.Findings](), serve: (*call).findings},
	{method: "POST", path: "/vex/check", access: known, summary: "Tell what a VEX document would change about an artifact, and change nothing", body: typeOf[api.VEXCheckRequest](), answer: typeOf[api.VEXCheck](), serve: (*call).checkVEX},
	{method: "GET", path: "/sbom", access: anyone, summary: "Render the inventory of an artifact as SPDX 2.3 or CycloneDX 1.6", query: []parameter{
		refParam, {name: "format", about: "spdx when absent", values: []string{"spdx", "cyclonedx"}},
	}, mediaType: "application/spdx+json", serve: (*call).sbom},
	{method: "GET", path: "/affected", access: anyone, summary: "List placements that hold what an advisory or package URL names", query: []parameter{
		{name: "id", about: "advisory, alias such as CVE-2024-1, or package URL with or without version", required: true}, afterParam, limitParam,
	}, answer: typeOf[api.Affected](), serve: (*call).affected},
	{method: "GET", path: "/bases", access: anyone, summary: "List the images that stand somewhere and that an image is built on, by its layers", query: []parameter{refParam}, answer: typeOf[api.Bases](), serve: (*call).bases},
	{method: "GET", path: "/descendants", access: anyone, summary: "List placements of images that are built on an image, by their layers", query: []parameter{refParam, afterParam, limitParam}, answer: typeOf[api.Descendants](), serve: (*call).descendants},
	{method: "GET", path: "/repositories", access: anyone, summary: "List the repositories in which the caller can see something", query: []parameter{
		{name: "zone", about: "of this zone; of all when absent"}, afterParam, limitParam,
	}, answer: typeOf[api.Page[api.Repository]](), serve: (*call).repositories},
	{method: "GET", path: "/artifacts", access: anyone, summary: "List what stands in a repository, or in all of a zone, the newest of each repository first", query: []parameter{
		{name: "repository", about: "in this repository"}, {name: "zone", about: "in this zone; neither: in all"},
		{name: "verdict", about: "only these", values: verdicts()}, afterParam, limitParam,
	}, answer: typeOf[api.Page[api.ListedArtifact]](), serve: (*call).artifacts},
	{method: "POST", path: "/promote", access: anyone, summary: "Take an artifact to another zone; needs promote on the target repository and pull on the source", body: typeOf[api.PromoteRequest](), answer: typeOf[api.Promoted](), serve: (*call).promote},
	{method: "POST", path: "/rollback", access: known, summary: "Let a tag name again what it named before; needs promote and pull on its repository", body: typeOf[api.RollbackRequest](), answer: typeOf[api.RolledBack](), serve: (*call).rollback},
	{method: "POST", path: "/approve", access: known, summary: "Say yes to an artifact for a zone, or take that back; needs approve on the target repository and pull on the source", body: typeOf[api.ApproveRequest](), answer: typeOf[api.Approved](), serve: (*call).approve},
	{method: "POST", path: "/stop", access: known, summary: "Say that an artifact is not to be promoted, or that it may be again; needs hold and pull on its repository", body: typeOf[api.StopRequest](), answer: typeOf[api.Stopped](), serve: (*call).stop},
	{method: "GET", path: "/named", access: anyone, summary: "List what a tag has named, newest first", query: []parameter{
		{name: "ref", about: "repository:tag", required: true}, {name: "after", about: "id of the last on the page before", number: true}, limitParam,
	}, answer: typeOf[[]api.Named](), serve: (*call).named},

	{method: "GET", path: "/custody", access: known, summary: "Tell what happened to an artifact; needs read-audit, or export in the repositories where it stands", query: []parameter{refParam}, answer: typeOf[api.CustodyTimeline](), serve: (*call).custody},
	{method: "POST", path: "/custody/export", access: known, summary: "Make the file that proves all that is known of an artifact, offline; needs export in the repositories where it stands", body: typeOf[api.CustodyRequest](), answer: typeOf[api.Custody](), serve: (*call).exportCustody},

	{method: "GET", path: "/zones", access: known, summary: "List the zones", answer: typeOf[[]api.Zone](), serve: func(c *call) error { return c.write(listed(c.o.Zones.Zones(c.r.Context()))) }},
	{method: "GET", path: "/gates", access: known, summary: "List the gates", answer: typeOf[[]api.Gate](), serve: func(c *call) error { return c.write(listed(c.o.Zones.Gates(c.r.Context()))) }},
	{method: "POST", path: "/gates/preview", access: known, needs: "administer", summary: "Tell what another gate would make of what stands in a zone, or waits there; the answer is a stream of one JSON object a line", body: typeOf[api.PreviewRequest](), answer: typeOf[api.PreviewProgress](), mediaType: "application/x-ndjson", serve: (*call).previewGate},
	{method: "GET", path: "/gates/{name}", access: known, summary: "Return the text of a gate", answer: typeOf[api.Gate](), serve: func(c *call) error { return c.write(c.o.Zones.Gate(c.r.Context(), c.arg)) }},
	{method: "GET", path: "/feeds", access: known, summary: "List the advisory feeds", answer: typeOf[[]api.Feed](), serve: func(c *call) error { return c.write(listed(c.o.Feeds.Feeds(c.r.Context()))) }},
	{method: "POST", path: "/feeds/update", access: known, needs: "administer", summary: "Load the feeds; the answer is a stream of one JSON object a line", body: typeOf[api.FeedUpdate](), answer: typeOf[api.FeedProgress](), mediaType: "application/x-ndjson", serve: (*call).updateFeeds},
	{method: "POST", path: "/feeds/load", access: known, needs: "administer", summary: "Load a folder of advisories: a tar of ECOSYSTEM/all.zip, or of ECOSYSTEM/ID.json or ID.json; the answer is a stream of one JSON object a line", query: []parameter{
		{name: "force", about: "takes feeds although they lost many records", values: []string{"true", "false"}},
	}, bodyType: tarType, answer: typeOf[api.FeedProgress](), mediaType: "application/x-ndjson", serve: (*call).loadFeed},
	{method: "POST", path: "/feeds/drop", access: known, needs: "administer", summary: "Put out of force what was loaded from a folder", body: typeOf[api.FeedDrop](), answer: typeOf[api.Snapshot](), serve: (*call).dropFeed},
	{method: "GET", path: "/health", access: known, summary: "Tell how the server is", answer: typeOf[api.Health](), serve: func(c *call) error { return c.write(c.o.Report.Health(c.r.Context())) }},

	{method: "GET", path: "/trust", access: known, summary: "Tell what the server signs with", answer: typeOf[api.Trust](), serve: (*call).trust},
	{method: "GET", path: "/sign-ins/{code}", access: known, summary: "Return a sign-in that waits for an approval", answer: typeOf[api.SignIn](), serve: (*call).signIn},
	{method: "POST", path: "/sign-ins/{code}", access: known, summary: "Let a sign-in go on as the caller, or refuse it", body: typeOf[api.SignInAnswer](), answer: typeOf[api.SignIn](), serve: (*call).settleSignIn},

	{method: "GET", path: "/audit", access: known, needs: "read-audit", summary: "List audit events", query: []parameter{
		{name: "order", about: "newest first, which is the default, or oldest first from after on", values: []string{"newest", "oldest"}},
		{name: "repository", about: "of the newest: in this repository"}, {name: "digest", about: "of the newest: about this digest"},
		{name: "principal", about: "of the newest: by this principal"}, {name: "kind", about: "of the newest: of this kind"},
		{name: "after", about: "of the oldest: beyond this sequence number", number: true}, limitParam,
	}, answer: typeOf[api.Page[api.Event]](), serve: (*call).events},
	{method: "POST", path: "/audit/verify", access: known, needs: "read-audit", summary: "Verify the audit log, and the rows of the database against it", answer: typeOf[api.AuditCheck](), serve: (*call).verifyAudit},

	{method: "GET", path: "/epoch", access: anyone, summary: "Tell the state of a repository and its number, with the proof that the server has signed it", query: []parameter{
		{name: "repository", about: "whose state", required: true}, {name: "state", about: "with the lines of the state", values: []string{"true", "false"}},
	}, answer: typeOf[api.RepositoryEpoch](), serve: (*call).repositoryEpoch},
	{method: "GET", path: "/revocations", access: known, needs: "revoke", summary: "List revocations, newest first; also for read-audit", query: []parameter{afterParam, limitParam}, answer: typeOf[api.Page[api.Revocation]](), serve: (*call).revocations},
	{method: "POST", path: "/revocations", access: known, needs: "revoke", summary: "End trust in a digest, key, identity, builder, feed or window, or tell what that would do", body: typeOf[api.RevokeRequest](), answer: typeOf[api.Revoked](), serve: (*call).revokeTrust},
	{method: "POST", path: "/revocations/{id}/lift", access: known, needs: "revoke", summary: "Lift a revocation", body: typeOf[api.LiftRequest](), answer: typeOf[api.Revoked](), serve: (*call).liftRevocation},

	{method: "GET", path: "/waivers", access: known, summary: "List the waivers that the caller may know of, newest first", query: []parameter{
		{name: "zone", about: "about this zone"}, {name: "open", about: "without those that have ended", values: []string{"true", "false"}}, afterParam, limitParam,
	}, answer: typeOf[api.Page[api.Waiver]](), serve: (*call).waivers},
	{method: "POST", path: "/waivers", access: known, summary: "Ask for a waiver, or tell what it would change; needs pull wherever it is about", body: typeOf[api.WaiverRequest](), answer: typeOf[api.WaiverDone](), status: http.StatusCreated, serve: (*call).askWaiver},
	{method: "GET", path: "/waivers/export", access: known, summary: "Render the waivers in force as OpenVEX", query: []parameter{
		{name: "repositories", about: "where this pattern is about: production/payments/**"},
	}, mediaType: "application/json", serve: (*call).exportWaivers},
	{method: "GET", path: "/waivers/{id}", access: known, summary: "Return a waiver, with what the rules of its gate make of it", answer: typeOf[api.Waiver](), serve: (*call).waiver},
	{method: "POST", path: "/waivers/{id}/grant", access: known, summary: "Say yes to a waiver, or tell what that would change; needs waive wherever it is about", body: typeOf[api.WaiverAct](), answer: typeOf[api.WaiverDone](), serve: (*call).grantWaiver},
	{method: "POST", path: "/waivers/{id}/deny", access: known, summary: "Refuse a waiver; needs waive wherever it is about", body: typeOf[api.WaiverAct](), answer: typeOf[api.WaiverDone](), serve: (*call).denyWaiver},
	{method: "POST", path: "/waivers/{id}/end", access: known, summary: "End a waiver before its time; for who asked, and who may waive wherever it is about", body: typeOf[api.WaiverAct](), answer: typeOf[api.WaiverDone](), serve: (*call).endWaiver},

	{method: "POST", path: "/enrol", access: public, summary: "Redeem a one-time code for a name and a secret", body: typeOf[api.EnrolRequest](), answer: typeOf[api.Enrolled](), serve: (*call).enrol},
	{method: "GET", path: "/self", access: known, summary: "Return the caller's own account", answer: typeOf[api.Account](), serve: (*call).self},
	{method: "POST", path: "/tokens", access: known, summary: "Make a further token of the caller's own account", body: typeOf[api.TokenRequest](), answer: typeOf[api.Enrolled](), status: http.StatusCreated, serve: (*call).newToken},
	{method: "DELETE", path: "/tokens/{id}", access: known, summary: "Revoke a token: one's own, or any with revoke or administer", status: http.StatusNoContent, serve: (*call).revoke},
	{method: "POST", path: "/keys/rotate", access: known, needs: "administer", summary: "Replace the key that bearer tokens are signed with; tokens under the one before stay good until they end", answer: typeOf[api.SigningKey](), serve: (*call).rotateKey},
	{method: "GET", path: "/principals", access: known, needs: "administer", summary: "List the accounts", query: []parameter{afterParam, limitParam}, answer: typeOf[api.Page[api.Account]](), serve: (*call).principals},
	{method: "POST", path: "/principals", access: known, needs: "administer", summary: "Make or change an account, and give a code to enrol with", body: typeOf[api.InviteRequest](), answer: typeOf[api.Invite](), status: http.StatusCreated, serve: (*call).invite},
	{method: "GET", path: "/principals/{name}", access: known, needs: "administer", summary: "Return an account with its tokens", answer: typeOf[api.Account](), serve: (*call).principal},
	{method: "POST", path: "/principals/{name}/grants", access: known, needs: "administer", summary: "Add and remove grants of an account", body: typeOf[api.GrantRequest](), answer: typeOf[api.Account](), serve: (*call).grant},
	{method: "POST", path: "/principals/{name}/disable", access: known, needs: "administer", summary: "End the right of an account to authenticate", answer: typeOf[api.Account](), serve: func(c *call) error { return c.disable(true) }},
	{method: "POST", path: "/principals/{name}/enable", access: known, needs: "administer", summary: "Give an account the right to authenticate back", answer: typeOf[api.Account](), serve: func(c *call) error { return c.disable(false) }},

	{method: "GET", path: "/openapi.json", access: public, summary: "Describe this API", serve: (*call).describe},
}

// maxQuery bounds a query, in bytes.
const maxQuery = 8 << 10

// parseQuery reads a query: only parameters that the endpoint has, each once,
// with a value that it may have.
func (e *endpoint) parseQuery(raw string) (url.Values, error) {
	if len(raw) > maxQuery {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", errQuery, len(raw), maxQuery)
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errQuery, err)
	}
	for name, values := range q {
		i := slices.IndexFunc(e.query, func(p parameter) bool { return p.name == name })
		switch {
		case i < 0:
			return nil, fmt.Errorf("%w: no parameter %s here", errQuery, oci.Quote(name))
		case len(values) > 1:
			return nil, fmt.Errorf("%w: parameter %s is given twice", errQuery, name)
		case e.query[i].values != nil && !slices.Contains(e.query[i].values, values[0]):
			return nil, fmt.Errorf("%w: %s is %s, want one of %v", errQuery, name, oci.Quote(values[0]), e.query[i].values)
		}
	}
	for _, p := range e.query {
		if p.required && q.Get(p.name) == "" {
			return nil, fmt.Errorf("%w: parameter %s is missing: %s", errQuery, p.name, p.about)
		}
	}
	return q, nil
}
