package custody

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/verify"
)

// typeBatch is the predicate type of a batch.
const typeBatch = "https://bonded.dev/batch/v1"

// maxPath is the longest path of a tree.
const maxPath = 63

// proven is what a verified batch says.
type proven struct {
	number    int64
	at        time.Time // of the signature, as its timestamp proves it
	decisions tlog.Checkpoint
	epochs    *tlog.Checkpoint // nil where it has none
	audit     *tlog.Checkpoint // likewise
}

// identity is the name under which a server signs.
type identity struct{ subject, issuer string }

// serverOf is the identity of the server that is known by a URL.
func serverOf(url string) (who identity) {
	who.subject, who.issuer = trust.IdentityOf(url)
	return who
}

func (who identity) signed(sig *evidence.Signature) bool {
	return sig.Identity.Subject == who.subject && sig.Identity.Issuer == who.issuer
}

// payload keeps what was verified. It is a verify.Statements.
type payload struct{ bytes []byte }

func (p *payload) Read(b []byte, _ *evidence.Signature) (*evidence.Statement, error) {
	p.bytes = b
	return &evidence.Statement{}, nil
}

// openBatch verifies the bundle of a batch.
func openBatch(own verify.Anchor, who identity, b *api.CustodyBatch) (*proven, error) {
	subject, err := claimedRoot(b.Bundle)
	if err != nil {
		return nil, err
	}
	var signed payload
	sig, err := verify.Offline(own, b.Bundle, subject, &signed)
	if err != nil {
		return nil, err
	}
	if !who.signed(&sig) {
		return nil, fmt.Errorf("it is signed by %s, and was to be signed by %s (%s)", sig.Identity, who.subject, who.issuer)
	}
	p, err := readBatch(signed.bytes, subject)
	if err != nil {
		return nil, err
	}
	if p.number != b.Number {
		return nil, fmt.Errorf("its bundle is that of batch %d", p.number)
	}
	p.at = sig.At
	return p, nil
}

// claimedRoot reads, unverified, which root a bundle says it is about.
func claimedRoot(bundle []byte) (oci.Digest, error) {
	doc, err := strictjson.Parse(bundle, strictjson.Limits{Bytes: verify.MaxEnvelope})
	if err != nil {
		return oci.Digest{}, fmt.Errorf("reading its bundle: %v", err)
	}
	var b []byte
	if err := json.Unmarshal(doc.Get("dsseEnvelope", "payload").Raw(), &b); err != nil || len(b) == 0 {
		return oci.Digest{}, errors.New("its bundle has no statement")
	}
	statement, err := strictjson.Parse(b, strictjson.Limits{})
	if err != nil {
		return oci.Digest{}, fmt.Errorf("reading its statement: %v", err)
	}
	return oci.ParseDigest("sha256:" + statement.Get("predicate", "decisions", "root").String())
}

// readBatch reads a verified statement about subject.
func readBatch(statement []byte, subject oci.Digest) (*proven, error) {
	doc, err := attest.Parse(statement)
	if err != nil {
		return nil, err
	}
	if doc.Type != typeBatch {
		return nil, fmt.Errorf("its statement is of type %s, want %s", oci.Quote(doc.Type), typeBatch)
	}
	v, err := strictjson.Parse(statement, strictjson.Limits{})
	if err != nil {
		return nil, err
	}
	v = v.Get("predicate")
	p := new(proven)
	var ok bool
	if p.number, ok = v.Get("number").Int(); !ok || p.number < 1 {
		return nil, errors.New("its statement has no number")
	}
	decisions, err := head(v.Get("decisions"), "count")
	if err != nil {
		return nil, fmt.Errorf("reading the tree of its decisions: %v", err)
	}
	p.decisions = *decisions
	if hex.EncodeToString(decisions.Root[:]) != subject.Hex() {
		return nil, errors.New("its statement is about another tree than it has")
	}
	if e := v.Get("epochs"); e.Exists() {
		if p.epochs, err = head(e, "count"); err != nil {
			return nil, fmt.Errorf("reading the tree of its epochs: %v", err)
		}
	}
	if a := v.Get("audit"); a.Exists() {
		if p.audit, err = head(a, "size"); err != nil {
			return nil, fmt.Errorf("reading its head of the audit log: %v", err)
		}
		p.audit.Origin = a.Get("origin").String()
	}
	return p, nil
}

// head reads the size and the root of a tree.
func head(v strictjson.Value, size string) (*tlog.Checkpoint, error) {
	c := new(tlog.Checkpoint)
	var ok bool
	if c.Size, ok = v.Get(size).Int(); !ok || c.Size < 0 {
		return nil, fmt.Errorf("it has no %s", size)
	}
	var err error
	c.Root, err = hash(v.Get("root").String())
	return c, err
}

func hash(text string) (h tlog.Hash, err error) {
	if len(text) != 2*len(h) || strings.ToLower(text) != text {
		return h, fmt.Errorf("%s is no SHA-256 in hex", oci.Quote(text))
	}
	_, err = hex.Decode(h[:], []byte(text))
	return h, err
}

// follow checks that the tree of a head has a leaf at an index.
func follow(c *tlog.Checkpoint, index int64, path []string, leaf tlog.Hash) error {
	if index < 0 || index >= c.Size {
		return fmt.Errorf("its tree has %d leaves, and none of index %d", c.Size, index)
	}
	if len(path) > maxPath {
		return fmt.Errorf("its path has %d hashes, over the limit of %d", len(path), maxPath)
	}
	hashes := make([]tlog.Hash, len(path))
	for i, text := range path {
		var err error
		if hashes[i], err = hash(text); err != nil {
			return fmt.Errorf("reading its path: %v", err)
		}
	}
	if err := tlog.VerifyInclusion(hashes, *c, index, leaf); err != nil {
		return errors.New("its path does not lead to the root that is signed")
	}
	return nil
}

// payloadLeaf is the leaf of a decision, or of a state of a repository, in the
// tree of a batch.
func payloadLeaf(b []byte) tlog.Hash {
	sum := sha256.Sum256(b)
	return tlog.LeafHash(sum[:])
}
