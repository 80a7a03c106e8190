package cli_test

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// now is the time in all scripts.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	goodDigest  = "sha256:77ab000000000000000000000000000000000000000000000000000000000c12"
	badDigest   = "sha256:9c1e0000000000000000000000000000000000000000000000000000000041f7"
	gateDigest  = "sha256:1d0f000000000000000000000000000000000000000000000000000000001d0f"
	snapDigest  = "sha256:5a5a000000000000000000000000000000000000000000000000000000005a5a"
	layerDigest = "sha256:aaaa00000000000000000000000000000000000000000000000000000000aaaa"
)

// fakeServer answers the management API from tables, and holds clients to the
// contract: known paths and methods, credentials, JSON bodies without unknown
// keys.
type fakeServer struct {
	*httptest.Server

	mu       sync.Mutex // guards what follows
	wrong    []string   // what clients did that the API does not have
	accounts map[string]*api.Account
	secrets  map[string]string // by name
	codes    map[string]string // name by code
	events   []api.Event
	audit    *fakeAudit
	// repository is its TUF repository, made when it is first asked for.
	repository func() (*fakeRepository, error)
	// Its keys, and what it has proven by them once somebody asks.
	sigstore *verifytest.Instance
	proven   func() map[string]api.RepositoryEpoch
}

func newFakeServer(t testing.TB) *fakeServer {
	f := &fakeServer{sigstore: verifytest.New(t, "bonded.example"), accounts: map[string]*api.Account{}, secrets: map[string]string{"ann": "s3cret"}, codes: map[string]string{"KX4P-9QTM": "bob"}}
	f.accounts["ann"] = &api.Account{Name: "ann", Human: true, Grants: []string{"admin=**"}, Created: now.AddDate(0, -1, 0), Tokens: []api.Token{
		{ID: "7f3a9c21", Label: "ann@box", Created: now.AddDate(0, -1, 0), Expires: now.AddDate(0, 2, 0), Used: now.Add(-time.Hour)},
		{ID: "00ff", Label: "old", Scope: []string{"reader=dev/**"}, Created: now.AddDate(0, -6, 0), Expires: now.AddDate(0, -3, 0)},
	}}
	f.accounts["deployer"] = &api.Account{Name: "deployer", Grants: []string{"reader=production/**", "reader=catalog/**"}, Created: now.AddDate(0, 0, -3), Disabled: now.Add(-2 * time.Hour)}
	for i, kind := range []string{"principal.enrolled", "manifest.pushed", "placement.admitted"} {
		e := api.Event{Seq: int64(i + 1), ID: fmt.Sprint("e-", i), At: now.Add(time.Duration(i-3) * time.Minute), Kind: kind, Principal: "ann", Method: "token"}
		if i > 0 {
			e.Repository, e.Digest, e.Details = "dev/payments/api", goodDigest, map[string]string{"tag": "1.8", "agent": "docker\x1b[31m/28"}
		}
		f.events = append(f.events, e)
	}
	f.audit = newFakeAudit(f.events)
	f.proven = sync.OnceValue(f.prove)
	f.Server = httptest.NewServer(f.routes())
	return f
}

// misused notes what a client must not do.
func (f *fakeServer) misused(format string, operands ...any) {
	f.wrong = append(f.wrong, fmt.Sprintf(format, operands...))
}

func (f *fakeServer) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(*http.Request) (any, *api.Error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if name, secret, _ := r.BasicAuth(); pattern != "POST /api/v1/enrol" && (name == "" || f.secrets[name] != secret) {
				reply(w, http.StatusUnauthorized, api.Error{Code: "unauthorized", Message: "the secret of " + name + " is not known here", Next: "bonded login"})
				return
			}
			v, no := answer(r)
			if no != nil {
				reply(w, statuses[no.Code], no)
				return
			}
			reply(w, http.StatusOK, v)
		})
	}
	f.artifacts(handle)
	f.stands(handle)
	f.acts(handle)
	f.people(handle)
	f.trustEnds(handle)
	f.signs(mux, handle)
	f.audits(mux, handle)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.misused("%s %s is not in the API", r.Method, r.URL)
		http.NotFound(w, r)
	})
	return mux
}

