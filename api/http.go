package api

import "time"

// The management API is JSON over HTTPS under /api/v1, with the same bearer
// tokens as the registry, described by /api/v1/openapi.json. Every error is an
// Error with its HTTP status.

// Error is what every face answers when it says no.
type Error struct {
	Code    string `json:"code"`           // stable: "denied", "not-found", "invalid", "unauthorized", "not-permitted", "conflict", "unavailable", "internal"
	Message string `json:"message"`        // what and why
	Next    string `json:"next,omitempty"` // the next step
}

// Why answers GET /api/v1/why?ref=REFERENCE|DIGEST[&zone=ZONE][&hypothetical=ZONE].
type Why struct {
	Artifact
	Decision *Decision `json:"decision,omitempty"` // nil while none was made
	Held     bool      `json:"held"`               // waits in the intake
	// Again says that it is held because it was revoked, that was lifted, and its
	// gate has not let it in again.
	Again bool `json:"again,omitempty"`
	// Proof says whether Decision is proven; nil where there is no decision, or a
	// supposed one.
	Proof *Proof `json:"proof,omitempty"`
	// Then says, of a question about the past, for how long Decision was in force;
	// nil for one about now.
	Then *Then `json:"then,omitempty"`
	// Evidence is what others have said about it; nil where nobody has.
	Evidence *Evidence `json:"evidence,omitempty"`
	// Elsewhere lists the other placements of the digest that the caller can see.
	Elsewhere []Placement `json:"elsewhere,omitempty"`
	// Waiting lists the tags that were asked for, of this digest or of this name,
	// and that do not point there yet.
	Waiting []Waiting `json:"waiting,omitempty"`
	// Waivable says by whom the rules that do not allow can be waived; those that
	// nobody can are left out.
	Waivable []WaiverHint `json:"waivable,omitempty"`
	// Next names the zones that it can be promoted to and does not stand in yet, if
	// their gates let it in.
	Next []string `json:"next,omitempty"`
	// Passes is the nearest digest of the same repository that passes, "" when none.
	Passes   string   `json:"passes,omitempty"`
	PassTags []string `json:"passes_tags,omitempty"`
}

// Waiting is a tag that somebody asked for and that does not point there yet:
// what it should name is in the intake, or is admitted and would not be let in
// under another tag now.
type Waiting struct {
	Tag    string    `json:"tag"`
	Digest string    `json:"digest"` // where it is to point
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	// Decision says why; nil while none was made about it.
	Decision *Decision `json:"decision,omitempty"`
}

// Artifact names what an answer is about.
type Artifact struct {
	Repository string   `json:"repository"`
	Digest     string   `json:"digest"`
	Tags       []string `json:"tags,omitempty"`
	Kind       string   `json:"kind"`
	State      string   `json:"state"`
	MediaType  string   `json:"media_type,omitempty"`
	Platform   string   `json:"platform,omitempty"`
}

// Placement is one row of a list of placements.
type Placement struct {
	Repository string    `json:"repository"`
	Digest     string    `json:"digest"`
	Tags       []string  `json:"tags,omitempty"`
	Kind       string    `json:"kind"`
	State      string    `json:"state"`
	BroughtBy  string    `json:"brought_by"`
	BroughtAt  time.Time `json:"brought_at"`
	AdmittedAt time.Time `json:"admitted_at,omitzero"`
	StayUntil  time.Time `json:"stay_until,omitzero"`
	Sentence   string    `json:"sentence,omitempty"`
}

// Inventory answers GET /api/v1/inventory?ref=…
type Inventory struct {
	Artifact
	Distro   string    `json:"distro,omitempty"`
	Coverage string    `json:"coverage"`
	Layers   []Layer   `json:"layers"`
	Packages []Package `json:"packages"`
	Searched string    `json:"searched"` // for secrets: the worst of the layers'
	Secrets  []Secret  `json:"secrets,omitempty"`
}

