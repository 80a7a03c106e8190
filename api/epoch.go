package api

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Epoch is the state of a repository as of its number, which grows with each
// change of what its tags name and of what can be pulled from it. It is a leaf of
// a batch: see docs/format/epoch.md.
type Epoch struct {
	Repository string    `json:"repository"`
	Epoch      int64     `json:"epoch"`
	At         time.Time `json:"at"`      // when the document was made
	Expires    time.Time `json:"expires"` // after that nobody should go by it
	Tags       int       `json:"tags"`
	Placements int       `json:"placements"`
	Digest     string    `json:"digest"` // of the lines of the state
}

// RepositoryEpoch answers GET /api/v1/epoch?repository=REPOSITORY[&state=true].
type RepositoryEpoch struct {
	Epoch
	// Proven: Payload is in a batch, whose proof is below. If not, Text says why.
	Proven bool   `json:"proven"`
	Text   string `json:"text,omitempty"`
	// Payload is the bytes of the Epoch as they are hashed.
	Payload []byte   `json:"payload,omitempty"`
	Index   int64    `json:"index,omitzero"` // of its leaf among the epochs of the batch
	Path    []string `json:"path,omitempty"` // audit path (RFC 6962), hex, from the leaf to the root
	Batch   *Batch   `json:"batch,omitempty"`
	// State are the lines that Digest is of: "tag NAME DIGEST" and
	// "placement DIGEST STATE", each sorted, if they were asked for.
	State []string `json:"state,omitempty"`
}

// StateDigest returns the digest of a state: SHA-256 of its lines, each with its
// line feed; "" for what are no lines: two in one would have the digest of both,
// and hide the second.
func StateDigest(lines []string) string {
	h := sha256.New()
	for _, l := range lines {
		if strings.Contains(l, "\n") {
			return ""
		}
		h.Write([]byte(l + "\n"))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// TagIn returns the digest that a tag names in a state, "" when there is no such tag.
func TagIn(lines []string, tag string) string {
	for _, l := range lines {
		if digest, ok := strings.CutPrefix(l, "tag "+tag+" "); ok {
			return digest
		}
	}
	return ""
}

// PlacedIn returns the state of a placement in the state of a repository, ""
// when there is no such placement.
func PlacedIn(lines []string, digest string) string {
	for _, l := range lines {
		if state, ok := strings.CutPrefix(l, "placement "+digest+" "); ok {
			return state
		}
	}
	return ""
}