var statuses = map[string]int{"not-found": 404, "denied": 403, "not-permitted": 403, "invalid": 400, "unauthorized": 401, "conflict": 409, "internal": 500}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if raw, ok := v.(rawAnswer); ok {
		_, _ = io.WriteString(w, string(raw))
		return
	}
	_ = json.NewEncoder(w).Encode(v) // the script sees what is missing
}

// rawAnswer is sent as it is.
type rawAnswer string

type handler func(pattern string, answer func(*http.Request) (any, *api.Error))

// body decodes the request as strictly as a server does.
func body[T any](f *fakeServer, r *http.Request) T {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		f.misused("%s %s: body: %v", r.Method, r.URL, err)
	}
	return v
}

var (
	artifact = api.Artifact{Repository: "production/payments/api", Digest: badDigest, Tags: []string{"1.8"}, Kind: "image", State: "denied", MediaType: "application/vnd.oci.image.manifest.v1+json", Platform: "linux/amd64"}
	snapshot = api.Snapshot{Seq: 42, Digest: snapDigest, At: now.Add(-8 * time.Hour), Advisories: 57123}
)

// denied is a decision with one rule of each outcome.
func denied(zone string) *api.Decision {
	return &api.Decision{
		Repository: zone + "/payments/api", Digest: badDigest, Zone: zone, Clause: "enter", Outcome: api.Deny, DecidedAt: now.Add(-2 * time.Minute),
		Reasons: []api.Reason{
			{Rule: "fully-analysed", Outcome: api.Allow, Says: "every layer was analysed in full"},
			{Rule: "no-critical-or-high-with-fix", Outcome: api.Deny, Says: "CVE-2026-31337 in openssl 3.0.11 (fixed in 3.0.15), and 6 more", More: 1, Remedy: "update openssl to 3.0.15", Facts: []api.Fact{
				{ID: "CVE-2026-31337", Severity: "critical", Package: "openssl", Version: "3.0.11", Fixed: "3.0.15", Where: "layer 1 of 7"},
				{ID: "GO-2026-1", Severity: "high", Package: "golang.org/x/net", Version: "0.7.0", Fixed: "0.38.0", Where: "layer 7 of 7, app/api"},
				{ID: "GO-2026-2", Severity: "high", Package: "golang.org/x/net", Version: "0.7.0", Fixed: "0.38.0"},
				{ID: "GO-2026-3", Severity: "high", Package: "golang.org/x/net", Version: "0.7.0", Fixed: "0.38.0"},
				{ID: "GO-2026-4", Severity: "high", Package: "golang.org/x/net", Version: "0.7.0", Fixed: "0.38.0"},
				{ID: "GO-2026-5\x1b[2J", Severity: "high", Package: "golang.org/x/net", Version: "0.7.0", Fixed: "0.38.0"},
			}},
			{Rule: "fresh-advisories", Outcome: api.CannotTell, Says: "advisories are older than 72 hours, or none were ever loaded", Remedy: "bonded feed update"},
		},
		Inputs: api.Inputs{Gate: gateDigest, Snapshot: snapDigest, Evidence: []string{goodDigest}, Engine: "bonded test"},
	}
}

func allowed(repository string) *api.Decision {
	zone, _, _ := strings.Cut(repository, "/")
	return &api.Decision{
		Repository: repository, Digest: goodDigest, Zone: zone, Clause: "enter", Outcome: api.Allow, DecidedAt: now.Add(-3 * 24 * time.Hour), ValidUntil: now.Add(2 * time.Hour),
		Reasons: []api.Reason{{Rule: "fully-analysed", Outcome: api.Allow, Says: "every layer was analysed in full"}},
		Inputs:  api.Inputs{Gate: gateDigest, Snapshot: snapDigest, Engine: "bonded test"},
	}
}

