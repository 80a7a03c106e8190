package rekor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	bundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// ErrNotLogged is returned by Reanchor for an entry that is not where its bundle
// has it: the key that signed the proof has signed something else.
var ErrNotLogged = errors.New("the log does not have this entry")

// Under reports whether a Sigstore bundle (JSON) has an entry that is proved under
// the log key of an ID.
func Under(b []byte, id [32]byte) (bool, error) {
	doc, err := parseBundle(b)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(doc.GetVerificationMaterial().GetTlogEntries(), func(e *rekorpb.TransparencyLogEntry) bool {
		return bytes.Equal(e.GetLogId().GetKeyId(), id[:])
	}), nil
}

func parseBundle(b []byte) (*bundle.Bundle, error) {
	var doc bundle.Bundle
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("reading a bundle: %v", err)
	}
	return &doc, nil
}

// Reanchor proves the entries of a bundle anew: those that keys of before have
// signed the head over, and that the log has at the same place to this day, get a
// proof under its present head. What it signs, and when, stays. It returns nil
// where nothing is to be changed. Errors match ErrNotLogged.
func (l *Log) Reanchor(ctx context.Context, b []byte) ([]byte, error) {
	doc, err := parseBundle(b)
	if err != nil {
		return nil, err
	}
	ids := *l.ids.Load()
	signed, err := l.o.Source.Checkpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the head of the log: %w", err)
	}
	now, changed := ids[len(ids)-1], false
	if !bytes.Equal(l.id(signed), now[:]) {
		return nil, fmt.Errorf("proving a bundle anew: %w: the head of the log is not signed by its present key yet", tlog.ErrSignature)
	}
	for i, e := range doc.GetVerificationMaterial().GetTlogEntries() {
		id := e.GetLogId().GetKeyId()
		if bytes.Equal(id, now[:]) || !slices.ContainsFunc(ids, func(known [32]byte) bool { return bytes.Equal(known[:], id) }) {
			continue
		}
		next, err := l.prove(ctx, e, signed)
		if err != nil {
			return nil, fmt.Errorf("proving entry %d anew: %w", e.LogIndex, err)
		}
		doc.VerificationMaterial.TlogEntries[i], changed = next, true
	}
	if !changed {
		return nil, nil
	}
	out, err := protojson.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encoding a bundle: %v", err)
	}
	return out, nil
}

// prove proves that an entry is in the log of a head that was signed.
func (l *Log) prove(ctx context.Context, e *rekorpb.TransparencyLogEntry, signed []byte) (*rekorpb.TransparencyLogEntry, error) {
	c, err := tlog.PeekCheckpoint(signed)
	if err != nil {
		return nil, err
	}
	if e.LogIndex < 0 || e.LogIndex >= c.Size {
		return nil, fmt.Errorf("%w: it has %d entries", ErrNotLogged, c.Size)
	}
	has, hashes, err := tlog.Prove(ctx, l.o.Source, tlog.PlainEntries, c, e.LogIndex)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(has.Data, e.CanonicalizedBody) {
		return nil, fmt.Errorf("%w: it has another one there", ErrNotLogged)
	}
	next := l.logged(e.CanonicalizedBody, tlog.Added{Index: e.LogIndex, Checkpoint: c, Signed: signed, Proof: hashes})
	next.LogId = &common.LogId{KeyId: l.id(signed)}
	next.KindVersion = e.KindVersion
	return next, nil
}
