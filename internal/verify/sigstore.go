package verify

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// demands are what a signature must bring beside itself.
type demands struct{ log, sct, timestamp bool }

var (
	requireAll       = demands{log: true, sct: true, timestamp: true}
	requireTimestamp = demands{timestamp: true}
)

// options spells demands for sigstore-go.
func (d demands) options() []verify.VerifierOption {
	opts := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if d.log {
		opts = append(opts, verify.WithTransparencyLog(1))
	}
	if d.sct {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	switch {
	case d.timestamp && d.log:
		// The log's own time will do where it is signed (Rekor 1).
		return append(opts, verify.WithObserverTimestamps(1))
	case d.timestamp:
		return append(opts, verify.WithSignedTimestamps(1))
	}
	return append(opts, verify.WithNoObserverTimestamps())
}

// sigstoreRoot is one trusted root with what is demanded under it.
type sigstoreRoot struct {
	material root.TrustedMaterial
	verifier *verify.Verifier
	notary   *trustStore // nil where Notation's signatures are not taken
	demands
}

// maxRoots bounds the trusted roots of one anchor.
const maxRoots = 16

// readRoots reads trusted_root.json documents. Each stands for itself: a
// certificate of one with the log of another is nothing.
func readRoots(docs [][]byte, d demands) ([]*sigstoreRoot, error) {
	var out []*sigstoreRoot
	err := eachRoot(docs, func(material *root.TrustedRoot) error {
		if len(material.FulcioCertificateAuthorities()) == 0 {
			return errors.New("it has no certificate authority")
		}
		verifier, err := verify.NewVerifier(material, d.options()...)
		if err != nil {
			return err
		}
		r := &sigstoreRoot{material: material, verifier: verifier, demands: d}
		out = append(out, r)
		return r.prepareNotation()
	})
	if err == nil && len(out) == 0 {
		err = errors.New("no trusted root was given")
	}
	return out, err
}

func eachRoot(docs [][]byte, use func(*root.TrustedRoot) error) error {
	n := 0
	for _, doc := range docs {
		dec := json.NewDecoder(bytes.NewReader(doc))
		for {
			var raw json.RawMessage
			err := dec.Decode(&raw)
			if errors.Is(err, io.EOF) {
				break
			}
			if n++; n > maxRoots {
				return fmt.Errorf("more than %d trusted roots", maxRoots)
			}
			if err == nil {
				_, err = strictjson.Parse(raw, strictjson.Limits{})
			}
			if err != nil {
				return fmt.Errorf("trusted root %d: %w", n, err)
			}
			material, err := root.NewTrustedRootFromJSON(raw)
			if err == nil {
				err = use(material)
			}
			if err != nil {
				return fmt.Errorf("trusted root %d: %s", n, plain(err))
			}
		}
	}
	return nil
}

// check verifies s for subject under r. The signature it returns has neither
// anchor nor statement yet.
func (r *sigstoreRoot) check(s *signed, subject oci.Digest) (evidence.Signature, error) {
	policy, err := artifactPolicy(s, subject)
	if err != nil {
		return evidence.Signature{}, err
	}
	result, err := r.verifier.Verify(s, verify.NewPolicy(policy, identityPolicy(s)))
	if err != nil {
		return evidence.Signature{}, r.explain(s, subject, err)
	}
	sig := evidence.Signature{Subject: subject, At: earliest(result.VerifiedTimestamps)}
	if s.leaf != nil {
		if sig.Identity, err = identityOf(s.leaf); err != nil {
			return evidence.Signature{}, err
		}
		if forNotation(s.leaf, sig.Identity) {
			return evidence.Signature{}, errors.New("its certificate was issued for Notation, and counts there alone")
		}
	}
	if r.log {
		if sig.Log, err = r.logEntry(s, sig.At); err != nil {
			return evidence.Signature{}, err
		}
	}
	return sig, nil
}

// artifactPolicy says what must be signed.
func artifactPolicy(s *signed, subject oci.Digest) (verify.ArtifactPolicyOption, error) {
	if s.artifact != nil {
		return verify.WithArtifact(bytes.NewReader(s.artifact)), nil
	}
	if m := s.signature.MessageSignatureContent(); m != nil && messageAlgorithm(m) != subject.Algorithm() {
		return nil, fmt.Errorf("it signs a digest of algorithm %s, and the subject is named by %s", m.DigestAlgorithm(), subject.Algorithm())
	}
	sum, err := hex.DecodeString(subject.Hex())
	if err != nil {
		return nil, err
	}
	return verify.WithArtifactDigest(string(subject.Algorithm()), sum), nil
}

func messageAlgorithm(m verify.MessageSignatureContent) oci.Algorithm {
	switch m.DigestAlgorithm() {
	case "SHA2_256":
		return oci.SHA256
	case "SHA2_512":
		return oci.SHA512
	}
	return ""
}

// identityPolicy leaves who signed to the gates, which name identities.
func identityPolicy(s *signed) verify.PolicyOption {
	if s.leaf == nil {
		return verify.WithKey()
	}
	return verify.WithoutIdentitiesUnsafe()
}

// earliest returns the first of the proven times: by then the signature was
// there.
func earliest(times []verify.TimestampVerificationResult) time.Time {
	var first time.Time
	for _, t := range times {
		if first.IsZero() || t.Timestamp.Before(first) {
			first = t.Timestamp
		}
	}
	return first.UTC()
}

// logEntry returns where the log has s, from what was verified. at is the
// proven time of signing, zero when there is none: sigstore-go does not look
// whether the log's key was in force then.
func (r *sigstoreRoot) logEntry(s *signed, at time.Time) (*evidence.LogEntry, error) {
	logs := r.material.RekorLogs()
	for i, entry := range s.VerificationMaterial.GetTlogEntries() {
		known, ok := logs[hex.EncodeToString(entry.GetLogId().GetKeyId())]
		if !ok || len(s.entries) > 1 && !r.verifies(s, s.entries[i]) {
			continue
		}
		if end := known.ValidityPeriodEnd; !at.IsZero() && !end.IsZero() && at.After(end) {
			return nil, fmt.Errorf("the key of log %s was taken out of use at %s, and this was signed at %s", logName(known), stamp(end), stamp(at))
		}
		return &evidence.LogEntry{Log: logName(known), Index: verifiedIndex(entry)}, nil
	}
	return nil, errors.New("none of its log entries verifies by itself")
}

// verifies reports whether one of several entries holds.
func (r *sigstoreRoot) verifies(s *signed, entry *tlog.Entry) bool {
	alone := *s
	alone.entries = []*tlog.Entry{entry}
	_, err := verify.VerifyTlogEntry(&alone, r.material, 1, false)
	return err == nil
}

// rekor1Origin is the first line of a checkpoint of Rekor 1: host and tree.
var rekor1Origin = regexp.MustCompile(`^.* - [0-9]+\n`)

// verifiedIndex returns the index that a proof or promise is about. Rekor 1
// proves the place in one shard, and only its promise signs the other one.
func verifiedIndex(entry *protorekor.TransparencyLogEntry) int64 {
	proof := entry.GetInclusionProof()
	if len(entry.GetInclusionPromise().GetSignedEntryTimestamp()) == 0 && rekor1Origin.MatchString(proof.GetCheckpoint().GetEnvelope()) {
		return proof.GetLogIndex()
	}
	return entry.GetLogIndex()
}

// logName is the host of a log, which is its origin.
func logName(l *root.TransparencyLog) string {
	if u, err := url.Parse(l.BaseURL); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return strings.TrimSpace(l.BaseURL + " " + hex.EncodeToString(l.ID)[:min(8, 2*len(l.ID))])
}

// stamp is a time as refusals say it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
