package api

import "time"

// VEXCheckRequest is the body of POST /api/v1/vex/check.
type VEXCheckRequest struct {
	Reference string `json:"reference"` // repository with tag or digest, or a digest alone
	Document  []byte `json:"document"`  // OpenVEX, CSAF or CycloneDX, as it would be attached
}

// VEXCheck answers it: what the document would change if somebody whom the gate
// believes said it. Nothing was changed.
type VEXCheck struct {
	Artifact
	Document   string    `json:"document"`         // its digest
	Format     string    `json:"format"`           // "openvex", "csaf" or "cyclonedx"
	Author     string    `json:"author,omitempty"` // as the document says
	At         time.Time `json:"at,omitzero"`      // likewise
	Statements int       `json:"statements"`
	// Partial: it lists more than is kept of one document.
	Partial bool `json:"partial,omitempty"`
	// As is what it was taken for: "attached", as a signed statement about the
	// artifact; "feed NAME", where the gate believes feeds alone; "" where it
	// believes nobody, and the document would change nothing.
	As string `json:"as"`
	// Findings are those that it is about and speaks last of, worst first: with
	// what would count, and before.
	Findings []VEXChange `json:"findings"`
	// Idle are its statements that would change nothing, and why.
	Idle   []VEXIdle `json:"idle,omitempty"` // at most 100
	More   int       `json:"more,omitempty"` // of them beyond those listed
	Before Decision  `json:"before"`         // what the gate says now
	After  Decision  `json:"after"`          // and what it would
}

// VEXChange is a finding of which a document says something.
type VEXChange struct {
	Finding Finding `json:"finding"`
	// Before is what counts now; absent when nobody has said anything.
	Before     *Assessment `json:"before,omitempty"`
	Suppressed bool        `json:"suppressed"` // it would do no harm
}

// VEXIdle is a statement that would change nothing.
type VEXIdle struct {
	Vulnerability string   `json:"vulnerability"`
	Status        string   `json:"status"`
	Products      []string `json:"products,omitempty"` // the first 10
	Why           string   `json:"why"`
}
