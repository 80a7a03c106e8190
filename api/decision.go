// Package api holds the wire types that Bonded publishes: decisions, events
// and the requests and answers of the management API. It imports nothing of
// ours, so that other programs can import it alone. Times are RFC 3339 with
// microseconds at most; digests are "algorithm:hex".
package api

import "time"

// Outcome is what a gate, or one of its rules, says. There are three, and
// none is ever folded into another.
type Outcome string

// The outcomes. CannotTell means that a check could not be made; something may
// still arrive that settles it.
const (
	Allow      Outcome = "allow"
	Deny       Outcome = "deny"
	CannotTell Outcome = "cannot-tell"
)

// Decision is the outcome of a gate for one placement, with everything it
// looked at. The same inputs give the same bytes.
type Decision struct {
	Repository string    `json:"repository"`
	Digest     string    `json:"digest"`
	Zone       string    `json:"zone"`
	Clause     string    `json:"clause"` // "enter" or "stay"
	Outcome    Outcome   `json:"outcome"`
	Reasons    []Reason  `json:"reasons"` // one per rule, in the gate's order
	DecidedAt  time.Time `json:"decided_at"`
	// ValidUntil is when time alone may change the outcome; zero when it cannot.
	ValidUntil time.Time `json:"valid_until,omitzero"`
	// StayUntil is set on a deny under clause "stay" that is not acted on
	// before a deadline: until then the placement stays.
	StayUntil time.Time `json:"stay_until,omitzero"`
	Inputs    Inputs    `json:"inputs"`
}

// Reason is what one rule found.
type Reason struct {
	Rule    string  `json:"rule"`
	Outcome Outcome `json:"outcome"`
	Says    string  `json:"says"`            // one sentence about this outcome
	Facts   []Fact  `json:"facts,omitempty"` // what offends, worst first, at most 20
	More    int     `json:"more,omitempty"`  // facts beyond those listed
	Remedy  string  `json:"remedy,omitempty"`
	// Evidence lists the referrers, by digest, whose verified signatures and
	// statements the rule was told of.
	Evidence []string `json:"evidence,omitempty"`
	// Level is the SLSA build level of the provenance that a rule "provenance" was
	// satisfied by, as the server's table of builders grants it; absent for all
	// other rules.
	Level *int `json:"level,omitempty"`
	// Act is what "stay" does on a deny: "keep", "deadline" or "withdraw".
	Act string `json:"act,omitempty"`
	// Until is when a deny with act "deadline" is acted on. Judging again keeps
	// what was told here.
	Until time.Time `json:"until,omitzero"`
	// Warning is what the rule will say from a later moment on, which Says names;
	// empty when it counts already, and when it would allow.
	Warning Outcome `json:"warning,omitempty"`
	// Waived are the permissions by which what the rule found, or could not tell,
	// does not count.
	Waived []Waived `json:"waived,omitempty"`
	// Assessed lists what else it would have found, worst first.
	Assessed []Assessed `json:"assessed,omitempty"`
}

// Assessed is what a rule did not find because somebody whom the gate believes
// says, by VEX, that it does no harm.
type Assessed struct {
	Fact          Fact   `json:"fact"`
	Status        string `json:"status"` // "not_affected" or "fixed"
	Justification string `json:"justification,omitempty"`
	By            string `json:"by"`             // an identity, or "feed NAME"
	Document      string `json:"document"`       // digest of the referrer, or of the feed's document
	More          int    `json:"more,omitempty"` // on the last one: how many more there are
}

// Waived is a waiver that took something out of what a rule says.
type Waived struct {
	Waiver string    `json:"waiver"` // its id
	By     []string  `json:"by"`     // who granted it
	Owner  string    `json:"owner"`  // who answers for it
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"` // the first moment at which it does not hold any more
	// Outcome is what the rule would say without it.
	Outcome Outcome `json:"outcome"`
	Facts   []Fact  `json:"facts,omitempty"` // what it is about, worst first, at most 20; none for the rule as a whole
	More    int     `json:"more,omitempty"`  // facts beyond those listed
	// Deadline, under "stay", is when what it is about is acted on, unless it is
	// renewed. Judging again keeps what was told here.
	Deadline time.Time `json:"deadline,omitzero"`
}

