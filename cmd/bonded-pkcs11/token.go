package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the digests that callers ask for
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/sigstore/sigstore/pkg/signature"
)

// algorithms are what keys can be made for, by sigstore's names. The first is
// the default. There is no Ed25519: PKCS #11 has it since 3.0, and few tokens.
var algorithms = []struct {
	name string
	make func(c *crypto11.Context, id, label []byte) (crypto.Signer, error)
}{
	{"ecdsa-sha2-256-nistp256", func(c *crypto11.Context, id, label []byte) (crypto.Signer, error) {
		return c.GenerateECDSAKeyPairWithLabel(id, label, elliptic.P256())
	}},
	{"rsa-sign-pkcs1-2048-sha256", rsaPair(2048)},
	{"rsa-sign-pkcs1-3072-sha256", rsaPair(3072)},
	{"rsa-sign-pkcs1-4096-sha256", rsaPair(4096)},
}

func rsaPair(bits int) func(c *crypto11.Context, id, label []byte) (crypto.Signer, error) {
	return func(c *crypto11.Context, id, label []byte) (crypto.Signer, error) {
		return c.GenerateRSAKeyPairWithLabel(id, label, bits)
	}
}

func algorithmNames() []string {
	var names []string
	for _, a := range algorithms {
		names = append(names, a.name)
	}
	return names
}

// token is one key of a token, as the protocol of sigstore wants it. It lives
// for one call and logs in when it first has to.
type token struct {
	name keyName
	hash crypto.Hash // where the call has none; 0: SHA-256

	open *crypto11.Context // nil until login
}

// tries is how often a token is looked for that is not there. One that is a
// folder of files, as SoftHSM's are, is out of sight for the moment in which
// another process writes that it has logged in.
const (
	tries = 10
	pause = 50 * time.Millisecond
)

// login opens the library and the token. The PIN is tried once: tokens lock
// themselves after some wrong ones.
func (t *token) login() error {
	if t.open != nil {
		return nil
	}
	pin, err := t.name.readPIN()
	if err != nil {
		return err
	}
	for n := range tries {
		t.open, err = crypto11.Configure(&crypto11.Config{
			Path: t.name.Module, TokenLabel: t.name.Token, TokenSerial: t.name.Serial, SlotNumber: t.name.Slot, Pin: pin, MaxSessions: 2,
		})
		if err == nil || err.Error() != notFound || n == tries-1 {
			break
		}
		time.Sleep(pause)
	}
	if err != nil {
		return fmt.Errorf("opening %v by %s: %w", t.name, t.name.Module, err)
	}
	return nil
}

// notFound is what crypto11 says before any PIN was tried; it has no name for it.
const notFound = "could not find PKCS#11 token"

func (t *token) close() {
	if t.open != nil {
		_ = t.open.Close() // the process ends
	}
}

// find returns the key pair of that name, nil where there is none. Two are as
// bad as none: which of them signed would be chance.
func (t *token) find() (crypto.Signer, error) {
	if err := t.login(); err != nil {
		return nil, err
	}
	var label []byte
	if t.name.Object != "" {
		label = []byte(t.name.Object)
	}
	pairs, err := t.open.FindKeyPairs(t.name.ID, label)
	if err != nil {
		return nil, fmt.Errorf("looking for %v: %w", t.name, err)
	}
	switch len(pairs) {
	case 0:
		return nil, nil
	case 1:
		return pairs[0], nil
	}
	return nil, fmt.Errorf("looking for %v: %d keys have that name: add id=%%XX to it", t.name, len(pairs))
}

func (t *token) key() (crypto.Signer, error) {
	key, err := t.find()
	if err == nil && key == nil {
		err = fmt.Errorf("the token has no key pair %v: make it by sigstore-kms-bonded-pkcs11 create-key; both halves of a pair must have the same id", t.name)
	}
	return key, err
}

// PublicKey returns the public half.
func (t *token) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	key, err := t.key()
	if err != nil {
		return nil, err
	}
	return key.Public(), nil
}

