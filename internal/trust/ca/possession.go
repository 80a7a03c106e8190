package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"net/http"

	"github.com/sigstore/fulcio/pkg/challenges"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/cryptoutils/goodkey"
	"github.com/sigstore/sigstore/pkg/signature"
)

// possession returns the key that the caller proved to have: by the signature
// of its request, or by one over the challenge, which is the token's subject or
// e-mail address.
func possession(r Request, challenge string) (crypto.PublicKey, error) {
	if len(r.CSR) > 0 {
		return requested(r.CSR)
	}
	pub, err := challenges.ParsePublicKey(r.Key)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the public key cannot be read: %v; want PEM", err)
	}
	if err := good(pub); err != nil {
		return nil, err
	}
	verifier, err := signature.LoadDefaultVerifier(pub)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the public key cannot be used: %v", err)
	}
	if err := challenges.CheckSignatureWithVerifier(verifier, r.Proof, challenge); err != nil {
		return nil, refuse(http.StatusBadRequest, "the proof of possession does not verify: want a signature by the key over %q", challenge)
	}
	return pub, nil
}

func requested(text []byte) (crypto.PublicKey, error) {
	csr, err := cryptoutils.ParseCSR(text)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the certificate signing request cannot be read: %v; want PEM", err)
	}
	if err := good(csr.PublicKey); err != nil {
		return nil, err
	}
	switch csr.SignatureAlgorithm {
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.PureEd25519:
	default:
		return nil, refuse(http.StatusBadRequest, "the certificate signing request is signed by %s, which is not taken", csr.SignatureAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, refuse(http.StatusBadRequest, "the certificate signing request is not signed by its key")
	}
	return csr.PublicKey, nil
}

// good refuses keys that are weak, or that verifiers do not know.
func good(pub crypto.PublicKey) error {
	switch pub.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey:
	default:
		return refuse(http.StatusBadRequest, "a %T is not taken: use ECDSA P-256, P-384 or P-521, RSA, or Ed25519", pub)
	}
	if err := goodkey.ValidatePubKey(pub); err != nil {
		return refuse(http.StatusBadRequest, "the public key is weak: %v", err)
	}
	return nil
}
