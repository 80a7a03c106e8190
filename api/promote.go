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

// Word is what somebody has said about a placement.
type Word struct {
	ID     int64     `json:"id"`
	By     string    `json:"by"`
	Groups []string  `json:"groups,omitempty"` // as its issuer said then
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// ApproveRequest is the body of POST /api/v1/approve.
type ApproveRequest struct {
	Reference string `json:"reference"`         // repository with tag or digest
	To        string `json:"to,omitempty"`      // zone; "" for the one where it stands
	Reason    string `json:"reason,omitempty"`  // for the gate's reasons and the audit log
	Withdraw  bool   `json:"withdraw,omitzero"` // take one's own approval back
}

// Approved answers it.
type Approved struct {
	From       string `json:"from"`
	Repository string `json:"repository"` // that it may come into
	Digest     string `json:"digest"`
	Approvals  []Word `json:"approvals"` // all that hold now
}

// StopRequest is the body of POST /api/v1/stop.
type StopRequest struct {
	Reference string `json:"reference"`        // repository with tag or digest
	Reason    string `json:"reason,omitempty"` // told to everyone who wants to promote it; needed unless Resume
	Resume    bool   `json:"resume,omitzero"`  // let it go on
}

// Stopped answers it.
type Stopped struct {
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	Stops      []Word `json:"stops"` // all that hold now
}
