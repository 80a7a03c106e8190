package api

import "time"

// PreviewRequest asks what another gate would make of what stands in a zone, or
// waits in its intake, POST /api/v1/gates/preview.
type PreviewRequest struct {
	Zone string `json:"zone"`
	Text string `json:"text"` // of the gate
}

// PreviewProgress is one line of the answer. The last one has Done or Error.
type PreviewProgress struct {
	Judged int      `json:"judged"`
	Total  int      `json:"total"` // as far as it is known
	Flip   *Flip    `json:"flip,omitempty"`
	Done   *Preview `json:"done,omitempty"`
	Error  *Error   `json:"error,omitempty"`
}

// Flip is a placement that would not stand as it does.
type Flip struct {
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	Kind       string `json:"kind"`
	// Before and After are states: "held", "denied", "admitted", "withdrawn" or
	// "revoked". FlaggedBefore and Flagged say that it would stay although it is
	// denied, until StayUntil where that is given.
	Before        string    `json:"before"`
	After         string    `json:"after"`
	FlaggedBefore bool      `json:"flagged_before,omitempty"`
	Flagged       bool      `json:"flagged,omitempty"`
	StayUntil     time.Time `json:"stay_until,omitzero"`
	// Worse: less can be pulled than before, or will be.
	Worse    bool     `json:"worse,omitempty"`
	Sentence string   `json:"sentence"`
	Rules    []string `json:"rules,omitempty"` // that do not allow
}

// Preview sums up what another gate would do.
type Preview struct {
	Zone   string         `json:"zone"`
	Gate   string         `json:"gate"` // digest of its text
	Judged int            `json:"judged"`
	Better int            `json:"better"` // of those that flip
	Worse  int            `json:"worse"`
	Rules  map[string]int `json:"rules"` // of those that flip, how many a rule does not allow
}
