package verify

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-go"
	notationverifier "github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"

	"github.com/bonded-dev/bonded/internal/oci"
)

// trustStore is what Notation keeps in folders, in memory: that of an X.509
// anchor, or of a trusted root.
type trustStore struct {
	cas, tsas []*x509.Certificate
	crls      []*x509.RevocationList
	verifier  notation.Verifier
}

func readTrustStore(a Anchor) (*trustStore, error) {
	s := &trustStore{}
	var err error
	if s.cas, err = readCertificates(a.CAs); err != nil {
		return nil, fmt.Errorf("CAs: %w", err)
	}
	if len(s.cas) == 0 {
		return nil, errors.New("no CA was given")
	}
	if s.tsas, err = readCertificates(a.TSAs); err != nil {
		return nil, fmt.Errorf("TSAs: %w", err)
	}
	for _, raw := range a.CRLs {
		crl, err := readCRL(raw)
		if err != nil {
			return nil, fmt.Errorf("CRLs: %w", err)
		}
		s.crls = append(s.crls, crl)
	}
	return s, s.prepare()
}

// prepare makes the verifier that asks s for its certificates.
func (s *trustStore) prepare() (err error) {
	stores := []string{"ca:bonded"}
	if len(s.tsas) > 0 {
		stores = append(stores, "tsa:bonded")
	}
	policy := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name: "bonded", RegistryScopes: []string{"*"}, TrustStores: stores,
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: trustpolicy.LevelStrict.Name},
		// Who signed is matched by gates, as for all other forms.
		TrustedIdentities: []string{"*"},
	}}}
	s.verifier, err = notationverifier.NewWithOptions(policy, s, nil, notationverifier.VerifierOptions{
		RevocationCodeSigningValidator: s, RevocationTimestampingValidator: s,
	})
	return err
}

// readCertificates reads PEM certificates of CAs, or self-signed ones.
func readCertificates(raw []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	rest := bytes.TrimSpace(raw)
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("certificate %d is not PEM", len(certs)+1)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		if err := strong(cert.PublicKey); err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", oci.Quote(cert.Subject.String()), err)
		}
		certs, rest = append(certs, cert), bytes.TrimSpace(after)
	}
	if len(certs) == 0 {
		return nil, nil
	}
	return certs, truststore.ValidateCertificates(certs)
}

// readCRL reads a full CRL, PEM or DER. Those that are about a part of the
// certificates say so by a critical extension, and would let the others pass.
func readCRL(raw []byte) (*x509.RevocationList, error) {
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	}
	crl, err := x509.ParseRevocationList(raw)
	if err != nil {
		return nil, err
	}
	for _, e := range crl.Extensions {
		if e.Critical {
			return nil, fmt.Errorf("the CRL of %s is partial (critical extension %s); a full one is needed", oci.Quote(crl.Issuer.String()), e.Id)
		}
	}
	return crl, nil
}

// GetCertificates implements truststore.X509TrustStore.
func (s *trustStore) GetCertificates(_ context.Context, kind truststore.Type, _ string) ([]*x509.Certificate, error) {
	switch kind {
	case truststore.TypeCA:
		return s.cas, nil
	case truststore.TypeTSA:
		return s.tsas, nil
	}
	return nil, fmt.Errorf("trust stores of type %s are not kept", kind)
}

// ValidateContext implements revocation.Validator from CRLs alone. No server is
// asked: a registry that verifies must not need the network, nor tell others
// what it verifies.
func (s *trustStore) ValidateContext(ctx context.Context, o revocation.ValidateContextOptions) ([]*result.CertRevocationResult, error) {
	now, ok := ctx.Value(hour{}).(time.Time)
	if !ok {
		return nil, errors.New("checking CRLs without an hour")
	}
	out := make([]*result.CertRevocationResult, len(o.CertChain))
	for i, cert := range o.CertChain {
		found := result.ResultNonRevokable
		if i+1 < len(o.CertChain) {
			found = s.revoked(cert, o.CertChain[i+1], now)
		}
		out[i] = &result.CertRevocationResult{
			Result: found, RevocationMethod: result.RevocationMethodCRL,
			ServerResults: []*result.ServerResult{result.NewServerResult(found, "", nil)},
		}
	}
	return out, nil
}

// revoked looks a certificate up in the CRLs of its issuer.
func (s *trustStore) revoked(cert, issuer *x509.Certificate, now time.Time) result.Result {
	current := false
	for _, crl := range s.crls {
		if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) || crl.CheckSignatureFrom(issuer) != nil {
			continue
		}
		for _, entry := range crl.RevokedCertificateEntries {
			// Also of a CRL that is past its time: nobody is unrevoked.
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return result.ResultRevoked
			}
		}
		current = current || !now.Before(crl.ThisUpdate) && now.Before(crl.NextUpdate)
	}
	switch {
	case current:
		return result.ResultOK
	case len(cert.CRLDistributionPoints)+len(cert.OCSPServer) == 0 && !s.covers(issuer):
		return result.ResultNonRevokable
	}
	return result.ResultUnknown
}

// covers reports whether a CRL of the issuer was given at all.
func (s *trustStore) covers(issuer *x509.Certificate) bool {
	for _, crl := range s.crls {
		if bytes.Equal(crl.RawIssuer, issuer.RawSubject) {
			return true
		}
	}
	return false
}

// hour is the key under which check passes the caller's clock to the CRLs;
// notation-go itself judges certificates by the machine's.
type hour struct{}