// Secret is a place in an image that holds what looks like a credential. What
// it is, is not told.
type Secret struct {
	Rule        string `json:"rule"`                  // what it looks like
	Path        string `json:"path"`                  // "config:Env" and the like for what stands in the configuration
	Line        int    `json:"line"`                  // from 1
	Layer       int    `json:"layer"`                 // from 0; -1 for the configuration
	Fingerprint string `json:"fingerprint,omitempty"` // of the secret; none for what people choose
	Removed     bool   `json:"removed,omitempty"`     // a later layer removes the file; the secret is still in its own
	PURL        string `json:"purl"`                  // that a waiver names it by
}

// Layer is one layer of an image and how far it was analysed.
type Layer struct {
	Digest   string   `json:"digest"`
	Coverage string   `json:"coverage"`
	Gaps     []string `json:"gaps,omitempty"`
	Packages int      `json:"packages"`
	Searched string   `json:"searched"` // how far, for secrets: full, partial, ambiguous or none
	// Unsearched says what was not searched for secrets.
	Unsearched []string `json:"unsearched,omitempty"`
}

// Package is one package of an image.
type Package struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	PURL     string   `json:"purl"`
	Type     string   `json:"type"`
	Path     string   `json:"path"`
	Layer    int      `json:"layer"` // from 0
	Licenses []string `json:"licenses,omitempty"`
}

// Findings answers GET /api/v1/findings?ref=…
type Findings struct {
	Artifact
	Snapshot Snapshot  `json:"snapshot"`
	Findings []Finding `json:"findings"` // worst first
	// Suppressed are no Findings: somebody whom the gate of the zone believes says,
	// by VEX, that they do no harm.
	Suppressed []Finding `json:"suppressed,omitempty"`
	Unchecked  []Fact    `json:"unchecked,omitempty"` // packages no advisories could be matched to
}

// Finding is one vulnerability of one package.
type Finding struct {
	ID        string    `json:"id"`
	Aliases   []string  `json:"aliases,omitempty"`
	Severity  string    `json:"severity"`
	Score     float64   `json:"score,omitempty"`
	Vector    string    `json:"vector,omitempty"`
	Summary   string    `json:"summary,omitempty"`
	Package   string    `json:"package"`
	PURL      string    `json:"purl"`
	Version   string    `json:"version"`
	Fixed     string    `json:"fixed,omitempty"`
	Path      string    `json:"path"`
	Places    int       `json:"places"`
	Layer     int       `json:"layer"`
	Malicious bool      `json:"malicious,omitempty"`
	Published time.Time `json:"published,omitzero"`
	Known     time.Time `json:"known,omitzero"`
	// Exploited is since when it is known to be exploited (CISA KEV), ExploitDue by
	// when CISA wants it mended; EPSS is how likely it is to be exploited within 30
	// days, above 0 and at most 1, and Percentile how much of all is below.
	Exploited  time.Time `json:"exploited,omitzero"`
	ExploitDue time.Time `json:"exploit_due,omitzero"`
	Ransomware bool      `json:"ransomware,omitempty"`
	EPSS       float64   `json:"epss,omitempty"`
	Percentile float64   `json:"percentile,omitempty"`
	// VEX is what counts of what is said of it by those whom the gate of the zone
	// believes; absent when they say nothing.
	VEX *Assessment `json:"vex,omitempty"`
}

// Assessment is what somebody says of a finding, by VEX.
type Assessment struct {
	Status        string    `json:"status"` // "not_affected", "fixed", "affected" or "under_investigation"
	Justification string    `json:"justification,omitempty"`
	Impact        string    `json:"impact,omitempty"` // for people
	By            string    `json:"by"`               // an identity, or "feed NAME"
	At            time.Time `json:"at,omitzero"`
	Document      string    `json:"document"` // digest of the referrer, or of the feed's document
}

// Snapshot names the advisories an answer rests on.
type Snapshot struct {
	Seq        int64     `json:"seq"`
	Digest     string    `json:"digest"`
	At         time.Time `json:"at,omitzero"`
	Advisories int       `json:"advisories"`
	// Digests of what is known beside them: what is exploited, how likely the rest
	// is to be, and when releases end.
	Exploited  string `json:"exploited,omitempty"`
	Scores     string `json:"scores,omitempty"`
	Lifecycles string `json:"lifecycles,omitempty"`
}

