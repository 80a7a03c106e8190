package ca

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	fulciopb "github.com/sigstore/fulcio/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/bonded-dev/bonded/internal/trust/answer"
)

// maxBody bounds a request: a token, a key and a signature.
const maxBody = 64 << 10

func (a *Authority) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/signingCert", a.postSigningCert)
	mux.HandleFunc("GET /api/v2/trustBundle", a.getTrustBundle)
	mux.HandleFunc("GET /api/v2/configuration", a.getConfiguration)
	return mux
}

// ServeHTTP serves Fulcio's API below /api/v2.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

func (a *Authority) postSigningCert(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(w, r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	chain, err := a.Issue(r.Context(), req)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	// 200, not 201: sigstore-go takes no other.
	write(w, &fulciopb.SigningCertificate{Certificate: &fulciopb.SigningCertificate_SignedCertificateEmbeddedSct{
		SignedCertificateEmbeddedSct: &fulciopb.SigningCertificateEmbeddedSCT{Chain: pemChain(chain)},
	}})
}

// readRequest reads the JSON of a request; fields that are not known are left
// alone, as Fulcio's gateway does.
func readRequest(w http.ResponseWriter, r *http.Request) (Request, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		return Request{}, refuse(http.StatusRequestEntityTooLarge, "the request has more than %d bytes", maxBody)
	}
	if err != nil {
		return Request{}, refuse(http.StatusBadRequest, "the request did not arrive whole")
	}
	req, err := parseRequest(b)
	if err != nil {
		return Request{}, err
	}
	if req.Token == "" {
		req.Token = bearer(r)
	}
	return req, nil
}

// bearer is the token in the header, or "".
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func parseRequest(b []byte) (Request, error) {
	var m fulciopb.CreateSigningCertificateRequest
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &m); err != nil {
		return Request{}, refuse(http.StatusBadRequest, "the request is no JSON of a CreateSigningCertificateRequest")
	}
	req := Request{Token: m.GetCredentials().GetOidcIdentityToken(), CSR: m.GetCertificateSigningRequest()}
	if k := m.GetPublicKeyRequest(); k != nil {
		req.Key, req.Proof = k.GetPublicKey().GetContent(), k.GetProofOfPossession()
	}
	if len(req.CSR) == 0 && req.Key == "" {
		return Request{}, refuse(http.StatusBadRequest, "the request has no key: want publicKeyRequest with publicKey and proofOfPossession, or certificateSigningRequest")
	}
	return req, nil
}

func (a *Authority) getTrustBundle(w http.ResponseWriter, _ *http.Request) {
	chain, _ := a.o.Keys.CA()
	write(w, &fulciopb.TrustBundle{Chains: []*fulciopb.CertificateChain{pemChain(chain)}})
}

func (a *Authority) getConfiguration(w http.ResponseWriter, _ *http.Request) {
	var c fulciopb.Configuration
	for _, name := range a.names() {
		s := a.issuers[name]
		is := &fulciopb.OIDCIssuer{Issuer: &fulciopb.OIDCIssuer_IssuerUrl{IssuerUrl: s.url}, Audience: s.check.ClientID, ChallengeClaim: "sub", IssuerType: string(s.kind)}
		switch s.kind {
		case "":
			is.IssuerType = "builtin"
		case Email:
			is.ChallengeClaim = "email"
		case SPIFFE:
			is.SpiffeTrustDomain = s.fulcio.OIDCIssuers[s.url].SPIFFETrustDomain
		}
		c.Issuers = append(c.Issuers, is)
	}
	write(w, &c)
}

func pemChain(chain []*x509.Certificate) *fulciopb.CertificateChain {
	var c fulciopb.CertificateChain
	for _, cert := range chain {
		c.Certificates = append(c.Certificates, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})))
	}
	return &c
}

func write(w http.ResponseWriter, m proto.Message) {
	b, err := protojson.Marshal(m)
	if err != nil {
		answer.Error(w, http.StatusInternalServerError, fmt.Sprintf("the answer cannot be written: %v", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b) // the client went away
}

// fail answers with an error; one of ours is logged and not shown.
func (a *Authority) fail(w http.ResponseWriter, r *http.Request, err error) {
	no := new(Refusal)
	if errors.As(err, &no) {
		a.o.Log.InfoContext(r.Context(), "certificate refused", "status", no.Status, "why", no.Message)
		if no.Status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "15")
		}
		answer.Error(w, no.Status, no.Message)
		return
	}
	a.o.Log.ErrorContext(r.Context(), "issuing a certificate", "err", err)
	answer.Error(w, http.StatusInternalServerError, "the certificate could not be issued; try again, or ask who runs this server to look into its log")
}
