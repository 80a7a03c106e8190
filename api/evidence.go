package api

import "time"

// Evidence is what was said about an artifact: by whom it was signed, and what
// was stated. What is refused or unsigned counts for nothing and is shown.
type Evidence struct {
	// Anchors is the digest of the anchors, and of the builders, that it was
	// verified by.
	Anchors    string      `json:"anchors,omitempty"`
	Signatures []Signature `json:"signatures"`
	Refused    []Refusal   `json:"refused,omitempty"`
	Unsigned   []Statement `json:"unsigned,omitempty"`
}

// Signature is a signature that verified.
type Signature struct {
	Anchor  string            `json:"anchor"` // name of the anchor it verified for
	Form    string            `json:"form"`   // "bundle", "legacy" or "notation"
	Issuer  string            `json:"issuer,omitempty"`
	Subject string            `json:"subject,omitempty"` // who signed; "" for a bare key
	Key     string            `json:"key,omitempty"`     // SHA-256 of a bare public key, hex
	Claims  map[string]string `json:"claims,omitempty"`
	At      time.Time         `json:"at,omitzero"`   // proven time of signing
	Log     string            `json:"log,omitempty"` // transparency log that has it
	// LogIndex is where in the log; it means nothing without log.
	LogIndex int64  `json:"log_index"`
	Referrer string `json:"referrer"` // digest of the manifest it came in
	Envelope string `json:"envelope"` // digest of the bundle or envelope
	// Index is the digest of an index that was signed in place of what it names;
	// absent where it was signed itself.
	Index string `json:"index,omitempty"`
	// Statement is absent for a signature that says nothing but "this".
	Statement *Statement `json:"statement,omitempty"`
}

// Statement is an in-toto statement.
type Statement struct {
	Type string `json:"type"` // type URI of the predicate
	Kind string `json:"kind"`
	Says string `json:"says"` // for people
	// Facts are those of its kind, under the name of the kind.
	Facts    map[string]any `json:"facts,omitempty"`
	Size     int64          `json:"size"`               // of the predicate, bytes
	Partial  bool           `json:"partial,omitempty"`  // lists or texts were longer than is kept
	Referrer string         `json:"referrer,omitempty"` // where it is, of what is unsigned
}

// Refusal is evidence that did not verify, or could not be checked.
type Refusal struct {
	Referrer string   `json:"referrer"`
	Form     string   `json:"form,omitempty"`
	Reasons  []string `json:"reasons"`          // of each anchor
	Unsure   bool     `json:"unsure,omitempty"` // it could not be checked, which is another answer than "forged"
}
