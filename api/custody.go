package api

import "time"

// CustodyVersion is the version of a custody file.
const CustodyVersion = "https://bonded.dev/custody/v1"

// Custody is all that a server knows about one digest, each thing with its
// proof: see docs/format/custody.md. What is proven is bytes; the rest says where
// they belong, and is held against them by whoever verifies the file.
type Custody struct {
	Version string    `json:"version"`
	Digest  string    `json:"digest"` // of the manifest that it is about
	Server  string    `json:"server"` // URL
	At      time.Time `json:"at"`     // when the file was made
	By      string    `json:"by"`     // who had it made
	// Repositories are those whose decisions and events the file covers.
	Repositories []string `json:"repositories"`
	// LeftOut says what is known and not in the file, one sentence each.
	LeftOut []string `json:"left_out"`

	Subject     CustodySubject      `json:"subject"`
	Source      CustodyPart         `json:"source"`
	Build       CustodyPart         `json:"build"`
	Acquire     CustodyPart         `json:"acquire"`
	Analysis    CustodyPart         `json:"analysis"`
	Evidence    []CustodyEvidence   `json:"evidence"`
	Decisions   []CustodyDecision   `json:"decisions"` // oldest first
	Approvals   CustodyPart         `json:"approvals"`
	Promotions  CustodyPart         `json:"promotions"`
	Deployments CustodyPart         `json:"deployments"`
	Events      []CustodyEvent      `json:"events"` // oldest first
	Revocations []CustodyRevocation `json:"revocations"`
	Epochs      []CustodyEpoch      `json:"epochs"`
	// Audit is the number of the batch whose head of the audit log proves all
	// events; 0 where none does.
	Audit   int64          `json:"audit"`
	Batches []CustodyBatch `json:"batches"` // each once, by number
}

// CustodyContent is content by its digest.
type CustodyContent struct {
	Digest    string `json:"digest"`
	MediaType string `json:"media_type,omitempty"`
	Size      int64  `json:"size"`
	Bytes     []byte `json:"bytes,omitempty"`
	LeftOut   string `json:"left_out,omitempty"` // why there are no bytes
}

// CustodySubject is what the file is about.
type CustodySubject struct {
	Manifest CustodyContent `json:"manifest"`
	// Children are the manifests that an index names.
	Children []CustodyContent `json:"children"`
	// Indexes are those that name it, where it stands.
	Indexes []CustodyContent `json:"indexes"`
}

// CustodyPart is one part of the story, told by statements and events that are
// elsewhere in the file.
type CustodyPart struct {
	Statements []CustodyStatement `json:"statements,omitempty"`
	Events     []int64            `json:"events,omitempty"` // their numbers
	Text       string             `json:"text,omitempty"`   // why there is nothing
}

// CustodyStatement names a statement of the evidence.
type CustodyStatement struct {
	Referrer string `json:"referrer"` // digest of its manifest
	Envelope string `json:"envelope"` // digest of the bundle or envelope in it
	Type     string `json:"type"`     // predicate type
	Says     string `json:"says"`     // about this part, as docs/format/custody.md makes it of the predicate
}

// CustodyEvidence is a referrer.
type CustodyEvidence struct {
	About    string           `json:"about"` // the digest of the file, or of a child
	Manifest CustodyContent   `json:"manifest"`
	Layers   []CustodyContent `json:"layers"`
}

// CustodyDecision is a decision with its place in a batch.
type CustodyDecision struct {
	Decision int64    `json:"decision"`        // its number
	Payload  []byte   `json:"payload"`         // bytes of the Decision, as they are hashed
	Batch    int64    `json:"batch,omitempty"` // 0: it is in none
	Index    int64    `json:"index,omitempty"` // of its leaf
	Path     []string `json:"path,omitempty"`  // audit path (RFC 6962), hex, from the leaf to the root
	Text     string   `json:"text,omitempty"`  // why it is in none
}

// CustodyEvent is an entry of the audit log.
type CustodyEvent struct {
	Seq   int64    `json:"seq"` // its number; the index of its leaf is one less
	Event []byte   `json:"event"`
	Path  []string `json:"path,omitempty"` // inclusion path (RFC 6962), hex, from the leaf to the root
}

// CustodyRevocation is an end of trust that is about the digest.
type CustodyRevocation struct {
	Revocation Revocation    `json:"revocation"`
	Made       *CustodyEvent `json:"made,omitempty"`
	Lifted     *CustodyEvent `json:"lifted,omitempty"`
}

// CustodyEpoch is the state of a repository that the digest stands in.
type CustodyEpoch struct {
	Repository string   `json:"repository"`
	Payload    []byte   `json:"payload,omitempty"` // bytes of the Epoch
	Batch      int64    `json:"batch,omitempty"`
	Index      int64    `json:"index,omitempty"`
	Path       []string `json:"path,omitempty"`
	State      []string `json:"state,omitempty"` // the lines that its digest is of
	Text       string   `json:"text,omitempty"`  // what is missing, and why
}

// CustodyBatch is a batch that others refer to.
type CustodyBatch struct {
	Number int64  `json:"number"`
	Bundle []byte `json:"bundle"` // Sigstore bundle
}

// CustodyRequest is the body of POST /api/v1/custody/export.
type CustodyRequest struct {
	Ref string `json:"ref"` // a digest, or repository[:tag][@digest]
}

// CustodyStep is a line of the timeline of a digest.
type CustodyStep struct {
	At       time.Time `json:"at"`
	What     string    `json:"what"`
	Where    string    `json:"where,omitempty"`
	Who      string    `json:"who,omitempty"`
	ProvenBy string    `json:"proven_by,omitempty"` // "" when nothing proves it
}

// CustodyTimeline answers GET /api/v1/custody.
type CustodyTimeline struct {
	Digest       string        `json:"digest"`
	Repositories []string      `json:"repositories"`
	Steps        []CustodyStep `json:"steps"`
	LeftOut      []string      `json:"left_out,omitempty"`
}

// CustodyState is what verifying a part of a custody file came to.
type CustodyState string

// The states. None is ever folded into another.
const (
	CustodyVerified    CustodyState = "verified"
	CustodyNotProvable CustodyState = "not-provable" // with what was given
	CustodyNotRecorded CustodyState = "not-recorded" // there is nothing of it, which proves nothing
	CustodyFailed      CustodyState = "failed"
)

// CustodyCheck is what verifying a custody file found.
type CustodyCheck struct {
	Digest string           `json:"digest"`
	Server string           `json:"server"` // whose signatures were demanded
	State  CustodyState     `json:"state"`
	Parts  []CustodyChecked `json:"parts"`
	Steps  []CustodyStep    `json:"steps"` // of what was verified
}

// CustodyChecked is one part.
type CustodyChecked struct {
	Part  string        `json:"part"`
	State CustodyState  `json:"state"` // the worst of its items
	Text  string        `json:"text,omitempty"`
	Items []CustodyItem `json:"items,omitempty"`
}

// CustodyItem is one thing of a part.
type CustodyItem struct {
	What  string       `json:"what"`
	State CustodyState `json:"state"`
	Text  string       `json:"text,omitempty"` // what it says, or why not
}
