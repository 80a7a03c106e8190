package api

import "time"

// Page is one page of a list that has an order: GET /api/v1/audit,
// /api/v1/principals. Next is the "after" of the following page, "" on the last.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// Repository is one row of GET /api/v1/repositories: a repository in which the
// caller can see something.
type Repository struct {
	Name   string    `json:"name"`
	Newest Placement `json:"newest"` // of what the caller can see, evidence left out
}

// ListedArtifact is one row of GET /api/v1/artifacts: an artifact that the caller
// can see, evidence and the platforms of indexes left out.
type ListedArtifact struct {
	Placement
	// Size is what all that it names takes in bytes; of an index, all that its
	// images name.
	Size int64 `json:"size"`
	// Checked says that all of it was analysed and matched against advisories.
	// Where it is false there may be more than Findings.
	Checked  bool `json:"checked"`
	Findings int  `json:"findings"` // how many, of an index in all its images
	// Worst is the worst of them, without what it is found in.
	Worst *WorstFinding `json:"worst,omitempty"`
}

// WorstFinding names a finding.
type WorstFinding struct {
	ID        string   `json:"id"`
	Aliases   []string `json:"aliases,omitempty"`
	Severity  string   `json:"severity"`
	Malicious bool     `json:"malicious,omitempty"`
}

// GrantRequest is the body of POST /api/v1/principals/NAME/grants. Both lists
// hold "role=pattern"; what is removed need not be there.
type GrantRequest struct {
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// TokenRequest is the body of POST /api/v1/tokens: a further token of the
// caller's own account, such as a narrower one for a machine. Enrolled answers it.
type TokenRequest struct {
	Label string   `json:"label"`
	Scope []string `json:"scope,omitempty"` // "role=pattern", narrower than the account's; nil for all of them
	TTL   string   `json:"ttl,omitempty"`   // a Go duration; default as for EnrolRequest, never beyond the caller's own token
}

// AuditCheck answers POST /api/v1/audit/verify: the audit log, rebuilt from its
// first entry, and held against the rows of the database.
type AuditCheck struct {
	OK    bool   `json:"ok"`    // State is "ok"
	State string `json:"state"` // the worst of Checks; "none" counts as "ok"
	// Origin is the name of the log, Key the one it is verified by (NAME+ID+KEY).
	Origin  string `json:"origin,omitempty"`
	Key     string `json:"key,omitempty"`
	Entries int64  `json:"entries"` // of the published log
	Head    string `json:"head"`    // root hash of its tree, hex
	// Checkpoint is the head as the log and its witnesses signed it.
	Checkpoint string      `json:"checkpoint,omitempty"`
	At         time.Time   `json:"at"`                // when it was looked at
	Problem    string      `json:"problem,omitempty"` // the text of the worst check; "" when OK
	Next       string      `json:"next,omitempty"`    // what to do about it
	Checks     []AuditPart `json:"checks"`
	// Rows are those that are not what the log has, the first 100 of them.
	Rows     []AuditRow `json:"rows,omitempty"`
	MoreRows int        `json:"more_rows,omitempty"`
}

// States of what was verified of an audit log.
const (
	AuditOK         = "ok"
	AuditWrong      = "wrong"       // something was changed
	AuditLogAhead   = "log-ahead"   // the log was longer before than the database is now
	AuditCannotTell = "cannot-tell" // what the check needs is not there
	AuditNone       = "none"        // there is nothing to check
)

// AuditPart is one thing that was looked at.
type AuditPart struct {
	Name  string `json:"name"` // "signature", "tree", "history", "witnesses", "rows", "head store"
	State string `json:"state"`
	Text  string `json:"text"`
	Next  string `json:"next,omitempty"` // what to do about it
}

// AuditRow is a row of the database that is not what the log has.
type AuditRow struct {
	Seq  int64  `json:"seq"`
	Text string `json:"text"` // what became of it
}