// Fact is one thing a rule points at.
type Fact struct {
	ID       string `json:"id"` // the advisory, package, layer or path
	Severity string `json:"severity,omitempty"`
	Package  string `json:"package,omitempty"`
	Version  string `json:"version,omitempty"`
	Fixed    string `json:"fixed,omitempty"`
	Where    string `json:"where,omitempty"` // "layer 1 of 7, var/lib/dpkg/status"
	Text     string `json:"text,omitempty"`
	Deadline string `json:"deadline,omitempty"` // RFC 3339, under "stay"
	// Exploited is since when a fault is known to be exploited (CISA KEV), EPSS how
	// likely it was to be, when the decision was made first; 0 when not scored.
	Exploited time.Time `json:"exploited,omitzero"`
	EPSS      float64   `json:"epss,omitempty"`
}

// ChildSaid is what a child of an index contributed to the index's decision.
type ChildSaid struct {
	Digest  string    `json:"digest"`
	Outcome Outcome   `json:"outcome"`
	Why     string    `json:"why,omitempty"`
	Act     string    `json:"act,omitempty"` // of a deny under "stay": what becomes of the child
	Until   time.Time `json:"until,omitzero"`
}

// Inputs names everything that a decision looked at.
type Inputs struct {
	Gate         string   `json:"gate"`                 // digest of the gate's text
	Snapshot     string   `json:"snapshot,omitempty"`   // digest of the advisories
	Exploited    string   `json:"exploited,omitempty"`  // digest of the catalog of what is exploited
	Scores       string   `json:"scores,omitempty"`     // digest of the scores of how likely faults are to be
	Lifecycles   string   `json:"lifecycles,omitempty"` // digest of what tells when releases end
	Inventory    string   `json:"inventory,omitempty"`  // digest of the merged inventory
	Evidence     []string `json:"evidence,omitempty"`   // digests of referrers, sorted
	Anchors      string   `json:"anchors,omitempty"`    // digest of the anchors, and of the builders, that evidence was verified by
	Children     []string `json:"children,omitempty"`   // children of an index that were looked at
	ExtractorSet string   `json:"extractor_set,omitempty"`
	BroughtBy    string   `json:"brought_by,omitempty"` // name of a principal
	// Arrivals lists who pushed it into this repository and those that it came by,
	// by repository. FirstSeen is when its content came first, to whatever
	// repository.
	Arrivals  []Arrival `json:"arrivals,omitempty"`
	FirstSeen time.Time `json:"first_seen,omitzero"`
	// Bases lists what it descends from, where the gate asks for that, and
	// BaseChange is the number of the next change of what stands as a base.
	Bases       []Base `json:"bases,omitempty"`
	BaseChange  int64  `json:"base_change,omitempty"`
	Engine      string `json:"engine"`                // build of the engine
	Revocations int64  `json:"revocations,omitempty"` // number of the latest revocation, or lift of one
	// SnapshotAt is when the advisories that concern it were last found up to date.
	SnapshotAt time.Time `json:"snapshot_at,omitzero"`
	// Away tells, by name, which anchors of the gate could not be asked, and why.
	Away map[string]string `json:"away,omitempty"`
	// Said lists what those of Children contributed that were not allowed, and
	// ChildrenUntil is the first moment at which time alone may change what one did.
	Said          []ChildSaid `json:"said,omitempty"`
	ChildrenUntil time.Time   `json:"children_until,omitzero"`
	// AdmittedAt is when the placement was admitted: under "stay", and under "enter"
	// where that was asked because tags are to move to what is in already. Promised
	// is, under "stay", what the decision before had told, by rule.
	AdmittedAt time.Time            `json:"admitted_at,omitzero"`
	Promised   map[string]time.Time `json:"promised,omitempty"`
	// Waivers lists, by id, the waivers about this placement that were in force,
	// sorted.
	Waivers []string `json:"waivers,omitempty"`
	// WaiverAct is the number of the latest act on waivers of the zone.
	WaiverAct int64 `json:"waiver_act,omitempty"`
	// Approvals lists, by id, the approvals that held, where the gate looks at them.
	Approvals []int64 `json:"approvals,omitempty"`
	// Data lists the digests of the data that the gate's rules name, by the
	// data's name.
	Data []string `json:"data,omitempty"`
	// VEX lists the digests of documents from feeds, sorted.
	VEX []string `json:"vex,omitempty"`
	// VEXList is the digest of the list of which feed said what then, where the
	// gate takes the word of one.
	VEXList string `json:"vex_list,omitempty"`
}
