package seal

import (
	"bytes"
	"context"
	"fmt"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
)

// Sealed is a bundle that signs exactly what was intended. Only Compare makes
// one.
type Sealed struct {
	intent *Intent
	index  int64
}

// Intent returns what was signed; nil of a Sealed that Compare has not made.
func (s Sealed) Intent() *Intent { return s.intent }

// Index is that of the entry in the transparency log.
func (s Sealed) Index() int64 { return s.index }

// Compare reads back what is on record and verifies it as a stranger would, by
// the trusted root alone: the bundle is the server's own, of a proven time, in
// the transparency log, and its payload is, byte for byte, the statement that was
// intended. Errors match ErrNotIntended where it is not.
func (s *Signer) Compare(ctx context.Context, id int64) (Sealed, error) {
	in, err := s.o.Record.Intent(ctx, id)
	if err != nil {
		return Sealed{}, err
	}
	if in.State != Signed {
		return Sealed{}, fmt.Errorf("intent %d: nothing that came back is on record: %w", id, ErrNotIntended)
	}
	if err := in.Check(); err != nil {
		return Sealed{}, err
	}
	root, err := s.o.Root()
	if err != nil {
		return Sealed{}, err
	}
	sig, err := Verify(in, root, s.o.Identity, s.o.Issuer)
	if err != nil {
		return Sealed{}, fmt.Errorf("intent %d: %w: %w", id, ErrNotIntended, err)
	}
	return Sealed{intent: in, index: sig.Log.Index}, nil
}

// Verify checks that the bundle of an intent signs its statement, by identity and
// issuer and the given trusted_root.json, and by nothing else.
func Verify(in *Intent, root []byte, identity, issuer string) (*evidence.Signature, error) {
	anchor := verify.Anchor{Name: "bonded", Kind: verify.KindSigstore, Roots: [][]byte{root}}
	var said payload
	sig, err := verify.Offline(anchor, in.Bundle, in.Subject, &said)
	if err != nil {
		return nil, err
	}
	switch {
	case sig.Identity.Subject != identity || sig.Identity.Issuer != issuer:
		return nil, fmt.Errorf("the bundle is signed by %s", oci.Quote(sig.Identity.String()))
	case !bytes.Equal(said, in.Statement):
		return nil, fmt.Errorf("the bundle signs %s and not %s", oci.FromBytes(said), in.Digest)
	case sig.Log == nil || sig.At.IsZero():
		return nil, fmt.Errorf("the bundle has no proof of a log and of a time")
	}
	return &sig, nil
}

// payload keeps what was verified, as it was signed.
type payload []byte

// Read implements verify.Statements.
func (p *payload) Read(b []byte, _ *evidence.Signature) (*evidence.Statement, error) {
	*p = bytes.Clone(b)
	return nil, nil
}
