package api

import "encoding/json"

// Proof proves a decision, offline: see docs/format/batch.md. A decision that is
// in force and in no signed batch yet has none: Proven is false, and Text says
// why.
type Proof struct {
	Decision int64  `json:"decision"` // its number
	Proven   bool   `json:"proven"`
	Text     string `json:"text,omitempty"` // why not, "" when Proven
	// Payload is what is proven: the bytes of the Decision, as they are hashed.
	Payload []byte   `json:"payload,omitempty"`
	Index   int64    `json:"index,omitzero"` // of its leaf in the batch's tree
	Size    int64    `json:"size,omitzero"`  // leaves of that tree
	Path    []string `json:"path,omitempty"` // audit path (RFC 6962), hex, from the leaf to the root
	Batch   *Batch   `json:"batch,omitempty"`
}

// Batch is many decisions under one signature.
type Batch struct {
	Number int64  `json:"number"`
	Digest string `json:"digest"` // of its statement
	// Bundle is a Sigstore bundle v0.3 over a statement of the type
	// https://bonded.dev/batch/v1.
	Bundle json.RawMessage `json:"bundle,omitempty"`
}