// whys are the answers by reference.
func whys() map[string]api.Why {
	good := api.Artifact{Repository: "dev/payments/api", Digest: goodDigest, Tags: []string{"1.7"}, Kind: "image", State: "admitted"}
	signed := good
	signed.Repository, signed.Tags = "dev/signed", []string{"1"}
	held := api.Artifact{Repository: "production/new", Digest: goodDigest, Kind: "image", State: "held"}
	doubt := denied("production")
	doubt.Outcome, doubt.Reasons = api.CannotTell, doubt.Reasons[2:]
	twice := *doubt
	twice.Reasons = []api.Reason{{Rule: "fully-analysed", Outcome: api.CannotTell, Says: "cannot tell whether every layer was analysed: layer 1 of 2: analysed in part, and 1 more",
		Facts: []api.Fact{{ID: layerDigest, Where: "layer 1 of 2", Text: "analysed in part"}, {ID: goodDigest, Where: "layer 2 of 2", Text: "not analysed"}}}}
	staying := denied("production")
	staying.Clause, staying.StayUntil, staying.Reasons = "stay", now.Add(72*time.Hour), staying.Reasons[1:2]
	staying.Reasons[0].Act, staying.Reasons[0].Until = "deadline", now.Add(72*time.Hour)
	return map[string]api.Why{
		"production/payments/api:1.8": {Artifact: artifact, Decision: denied("production"), Passes: goodDigest, PassTags: []string{"1.7.3"},
			Elsewhere: []api.Placement{{Repository: "dev/payments/api", Digest: badDigest, Tags: []string{"1.8"}, Kind: "image", State: "admitted", BroughtBy: "ann", BroughtAt: now}}},
		"dev/payments/api:1.7": {Artifact: good, Decision: allowed("dev/payments/api"), Next: []string{"staging"}},
		"dev/payments/api:2.0": {Artifact: good, Decision: allowed("dev/payments/api"), Waiting: []api.Waiting{
			{Tag: "1.9", Digest: goodDigest, By: "ann", At: now.Add(-time.Hour), Decision: denied("dev")},
			{Tag: "2.0", Digest: badDigest, By: "bob", At: now.Add(-time.Minute)},
		}},
		goodDigest:           {Artifact: good, Decision: allowed("dev/payments/api")},
		"production/new:1":   {Artifact: held, Held: true},
		"production/doubt:1": {Artifact: held, Held: true, Decision: doubt},
		"production/twice:1": {Artifact: held, Held: true, Decision: &twice},
		"production/stays:1": {Artifact: artifact, Decision: staying},
		"dev/signed:1":       {Artifact: signed, Decision: allowed("dev/signed"), Evidence: said()},
		"dev/sig:1":          {Artifact: api.Artifact{Repository: "dev/sig", Digest: goodDigest, Kind: "evidence", State: "attached"}},
	}
}

// stands is what is listed, in pages of two.
func (f *fakeServer) stands(handle handler) {
	old := api.Placement{Repository: "dev/payments/api", Digest: goodDigest, Tags: []string{"1.7", "stable"}, Kind: "image", State: "admitted", BroughtBy: "ann", BroughtAt: now.AddDate(0, 0, -9)}
	bad := api.Placement{Repository: "dev/payments/api", Digest: badDigest, Kind: "index", State: "denied", BroughtBy: "bob", BroughtAt: now.Add(-2 * time.Minute)}
	leaving := api.Placement{Repository: "dev/zebra", Digest: layerDigest, Tags: []string{"1\x1b[2J"}, Kind: "chart", State: "admitted", BroughtBy: "ann", BroughtAt: now.AddDate(0, 0, -1), StayUntil: now.AddDate(0, 0, 3)}
	handle("GET /api/v1/repositories", func(r *http.Request) (any, *api.Error) {
		q := r.URL.Query()
		switch {
		case q.Get("zone") != "" && q.Get("zone") != "dev":
			return api.Page[api.Repository]{Items: []api.Repository{}}, nil
		case q.Get("after") == "" && q.Get("limit") != "1":
			return api.Page[api.Repository]{Items: []api.Repository{{Name: "dev/payments/api", Newest: bad}, {Name: "dev/zebra", Newest: leaving}}}, nil
		}
		return api.Page[api.Repository]{Items: []api.Repository{{Name: "dev/payments/api", Newest: bad}}, Next: "dev/payments/api"}, nil
	})
	handle("GET /api/v1/artifacts", func(r *http.Request) (any, *api.Error) {
		q := r.URL.Query()
		rows := []api.ListedArtifact{
			{Placement: bad, Size: 71_234_567, Findings: 3, Worst: &api.WorstFinding{ID: "GO-2026-1", Aliases: []string{"CVE-2026-1"}, Severity: "high"}},
			{Placement: old, Size: 71_000_000, Checked: true},
			{Placement: leaving, Size: 1200},
		}
		rows = slices.DeleteFunc(rows, func(x api.ListedArtifact) bool {
			return q.Get("repository") != "" && q.Get("repository") != x.Repository || q.Get("verdict") == "denied" && x.State != "denied" || q.Get("verdict") == "revoked"
		})
		switch {
		case q.Get("repository") == "dev/nothing":
			return nil, &api.Error{Code: "not-found", Message: "repository dev/nothing: not found"}
		case q.Get("after") != "":
			rows = rows[2:]
		case len(rows) > 2:
			return api.Page[api.ListedArtifact]{Items: rows[:2], Next: "dev/payments/api@1"}, nil
		case q.Get("limit") == "1":
			return api.Page[api.ListedArtifact]{Items: rows[:1], Next: "dev/payments/api@7"}, nil
		}
		return api.Page[api.ListedArtifact]{Items: rows}, nil
	})
}

