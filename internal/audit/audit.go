// Package audit holds the audit event, one change of state, and the log that
// keeps events.
//
// An event is appended to the outbox in the transaction of the change it
// describes, as the bytes that will be logged. Within a second of that commit
// the sequencer moves it, in one transaction, into a row of its own with a dense
// number and into the tile log of the instance (internal/trust/tlog): event n is
// entry n-1 there. The row is what people search; the log is what somebody with
// root cannot change without being found. Verify holds both against each other,
// and against what was seen before.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
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

// MaxEvent is the most bytes an event has, so that it is one entry of the log.
const MaxEvent = tlog.MaxEntry

// Bounds of what is cut in an event that would have more.
const (
	cutMark = "…(cut)"
	cutName = 4096 // bytes of the name of a principal
)

// Bytes returns the bytes that are logged: JSON with keys in a fixed order, at
// most MaxEvent of them. The longest details are cut where they would be more.
func (e Event) Bytes() []byte {
	b := e.encode()
	for len(b) > MaxEvent {
		e = e.cut()
		b = e.encode()
	}
	return b
}

// cut returns a shorter event.
func (e Event) cut() Event {
	longest := ""
	for k, v := range e.Details {
		if n := len(e.Details[longest]); len(v) > n || len(v) == n && k < longest {
			longest = k
		}
	}
	switch value := e.Details[longest]; {
	case len(value) > 4*len(cutMark):
		return e.With(longest, strings.ToValidUTF8(value[:len(value)/2], "")+cutMark)
	case len(e.Details) > 1:
		e.Details = map[string]string{"cut": strconv.Itoa(len(e.Details)) + " details"}
	default: // a name from outside is long
		for _, s := range []*string{&e.ID, &e.Kind, &e.Principal, &e.Method, &e.Repository, &e.Digest} {
			if len(*s) > cutName {
				*s = strings.ToValidUTF8((*s)[:cutName], "") + cutMark
			}
		}
		e.Details = nil
	}
	return e
}

func (e Event) encode() []byte {
	b, err := json.Marshal(e)
	if err != nil { // strings and a time always marshal
		panic(fmt.Sprintf("audit: encoding event: %v", err))
	}
	return b
}

// Outbox takes events inside a transaction.
type Outbox interface {
	// Append stores the event; it is visible and will be logged if and only if
	// the transaction commits.
	Append(ctx context.Context, e Event) error
}

// Entry is an event with its number: entry Seq-1 of the log.
type Entry struct {
	Seq   int64 // dense, from 1
	Bytes []byte
	// Columns are what the row says beside the bytes, to be found by.
	Columns Filter
}

// Leaf is the hash of the entry in the log: RFC 6962, section 2.1.
func (e Entry) Leaf() tlog.Hash { return tlog.LeafHash(e.Bytes) }

// Waiting is a committed event without a number.
type Waiting struct {
	ID    int64 // in the outbox
	Bytes []byte
	// Chain is the hash of the chain that events had before they were in a log, up
	// to this one; nil for those that never were in it.
	Chain []byte
}

// Rows reads events that have a number. What is returned was committed.
type Rows interface {
	// Entries returns entries with Seq > after, in order.
	Entries(ctx context.Context, after int64, limit int) ([]Entry, error)
	// Latest returns the newest entries, newest first, whose event matches the
	// filter; empty fields match all.
	Latest(ctx context.Context, f Filter, limit int) ([]Entry, error)
	// Numbered returns the number of the last entry, 0 when there is none.
	Numbered(ctx context.Context) (int64, error)
}

// Store moves events from the outbox into rows and the log. It is safe for
// concurrent use by several processes.
type Store interface {
	Rows
	// Waiting returns up to limit committed events that have no number yet, in
	// order of their insertion.
	Waiting(ctx context.Context, limit int) ([]Waiting, error)
	// Integrate takes events out of the outbox, makes them the rows numbered from
	// Old.Size+1 on, and writes the step, in one transaction. Errors match
	// tlog.ErrConflict when the log is not Old any more, and ErrTaken; after both
	// nothing has changed. After another error it is unknown whether it has.
	Integrate(ctx context.Context, s *tlog.Step, events []Waiting) error
}

// ErrTaken: another process has these events, or has been elected to take them.
var ErrTaken = errors.New("another process takes the events")

// Filter picks events.
type Filter struct {
	Repository string
	Digest     string
	Principal  string
	Kind       string
}

// Link is the chain hash after an event. Events were chained before they were
// in a log; the sequencer checks what is left of that once, when it moves them.
func Link(prev [sha256.Size]byte, event []byte) [sha256.Size]byte {
	h := sha256.Sum256(event)
	return sha256.Sum256(append(prev[:], h[:]...))
}
