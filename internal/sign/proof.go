package sign

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/strictjson"
	"github.com/bonded-dev/bonded/internal/verify"
)

// VerifyBatch verifies the bundle of a batch offline, by one trusted_root.json
// and the server's identity and issuer (docs/format/batch.md), and returns what it
// says. Nothing of b but its bundle is believed.
func VerifyBatch(b *api.Batch, root []byte, identity, issuer string) (*Predicate, error) {
	if b == nil {
		return nil, errors.New("verifying a batch: there is none")
	}
	claimed, err := claimedRoot(b.Bundle)
	if err != nil {
		return nil, fmt.Errorf("verifying a batch: %w", err)
	}
	var said batchStatement
	anchor := verify.Anchor{Name: "bonded", Kind: verify.KindSigstore, Roots: [][]byte{root}}
	sig, err := verify.Offline(anchor, b.Bundle, claimed, &said)
	switch {
	case err != nil:
		return nil, fmt.Errorf("verifying a batch: %w", err)
	case sig.Identity.Subject != identity || sig.Identity.Issuer != issuer:
		return nil, fmt.Errorf("verifying a batch: it is signed by %s, and not by the server, %s", oci.Quote(sig.Identity.String()), oci.Quote(identity))
	case said.predicate == nil || said.predicate.Decisions.Root != claimed.Hex():
		return nil, errors.New("verifying a batch: its subject is not the root of its decisions")
	}
	return said.predicate, nil
}

// claimedRoot returns what the statement in a bundle names as its subject, before
// anything is verified: a signature is verified over something.
func claimedRoot(bundle []byte) (oci.Digest, error) {
	doc, err := strictjson.Parse(bundle, strictjson.Limits{Bytes: verify.MaxEnvelope})
	if err != nil {
		return oci.Digest{}, err
	}
	payload, err := base64.StdEncoding.DecodeString(doc.Get("dsseEnvelope", "payload").String())
	if err != nil {
		return oci.Digest{}, fmt.Errorf("reading its envelope: %w", err)
	}
	st, err := attest.Parse(payload)
	if err != nil {
		return oci.Digest{}, err
	}
	if st.Type != seal.TypeBatch || len(st.Subjects) != 1 {
		return oci.Digest{}, fmt.Errorf("a statement of type %s is no batch", oci.Quote(st.Type))
	}
	return oci.ParseDigest("sha256:" + st.Subjects[0].Digests["sha256"])
}

// batchStatement keeps the predicate of what was verified.
type batchStatement struct{ predicate *Predicate }

// Read implements verify.Statements.
func (s *batchStatement) Read(payload []byte, _ *evidence.Signature) (*evidence.Statement, error) {
	doc, err := attest.Parse(payload)
	if err != nil {
		return nil, err
	}
	if doc.Type != seal.TypeBatch {
		return nil, fmt.Errorf("a statement of type %s is no batch", oci.Quote(doc.Type))
	}
	st, err := doc.Statement(0)
	if err != nil {
		return nil, err
	}
	s.predicate = new(Predicate)
	return st, json.Unmarshal(st.Predicate, s.predicate)
}

// VerifyProof verifies the proof of a decision offline, and returns the decision
// that it proves, made from its payload, and what the batch says. Whether that is
// the decision that was asked about is for the caller to see.
func VerifyProof(p *api.Proof, root []byte, identity, issuer string) (*api.Decision, *Predicate, error) {
	if p == nil || !p.Proven {
		return nil, nil, errors.New("verifying a proof: the decision is not proven")
	}
	said, err := VerifyBatch(p.Batch, root, identity, issuer)
	if err != nil {
		return nil, nil, err
	}
	path, err := parseHashes(p.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("verifying a proof: %w", err)
	}
	tree, err := parseHashes([]string{said.Decisions.Root})
	if err != nil {
		return nil, nil, fmt.Errorf("verifying a proof: %w", err)
	}
	if err := CheckPath(path, said.Decisions.Count, p.Index, PayloadHash(p.Payload), tree[0]); err != nil {
		return nil, nil, fmt.Errorf("verifying a proof: %w", err)
	}
	var d api.Decision
	if err := json.Unmarshal(p.Payload, &d); err != nil {
		return nil, nil, fmt.Errorf("reading a decision that is proven: %w", err)
	}
	return &d, said, nil
}

// longestPath is that in a tree of 2^63 leaves.
const longestPath = 63

func parseHashes(texts []string) ([]Hash, error) {
	if len(texts) > longestPath {
		return nil, fmt.Errorf("a path of %d hashes", len(texts))
	}
	hashes := make([]Hash, len(texts))
	for i, text := range texts {
		if len(text) != 2*len(hashes[i]) {
			return nil, fmt.Errorf("%s is no hash", oci.Quote(text))
		}
		if _, err := hex.Decode(hashes[i][:], []byte(text)); err != nil {
			return nil, fmt.Errorf("%s is no hash: %v", oci.Quote(text), err)
		}
	}
	return hashes, nil
}