func notFound(r *http.Request) *api.Error {
	return &api.Error{Code: "not-found", Message: "there is no " + r.URL.Query().Get("ref") + " that you can see", Next: "bonded zone list"}
}

func (f *fakeServer) artifacts(handle handler) {
	handle("GET /api/v1/why", func(r *http.Request) (any, *api.Error) {
		q := r.URL.Query()
		w, ok := whys()[q.Get("ref")]
		switch {
		case !ok:
			return nil, notFound(r)
		case q.Get("hypothetical") != "":
			w.Decision = denied(q.Get("hypothetical"))
		case q.Has("at") || q.Has("replay"):
			return past(w, q), nil
		}
		return w, nil
	})
	f.preview(handle)
	handle("GET /api/v1/inventory", func(r *http.Request) (any, *api.Error) {
		if r.URL.Query().Get("ref") != "production/payments/api:1.8" {
			return nil, notFound(r)
		}
		inv := api.Inventory{Artifact: artifact, Distro: "Debian GNU/Linux 12", Coverage: "partial", Layers: []api.Layer{
			{Digest: layerDigest, Coverage: "full", Packages: 25, Searched: "full"},
			{Digest: goodDigest, Coverage: "partial", Gaps: []string{"gobinary: app/huge: file larger than 64 MiB"}, Packages: 1, Searched: "partial", Unsearched: []string{"app/log: more than 64 MiB of text (secrets)"}},
		}}
		inv.Searched, inv.Secrets = "partial", []api.Secret{
			{Rule: "environment", Path: "config:Env", Line: 2, Layer: -1, PURL: "pkg:generic/config:Env"},
			{Rule: "private-key", Path: "root/.ssh/id_ed25519", Line: 1, Layer: 1, Removed: true, Fingerprint: "0123456789abcdef", PURL: "pkg:generic/root/.ssh/id_ed25519@0123456789abcdef"},
		}
		for i := range 25 {
			inv.Packages = append(inv.Packages, api.Package{Name: fmt.Sprintf("lib%02d", i), Version: fmt.Sprintf("1.%d-1", i), PURL: "pkg:deb/debian/x", Type: "deb", Path: "var/lib/dpkg/status"})
		}
		inv.Packages = append(inv.Packages, api.Package{Name: "golang.org/x/net", Version: "v0.7.0", PURL: "pkg:golang/golang.org/x/net@v0.7.0", Type: "golang", Path: "app/api", Layer: 1})
		return inv, nil
	})
	handle("GET /api/v1/findings", func(r *http.Request) (any, *api.Error) {
		if r.URL.Query().Get("ref") != "production/payments/api:1.8" {
			return nil, notFound(r)
		}
		return findings(), nil
	})
	handle("POST /api/v1/vex/check", func(r *http.Request) (any, *api.Error) {
		req := body[api.VEXCheckRequest](f, r)
		v := api.VEXCheck{Artifact: artifact, Document: goodDigest, Format: "openvex", Author: "Acme Security", Statements: 2, As: "attached", Before: *denied("production"), After: *allowed("production/payments/api")}
		if !strings.Contains(string(req.Document), "openvex") {
			return nil, &api.Error{Code: "invalid", Message: "not a VEX document: it is neither OpenVEX, CSAF nor CycloneDX", Next: "send an OpenVEX, CSAF or CycloneDX document, as it would be attached"}
		}
		for _, x := range findings().Suppressed {
			v.Findings = append(v.Findings, api.VEXChange{Finding: x, Suppressed: true})
		}
		if strings.Contains(string(req.Document), "idle") {
			v.After, v.As, v.Findings = v.Before, "", []api.VEXChange{}
			v.Idle = []api.VEXIdle{{Vulnerability: "CVE-2026-9", Status: "fixed", Products: []string{"pkg:deb/debian/zlib"}, Why: "the gate takes nobody's word about findings"}}
		}
		return v, nil
	})
	handle("GET /api/v1/sbom", func(r *http.Request) (any, *api.Error) {
		return rawAnswer(`{"bomFormat":"` + r.URL.Query().Get("format") + `"}` + "\n"), nil
	})
	handle("GET /api/v1/bases", func(r *http.Request) (any, *api.Error) {
		b := api.Bases{Artifact: api.Artifact{Repository: "production/payments/api", Digest: badDigest, Tags: []string{"1.8"}}, Layers: 7, Compared: 7, Bases: []api.Base{}}
		if r.URL.Query().Get("ref") == "production/payments/api:1.8" {
			b.Bases = append(b.Bases,
				api.Base{Repository: "catalog/jre", Digest: goodDigest, Layers: 4, AdmittedAt: now.AddDate(0, 0, -9), Tag: "21", Past: true, Newer: layerDigest},
				api.Base{Repository: "catalog/debian", Digest: layerDigest, Layers: 1, AdmittedAt: now.AddDate(0, 0, -40), Tag: "12"})
		} else {
			b.Compared = 2
		}
		return b, nil
	})
	handle("GET /api/v1/descendants", func(r *http.Request) (any, *api.Error) {
		d := api.Descendants{Artifact: api.Artifact{Repository: "catalog/debian", Digest: layerDigest, Tags: []string{"12"}}}
		p := api.Placement{Repository: "production/payments/api", Digest: badDigest, Tags: []string{"1.8"}, Kind: "image", State: "admitted", BroughtBy: "ann", BroughtAt: now.Add(-time.Hour)}
		if r.URL.Query().Get("after") == "" {
			d.Next = "more"
		} else {
			p.Repository, p.Tags, p.State = "dev/ledger", nil, "denied"
		}
		d.Images = []api.Placement{p}
		return d, nil
	})
	handle("GET /api/v1/affected", func(r *http.Request) (any, *api.Error) {
		q := r.URL.Query()
		a := api.Affected{Query: q.Get("id"), IDs: []string{"DEBIAN-CVE-2026-31337"}, Severity: "critical", Summary: "Out-of-bounds write in the X.509 parser", Known: now.Add(-41 * time.Second), Images: []api.AffectedRow{}, Snapshot: snapshot}
		p := api.Placement{Repository: "production/payments/api", Digest: badDigest, Tags: []string{"1.8"}, Kind: "image", State: "admitted", BroughtBy: "ann", BroughtAt: now}
		switch {
		case q.Get("id") == "CVE-2026-0":
		case q.Get("after") == "":
			a.Images, a.Next = append(a.Images, api.AffectedRow{Placement: p, Package: "openssl", Version: "3.0.11", Fixed: "3.0.15", Path: "var/lib/dpkg/status"}), "more"
		default:
			p.Repository, p.Tags = "dev/ledger", nil
			a.Images = append(a.Images, api.AffectedRow{Placement: p, Package: "openssl", Version: "3.0.11", Path: "var/lib/dpkg/status"})
		}
		return a, nil
	})
}

