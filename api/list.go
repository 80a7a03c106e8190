package api

import "time"

// Page is one page of a list that has an order: GET /api/v1/audit,
// /api/v1/principals. Next is the "after" of the following page, "" on the last.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
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

// AuditCheck answers POST /api/v1/audit/verify: the chain, recomputed from its
// first entry.
type AuditCheck struct {
	OK      bool      `json:"ok"`
	Entries int64     `json:"entries"`           // that were chained and looked at
	Head    string    `json:"head"`              // chain hash after the last of them, hex
	At      time.Time `json:"at"`                // when it was looked at
	Problem string    `json:"problem,omitempty"` // what is wrong, and at which entry; "" when OK
}
