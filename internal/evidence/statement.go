package evidence

import (
	"encoding/json"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Identity is who signed, as the anchor's certificates or keys say it.
type Identity struct {
	Issuer  string `json:"issuer,omitempty"`  // OIDC issuer; "" for keys and plain X.509
	Subject string `json:"subject,omitempty"` // SAN of the certificate, or its X.509 subject; "" for a bare key
	Key     string `json:"key,omitempty"`     // SHA-256 of the public key (SPKI), hex, for bare keys
	// Claims are what the certificate says beyond that, by the names of
	// Fulcio's extensions: "sourceRepositoryURI", "buildSignerURI", ….
	Claims map[string]string `json:"claims,omitempty"`
}

// String returns the identity as people read it.
func (i Identity) String() string {
	switch {
	case i.Subject != "" && i.Issuer != "":
		return i.Subject + " (" + i.Issuer + ")"
	case i.Subject != "":
		return i.Subject
	}
	return "key " + i.Key
}

// Form is how a signature came.
type Form string

// The forms that are read.
const (
	FormBundle   Form = "bundle"   // Sigstore bundle v0.3, as a referrer
	FormLegacy   Form = "legacy"   // cosign's .sig and .att tags, and its attached layers
	FormNotation Form = "notation" // Notary Project envelope, JWS or COSE
)

// Signature is one signature over a digest that verified. There is no value
// for one that did not: that is a Refusal.
type Signature struct {
	Anchor   string     `json:"anchor"` // name of the anchor it verified for
	Form     Form       `json:"form"`
	Identity Identity   `json:"identity"`
	Subject  oci.Digest `json:"subject"`      // what is signed
	At       time.Time  `json:"at,omitzero"`  // proven time of signing; zero when nothing proves one
	Log      *LogEntry  `json:"log,omitzero"` // nil when none was needed and none was given
	Referrer oci.Digest `json:"referrer"`     // manifest it came in
	Envelope oci.Digest `json:"envelope"`     // SHA-256 of the bundle or envelope bytes
	// Index is set where Subject is not what was asked about but an index that
	// names it, and which vouches for it. It is never kept.
	Index oci.Digest `json:"-"`
	// Statement is nil for a signature that says nothing but "this".
	Statement *Statement `json:"statement,omitempty"`
}

// LogEntry is where a transparency log has the signature.
type LogEntry struct {
	Log   string `json:"log"` // origin, or host, of the log
	Index int64  `json:"index"`
}

// Refusal is evidence that did not verify, or that could not be read. It
// triggers nothing and is shown.
type Refusal struct {
	Referrer oci.Digest `json:"referrer"`
	Form     Form       `json:"form,omitempty"`
	// Anchors lists why each anchor refused, as sentences.
	Reasons []string `json:"reasons"`
	// Unsure: the check could not be made (an anchor that is not there, a limit
	// that was reached), which is another answer than "forged".
	Unsure bool `json:"unsure,omitempty"`
}

// Statement is what an in-toto statement says of the digest it was verified
// for. Exactly the field of its Kind is set; a statement of a predicate that is
// not known has none, and is kept and matchable by Type and Predicate.
type Statement struct {
	Type      string          `json:"type"` // predicate type URI
	Kind      StatementKind   `json:"kind"`
	Predicate json.RawMessage `json:"predicate,omitempty"` // as signed; nil where it is larger than is kept
	Size      int64           `json:"size"`                // of the predicate, bytes
	// Partial: a list or text was longer than is kept. What is missing from the
	// facts may be in the predicate.
	Partial bool `json:"partial,omitempty"`

	Provenance *Provenance `json:"provenance,omitempty"`
	Summary    *Summary    `json:"summary,omitempty"`
	SBOM       *SBOM       `json:"sbom,omitempty"`
	Scan       *Scan       `json:"scan,omitempty"`
	Test       *Test       `json:"test,omitempty"`
	Review     *Review     `json:"review,omitempty"`
	VEX        *VEX        `json:"vex,omitempty"`
	Approval   *Approval   `json:"approval,omitempty"`
	Release    *Release    `json:"release,omitempty"`
}

// StatementKind sorts predicate types.
type StatementKind string

// The kinds.
const (
	KindProvenance StatementKind = "provenance"
	KindSummary    StatementKind = "summary" // SLSA verification summary, source track included
	KindSBOM       StatementKind = "sbom"
	KindScan       StatementKind = "scan"
	KindTest       StatementKind = "test"
	KindReview     StatementKind = "review"
	KindVEX        StatementKind = "vex"
	KindApproval   StatementKind = "approval"
	KindRelease    StatementKind = "release"
	KindUnknown    StatementKind = "unknown"
)

// Material is something a build started from.
type Material struct {
	URI     string            `json:"uri"`
	Digests map[string]string `json:"digests,omitempty"` // algorithm to lower-case hex
}

// Provenance is SLSA provenance v0.2 or v1, in the words of v1.
type Provenance struct {
	Builder    string            `json:"builder"` // "" for one without a name, which no pattern matches
	BuildType  string            `json:"buildType"`
	Source     Material          `json:"source"` // repository and revision it was built from; zero when not said
	Revision   string            `json:"revision,omitempty"`
	Ref        string            `json:"ref,omitempty"`        // "refs/heads/main"
	EntryPoint string            `json:"entryPoint,omitempty"` // workflow or build file
	Invocation string            `json:"invocation,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"` // external ones, flattened with dots
	Materials  []Material        `json:"materials,omitempty"`
	Started    time.Time         `json:"started,omitzero"`
	Finished   time.Time         `json:"finished,omitzero"`
	// Level is the SLSA build level that the table of builders grants this
	// builder for the identity that signed, 0 to 3; never what the statement claims.
	Level int `json:"level"`
}

// Summary is a SLSA verification summary (VSA).
type Summary struct {
	Verifier     string           `json:"verifier"`
	At           time.Time        `json:"at,omitzero"`
	Resource     string           `json:"resource"`
	Policy       Material         `json:"policy"`
	Inputs       []Material       `json:"inputs,omitempty"`
	Passed       bool             `json:"passed"`
	Levels       []string         `json:"levels,omitempty"` // "SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_2", …
	Dependencies map[string]int64 `json:"dependencies,omitempty"`
}

// SBOM says what a signed SBOM is, not what it lists.
type SBOM struct {
	Format   string    `json:"format"` // "spdx" or "cyclonedx"
	Version  string    `json:"version"`
	Tool     string    `json:"tool,omitempty"`
	Created  time.Time `json:"created,omitzero"`
	Packages int       `json:"packages"`
}

// Scan is a vulnerability scan somebody made.
type Scan struct {
	Scanner  string         `json:"scanner"`
	Version  string         `json:"version,omitempty"`
	Database time.Time      `json:"database,omitzero"` // state of what it looked things up in
	At       time.Time      `json:"at,omitzero"`
	Counts   map[string]int `json:"counts,omitempty"` // by severity in lower case
}

// Test is an in-toto test result.
type Test struct {
	Result string     `json:"result"` // "passed", "warned" or "failed"
	Config []Material `json:"config,omitempty"`
	URL    string     `json:"url,omitempty"`
	Passed []string   `json:"passed,omitempty"`
	Warned []string   `json:"warned,omitempty"`
	Failed []string   `json:"failed,omitempty"`
}

// Review is a code review.
type Review struct {
	Source    Material  `json:"source"`
	Reviewers []string  `json:"reviewers,omitempty"`
	Approved  bool      `json:"approved"`
	At        time.Time `json:"at,omitzero"`
}

// VEX lists statements about findings, OpenVEX, CSAF or CycloneDX.
type VEX struct {
	Format     string         `json:"format"`
	Author     string         `json:"author,omitempty"`
	At         time.Time      `json:"at,omitzero"`
	Statements []VEXStatement `json:"statements,omitempty"`
}

// VEXStatement is what somebody says of one fault in some products.
type VEXStatement struct {
	Vulnerability string   `json:"vulnerability"`
	Aliases       []string `json:"aliases,omitempty"`
	Products      []string `json:"products,omitempty"` // purls, or a format's own ids; empty for the subject as a whole
	// Within names what the products are parts of: it is said of them there and
	// nowhere else. Empty for wherever they are.
	Within        string `json:"within,omitempty"`
	Status        string `json:"status"` // "not_affected", "affected", "fixed" or "under_investigation"
	Justification string `json:"justification,omitempty"`
	Impact        string `json:"impact,omitempty"`
	// At is when it was last said, zero when that is the document's time.
	At time.Time `json:"at,omitzero"`
}

// Approval is a person's yes to something.
type Approval struct {
	By     string    `json:"by"`
	For    string    `json:"for"` // what is approved: a zone, a rule
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Until  time.Time `json:"until,omitzero"`
}

// Release is an in-toto release predicate.
type Release struct {
	PURL    string    `json:"purl"`
	Version string    `json:"version"`
	At      time.Time `json:"at,omitzero"`
}