func findings() api.Findings {
	return api.Findings{Artifact: artifact, Snapshot: snapshot, Findings: []api.Finding{
		{ID: "CVE-2026-31337", Severity: "critical", Package: "openssl", PURL: "pkg:deb/debian/openssl@3.0.11", Version: "3.0.11", Fixed: "3.0.15", Path: "var/lib/dpkg/status", Places: 1},
		{ID: "GO-2026-1", Aliases: []string{"GHSA-x", "CVE-2026-1"}, Severity: "high", Package: "golang.org/x/net", PURL: "pkg:golang/golang.org/x/net@0.7.0", Version: "0.7.0", Fixed: "0.38.0", Path: "app/api", Places: 1, Layer: 6},
		{ID: "CVE-2026-2", Severity: "low", Package: "tar", PURL: "pkg:deb/debian/tar@1.34", Version: "1.34", Path: "var/lib/dpkg/status", Places: 1},
		{ID: "MAL-2026-3", Severity: "unknown", Package: "evil\x1b]0;x\x07", PURL: "pkg:npm/evil@1", Version: "1", Path: "app", Places: 1, Malicious: true},
	}, Suppressed: []api.Finding{
		{ID: "CVE-2026-4", Severity: "high", Package: "zlib", PURL: "pkg:deb/debian/zlib@1.2.13", Version: "1.2.13", Path: "var/lib/dpkg/status", Places: 1,
			VEX: &api.Assessment{Status: "not_affected", Justification: "vulnerable_code_not_in_execute_path", By: "security@acme.example (https://login.acme.example)", Document: goodDigest}},
	}, Unchecked: []api.Fact{{ID: "pkg:generic/x", Package: "x", Version: "1", Text: "no advisories for its ecosystem"}}}
}

