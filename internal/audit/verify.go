package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
)

// Report says what Verify found.
type Report struct {
	Entries int64             // entries that are in order, from the first
	Head    [sha256.Size]byte // chain hash after them
	Bad     *Bad              // nil when the whole chain is in order
}

// Bad is the first entry that is not in order.
type Bad struct {
	Seq    int64
	Reason string
}

// verifyBatch is how many entries are read at once.
const verifyBatch = 1000

// Verify walks the chain from its first entry to the head it had at the start,
// and computes every hash anew. What is wrong with the chain is in the report;
// an error means that it could not be read.
func Verify(ctx context.Context, log Log) (Report, error) {
	var r Report
	last, head, err := log.Head(ctx)
	if err != nil {
		return r, fmt.Errorf("verifying the audit chain: %w", err)
	}
	for r.Entries < last && r.Bad == nil {
		entries, err := log.Entries(ctx, r.Entries, int(min(verifyBatch, last-r.Entries)))
		if err != nil {
			return r, fmt.Errorf("verifying the audit chain after entry %d: %w", r.Entries, err)
		}
		if len(entries) == 0 {
			r.Bad = &Bad{r.Entries + 1, fmt.Sprintf("it is missing, the head has number %d", last)}
		}
		for _, e := range entries {
			if !r.take(e) {
				break
			}
		}
	}
	if r.Bad == nil && r.Head != head {
		r.Bad = &Bad{last, fmt.Sprintf("the head says %x, the entries give %x", head, r.Head)}
	}
	return r, nil
}

// take checks the next entry, and reports whether it is in order.
func (r *Report) take(e Entry) bool {
	want := r.Entries + 1
	link := Link(r.Head, e.Bytes)
	var event Event
	switch err := json.Unmarshal(e.Bytes, &event); {
	case e.Seq != want:
		r.Bad = &Bad{want, fmt.Sprintf("it is missing, the next has number %d", e.Seq)}
	case link != e.Hash:
		r.Bad = &Bad{want, fmt.Sprintf("its hash is %x, its bytes and the entry before give %x", e.Hash, link)}
	case err != nil:
		r.Bad = &Bad{want, fmt.Sprintf("its bytes are no event: %v", err)}
	default:
		r.Entries, r.Head = want, link
		return true
	}
	return false
}
