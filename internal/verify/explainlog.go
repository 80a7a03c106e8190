package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/x509util"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	formatslog "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/oci"
)

// explainSCT looks at the proof that the certificate is in a CT log.
func (r *sigstoreRoot) explainSCT(s *signed) error {
	if !r.sct || s.leaf == nil {
		return nil
	}
	scts, err := x509util.ParseSCTsFromCertificate(s.leaf.Raw)
	if err != nil {
		return errors.New("the SCT in its certificate cannot be read")
	}
	if len(scts) == 0 {
		return errors.New("its certificate has no SCT: nothing says that it is in a certificate transparency log")
	}
	var why error
	for _, sct := range scts {
		if why = r.explainOneSCT(s, sct); why == nil {
			return nil
		}
	}
	return why
}

func (r *sigstoreRoot) explainOneSCT(s *signed, sct *ct.SignedCertificateTimestamp) error {
	id := hex.EncodeToString(sct.LogID.KeyID[:])
	log, ok := r.material.CTLogs()[id]
	if !ok {
		return fmt.Errorf("the SCT of its certificate is by CT log %.16s, which is not in this trusted root", id)
	}
	at := ct.TimestampToTime(sct.Timestamp)
	if !log.ValidityPeriodStart.IsZero() && at.Before(log.ValidityPeriodStart) || !log.ValidityPeriodEnd.IsZero() && at.After(log.ValidityPeriodEnd) {
		return fmt.Errorf("the SCT of its certificate is of %s, when its CT log was not trusted", stamp(at))
	}
	chains, err := verify.VerifyLeafCertificate(s.leaf.NotBefore, s.leaf, r.material)
	if err == nil {
		err = verify.VerifySignedCertificateTimestamp(chains, 1, r.material)
	}
	if err != nil {
		return errors.New("the SCT of its certificate does not verify: it was made for another certificate, or changed")
	}
	return nil
}

// explainLog looks at the entries in transparency logs.
func (r *sigstoreRoot) explainLog(s *signed) error {
	if !r.log {
		return nil
	}
	entries := s.VerificationMaterial.GetTlogEntries()
	if len(entries) == 0 {
		return errors.New("it has no entry in a transparency log")
	}
	for i, entry := range entries {
		for _, other := range entries[:i] {
			if other.GetLogIndex() == entry.GetLogIndex() && string(other.GetLogId().GetKeyId()) == string(entry.GetLogId().GetKeyId()) {
				return errors.New("it lists one log entry twice")
			}
		}
	}
	logs := r.material.RekorLogs()
	var why error
	for i, entry := range entries {
		id := hex.EncodeToString(entry.GetLogId().GetKeyId())
		log, ok := logs[id]
		if !ok {
			why = fmt.Errorf("its log entry is by log %.16s, which is not in this trusted root: the log of somebody else, or one that is trusted no more", id)
			continue
		}
		if why = explainEntry(s, s.entries[i], entry, log); why != nil {
			return why
		}
	}
	return why
}

func explainEntry(s *signed, parsed *tlog.Entry, entry *protorekor.TransparencyLogEntry, log *root.TransparencyLog) error {
	if len(entry.GetInclusionPromise().GetSignedEntryTimestamp()) > 0 {
		if err := explainPromise(s, parsed, log); err != nil {
			return err
		}
	}
	if entry.GetInclusionProof() == nil || rekor1Origin.MatchString(entry.GetInclusionProof().GetCheckpoint().GetEnvelope()) {
		return explainRekor1(s, parsed)
	}
	checkpoint, err := explainCheckpoint(entry.GetInclusionProof().GetCheckpoint().GetEnvelope(), log)
	if err != nil {
		return err
	}
	return explainInclusion(s, parsed, checkpoint)
}

func explainPromise(s *signed, parsed *tlog.Entry, log *root.TransparencyLog) error {
	at := parsed.IntegratedTime()
	if at.Before(log.ValidityPeriodStart) || !log.ValidityPeriodEnd.IsZero() && at.After(log.ValidityPeriodEnd) {
		return fmt.Errorf("its log entry is of %s, when log %s was not trusted", stamp(at), logName(log))
	}
	known := map[string]*root.TransparencyLog{hex.EncodeToString([]byte(parsed.LogKeyID())): log}
	if err := tlog.VerifySET(parsed, known); err != nil {
		return fmt.Errorf("the promise of log %s does not verify: the entry or its time was changed", logName(log))
	}
	return explainLife(s, at)
}

// explainRekor1 compares an entry of Rekor 1, which is verified by then, with
// the signature it came with.
func explainRekor1(s *signed, parsed *tlog.Entry) error {
	if parsed.IsRekorV2() {
		return errors.New("its log entry has no inclusion proof")
	}
	if string(parsed.Signature()) != string(s.signature.Signature()) {
		return errors.New("its log entry is about another signature")
	}
	if hash, ok := parsed.GetDssePayloadHash(); ok && s.payload != nil {
		if sum := sha256.Sum256(s.payload); string(hash) != string(sum[:]) {
			return errors.New("its log entry is about another statement")
		}
	}
	return nil
}

// explainCheckpoint opens the signed note of a log's head.
func explainCheckpoint(envelope string, log *root.TransparencyLog) (*formatslog.Checkpoint, error) {
	u, err := url.Parse(log.BaseURL)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("the trusted root gives its log no URL with a host, so its origin is not known")
	}
	verifier, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
	if err != nil {
		return nil, err
	}
	known, err := rekornote.NewNoteVerifier(u.Hostname(), verifier)
	if err != nil {
		return nil, err
	}
	if origin, _, _ := strings.Cut(envelope, "\n"); origin != u.Hostname() {
		return nil, fmt.Errorf("its checkpoint is of the log %s, and this one is %s", oci.Quote(origin), u.Hostname())
	}
	checkpoint, _, _, err := formatslog.ParseCheckpoint([]byte(envelope), u.Hostname(), known)
	var invalid *note.InvalidSignatureError
	var strange *note.UnverifiedNoteError
	switch {
	case err == nil:
		return checkpoint, nil
	case errors.As(err, &invalid), strings.Contains(err.Error(), "invalid signature"):
		return nil, fmt.Errorf("the checkpoint of log %s was changed: its signature does not verify", u.Hostname())
	case errors.As(err, &strange), strings.Contains(err.Error(), "no verifiable signatures"):
		return nil, fmt.Errorf("its checkpoint is not signed by the key of log %s", u.Hostname())
	}
	return nil, errors.New("its checkpoint is no signed note: it is cut or was changed")
}

// explainInclusion follows the proof from the entry to the head.
func explainInclusion(s *signed, parsed *tlog.Entry, head *formatslog.Checkpoint) error {
	entry := parsed.TransparencyLogEntry()
	index, hashes := entry.GetLogIndex(), entry.GetInclusionProof().GetHashes()
	if index < 0 || uint64(index) >= head.Size {
		return fmt.Errorf("it is said to be entry %d, and its checkpoint is of a log with %d: the checkpoint is older than the entry", index, head.Size)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(entry.GetCanonicalizedBody())
	err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), head.Size, leaf, hashes, head.Hash)
	switch {
	case err == nil && string(parsed.Signature()) == string(s.signature.Signature()):
		return nil
	case err == nil:
		return errors.New("its log entry is in the log and about another signature than this one")
	case strings.Contains(err.Error(), "proof size"):
		return fmt.Errorf("its inclusion proof has %d hashes, which is wrong for entry %d of %d", len(hashes), index, head.Size)
	}
	return fmt.Errorf("its inclusion proof does not lead from entry %d to the head of the log: the entry, its index or the path was changed", index)
}