var zones = []api.Zone{
	{Name: "catalog", Gate: "catalog", GateDigest: gateDigest, From: []string{"quarantine"}, Admitted: 3},
	{Name: "dev", Gate: "dev", GateDigest: gateDigest, Admitted: 1234, Waiting: 2},
	{Name: "production", Gate: "production", GateDigest: gateDigest, From: []string{"staging", "catalog"}},
	{Name: "sandbox", Sandbox: true},
}

// said answers about what people do to what is promoted.
func (f *fakeServer) said(handle handler) {
	handle("POST /api/v1/rollback", func(r *http.Request) (any, *api.Error) {
		req := body[api.RollbackRequest](f, r)
		back := api.RolledBack{Repository: "dev/payments/api", Tag: "1.8", Before: badDigest, Digest: goodDigest, Done: !req.DryRun, Decision: *allowed("dev/payments/api")}
		if req.To != "" {
			back.Decision, back.Done = *denied("dev"), false
		}
		return back, nil
	})
	handle("POST /api/v1/approve", func(r *http.Request) (any, *api.Error) {
		req := body[api.ApproveRequest](f, r)
		done := api.Approved{From: "dev/payments/api", Repository: "dev/payments/api", Digest: goodDigest, Approvals: []api.Word{{ID: 1, By: "bob", At: now.Add(-time.Hour), Reason: "it is tested"}}}
		if req.To != "" {
			done.Repository = req.To + "/payments/api"
		}
		if !req.Withdraw {
			done.Approvals = append(done.Approvals, api.Word{ID: 2, By: "ann", At: now, Reason: req.Reason})
		}
		return done, nil
	})
	handle("POST /api/v1/stop", func(r *http.Request) (any, *api.Error) {
		req := body[api.StopRequest](f, r)
		done := api.Stopped{Repository: "dev/payments/api", Digest: goodDigest, Stops: []api.Word{}}
		if !req.Resume {
			done.Stops = []api.Word{{ID: 3, By: "ann", At: now, Reason: req.Reason}}
		}
		return done, nil
	})
	handle("GET /api/v1/named", func(*http.Request) (any, *api.Error) {
		return []api.Named{
			{ID: 3, Digest: goodDigest, State: "admitted", From: now.Add(-time.Hour), Back: 1},
			{ID: 2, Digest: badDigest, State: "withdrawn", From: now.Add(-2 * time.Hour), To: now.Add(-time.Hour)},
			{ID: 1, Digest: goodDigest, State: "admitted", To: now.Add(-2 * time.Hour)},
		}, nil
	})
}