// Affected answers GET /api/v1/affected?id=CVE|PURL: placements that hold what
// the advisory, or the package URL, names.
type Affected struct {
	Query    string        `json:"query"`
	IDs      []string      `json:"ids"` // advisories it stands for; empty for a package URL
	Severity string        `json:"severity,omitempty"`
	Summary  string        `json:"summary,omitempty"`
	Known    time.Time     `json:"known,omitzero"`
	Images   []AffectedRow `json:"images"`
	Next     string        `json:"next,omitempty"` // "after" of the following page, "" on the last
	Snapshot Snapshot      `json:"snapshot"`
}

// AffectedRow is one affected placement.
type AffectedRow struct {
	Placement
	Package string `json:"package"`
	Version string `json:"version"`
	Fixed   string `json:"fixed,omitempty"`
	Path    string `json:"path"`
}

// PromoteRequest is the body of POST /api/v1/promote.
type PromoteRequest struct {
	Reference string   `json:"reference"`        // repository with tag or digest
	To        string   `json:"to"`               // zone
	Tags      []string `json:"tags,omitempty"`   // tags in the target; nil: the tag of the reference
	DryRun    bool     `json:"dry_run,omitzero"` // decide and change nothing
}

// Promoted answers it. A decision other than allow has changed nothing.
type Promoted struct {
	From     string   `json:"from"`
	To       string   `json:"to"`
	Digest   string   `json:"digest"`
	Tags     []string `json:"tags,omitempty"`
	Decision Decision `json:"decision"`
	Closure  []string `json:"closure,omitempty"` // digests that went along
	Proof    *Proof   `json:"proof,omitempty"`   // of Decision, where it was acted on
}

// Zone is one zone as GET /api/v1/zones lists it.
type Zone struct {
	Name       string   `json:"name"`
	Gate       string   `json:"gate,omitempty"`
	GateDigest string   `json:"gate_digest,omitempty"`
	From       []string `json:"from,omitempty"`
	Sandbox    bool     `json:"sandbox,omitzero"`
	Admitted   int      `json:"admitted"`
	Waiting    int      `json:"waiting"` // held or denied in the intake
}

// Gate is a gate's text, GET /api/v1/gates/NAME.
type Gate struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Text   string `json:"text"`
}

// Feed is the state of one advisory feed, GET /api/v1/feeds.
type Feed struct {
	Name    string   `json:"name"`
	Format  string   `json:"format,omitempty"` // "osv", "kev", "epss" or "endoflife"
	Source  string   `json:"source"`
	Records int      `json:"records"`
	Skipped int      `json:"skipped,omitzero"`
	Reasons []string `json:"reasons,omitempty"`
	// PublishedAt is when what is in force was, as it says itself; not of "osv".
	PublishedAt time.Time `json:"published_at,omitzero"`
	LoadedAt    time.Time `json:"loaded_at,omitzero"`
	CheckedAt   time.Time `json:"checked_at,omitzero"`
	Problem     string    `json:"problem,omitempty"`
	Held        bool      `json:"held,omitzero"`
	// Gone says that nothing of it is in force any more: it is no longer
	// configured, or was dropped.
	Gone bool `json:"gone,omitzero"`
}

// FeedUpdate is the body of POST /api/v1/feeds/update. The answer is a stream
// of FeedProgress, one JSON object a line; the last has Done or Error.
type FeedUpdate struct {
	Feeds []string `json:"feeds,omitempty"` // to load: sources such as "osv", or feeds such as "osv/Go"; nil for all
	Force []string `json:"force,omitempty"` // feeds to take although they lost many records
}

// FeedDrop is the body of POST /api/v1/feeds/drop. Snapshot answers it.
type FeedDrop struct {
	Feed string `json:"feed"` // what was loaded from a folder: "loaded" for all of it, or one feed such as "loaded/Go"
}