// SignMessage signs a digest where one is given, else the message. Nothing that
// does not verify gets out: a signature that a fault made wrong can give an RSA
// key away.
func (t *token) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	digest, hash, err := digestOf(t.hash, message, opts)
	if err != nil {
		return nil, err
	}
	key, err := t.key()
	if err != nil {
		return nil, err
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); ok && hash.Size() > (pub.Params().BitSize+7)/8 {
		return nil, fmt.Errorf("%v is more than a key of %s signs: want SHA-256", hash, pub.Params().Name)
	}
	sig, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		return nil, fmt.Errorf("signing by %v: %w", t.name, err)
	}
	if !verifies(key.Public(), digest, hash, sig) {
		return nil, fmt.Errorf("signing by %v: the token's signature does not verify with its public key: is that of the same pair?", t.name)
	}
	return sig, nil
}

// digestOf returns the digest that the options have, or else that of the
// message, and its hash function.
func digestOf[O signature.MessageOption](usual crypto.Hash, message io.Reader, opts []O) ([]byte, crypto.Hash, error) {
	var digest []byte
	var with crypto.SignerOpts = usual
	for _, o := range opts {
		o.ApplyDigest(&digest)
		o.ApplyCryptoSignerOpts(&with)
	}
	hash := with.HashFunc()
	switch hash {
	case 0:
		hash = crypto.SHA256
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return nil, 0, fmt.Errorf("hash function %d is not one of SHA-256, SHA-384 and SHA-512", uint(hash))
	}
	if len(digest) == 0 {
		h := hash.New()
		if _, err := io.Copy(h, message); err != nil {
			return nil, 0, fmt.Errorf("reading the message: %w", err)
		}
		return h.Sum(nil), hash, nil
	}
	if len(digest) != hash.Size() {
		return nil, 0, fmt.Errorf("a digest of %d bytes is none of %v", len(digest), hash)
	}
	return digest, hash, nil
}

func verifies(pub crypto.PublicKey, digest []byte, hash crypto.Hash, sig []byte) bool {
	switch p := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, hash, digest, sig) == nil
	}
	return false
}

// VerifySignature checks a signature over a message.
func (t *token) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	digest, hash, err := digestOf(t.hash, message, opts)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(sig, maxSignature))
	if err != nil {
		return fmt.Errorf("reading the signature: %w", err)
	}
	pub, err := t.PublicKey()
	if err != nil {
		return err
	}
	if !verifies(pub, digest, hash, b) {
		return fmt.Errorf("the signature is not one of %v over this message", t.name)
	}
	return nil
}

// maxSignature bounds what is read of a signature, in bytes: RSA of 8192 bits.
const maxSignature = 1 << 10

// CreateKey makes a key pair that cannot leave the token.
func (t *token) CreateKey(_ context.Context, algorithm string) (crypto.PublicKey, error) {
	if algorithm == "" {
		algorithm = t.DefaultAlgorithm()
	}
	for _, a := range algorithms {
		if a.name != algorithm {
			continue
		}
		have, err := t.find()
		if err != nil {
			return nil, err
		}
		if have != nil {
			return nil, fmt.Errorf("making %v: there is one already, and it may be what somebody trusts: take another name", t.name)
		}
		id := t.name.ID
		if len(id) == 0 {
			id = make([]byte, 8)
			if _, err := io.ReadFull(rand.Reader, id); err != nil {
				return nil, fmt.Errorf("reading randomness: %w", err)
			}
		}
		if t.name.Object == "" {
			return nil, errors.New("making a key: its name needs object=LABEL")
		}
		made, err := a.make(t.open, id, []byte(t.name.Object))
		if err != nil {
			return nil, fmt.Errorf("making %v for %s: %w", t.name, algorithm, err)
		}
		return made.Public(), nil
	}
	return nil, fmt.Errorf("no key is made for %.60q: want one of %v", algorithm, algorithmNames())
}

// CryptoSigner is no part of the protocol.
func (t *token) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.New("a signer does not go through the protocol")
}

// SupportedAlgorithms lists what CreateKey takes.
func (t *token) SupportedAlgorithms() []string { return algorithmNames() }

// DefaultAlgorithm is ECDSA P-256.
func (t *token) DefaultAlgorithm() string { return algorithms[0].name }
