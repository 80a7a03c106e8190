package api

import "time"

// WaiverRequest is the body of POST /api/v1/waivers: it asks that something which
// a gate finds does not count, in some repositories, until a moment.
type WaiverRequest struct {
	Repositories string `json:"repositories,omitempty"` // pattern, zone first: "production/payments/**"
	Digest       string `json:"digest,omitempty"`       // only of this
	Rule         string `json:"rule,omitempty"`         // of the zone's gate
	Advisory     string `json:"advisory,omitempty"`     // or an alias of it
	Package      string `json:"package,omitempty"`      // purl; without a version for any
	Owner        string `json:"owner,omitempty"`        // who answers for it; the caller when empty
	Reason       string `json:"reason"`
	// Justification is one of VEX's, such as "vulnerable_code_not_present".
	Justification string    `json:"justification,omitempty"`
	From          time.Time `json:"from,omitzero"` // now when zero
	Until         time.Time `json:"until"`         // the first moment at which it does not hold any more
	// Follow lets it hold for other digests of its repositories too, while what was
	// looked at is unchanged there: the version of the package, and no fix.
	Follow bool `json:"follow,omitempty"`
	// Renews is the waiver that this one is to take the place of, by id: what is
	// left empty here is as there.
	Renews string `json:"renews,omitempty"`
	// Preview tells what would be judged otherwise if it were granted, and asks for
	// nothing.
	Preview bool `json:"preview,omitempty"`
}

// WaiverAct is the body of POST /api/v1/waivers/{id}/grant, …/deny and …/end.
type WaiverAct struct {
	Reason  string `json:"reason,omitempty"`  // of a denial, and of an early end
	Preview bool   `json:"preview,omitempty"` // tell what would be judged otherwise, and change nothing
}

// Waiver is a permission that was asked for.
type Waiver struct {
	ID            string    `json:"id"`    // empty in a preview of one that was not asked for
	State         string    `json:"state"` // "asked", "granted", "denied", "ended", "expired"
	Repositories  string    `json:"repositories"`
	Digest        string    `json:"digest,omitempty"`
	Rule          string    `json:"rule,omitempty"`
	Advisory      string    `json:"advisory,omitempty"`
	Package       string    `json:"package,omitempty"`
	Owner         string    `json:"owner"`
	Reason        string    `json:"reason"`
	Justification string    `json:"justification,omitempty"`
	Follow        bool      `json:"follow,omitempty"`
	From          time.Time `json:"from"`
	Until         time.Time `json:"until"`
	AskedBy       string    `json:"asked_by"`
	AskedAt       time.Time `json:"asked_at,omitzero"`
	Renews        string    `json:"renews,omitempty"`
	Granted       []Grantor `json:"granted"` // who said yes, in their order
	// Ended is set once it counts no more.
	Ended *WaiverEnd `json:"ended,omitempty"`
	// Rules are those of the zone's gate that it may be about, and whether they
	// honour it.
	Rules []WaiverRule `json:"rules,omitempty"`
	// Follows lists, in the answer about one waiver that follows, where it holds
	// beyond the digest it was granted for, and where it does not.
	Follows []WaiverFollow `json:"follows,omitempty"`
}

// Grantor is who said yes to a waiver.
type Grantor struct {
	Name   string    `json:"name"`
	Groups []string  `json:"groups,omitempty"`
	At     time.Time `json:"at"`
}

// WaiverEnd is how a waiver came to its end.
type WaiverEnd struct {
	How    string    `json:"how"` // "denied", "ended", "expired"
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// WaiverRule says what a rule of a gate makes of a waiver.
type WaiverRule struct {
	Rule  string    `json:"rule"`
	Needs string    `json:"needs"`          // by whom it can be waived, for people
	Until time.Time `json:"until,omitzero"` // it honours it until then; zero when it does not
	Why   string    `json:"why,omitempty"`  // it does not honour it
}

// WaiverFollow is a further digest that holds what a waiver is about.
type WaiverFollow struct {
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	Why        string `json:"why,omitempty"` // it does not hold there; empty where it does
}

// WaiverDone answers an act on a waiver, or the preview of one.
type WaiverDone struct {
	Waiver   Waiver       `json:"waiver"`
	Preview  bool         `json:"preview,omitempty"` // nothing has changed
	Flips    []WaiverFlip `json:"flips"`             // in a preview: placements that would be judged otherwise, at most 100
	Looked   int          `json:"looked,omitempty"`  // placements that were looked at for that
	More     bool         `json:"more,omitempty"`    // there are more than were looked at
	Warnings []string     `json:"warnings,omitempty"`
}

// WaiverFlip is a placement that a waiver lets be judged otherwise.
type WaiverFlip struct {
	Repository string  `json:"repository"`
	Digest     string  `json:"digest"`
	State      string  `json:"state"`
	Clause     string  `json:"clause"`
	Before     Outcome `json:"before"`
	After      Outcome `json:"after"`
}

// WaiverHint says by whom a rule that does not allow can be waived.
type WaiverHint struct {
	Rule string `json:"rule"`
	By   string `json:"by"` // for people
}
