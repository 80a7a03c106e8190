package ca

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// Use is what a certificate is for.
type Use string

// The uses. What tells them apart is the certificate's subject: Sigstore's have
// none, and Notation's is evidence.Identity.NotationName of who the same
// certificate says it is by its alternative name and its extensions.
const (
	Sigstore Use = ""
	Notation Use = "notation"
)

// notationSlack is how long before it was asked for a certificate for Notation is
// good already: a timestamp of a second's accuracy must lie within its life whole,
// and Notation goes by the clock of who signs, too.
const notationSlack = time.Minute

// notationKeys are the sizes of RSA keys that Notation takes, in bits; of other
// keys it takes the three of ECDSA (signature specification, Algorithm Selection).
var notationKeys = []int{2048, 3072, 4096}

// forNotation makes of a template for Sigstore one for Notation. All that names
// somebody stays in it, and it is logged as the other is.
func forNotation(t *x509.Certificate, who evidence.Identity, pub crypto.PublicKey) error {
	switch key := pub.(type) {
	case ed25519.PublicKey:
		return refuse(http.StatusBadRequest, "Notation signs with no Ed25519 key: use ECDSA P-256, P-384 or P-521, or RSA")
	case *rsa.PublicKey:
		if !slices.Contains(notationKeys, key.N.BitLen()) {
			return refuse(http.StatusBadRequest, "Notation signs with RSA keys of %v bits, and this one has %d", notationKeys, key.N.BitLen())
		}
	}
	t.Subject = who.NotationName()
	t.NotBefore = t.NotBefore.Add(-notationSlack)
	return nil
}

// ServeNotation serves certificates for Notation: POST /v1/certificate with a
// PEM certificate signing request as body and the token as bearer is answered
// with the chain in PEM, the root last. Of the request only its key counts.
func (a *Authority) ServeNotation() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/certificate", a.postNotation)
	return mux
}

func (a *Authority) postNotation(w http.ResponseWriter, r *http.Request) {
	csr, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		err = refuse(http.StatusRequestEntityTooLarge, "the request has more than %d bytes", maxBody)
	} else if err != nil {
		err = refuse(http.StatusBadRequest, "the request did not arrive whole")
	} else if len(csr) == 0 {
		err = refuse(http.StatusBadRequest, "the request is empty: want a certificate signing request in PEM")
	}
	var chain []*x509.Certificate
	if err == nil {
		chain, err = a.Issue(r.Context(), Request{Use: Notation, Token: bearer(r), CSR: csr})
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain") // RFC 8555, 9.1
	w.Header().Set("Cache-Control", "no-store")
	for _, c := range chain {
		if pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) != nil {
			return // the client went away
		}
	}
}
