package api

import "time"

// RollbackRequest is the body of POST /api/v1/rollback.
type RollbackRequest struct {
	Reference string `json:"reference"`        // repository:tag
	To        string `json:"to,omitempty"`     // digest that the tag has named; "" for the one before
	Reason    string `json:"reason,omitempty"` // for the audit log
	DryRun    bool   `json:"dry_run,omitzero"` // decide and change nothing
}

// RolledBack answers it. A decision other than allow has changed nothing.
type RolledBack struct {
	Repository string `json:"repository"`
	Tag        string `json:"tag"`
	Before     string `json:"before,omitempty"` // what the tag named; "" where it named nothing any more
	Digest     string `json:"digest"`           // what it goes back to
	Done       bool   `json:"done"`
	// Decision is what the gate says of Digest as if it came in now.
	Decision Decision `json:"decision"`
}

// Named is a time in which a tag named a digest, GET /api/v1/named.
type Named struct {
	ID     int64     `json:"id"`
	Digest string    `json:"digest"`
	State  string    `json:"state"`         // of the digest in the repository now
	From   time.Time `json:"from,omitzero"` // zero where that is not known
	To     time.Time `json:"to,omitzero"`   // zero while it names it
	// Back is the id of the earlier one that a rollback went back to, 0 for none.
	Back int64 `json:"back,omitempty"`
}