func (f *fakeServer) acts(handle handler) {
	handle("POST /api/v1/promote", func(r *http.Request) (any, *api.Error) {
		req := body[api.PromoteRequest](f, r)
		p := api.Promoted{From: "dev/payments/api", To: req.To + "/payments/api", Digest: goodDigest, Tags: req.Tags, Decision: *allowed(req.To + "/payments/api"), Closure: []string{goodDigest, layerDigest}}
		if p.Tags == nil {
			p.Tags = []string{"1.8"}
		}
		switch req.To {
		case "production":
			p.Decision, p.Closure = *denied(req.To), nil
		case "nowhere":
			return nil, &api.Error{Code: "invalid", Message: "no way leads from dev to nowhere", Next: "bonded zone list"}
		case "held":
			p.Decision = *denied(req.To)
			p.Decision.Outcome, p.Decision.Reasons = api.CannotTell, p.Decision.Reasons[2:]
		}
		return p, nil
	})
	f.said(handle)
	handle("GET /api/v1/zones", func(*http.Request) (any, *api.Error) { return zones, nil })
	handle("GET /api/v1/gates", func(*http.Request) (any, *api.Error) {
		return []api.Gate{{Name: "dev", Digest: gateDigest}, {Name: "production", Digest: gateDigest}}, nil
	})
	handle("GET /api/v1/gates/{name}", func(r *http.Request) (any, *api.Error) {
		return api.Gate{Name: r.PathValue("name"), Digest: gateDigest, Text: "# a gate\nname: " + r.PathValue("name") + "\n"}, nil
	})
	feeds := []api.Feed{
		{Name: "local", Source: "/srv/osv", Records: 57000, Skipped: 2, Reasons: []string{"Go/GO-1.json: no id"}, LoadedAt: now.Add(-8 * time.Hour), CheckedAt: now.Add(-time.Hour)},
		{Name: "osv", Source: "https://osv.example", Records: 100, LoadedAt: now.Add(-8 * 24 * time.Hour), CheckedAt: now, Problem: "lost 30 of 100 records", Held: true},
	}
	handle("GET /api/v1/feeds", func(*http.Request) (any, *api.Error) { return feeds, nil })
	feeds = append(feeds, api.Feed{Name: "old", Source: "https://old.example", LoadedAt: now.Add(-100 * 24 * time.Hour), Gone: true}, api.Feed{Name: "vendor", Source: "/srv/vendor"})
	handle("POST /api/v1/feeds/load", func(r *http.Request) (any, *api.Error) {
		in := tar.NewReader(r.Body)
		h, err := in.Next()
		if err == nil && h.Name == "Go/GO-0.json" { // which is no record
			return rawAnswer(`{"feed":"loaded/Go","records":0,"total":1}
{"done":{"seq":0,"digest":"","advisories":0},"feeds":[{"name":"loaded/Go","source":"bonded feed load","records":0,"skipped":1,"reasons":["GO-0: no id"]},{"name":"old","records":7}]}
`), nil
		}
		if err != nil || h.Name != "Go/GO-1.json" {
			return nil, &api.Error{Code: "invalid", Message: "not a folder of advisories"}
		}
		if _, err := in.Next(); !errors.Is(err, io.EOF) {
			return nil, &api.Error{Code: "invalid", Message: "more than was to be sent"}
		}
		return rawAnswer(fmt.Sprintf(`{"feed":"loaded/Go","records":1,"total":1}
{"done":{"seq":42,"digest":%q,"advisories":57123},"feeds":[{"name":"loaded/Go","source":"bonded feed load","records":1,"loaded_at":%q,"checked_at":%q,"held":%s}]}
`, snapshot.Digest, now.Format(time.RFC3339), now.Format(time.RFC3339), cmp.Or(map[string]string{"true": "false"}[r.URL.Query().Get("force")], "true"))), nil
	})
	handle("POST /api/v1/feeds/drop", func(r *http.Request) (any, *api.Error) {
		if name := body[api.FeedDrop](f, r).Feed; name != "loaded" {
			return nil, &api.Error{Code: "conflict", Message: "feed " + name + " is configured and would be loaded again", Next: "take it out of feeds in the configuration"}
		}
		return snapshot, nil
	})
	handle("POST /api/v1/feeds/update", func(r *http.Request) (any, *api.Error) {
		answer := []api.FeedProgress{{Feed: "local", Bytes: 12_000_000, Size: 71_000_000}, {Feed: "local", Records: 1, Total: 57000}, {Feed: "local", Records: 57000, Total: 57000}, {Done: &snapshot}}
		if len(body[api.FeedUpdate](f, r).Force) == 0 {
			answer[len(answer)-1].Feeds = feeds
		}
		var lines strings.Builder
		for _, p := range answer {
			b, _ := json.Marshal(p)
			lines.Write(append(b, '\n'))
		}
		return rawAnswer(lines.String()), nil
	})
	handle("POST /api/v1/keys/rotate", func(*http.Request) (any, *api.Error) {
		return api.SigningKey{ID: "new", Made: now, Replaces: "old", ReplacedUntil: now.Add(11 * time.Minute)}, nil
	})
	handle("GET /api/v1/health", func(*http.Request) (any, *api.Error) {
		return api.Health{Version: "1.2.3", Checks: map[string]string{"database": "ok", "content": "disk is full"}, Notes: map[string]string{"feeds": "osv is held back"}}, nil
	})
	handle("GET /api/v1/audit", func(r *http.Request) (any, *api.Error) {
		q := r.URL.Query()
		var picked []api.Event
		for _, e := range f.events {
			if (q.Get("kind") == "" || q.Get("kind") == e.Kind) && fmt.Sprint(e.Seq) > q.Get("after") {
				picked = append(picked, e)
			}
		}
		if q.Get("order") != "oldest" {
			slices.Reverse(picked)
		}
		if limit := q.Get("limit"); limit == "1" && len(picked) > 1 {
			picked = picked[:1]
		}
		return api.Page[api.Event]{Items: picked}, nil
	})
}

