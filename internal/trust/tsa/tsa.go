// Package tsa is a timestamp authority (RFC 3161): it signs that bytes with a
// given hash were there at a time.
package tsa

import (
	"context"
	"crypto"
	_ "crypto/sha256" // the hashes that requests name
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/digitorus/timestamp"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Errors that callers may test for.
var (
	// ErrRequest: a request that is none, or that asks for what is not given.
	ErrRequest = errors.New("timestamp request refused")
	// ErrClock: the clock cannot be trusted; nothing is signed until it can.
	ErrClock = errors.New("no trustworthy time")
)

// MaxRequest bounds a request, in bytes: a hash, a nonce and an OID take fewer
// than 200.
const MaxRequest = 4 << 10

// maxNonce bounds a nonce, in bits.
const maxNonce = 512

// slack is how far the clock may step back and be taken for the time it was
// before: what a correction by NTP does. More is refused.
const slack = time.Second

// Policy is the policy that timestamps are made under: the one that Sigstore's
// own authorities name.
var Policy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}

// Keys gives the chain of the authority, its leaf first, and the leaf's key;
// trust.Instance does.
type Keys interface {
	Timestamper() ([]*x509.Certificate, crypto.Signer)
}

// Options are what an authority works with.
type Options struct {
	Keys  Keys
	Clock func() time.Time
	// Floor is the newest time that is known to have been before the start, such
	// as that of the newest checkpoint: an earlier clock is refused. Optional.
	Floor time.Time
}

// Authority signs timestamps. It is safe for concurrent use.
type Authority struct {
	o Options

	mu   sync.Mutex // guards last
	last time.Time  // newest time that was signed, or the floor
}

// New returns an authority.
func New(o Options) *Authority { return &Authority{o: o, last: o.Floor.Round(0)} }

// now returns the time to sign, in whole seconds as the format has it, which
// never goes back. Errors match ErrClock.
func (a *Authority) now(leaf *x509.Certificate) (time.Time, error) {
	t := a.o.Clock().Round(0).UTC() // the wall clock: it is what is signed
	a.mu.Lock()
	defer a.mu.Unlock()
	if back := a.last.Sub(t); back > slack {
		return t, fmt.Errorf("%w: the clock says %s, which is %s before a time that was signed already; set the clock, or wait", ErrClock, t.Format(time.RFC3339), back.Round(time.Second))
	} else if back > 0 {
		t = a.last
	}
	if t.Before(leaf.NotBefore) || t.After(leaf.NotAfter) {
		return t, fmt.Errorf("%w: the clock says %s and the authority's certificate is good from %s to %s; set the clock, or make another with bonded trust rotate tsa",
			ErrClock, t.Format(time.RFC3339), leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	a.last = t
	return t.Truncate(time.Second), nil
}

// parse reads a request (RFC 3161, 2.4.1). Errors match ErrRequest.
func parse(b []byte) (*timestamp.Request, error) {
	if len(b) > MaxRequest {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrRequest, MaxRequest)
	}
	var version int
	var inner cryptobyte.String
	if in := cryptobyte.String(b); !in.ReadASN1(&inner, cbasn1.SEQUENCE) || !inner.ReadASN1Integer(&version) {
		return nil, fmt.Errorf("%w: want the DER of a TimeStampReq", ErrRequest)
	}
	req, err := timestamp.ParseRequest(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %v; hashes are SHA-256, SHA-384 and SHA-512", ErrRequest, err)
	}
	switch req.HashAlgorithm {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return nil, fmt.Errorf("%w: %v is too weak; use SHA-256, SHA-384 or SHA-512", ErrRequest, req.HashAlgorithm)
	}
	switch {
	case version != 1:
		return nil, fmt.Errorf("%w: its version is %d and 1 is known", ErrRequest, version)
	case len(req.HashedMessage) != req.HashAlgorithm.Size():
		return nil, fmt.Errorf("%w: a %v hash has %d bytes and this one has %d", ErrRequest, req.HashAlgorithm, req.HashAlgorithm.Size(), len(req.HashedMessage))
	case req.TSAPolicyOID != nil && !req.TSAPolicyOID.Equal(Policy):
		return nil, fmt.Errorf("%w: policy %v is not offered; leave it out, or ask for %v", ErrRequest, req.TSAPolicyOID, Policy)
	case len(req.Extensions) > 0:
		return nil, fmt.Errorf("%w: extensions are not offered", ErrRequest)
	case req.Nonce != nil && req.Nonce.BitLen() > maxNonce:
		return nil, fmt.Errorf("%w: its nonce has more than %d bits", ErrRequest, maxNonce)
	}
	return req, nil
}

// Timestamp answers a TimeStampReq with a TimeStampResp, both in DER. Serial
// numbers are 160 random bits. Errors match ErrRequest or ErrClock where those
// are why.
func (a *Authority) Timestamp(ctx context.Context, request []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	req, err := parse(request)
	if err != nil {
		return nil, err
	}
	chain, key := a.o.Keys.Timestamper()
	at, err := a.now(chain[0])
	if err != nil {
		return nil, err
	}
	t := timestamp.Timestamp{
		HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Nonce: req.Nonce,
		Time: at, Accuracy: time.Second, Policy: Policy, AddTSACertificate: req.Certificates,
		Certificates: chain[1 : len(chain)-1], // the root is what a verifier has
	}
	b, err := t.CreateResponseWithOpts(chain[0], key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing a timestamp: %v", err)
	}
	return b, nil
}
