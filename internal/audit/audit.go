// Package audit holds the audit event, one change of state, and the contract
// of the outbox and chain that keep events.
//
// An event is appended in the transaction of the change it describes, as the
// bytes that will be logged and their hash. After commit the sequencer gives
// it a dense number and chains it: hash(n) = SHA-256(hash(n-1) || hash of the
// event's bytes), with hash(0) of 32 zero bytes.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Event is one change of state.
type Event struct {
	ID         string            `json:"id"` // unique, from a cryptographic random source
	At         time.Time         `json:"at"`
	Kind       string            `json:"kind"` // "manifest.pushed", "placement.admitted", …; see docs/format/events.md
	Principal  string            `json:"principal"`
	Method     string            `json:"method"` // how the principal had authenticated
	Repository string            `json:"repository,omitempty"`
	Digest     string            `json:"digest,omitempty"`
	Details    map[string]string `json:"details,omitempty"`
}

// New makes an event of now about an act. id must come from a cryptographic
// random source.
func New(id string, now time.Time, p authz.Principal, kind string) Event {
	return Event{ID: id, At: now.UTC().Truncate(time.Microsecond), Kind: kind, Principal: p.Name(), Method: p.Method}
}

// On returns e about a digest in a repository.
func (e Event) On(r oci.Repository, d oci.Digest) Event {
	e.Repository, e.Digest = r.String(), d.String()
	return e
}

// With returns e with one more detail.
func (e Event) With(key, value string) Event {
	details := make(map[string]string, len(e.Details)+1)
	for k, v := range e.Details {
		details[k] = v
	}
	details[key] = value
	e.Details = details
	return e
}

// Bytes returns the bytes that are logged: JSON with keys in a fixed order.
func (e Event) Bytes() []byte {
	b, err := json.Marshal(e)
	if err != nil { // strings and a time always marshal
		panic(fmt.Sprintf("audit: encoding event: %v", err))
	}
	return b
}

// Outbox takes events inside a transaction.
type Outbox interface {
	// Append stores the event; it is visible and will be sequenced if and only
	// if the transaction commits.
	Append(ctx context.Context, e Event) error
}

// Entry is an event in the chain.
type Entry struct {
	Seq   int64 // dense, from 1
	Bytes []byte
	Hash  [sha256.Size]byte // chain hash including this entry
}

// Log is the chain as it is kept. Sequencing happens in one transaction at a
// time across all processes.
type Log interface {
	// Sequence chains up to limit committed events that have no number yet, in
	// order of their insertion, and returns how many it did.
	Sequence(ctx context.Context, limit int) (int, error)
	// Entries returns entries with Seq > after, in order.
	Entries(ctx context.Context, after int64, limit int) ([]Entry, error)
	// Latest returns the newest entries, newest first, whose event matches the
	// filter; empty fields match all.
	Latest(ctx context.Context, f Filter, limit int) ([]Entry, error)
	// Head returns the last number and chain hash; 0 and zeros when empty.
	Head(ctx context.Context) (int64, [sha256.Size]byte, error)
}

// Filter picks events.
type Filter struct {
	Repository string
	Digest     string
	Principal  string
	Kind       string
}

// Link is the chain hash after an entry.
func Link(prev [sha256.Size]byte, event []byte) [sha256.Size]byte {
	h := sha256.Sum256(event)
	return sha256.Sum256(append(prev[:], h[:]...))
}
