package trust

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// pluginTime bounds one call of a KMS plug-in: a key that does not answer makes
// a request fail, not wait.
const pluginTime = 15 * time.Second

// remote is the part of a plug-in's client that is used. Its methods that ask
// for algorithms end the process on error and are left alone.
type remote interface {
	PublicKey(opts ...signature.PublicKeyOption) (crypto.PublicKey, error)
	SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error)
}

// pluginKey is a private key behind the program sigstore-kms-NAME.
type pluginKey struct {
	uri string
	to  remote
	pub crypto.PublicKey // asked for once
}

// openPlugin asks the plug-in for the public key, so that one that is not
// there is known at start.
func openPlugin(ctx context.Context, uri string, k kind) (crypto.Signer, error) {
	hash := crypto.SHA256
	if k == ed25519Key {
		hash = crypto.SHA512 // the one inside of Ed25519; messages go to it unhashed
	}
	// The client outlives this call, and takes a deadline of ctx for all of its own.
	to, err := cliplugin.LoadSignerVerifier(context.WithoutCancel(ctx), uri, hash)
	if err != nil {
		return nil, fmt.Errorf("finding the plug-in on PATH: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, pluginTime)
	defer cancel()
	pub, err := to.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("asking the plug-in for its public key: %v", err)
	}
	return &pluginKey{uri: uri, to: to, pub: pub}, nil
}

// Public returns the key as it was at start.
func (k *pluginKey) Public() crypto.PublicKey { return k.pub }

// Sign sends a digest, or for Ed25519 the message, to the plug-in, and lets
// nothing out that does not verify.
func (k *pluginKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss {
		return nil, errors.New("signing by a KMS plug-in: RSA-PSS is not asked for here")
	}
	ctx, cancel := context.WithTimeout(context.Background(), pluginTime)
	defer cancel()
	message, more := []byte(nil), []signature.SignOption{options.WithContext(ctx)}
	if opts.HashFunc() == 0 {
		message = digest
	} else {
		more = append(more, options.WithDigest(digest), options.WithCryptoSignerOpts(opts.HashFunc()))
	}
	sig, err := k.to.SignMessage(bytes.NewReader(message), more...)
	if err != nil {
		return nil, fmt.Errorf("signing by %s: %v", k.uri, err)
	}
	if !verifies(k.pub, digest, opts.HashFunc(), sig) {
		return nil, fmt.Errorf("signing by %s: the signature does not verify with the key it had at start; was the key replaced? Restart with the key that instance.json names, or rotate", k.uri)
	}
	return sig, nil
}

// verifies checks a signature over a digest, or over a message where hash is 0.
func verifies(pub crypto.PublicKey, digest []byte, hash crypto.Hash, sig []byte) bool {
	switch p := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, digest, sig)
	case ed25519.PublicKey:
		return hash == 0 && ed25519.Verify(p, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, hash, digest, sig) == nil
	}
	return false
}