// FeedProgress is one line of a running update. While a feed is fetched, which is
// before it is read, it has Bytes.
type FeedProgress struct {
	Feed    string    `json:"feed,omitempty"`
	Bytes   int64     `json:"bytes,omitempty"` // fetched; what broke off is gone on with
	Size    int64     `json:"size,omitempty"`  // bytes there are to fetch; 0 where the source does not say
	Records int       `json:"records"`
	Total   int       `json:"total"`
	Done    *Snapshot `json:"done,omitempty"`
	Feeds   []Feed    `json:"feeds,omitempty"` // with Done
	Error   *Error    `json:"error,omitempty"`
}

// Event is one audit event with its place in the chain, GET /api/v1/audit.
type Event struct {
	Seq        int64             `json:"seq"`
	Hash       string            `json:"hash"` // of its leaf in the audit log, hex
	ID         string            `json:"id"`
	At         time.Time         `json:"at"`
	Kind       string            `json:"kind"`
	Principal  string            `json:"principal"`
	Method     string            `json:"method"`
	Repository string            `json:"repository,omitempty"`
	Digest     string            `json:"digest,omitempty"`
	Details    map[string]string `json:"details,omitempty"`
}

// Account is an enrolled principal.
type Account struct {
	Name     string    `json:"name"`
	Human    bool      `json:"human"`
	Grants   []string  `json:"grants"` // "role=pattern"
	Created  time.Time `json:"created"`
	Disabled time.Time `json:"disabled,omitzero"`
	Tokens   []Token   `json:"tokens,omitempty"`
}

// Token is a long-lived token, without its secret.
type Token struct {
	ID      string    `json:"id"`
	Label   string    `json:"label"`
	Scope   []string  `json:"scope,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"used,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// Lives of codes and tokens, where a request does not say, and at most.
const (
	CodeTTL     = 15 * time.Minute
	MaxCodeTTL  = 24 * time.Hour
	TokenTTL    = 90 * 24 * time.Hour
	MaxTokenTTL = 400 * 24 * time.Hour
)

// InviteRequest is the body of POST /api/v1/principals: make or change an
// account and give a code to enrol with.
type InviteRequest struct {
	Name   string   `json:"name"`
	Human  bool     `json:"human"`
	Grants []string `json:"grants"`
	TTL    string   `json:"ttl,omitempty"` // of the code, a Go duration; default 15m, at most 24h
}

// Invite answers it. The code is shown once.
type Invite struct {
	Name    string    `json:"name"`
	Code    string    `json:"code"`
	Expires time.Time `json:"expires"`
}

// EnrolRequest is the body of POST /api/v1/enrol, which needs no token.
type EnrolRequest struct {
	Code  string   `json:"code"`
	Label string   `json:"label"`
	Scope []string `json:"scope,omitempty"`
	TTL   string   `json:"ttl,omitempty"` // of the token, a Go duration; default 2160h (90 days), at most 9600h
}

// Enrolled answers it: user name and password for any registry client. The
// secret is shown once.
type Enrolled struct {
	Name    string    `json:"name"`
	Secret  string    `json:"secret"`
	Expires time.Time `json:"expires"`
	// Beyond are those of the scope asked for that the account does not have
	// whole: the token gives what the account has of them.
	Beyond []string `json:"beyond,omitempty"`
}

// SigningKey answers POST /api/v1/keys/rotate: the key that bearer tokens are
// signed with from now on, without its bytes.
type SigningKey struct {
	ID            string    `json:"id"`
	Made          time.Time `json:"made"`
	Replaces      string    `json:"replaces,omitempty"`
	ReplacedUntil time.Time `json:"replaced_until,omitzero"` // when tokens under that one are no good any more
}

// Health answers GET /api/v1/health.
type Health struct {
	Version string            `json:"version"`
	Checks  map[string]string `json:"checks"` // name → "ok" or what is wrong
	Notes   map[string]string `json:"notes"`  // what is off or weaker than it could be
}
