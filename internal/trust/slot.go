package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
)

// Slot names a private key of an instance by what it is for.
type Slot string

// The slots a running server needs.
const (
	Intermediate Slot = "ca-intermediate" // signs code signing certificates
	LogRekor     Slot = "log-rekor"       // signs checkpoints of the transparency log
	LogCT        Slot = "log-ct"          // signs certificate timestamps
	LogAudit     Slot = "log-audit"       // signs checkpoints of the audit log
	TSA          Slot = "tsa"             // signs timestamps
	Issuer       Slot = "issuer"          // signs identity tokens
	TUFSnapshot  Slot = "tuf-snapshot"    // signs which metadata go together
	TUFTimestamp Slot = "tuf-timestamp"   // signs that the metadata are fresh
	Sign         Slot = "sign"            // signs what the server itself states
	// Witness cosigns the logs of others. It is there once it was asked for: by
	// Rotate, which needs no offline keys for it.
	Witness Slot = "witness"
)

// The slots of the offline file.
const (
	Root       Slot = "ca-root"     // signs the intermediate and the timestamp authority
	TUFRoot    Slot = "tuf-root"    // signs who may sign TUF metadata
	TUFTargets Slot = "tuf-targets" // signs the trusted root
)

// kind is an algorithm with its size.
type kind int

const (
	p256 kind = iota
	ed25519Key
	rsa2048
)

// kinds says what each slot needs. P-256 wherever a client checks a chain (Go
// has no assembler for P-384: twice the time per bundle); Ed25519 for
// checkpoints, the only type a witness can cosign; RSA for tokens, because
// cosign takes a raw token only with RS256.
var kinds = map[Slot]kind{
	Intermediate: p256, LogRekor: ed25519Key, LogCT: p256, LogAudit: ed25519Key, TSA: p256,
	Issuer: rsa2048, TUFSnapshot: p256, TUFTimestamp: p256, Sign: p256, Witness: ed25519Key,
	Root: p256, TUFRoot: p256, TUFTargets: p256,
}

// Slots lists what a running server has, in the order of the documentation.
func Slots() []Slot { return append(needed(), Witness) }

// needed are those of Slots that no instance is without.
func needed() []Slot {
	return []Slot{Intermediate, LogRekor, LogCT, LogAudit, TSA, Issuer, TUFSnapshot, TUFTimestamp, Sign}
}

// offlineSlots lists what the offline file holds.
func offlineSlots() []Slot { return []Slot{Root, TUFRoot, TUFTargets} }

func (k kind) String() string {
	switch k {
	case ed25519Key:
		return "Ed25519"
	case rsa2048:
		return "RSA with 2048 bits or more"
	}
	return "ECDSA P-256"
}

func (k kind) generate(rand io.Reader) (crypto.Signer, error) {
	switch k {
	case ed25519Key:
		_, key, err := ed25519.GenerateKey(rand)
		return key, err
	case rsa2048:
		return rsa.GenerateKey(rand, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand)
}

// fits reports whether a public key is of the kind.
func (k kind) fits(pub crypto.PublicKey) bool {
	switch p := pub.(type) {
	case *ecdsa.PublicKey:
		return k == p256 && p.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return k == ed25519Key
	case *rsa.PublicKey:
		return k == rsa2048 && p.N.BitLen() >= 2048
	}
	return false
}

// Key is a private key behind its slot. Signer never shows key bytes.
type Key struct {
	Slot   Slot
	Signer crypto.Signer
	Place  Place
	SPKI   []byte // DER of the public key
}

// ID is the SHA-256 of the public key (SPKI) in hex.
func (k Key) ID() string { return keyID(k.SPKI) }

func keyID(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// newKey checks that a signer is what its slot needs.
func newKey(s Slot, signer crypto.Signer, at Place) (Key, error) {
	want, ok := kinds[s]
	if !ok {
		return Key{}, fmt.Errorf("there is no key slot %.40q", s)
	}
	if !want.fits(signer.Public()) {
		return Key{}, fmt.Errorf("the key of slot %s in %s is %T: want %v: %w", s, at, signer.Public(), want, ErrUnusable)
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return Key{}, fmt.Errorf("encoding the public key of slot %s: %v", s, err)
	}
	return Key{Slot: s, Signer: signer, Place: at, SPKI: spki}, nil
}
