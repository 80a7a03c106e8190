package api

import "time"

// RevokeRequest is the body of POST /api/v1/revocations: the end of trust in
// something. What a kind does not need is left out.
type RevokeRequest struct {
	Kind      string `json:"kind"`                // "digest", "key", "identity", "builder", "feed", "window"
	Digest    string `json:"digest,omitempty"`    // of a manifest or blob
	Key       string `json:"key,omitempty"`       // SHA-256 of the public key (SPKI), hex
	Issuer    string `json:"issuer,omitempty"`    // of an identity, exactly or as a pattern
	Subject   string `json:"subject,omitempty"`   // of an identity, exactly or as a pattern
	Builder   string `json:"builder,omitempty"`   // as provenance names it
	Feed      string `json:"feed,omitempty"`      // a source of advisories, or one feed of it
	Principal string `json:"principal,omitempty"` // who pushed, by name
	// From and Until are the times of signing, or of pushing, that are meant.
	From    time.Time `json:"from,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	Reason  string    `json:"reason"`            // is told to whoever is refused
	Preview bool      `json:"preview,omitempty"` // tell what would be hit, and change nothing
}

// Revocation is one end of trust.
type Revocation struct {
	ID        int64     `json:"id"`
	Kind      string    `json:"kind"`
	Digest    string    `json:"digest,omitempty"`
	Key       string    `json:"key,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Builder   string    `json:"builder,omitempty"`
	Feed      string    `json:"feed,omitempty"`
	Principal string    `json:"principal,omitempty"`
	From      time.Time `json:"from,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	What      string    `json:"what"` // trust has ended in, for people
	Reason    string    `json:"reason"`
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	// Lifted is set once it is not in force any more.
	Lifted *Lifted `json:"lifted,omitempty"`
	// Progress is given by lists.
	Progress *RevocationProgress `json:"progress,omitempty"`
}

// RevocationProgress is how far the work is that a revocation leaves. What is
// withdrawn is out of reach whether that is done or not.
type RevocationProgress struct {
	Withdrawn int `json:"withdrawn"`  // placements
	Recorded  int `json:"recorded"`   // of those: has a decision and an event of its own
	GivenBack int `json:"given_back"` // of those: to its gate, since it was lifted
	Rejudged  int `json:"rejudged"`   // further placements that are judged again
	Waiting   int `json:"waiting"`    // judgements that it has asked for and that are to come
}

// Lifted is the end of a revocation.
type Lifted struct {
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// LiftRequest is the body of POST /api/v1/revocations/{id}/lift.
type LiftRequest struct {
	Reason string `json:"reason"`
}

// Revoked answers a revocation or a lift, or the preview of one.
type Revoked struct {
	Revocation Revocation      `json:"revocation"`
	Preview    bool            `json:"preview,omitempty"` // nothing has changed
	Hits       []RevocationHit `json:"hits"`              // placements withdrawn, or given back to their gates; at most 1 000
	More       int             `json:"more,omitempty"`    // hits beyond those listed
	Barred     int             `json:"barred"`            // digests that may stand nowhere
	Rejudged   int             `json:"rejudged"`          // further placements that are judged again
}

// RevocationHit is a placement that a revocation withdraws.
type RevocationHit struct {
	Repository string   `json:"repository"`
	Digest     string   `json:"digest"`
	Tags       []string `json:"tags,omitempty"`
	Kind       string   `json:"kind"`
	State      string   `json:"state"` // before
	Why        string   `json:"why"`
}