func (f *fakeServer) people(handle handler) {
	handle("POST /api/v1/enrol", func(r *http.Request) (any, *api.Error) {
		req := body[api.EnrolRequest](f, r)
		name, ok := f.codes[req.Code]
		if !ok || req.Label == "" {
			return nil, &api.Error{Code: "unauthorized", Message: "the code is unknown, used or expired", Next: "ask an administrator for another: bonded principal invite NAME"}
		}
		delete(f.codes, req.Code)
		f.secrets[name] = "fresh"
		f.accounts[name] = &api.Account{Name: name, Human: true, Grants: []string{"developer=dev/**"}, Created: now}
		return api.Enrolled{Name: name, Secret: "fresh", Expires: now.AddDate(0, 0, 90)}, nil
	})
	self := func(r *http.Request) *api.Account {
		name, _, _ := r.BasicAuth()
		return f.accounts[name]
	}
	handle("GET /api/v1/self", func(r *http.Request) (any, *api.Error) { return self(r), nil })
	handle("GET /api/v1/principals", func(*http.Request) (any, *api.Error) {
		var p api.Page[api.Account]
		for _, name := range []string{"ann", "deployer"} {
			a := *f.accounts[name]
			a.Tokens = nil
			p.Items = append(p.Items, a)
		}
		return p, nil
	})
	one := func(r *http.Request) (*api.Account, *api.Error) {
		a, ok := f.accounts[r.PathValue("name")]
		if !ok {
			return nil, &api.Error{Code: "not-found", Message: "there is no principal " + r.PathValue("name"), Next: "bonded principal list"}
		}
		return a, nil
	}
	handle("GET /api/v1/principals/{name}", func(r *http.Request) (any, *api.Error) { return one(r) })
	handle("POST /api/v1/principals", func(r *http.Request) (any, *api.Error) {
		req := body[api.InviteRequest](f, r)
		return api.Invite{Name: req.Name, Code: "ABCD-EFGH", Expires: now.Add(15 * time.Minute)}, nil
	})
	handle("POST /api/v1/principals/{name}/grants", func(r *http.Request) (any, *api.Error) {
		req := body[api.GrantRequest](f, r)
		a, no := one(r)
		if no == nil {
			a.Grants = append(slices.DeleteFunc(a.Grants, func(g string) bool { return slices.Contains(req.Remove, g) }), req.Add...)
		}
		return a, no
	})
	handle("POST /api/v1/principals/{name}/disable", func(r *http.Request) (any, *api.Error) {
		a, no := one(r)
		if no == nil {
			a.Disabled = now
		}
		return a, no
	})
	handle("POST /api/v1/principals/{name}/enable", func(r *http.Request) (any, *api.Error) {
		a, no := one(r)
		if no == nil {
			a.Disabled = time.Time{}
		}
		return a, no
	})
	handle("POST /api/v1/tokens", func(r *http.Request) (any, *api.Error) {
		req := body[api.TokenRequest](f, r)
		if req.Label == "" {
			f.misused("a token without a label was asked for")
		}
		e := api.Enrolled{Name: self(r).Name, Secret: "n3w-secret", Expires: now.AddDate(0, 0, 30)}
		for _, g := range req.Scope {
			if strings.HasPrefix(g, "security") {
				e.Beyond = append(e.Beyond, g)
			}
		}
		return e, nil
	})
	handle("DELETE /api/v1/tokens/{id}", func(r *http.Request) (any, *api.Error) {
		if r.PathValue("id") != "7f3a9c21" {
			return nil, &api.Error{Code: "not-permitted", Message: "that token is not yours"}
		}
		return rawAnswer(""), nil
	})
}
