// Package rekor is the transparency log of signatures: the API of Rekor,
// version 2, over a tile log.
//
// It takes entries of one type, hashedrekord 0.0.2. A DSSE envelope is logged
// as the hash of what it signs, which is how clients since cosign 3.1 do it. What
// the log has already is answered again with its old index, so that signing the
// same image twice is no fault.
package rekor

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	tiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/rekor-tiles/v2/pkg/types/hashedrekord"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// The type of all entries.
const (
	kind    = "hashedrekord"
	version = "0.0.2"
)

// addTime bounds how long an entry waits to be published. sigstore-go gives up
// after 30 seconds.
const addTime = 20 * time.Second

// algorithms are the keys and hashes that signatures may be of: those that the
// public log takes. Pure Ed25519 signs no hash, so it cannot be logged by one.
var algorithms = []common.PublicKeyDetails{
	common.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
	common.PublicKeyDetails_PKIX_ECDSA_P384_SHA_384,
	common.PublicKeyDetails_PKIX_ECDSA_P521_SHA_512,
	common.PublicKeyDetails_PKIX_RSA_PKCS1V15_2048_SHA256,
	common.PublicKeyDetails_PKIX_RSA_PKCS1V15_3072_SHA256,
	common.PublicKeyDetails_PKIX_RSA_PKCS1V15_4096_SHA256,
	common.PublicKeyDetails_PKIX_ED25519_PH,
}

// Refusal is a no that the caller can do something about. Message is for
// people: cosign prints it as it is.
type Refusal struct {
	Status  int // HTTP: 400, 413, or 503 for later
	Message string
}

func (r *Refusal) Error() string { return r.Message }

func refuse(status int, format string, args ...any) error {
	return &Refusal{status, fmt.Sprintf(format, args...)}
}

// Adder appends to the log; tlog.Log does, with Dedupe.
type Adder interface {
	Add(ctx context.Context, e tlog.Entry) (tlog.Added, error)
}

// Options are what a Log works with.
type Options struct {
	Adder Adder
	// Source is where the same log is read.
	Source tlog.Source
	// ID is that of the log's key: trust.CheckpointKeyID. Older are those of keys
	// before, which another process may still sign with, the newest last. Optional.
	ID    [sha256.Size]byte
	Older [][sha256.Size]byte
}

// Log takes signatures. It is safe for concurrent use.
type Log struct {
	o   Options
	ids atomic.Pointer[[][sha256.Size]byte] // of all keys, the one in use last
}

// New returns a log.
func New(o Options) *Log {
	l := &Log{o: o}
	ids := append(slices.Clone(o.Older), o.ID)
	l.ids.Store(&ids)
	return l
}

// Rekey makes the ID of another key known: the log's checkpoints may be signed by
// it from now on. It is not called by two at a time.
func (l *Log) Rekey(id [sha256.Size]byte) {
	ids := append(slices.Clone(*l.ids.Load()), id)
	l.ids.Store(&ids)
}

// id returns the ID of the key that has signed a checkpoint, the newest of those
// that have: clients look the key up by it. A signature names its key by the
// first four bytes (C2SP signed-note).
func (l *Log) id(signed []byte) []byte {
	ids := *l.ids.Load()
	var unverified *note.UnverifiedNoteError
	if _, err := note.Open(signed, note.VerifierList()); errors.As(err, &unverified) {
		for _, id := range slices.Backward(ids) {
			for _, sig := range unverified.Note.UnverifiedSigs {
				if sig.Hash == binary.BigEndian.Uint32(id[:4]) {
					return id[:]
				}
			}
		}
	}
	return ids[len(ids)-1][:]
}

// Add logs a *HashedRekordRequestV002 and returns once it is published. It is
// what sigstore-go signs with, without HTTP (sign.RekorV2Client). Errors that are
// the caller's are a *Refusal.
func (l *Log) Add(ctx context.Context, entry any) (*rekorpb.TransparencyLogEntry, error) {
	req, ok := entry.(*tiles.HashedRekordRequestV002)
	if !ok {
		return nil, refuse(http.StatusBadRequest, "a %T cannot be logged: want a hashedrekord 0.0.2", entry)
	}
	body, err := l.body(req)
	if err != nil {
		return nil, err
	}
	e, err := tlog.Plain(body)
	if err != nil {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the entry has %d bytes and may have %d: the certificate is too large", len(body), tlog.MaxEntry)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, addTime, errSlow)
	defer cancel()
	added, err := l.o.Adder.Add(ctx, e)
	if err != nil {
		return nil, later(err)
	}
	return l.logged(body, added), nil
}

// errSlow ends the wait for an entry.
var errSlow = errors.New("it took too long")

// later turns what passes by itself into a refusal.
func later(err error) error {
	switch {
	case errors.Is(err, tlog.ErrBusy):
		return refuse(http.StatusServiceUnavailable, "the transparency log has too much to do; try again")
	case errors.Is(err, tlog.ErrUnwitnessed):
		return refuse(http.StatusServiceUnavailable, "too few witnesses of the transparency log have signed in time; try again, and if it goes on, ask who runs this server to look at bonded health")
	case errors.Is(err, errSlow), errors.Is(err, tlog.ErrStopped):
		return refuse(http.StatusServiceUnavailable, "the transparency log does not answer in time; try again")
	}
	return fmt.Errorf("logging a signature: %w", err)
}

// body verifies the signature of a request and returns the entry as it is
// logged: canonical JSON (RFC 8785).
func (l *Log) body(req *tiles.HashedRekordRequestV002) ([]byte, error) {
	entry, err := l.entry(req)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the entry cannot be logged: %v", err)
	}
	b, err := protojson.Marshal(entry)
	if err == nil {
		b, err = jsoncanonicalizer.Transform(b)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding a log entry: %v", err)
	}
	return b, nil
}

// entry verifies the signature of a request. Of the algorithms only the one that
// the request names is allowed: Rekor's code alone would log a key under the name
// of another's algorithm.
func (l *Log) entry(req *tiles.HashedRekordRequestV002) (*tiles.Entry, error) {
	verifier := req.GetSignature().GetVerifier()
	if verifier == nil {
		return nil, errors.New("it has no signature with a key or certificate")
	}
	if !slices.Contains(algorithms, verifier.KeyDetails) {
		return nil, fmt.Errorf("signatures of the kind %s are not taken, only %v", verifier.KeyDetails, algorithms)
	}
	only, err := signature.NewAlgorithmRegistryConfig([]common.PublicKeyDetails{verifier.KeyDetails})
	if err != nil {
		return nil, err
	}
	return hashedrekord.ToLogEntry(req, only)
}

// logged is what clients keep of an entry: its place with the proof.
func (l *Log) logged(body []byte, a tlog.Added) *rekorpb.TransparencyLogEntry {
	proof := &rekorpb.InclusionProof{
		LogIndex: a.Index, RootHash: a.Checkpoint.Root[:], TreeSize: a.Checkpoint.Size,
		Checkpoint: &rekorpb.Checkpoint{Envelope: string(a.Signed)},
	}
	for _, h := range a.Proof {
		proof.Hashes = append(proof.Hashes, h[:])
	}
	return &rekorpb.TransparencyLogEntry{
		LogIndex: a.Index, LogId: &common.LogId{KeyId: l.id(a.Signed)}, KindVersion: &rekorpb.KindVersion{Kind: kind, Version: version},
		InclusionProof: proof, CanonicalizedBody: body,
	}
}
