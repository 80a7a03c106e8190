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
	if err := said.Decisions.has(p.Payload, p.Index, p.Path); err != nil {
		return nil, nil, fmt.Errorf("verifying a proof: %w", err)
	}
	var d api.Decision
	if err := json.Unmarshal(p.Payload, &d); err != nil {
		return nil, nil, fmt.Errorf("reading a decision that is proven: %w", err)
	}
	return &d, said, nil
}

// VerifyEpoch verifies the proof of the state of a repository offline, and
// returns the document that it proves, made from its payload: nothing else of e is
// believed, and its lines are those of that document where it has any. Whether it
// is the newest, and has not expired, is for the caller to see.
func VerifyEpoch(e *api.RepositoryEpoch, root []byte, identity, issuer string) (*api.Epoch, *Predicate, error) {
	if e == nil || !e.Proven {
		return nil, nil, errors.New("verifying a state: it is not proven")
	}
	said, err := VerifyBatch(e.Batch, root, identity, issuer)
	if err != nil {
		return nil, nil, err
	}
	if said.Epochs == nil {
		return nil, nil, fmt.Errorf("verifying a state: batch %d proves none", said.Number)
	}
	if err := said.Epochs.has(e.Payload, e.Index, e.Path); err != nil {
		return nil, nil, fmt.Errorf("verifying a state: %w", err)
	}
	if _, err := strictjson.Parse(e.Payload, strictjson.Limits{}); err != nil {
		return nil, nil, fmt.Errorf("reading a state that is proven: %w", err)
	}
	doc := new(api.Epoch)
	if err := json.Unmarshal(e.Payload, doc); err != nil {
		return nil, nil, fmt.Errorf("reading a state that is proven: %w", err)
	}
	if _, err := oci.ParseRepository(doc.Repository); err != nil || doc.Expires.IsZero() {
		return nil, nil, errors.New("reading a state that is proven: it is of no repository, or for ever")
	}
	if len(e.State) > 0 && api.StateDigest(e.State) != doc.Digest {
		return nil, nil, fmt.Errorf("verifying a state: its lines are not those of its digest %s", doc.Digest)
	}
	return doc, said, nil
}

// has checks that a tree has a payload at an index.
func (t *Tree) has(payload []byte, index int64, path []string) error {
	hashes, err := parseHashes(path)
	if err != nil {
		return err
	}
	root, err := parseHashes([]string{t.Root})
	if err != nil {
		return err
	}
	return CheckPath(hashes, t.Count, index, PayloadHash(payload), root[0])
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
