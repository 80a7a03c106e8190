package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/authz/authztest"
	"github.com/bonded-dev/bonded/internal/custody"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

var epoch = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

const someDigest = "sha256:6a1fbcf213fb20645f14ade9b6f8d83703ee68a74e1e024cafd0ae191b88447f"

// fake is everything that an API asks. err, where set, is what all of it
// answers; calls notes what was asked, with the arguments that matter.
type fake struct {
	t     testing.TB
	err   error
	calls []string
	log   bytes.Buffer
	feeds []api.FeedProgress // that an update tells before it ends
	wait  chan struct{}      // where set, an update waits for it, or its context
	ended chan error         // told how an update that waited ended
}

func (f *fake) note(format string, args ...any) error {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

var people = map[string]authz.Principal{
	"ann": authztest.Person("ann", "reader=dev/**"), "dee": authztest.Person("dee", "developer=**"), "root": authztest.Person("root", "admin=**"), "zoe": authztest.Person("zoe", "admin=dev/**"),
	"audrey": authztest.Person("audrey", "auditor=**"), "nobody": authz.Anonymous, "narrow": narrowed(authztest.Person("root", "admin=**")),
}

func narrowed(p authz.Principal) authz.Principal {
	p.Scope = []authz.Scope{{Repository: oci.MustRepository("dev/app"), Verbs: []authz.Verb{authz.Pull}}}
	return p
}

func (f *fake) Authenticate(r *http.Request) (authz.Principal, error) {
	name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch p, ok := people[name]; {
	case name == "":
		return authz.Anonymous, nil
	case ok:
		return p, nil
	case name == "hasty":
		return authz.Principal{}, &authz.Throttled{After: 1500 * time.Millisecond}
	case name == "broken":
		return authz.Principal{}, errors.New("database is down")
	}
	return authz.Principal{}, fmt.Errorf("%w: the name or the secret is wrong", authz.ErrUnauthenticated)
}

func (f *fake) Challenge(_ *http.Request, cause error, scope string) string {
	return fmt.Sprintf("Bearer scope=%q,error=%q", scope, fmt.Sprint(cause))
}

// see looks like an Explainer must: only where s allows it.
func (f *fake) see(s repo.Sight, ref oci.Reference) error {
	at := ref.Repository
	if at.IsZero() {
		at = oci.MustRepository("dev/app")
	}
	v, ok := s(at)
	if !ok {
		return fmt.Errorf("nothing named %s: %w", ref, repo.ErrNotFound)
	}
	return f.note("see %s as %s quarantine=%v", ref, v.Principal, v.Quarantine)
}

var artifact = api.Artifact{Repository: "dev/app", Digest: someDigest, Kind: "image", State: "held"}

func (f *fake) Why(_ context.Context, s repo.Sight, ref oci.Reference, zone, hypothetical string) (*api.Why, error) {
	if err := f.see(s, ref); err != nil {
		return nil, err
	}
	return &api.Why{Artifact: artifact, Held: true, Passes: zone + hypothetical}, nil
}

func (f *fake) WhyAt(_ context.Context, s repo.Sight, ref oci.Reference, zone string, then assess.Then) (*api.Why, error) {
	if err := f.see(s, ref); err != nil {
		return nil, err
	}
	w := &api.Why{Artifact: artifact, Then: &api.Then{At: then.At}}
	if then.Replay {
		w.Then.Replay = &api.Replay{Missing: []string{"everything"}}
	}
	return w, nil
}

func (f *fake) Inventory(_ context.Context, s repo.Sight, ref oci.Reference) (*api.Inventory, error) {
	return &api.Inventory{Artifact: artifact, Coverage: "full"}, f.see(s, ref)
}

func (f *fake) Findings(_ context.Context, s repo.Sight, ref oci.Reference) (*api.Findings, error) {
	return &api.Findings{Artifact: artifact}, f.see(s, ref)
}

func (f *fake) CheckVEX(_ context.Context, s repo.Sight, ref oci.Reference, document []byte) (*api.VEXCheck, error) {
	if string(document) == "{}" {
		return nil, fmt.Errorf("%w: it is neither OpenVEX, CSAF nor CycloneDX", assess.ErrVEXInvalid)
	}
	return &api.VEXCheck{Artifact: artifact, Document: oci.FromBytes(document).String(), As: "attached", Findings: []api.VEXChange{}}, f.see(s, ref)
}

func (f *fake) SBOM(_ context.Context, s repo.Sight, ref oci.Reference, format string) ([]byte, error) {
	return []byte("a document of " + format), f.see(s, ref)
}

func (f *fake) Affected(_ context.Context, s repo.Sight, id string, p repo.Page) (*api.Affected, error) {
	if id == "CVE-0" {
		return nil, fmt.Errorf("no advisory %s: %w", id, repo.ErrNotFound)
	}
	return &api.Affected{Query: id, Next: fmt.Sprint(p)}, f.see(s, oci.Reference{})
}

func (f *fake) Bases(_ context.Context, s repo.Sight, ref oci.Reference) (*api.Bases, error) {
	return &api.Bases{Artifact: artifact, Layers: 1, Compared: 1, Bases: []api.Base{}}, f.see(s, ref)
}

func (f *fake) Descendants(_ context.Context, s repo.Sight, ref oci.Reference, p repo.Page) (*api.Descendants, error) {
	return &api.Descendants{Artifact: artifact, Images: []api.Placement{}, Next: fmt.Sprint(p)}, f.see(s, ref)
}

func (f *fake) Repositories(_ context.Context, s repo.Sight, zone string, p repo.Page) (*api.Page[api.Repository], error) {
	return &api.Page[api.Repository]{Items: []api.Repository{{Name: "dev/app", Newest: api.Placement{Repository: "dev/app"}}}, Next: fmt.Sprint(zone, p)}, f.see(s, oci.Reference{})
}

func (f *fake) Artifacts(_ context.Context, s repo.Sight, l assess.Listing, p repo.Page) (*api.Page[api.ListedArtifact], error) {
	return &api.Page[api.ListedArtifact]{Items: []api.ListedArtifact{}, Next: fmt.Sprintf("%s %s %s %v", l.Repository, l.Zone, l.State, p)}, f.see(s, oci.Reference{})
}

func (f *fake) Promote(_ context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, req api.PromoteRequest) (*api.Promoted, error) {
	if err := act.Permits(act.Repository(), authz.Promote); err != nil {
		f.t.Error(err)
	}
	return &api.Promoted{From: ref.String(), To: act.Repository().String(), Tags: req.Tags, Decision: api.Decision{Outcome: api.Deny}}, f.note("promote as %s", v.Principal)
}

func (f *fake) Rollback(_ context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, to oci.Digest, req api.RollbackRequest) (*api.RolledBack, error) {
	if err := act.Permits(ref.Repository, authz.Promote); err != nil {
		f.t.Error(err)
	}
	return &api.RolledBack{Repository: ref.Repository.String(), Tag: ref.Tag, Digest: to.String(), Done: !req.DryRun, Decision: api.Decision{Outcome: api.Allow}}, f.note("rollback as %s: %s", v.Principal, req.Reason)
}

func (f *fake) Approve(_ context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, req api.ApproveRequest) (*api.Approved, error) {
	if err := act.Permits(act.Repository(), authz.Approve); err != nil {
		f.t.Error(err)
	}
	return &api.Approved{From: ref.Repository.String(), Repository: act.Repository().String(), Approvals: []api.Word{{ID: 1, By: v.Principal, Reason: req.Reason}}}, f.note("approve as %s", v.Principal)
}

func (f *fake) Stop(_ context.Context, act authz.Act, v repo.Viewer, ref oci.Reference, req api.StopRequest) (*api.Stopped, error) {
	if err := act.Permits(ref.Repository, authz.Hold); err != nil {
		f.t.Error(err)
	}
	return &api.Stopped{Repository: ref.Repository.String(), Stops: []api.Word{{ID: 2, By: v.Principal, Reason: req.Reason}}}, f.note("stop as %s", v.Principal)
}

func (f *fake) Named(_ context.Context, p authz.Principal, v repo.Viewer, ref oci.Reference, before int64, limit int) ([]api.Named, error) {
	return []api.Named{{ID: 7, Digest: someDigest, State: "admitted", From: epoch}}, f.note("named %s as %s %s, %d from %d", ref, p.Name(), v.Principal, limit, before)
}

func (f *fake) Zones(context.Context) ([]api.Zone, error) { return nil, f.note("zones") }

func (f *fake) Gates(context.Context) ([]api.Gate, error) {
	return []api.Gate{{Name: "dev"}}, f.note("gates")
}

func (f *fake) Preview(_ context.Context, act authz.Act, req api.PreviewRequest, tell func(api.PreviewProgress)) (*api.Preview, error) {
	if err := act.Permits(oci.Repository{}, authz.Administer); err != nil {
		f.t.Error(err)
	}
	tell(api.PreviewProgress{Judged: 1, Total: 2, Flip: &api.Flip{Repository: "dev/app", Digest: someDigest}})
	return &api.Preview{Zone: req.Zone, Judged: 2, Better: 1, Rules: map[string]int{}}, f.note("preview in %s", req.Zone)
}

func (f *fake) Gate(_ context.Context, name string) (*api.Gate, error) {
	if name != "dev" {
		return nil, fmt.Errorf("gate %q: %w", name, repo.ErrNotFound)
	}
	return &api.Gate{Name: name, Text: "enter: []"}, f.note("gate")
}

// feedsFake is apart because its method has the name of one of zones.
func (f *fake) Feeds(context.Context) ([]api.Feed, error) {
	return []api.Feed{{Name: "osv/Go", Records: 7}}, f.err
}

func (f *fake) Load(_ context.Context, act authz.Act, folder io.Reader, acceptLoss bool, progress func(api.FeedProgress)) (*api.Snapshot, error) {
	if err := act.Permits(oci.Repository{}, authz.Administer); err != nil {
		f.t.Error(err)
	}
	b, err := io.ReadAll(folder)
	if err != nil {
		return nil, fmt.Errorf("receiving: %w", err)
	}
	for _, p := range f.feeds {
		progress(p)
	}
	if err := f.note("load %q %v", b, acceptLoss); err != nil {
		return nil, err
	}
	return &api.Snapshot{Seq: 4, Advisories: 8}, nil
}

func (f *fake) Drop(_ context.Context, act authz.Act, name string) (*api.Snapshot, error) {
	if err := act.Permits(oci.Repository{}, authz.Administer); err != nil {
		f.t.Error(err)
	}
	if name != "loaded" {
		return nil, fmt.Errorf("of feed %q nothing is in force: %w", name, repo.ErrNotFound)
	}
	return &api.Snapshot{Seq: 5}, f.note("drop %s", name)
}

func (f *fake) Update(ctx context.Context, act authz.Act, req api.FeedUpdate, progress func(api.FeedProgress)) (*api.Snapshot, error) {
	if err := act.Permits(oci.Repository{}, authz.Administer); err != nil {
		f.t.Error(err)
	}
	for _, p := range f.feeds {
		progress(p)
	}
	if f.wait != nil {
		select {
		case <-f.wait:
		case <-ctx.Done():
			f.ended <- ctx.Err()
			return nil, ctx.Err()
		}
	}
	if err := f.note("update %v %v", req.Feeds, req.Force); err != nil {
		return nil, err
	}
	return &api.Snapshot{Seq: 3, Advisories: 7}, nil
}

func (f *fake) RotateKey(_ context.Context, act authz.Act) (*api.SigningKey, error) {
	if err := act.Permits(oci.Repository{}, authz.Administer); err != nil {
		f.t.Error(err)
	}
	return &api.SigningKey{ID: "new", Made: epoch, Replaces: "old", ReplacedUntil: epoch.Add(11 * time.Minute)}, f.note("rotate")
}

func entry(seq int64, kind string) audit.Entry {
	e := audit.New(fmt.Sprint("id", seq), epoch, people["ann"], kind).On(oci.MustRepository("dev/app"), oci.MustDigest(someDigest))
	return audit.Entry{Seq: seq, Bytes: e.Bytes()}
}

func (f *fake) Latest(_ context.Context, filter audit.Filter, limit int) ([]audit.Entry, error) {
	return []audit.Entry{entry(2, "b"), entry(1, "a")}[:min(limit, 2)], f.note("latest %+v", filter)
}

func (f *fake) Entries(_ context.Context, after int64, limit int) ([]audit.Entry, error) {
	if after == 99 {
		return []audit.Entry{{Seq: 100, Bytes: []byte("{")}}, nil
	}
	return []audit.Entry{entry(after+1, "a"), entry(after+2, "b")}[:min(limit, 2)], f.note("entries after %d", after)
}

func (f *fake) Verify(context.Context) (*api.AuditCheck, error) {
	return &api.AuditCheck{OK: true, Entries: 2, At: epoch}, f.note("verify")
}

func (f *fake) Accounts(_ context.Context, after string, limit int) ([]api.Account, error) {
	all := []api.Account{{Name: "ann", Grants: []string{"reader=dev/**"}, Created: epoch}, {Name: "bob", Grants: []string{}, Created: epoch}}
	if after != "" {
		all = nil
	}
	return all[:min(limit, len(all))], f.note("accounts")
}

func (f *fake) Account(_ context.Context, name string) (*api.Account, error) {
	if name == "eve" {
		return nil, fmt.Errorf("no account %q: %w", name, repo.ErrNotFound)
	}
	return &api.Account{Name: name, Created: epoch}, f.note("account")
}

func (f *fake) Invite(_ context.Context, act authz.Act, req api.InviteRequest) (*api.Invite, error) {
	if err := act.Permits(oci.Repository{}, authz.Administer); err != nil {
		f.t.Error(err)
	}
	if req.Name == "" {
		return nil, fmt.Errorf("%w: account name %q", authz.ErrInvalid, req.Name)
	}
	return &api.Invite{Name: req.Name, Code: "KX4P-9QTM", Expires: epoch}, f.note("invite %v", req.Grants)
}

func (f *fake) Grant(_ context.Context, act authz.Act, name string, req api.GrantRequest) (*api.Account, error) {
	for _, s := range req.Add {
		if _, err := authz.ParseGrant(s); err != nil {
			return nil, err
		}
	}
	return &api.Account{Name: name, Grants: req.Add, Created: epoch}, act.Permits(oci.Repository{}, authz.Administer)
}

func (f *fake) Disable(_ context.Context, act authz.Act, name string, disabled bool) (*api.Account, error) {
	if name == act.Principal().Subject {
		return nil, fmt.Errorf("%s would no longer administer this server: %w; another administrator can do this", name, repo.ErrConflict)
	}
	out := &api.Account{Name: name, Created: epoch}
	if disabled {
		out.Disabled = epoch
	}
	return out, act.Permits(oci.Repository{}, authz.Administer)
}

func (f *fake) NewToken(_ context.Context, p authz.Principal, req api.TokenRequest) (*api.Enrolled, error) {
	return &api.Enrolled{Name: p.Subject, Secret: "bnd_x", Expires: epoch}, f.note("token %v", req.Scope)
}

func (f *fake) Revoke(_ context.Context, p authz.Principal, id string) error {
	if id != "mine" {
		return fmt.Errorf("no token %q: %w", id, repo.ErrNotFound)
	}
	return f.note("revoke as %s", p.Subject)
}

func (f *fake) Enrol(_ context.Context, req api.EnrolRequest, from netip.Addr) (*api.Enrolled, error) {
	if !from.IsLoopback() {
		f.t.Errorf("enrolled from %s", from)
	}
	if req.Code != "KX4P-9QTM" {
		return nil, fmt.Errorf("%w: this code is unknown, was used, or has expired", authz.ErrUnauthenticated)
	}
	return &api.Enrolled{Name: "ann", Secret: "bnd_x", Expires: epoch}, f.note("enrol")
}

func (f *fake) Health(context.Context) (*api.Health, error) {
	return &api.Health{Version: "v0", Checks: map[string]string{"database": "ok"}, Notes: map[string]string{}}, f.note("health")
}

// answers are what commands of scripts make everything answer.
var answers = map[string]error{
	"fine": nil, "broken": errors.New("disk on fire"), "conflict": fmt.Errorf("promoting: %w", repo.ErrConflict), "late": fmt.Errorf("reading: %w", context.DeadlineExceeded),
	"empty": fmt.Errorf("matching: %w", vuln.ErrNoSnapshot), "gone": context.Canceled, "unproven": fmt.Errorf("proving the audit log up to 7: %w", custody.ErrNoProof),
}

func newAPI(t testing.TB) (*API, *fake) {
	f := &fake{t: t}
	open := func(r oci.Repository, v authz.Verb) bool { return r.Zone() == "sandbox" && v == authz.Pull }
	zones := repo.DefaultZones()
	zones["sandbox"] = repo.Zone{Name: "sandbox", Sandbox: true}
	return New(Options{
		Auth: f, Explain: f, Lineage: f, List: f, Promote: f, Zones: f, Feeds: f, Audit: f, Principals: f, Enrol: f, Keys: f, Trust: trustFake{f}, Revoke: revokeFake{f}, Waivers: waiverFake{f}, Custody: custodyFake{f}, Epochs: revokeFake{f}, Report: f, Clock: time.Now, Log: slog.New(slog.NewTextHandler(&f.log, nil)),
		Open: open, Sight: func(p authz.Principal) repo.Sight { return zones.Sight(p, open) },
	}), f
}
