// Package attest is the reading and making of in-toto statements: what a
// verified payload says, as typed facts, and what Bonded says itself, as bytes.
//
// Predicates of known types become facts; unknown ones are kept and can be
// matched as they are. Unknown fields are never an error, documents that two
// readers could understand differently always are. Nothing here believes: who
// signed was settled before, and the SLSA level comes from a table of builders,
// never from the statement.
//
// Formats: https://github.com/in-toto/attestation/tree/main/spec (Statement v0.1
// and v1), https://slsa.dev/spec/v1.2/ (provenance, verification summary).
package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// ErrStatement marks bytes that are no statement, or one that must not be
// believed. What is over a limit matches strictjson.ErrLimit instead.
var ErrStatement = errors.New("not a valid in-toto statement")

// Limits of statements.
const (
	maxStatement = 16 << 20 // bytes
	maxSubjects  = 1024
	maxDigests   = 32 // of one subject
	maxType      = 512
	defaultKeep  = 256 << 10
)

// Types of the statement layer.
const (
	statementV01 = "https://in-toto.io/Statement/v0.1"
	statementV1  = "https://in-toto.io/Statement/v1"
)

// Subject is something a statement is about.
type Subject struct {
	Name    string
	Digests map[string]string // algorithm to lower-case hex
}

// Document is a statement whose predicate was not read yet.
type Document struct {
	Version   string // type URI of the statement layer
	Type      string // predicate type URI
	Subjects  []Subject
	predicate strictjson.Value
}

// Parse reads the statement layer of raw. The document keeps raw, which must not
// change. Errors match ErrStatement or strictjson.ErrLimit.
func Parse(raw []byte) (*Document, error) {
	doc, err := strictjson.Parse(raw, strictjson.Limits{Bytes: maxStatement})
	if err == nil {
		err = doc.Exact("_type", "subject", "predicateType", "predicate")
	}
	if errors.Is(err, strictjson.ErrLimit) {
		return nil, fmt.Errorf("reading a statement: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrStatement, err)
	}
	d := &Document{Version: doc.Get("_type").String(), Type: doc.Get("predicateType").String(), predicate: doc.Get("predicate")}
	switch {
	case d.Version != statementV01 && d.Version != statementV1:
		return nil, fmt.Errorf("%w: _type is %s, want %s or v0.1", ErrStatement, oci.Quote(d.Version), statementV1)
	case d.Type == "" || len(d.Type) > maxType:
		return nil, fmt.Errorf("%w: predicateType %s must have 1 to %d bytes", ErrStatement, oci.Quote(d.Type), maxType)
	}
	return d, d.readSubjects(doc.Get("subject"))
}

func (d *Document) readSubjects(list strictjson.Value) error {
	if !list.IsArray() || list.Len() == 0 {
		return fmt.Errorf("%w: it names no subject", ErrStatement)
	}
	for e := range list.Elements() {
		if len(d.Subjects) == maxSubjects {
			return fmt.Errorf("reading a statement: %w: more than %d subjects", strictjson.ErrLimit, maxSubjects)
		}
		if err := e.Exact("name", "digest"); err != nil {
			return fmt.Errorf("%w: %v", ErrStatement, err)
		}
		s := Subject{Name: e.Get("name").String(), Digests: digests(e.Get("digest"))}
		if len(s.Digests) == 0 || len(s.Digests) > maxDigests {
			return fmt.Errorf("%w: subject %s has %d digests, want 1 to %d", ErrStatement, oci.Quote(s.Name), len(s.Digests), maxDigests)
		}
		d.Subjects = append(d.Subjects, s)
	}
	return nil
}

// digests reads a DigestSet; what is not text is left out.
func digests(v strictjson.Value) map[string]string {
	var out map[string]string
	for alg, hexed := range v.Fields() {
		if !hexed.IsString() {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[alg] = strings.ToLower(hexed.String())
	}
	return out
}

// About reports whether the statement names d as a subject.
func (d *Document) About(digest oci.Digest) bool {
	for _, s := range d.Subjects {
		if s.Digests[string(digest.Algorithm())] == digest.Hex() {
			return true
		}
	}
	return false
}

// Statement reads the predicate. Predicates of more than keep bytes are read
// and not kept; 0 means 256 KiB. A provenance has level 0 until a Reader grants
// one. Errors match ErrStatement.
func (d *Document) Statement(keep int) (*evidence.Statement, error) {
	if keep == 0 {
		keep = defaultKeep
	}
	st := &evidence.Statement{Type: d.Type, Kind: evidence.KindUnknown, Size: int64(len(d.predicate.Raw()))}
	if len(d.predicate.Raw()) <= keep {
		st.Predicate = json.RawMessage(string(d.predicate.Raw()))
	}
	read := predicateReader(d.Type)
	if read == nil {
		return st, nil
	}
	f := facts{Statement: st}
	if err := read(&f, d.predicate); err != nil {
		return nil, fmt.Errorf("%w: reading %s: %w", ErrStatement, oci.Quote(d.Type), err)
	}
	return st, nil
}

// Reader reads verified statements for the verifier.
type Reader struct {
	builders Builders
	keep     int
}

// NewReader returns a Reader that grants levels by builders. keep is as for
// Document.Statement.
func NewReader(builders Builders, keep int) *Reader { return &Reader{builders: builders, keep: keep} }

// Policy names how r reads: it changes with the table of builders.
func (r *Reader) Policy() string {
	raw, err := json.Marshal(r.builders)
	if err != nil {
		panic(err) // patterns and numbers always marshal
	}
	sum := sha256.Sum256(raw)
	return fmt.Sprintf("attest 1 %d %s", r.keep, hex.EncodeToString(sum[:]))
}

// typeCosignSign is the predicate by which cosign 3 signs an image: it says
// nothing but "this".
const typeCosignSign = "https://sigstore.dev/cosign/sign/v1"

// Read reads what payload says of sig.Subject. It is nil for a statement that is
// only a signature. Errors match ErrStatement or strictjson.ErrLimit.
func (r *Reader) Read(payload []byte, sig *evidence.Signature) (*evidence.Statement, error) {
	doc, err := Parse(payload)
	if err != nil {
		return nil, err
	}
	if !doc.About(sig.Subject) {
		return nil, fmt.Errorf("%w: it is not about %s", ErrStatement, sig.Subject)
	}
	if doc.Type == typeCosignSign {
		return nil, nil
	}
	st, err := doc.Statement(r.keep)
	if err != nil {
		return nil, err
	}
	if st.Provenance != nil {
		st.Provenance.Level = r.builders.Level(st.Provenance, sig)
	}
	return st, nil
}
