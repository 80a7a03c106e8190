// Package ca is the certificate authority for signers: it gives a certificate
// of ten minutes to whoever shows an identity token of an issuer that is
// trusted, by the API of Fulcio, version 2.
//
// What a token becomes in a certificate, extension by extension, is Fulcio's
// code; who may ask, and what is answered, is ours. Every certificate is in the
// certificate transparency log before it leaves. Those for Notation differ in
// their subject and in how they are asked for, and in nothing else.
package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"time"

	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	fulcioca "github.com/sigstore/fulcio/pkg/ca"
	"github.com/sigstore/fulcio/pkg/ca/baseca"
	"github.com/sigstore/fulcio/pkg/identity"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/trust"
)

// Life is how long a certificate is good. Clients prove by a timestamp that
// they signed within it.
const Life = 10 * time.Minute

// logTime bounds the wait for the certificate transparency log.
const logTime = 10 * time.Second

// Keys gives the chain of the authority, its own certificate first and the
// root last, and the key of the first; trust.Instance does.
type Keys interface {
	CA() ([]*x509.Certificate, crypto.Signer)
}

// Tokens gives the keys that the built-in issuer signs with; trust.Instance does.
type Tokens interface {
	Issuers(at time.Time) []trust.Public
}

// CTLog is the certificate transparency log.
type CTLog interface {
	// AddPreChain logs a precertificate with its chain, in DER, and returns once
	// the entry has its place for good: the SignedCertificateTimestamp (RFC 6962,
	// 3.2) in TLS encoding.
	AddPreChain(ctx context.Context, chain [][]byte) (sct []byte, err error)
}

// Issued is a certificate that is about to be handed out.
type Issued struct {
	Certificate *x509.Certificate
	Issuer      string // of the token
	Subject     string // of the token
	Name        string // the alternative name in the certificate
	TokenID     string // jti of the token; "" where it has none
	Use         Use
}

// Options are what an authority works with.
type Options struct {
	Keys   Keys
	Tokens Tokens
	CT     CTLog
	// URL is that of the built-in issuer. Tokens by it are for "sigstore".
	URL string
	// Server is the URL that the server is known by. Tokens by the issuer there
	// are of the server itself and of nobody else. Optional. Default: URL without
	// its path.
	Server string
	// SPIFFE are trust domains whose IDs the built-in issuer may vouch for.
	SPIFFE []string
	// Issuers are further ones.
	Issuers []Issuer
	// Audit is told of every certificate before it is handed out; its error
	// keeps it back.
	Audit func(context.Context, Issued) error
	// Revoked says why signatures by somebody do not count now, "" where they do:
	// who is revoked gets no certificate, as verifiers elsewhere know of no
	// revocation. It is not asked about the server itself, which has to sign what it
	// decides, also where a pattern takes it in. Optional.
	Revoked func(context.Context, evidence.Identity) (why string, err error)
	Clock   func() time.Time
	Log     *slog.Logger
	// Transport fetches the keys of issuers that have no CA of their own.
	// Optional. Default: one that takes the authorities of the system.
	Transport http.RoundTripper
}

// Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	o       Options
	issuers map[string]*source // by URL
	server  evidence.Identity  // of the server itself
	mux     http.Handler
}

// New checks the issuers and returns the authority. It asks none of them: an
// issuer that is down is found out by who comes with its token.
func New(o Options) (*Authority, error) {
	if o.Transport == nil {
		o.Transport = transport(nil)
	}
	a := &Authority{o: o, issuers: map[string]*source{}}
	a.issuers[o.URL] = builtin(o)
	subject, issuer := trust.IdentityOf(cmp.Or(o.Server, strings.TrimSuffix(o.URL, trust.PathOIDC)))
	if o.Server != "" && issuer != o.URL {
		self := builtin(o)
		self.url, self.alone = issuer, subject
		a.issuers[issuer] = self
	}
	a.server = evidence.Identity{Issuer: issuer, Subject: subject}
	for _, i := range o.Issuers {
		s, err := newSource(i, o)
		if err != nil {
			return nil, fmt.Errorf("configuring issuer %.200q: %w", i.URL, err)
		}
		if _, twice := a.issuers[i.URL]; twice {
			return nil, fmt.Errorf("configuring issuer %s: it is there already", i.URL)
		}
		a.issuers[i.URL] = s
	}
	a.mux = a.routes()
	return a, nil
}

// Request is who asks for a certificate over which key.
type Request struct {
	Token string
	Use   Use
	// Exactly one of CSR (PEM) and Key (PEM, or DER of SPKI) is set. Proof is the
	// signature by Key over the token's subject, or e-mail address where it has one.
	CSR   []byte
	Key   string
	Proof []byte
}

// Issue returns a certificate and its chain, the root last. Errors that are
// the caller's are a *Refusal.
func (a *Authority) Issue(ctx context.Context, r Request) ([]*x509.Certificate, error) {
	who, err := a.authenticate(ctx, r.Token)
	if err != nil {
		return nil, err
	}
	pub, err := possession(r, who.principal.Name(ctx))
	if err != nil {
		return nil, err
	}
	chain, key := a.o.Keys.CA()
	t, err := a.template(ctx, who.principal, pub)
	if err != nil {
		return nil, err
	}
	named := evidence.Identity{Issuer: who.token.Issuer, Subject: who.name(t)}
	if err := a.trusted(ctx, named); err != nil {
		return nil, err
	}
	if r.Use == Notation {
		if err := forNotation(t, named, pub); err != nil {
			return nil, err
		}
	}
	if t.NotAfter.After(chain[0].NotAfter) {
		return nil, fmt.Errorf("issuing a certificate: the intermediate ends on %s; make another with bonded trust rotate ca-intermediate", chain[0].NotAfter.Format(time.RFC3339))
	}
	cert, err := a.sign(ctx, t, pub, chain, key)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate: %w", err)
	}
	issued := Issued{Certificate: cert, Issuer: who.token.Issuer, Subject: who.token.Subject, Name: who.name(cert), TokenID: who.id, Use: r.Use}
	if err := a.o.Audit(ctx, issued); err != nil {
		return nil, fmt.Errorf("recording a certificate: %w", err)
	}
	return append([]*x509.Certificate{cert}, chain...), nil
}

// trusted refuses who is revoked.
func (a *Authority) trusted(ctx context.Context, who evidence.Identity) error {
	if a.o.Revoked == nil || who.Issuer == a.server.Issuer && who.Subject == a.server.Subject {
		return nil
	}
	why, err := a.o.Revoked(ctx, who)
	if err != nil {
		return fmt.Errorf("looking up revocations of %.200q: %w", who.Subject, err)
	}
	if why != "" {
		return refuse(http.StatusForbidden, "no certificate: %s", why)
	}
	return nil
}

// template returns the certificate as it is meant: what Fulcio makes of the
// principal, and the frame around it.
func (a *Authority) template(ctx context.Context, p identity.Principal, pub crypto.PublicKey) (*x509.Certificate, error) {
	var b [20]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, fmt.Errorf("reading randomness: %v", err)
	}
	b[0] = b[0]&0x7f | 0x40 // positive (RFC 5280, 4.1.2.2), and always of the same length
	skid, err := cryptoutils.SKID(pub)
	if err != nil {
		return nil, fmt.Errorf("hashing a public key: %v", err)
	}
	now := a.o.Clock().UTC().Truncate(time.Second)
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(b[:]),
		NotBefore:    now,
		NotAfter:     now.Add(Life),
		SubjectKeyId: skid,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if err := p.Embed(ctx, t); err != nil {
		return nil, refuse(http.StatusBadRequest, "the token's claims do not make a certificate: %v", err)
	}
	if len(t.EmailAddresses)+len(t.URIs) != 1 {
		return nil, refuse(http.StatusBadRequest, "the token's claims give %d names and a certificate has one", len(t.EmailAddresses)+len(t.URIs))
	}
	return t, nil
}

// sign makes the precertificate, has it logged, makes the certificate with the
// log's promise in it, and compares the two.
func (a *Authority) sign(ctx context.Context, t *x509.Certificate, pub crypto.PublicKey, chain []*x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	poisoned := *t
	poisoned.ExtraExtensions = append(poisoned.ExtraExtensions[:len(t.ExtraExtensions):len(t.ExtraExtensions)],
		pkix.Extension{Id: baseca.OIDExtensionCTPoison, Critical: true, Value: asn1.NullBytes})
	der, err := x509.CreateCertificate(rand.Reader, &poisoned, chain[0], pub, key)
	if err != nil {
		return nil, fmt.Errorf("signing the precertificate: %v", err)
	}
	sct, err := a.logged(ctx, der, chain)
	if err != nil {
		return nil, err
	}
	pre, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the precertificate: %v", err)
	}
	final, err := (&baseca.BaseCA{}).IssueFinalCertificate(ctx, &fulcioca.CodeSigningPreCertificate{PreCert: pre, CertChain: chain, PrivateKey: key}, sct)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate: %v", err)
	}
	cert := final.FinalCertificate
	if err := asIntended(der, cert, chain[0]); err != nil {
		return nil, fmt.Errorf("comparing the certificate with what was logged: %v", err)
	}
	return cert, nil
}

func (a *Authority) logged(ctx context.Context, pre []byte, chain []*x509.Certificate) (*ct.SignedCertificateTimestamp, error) {
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	all := [][]byte{pre}
	for _, c := range chain {
		all = append(all, c.Raw)
	}
	b, err := a.o.CT.AddPreChain(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("logging the precertificate: %w", err)
	}
	var sct ct.SignedCertificateTimestamp
	if rest, err := cttls.Unmarshal(b, &sct); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("reading the log's promise: %v, %d bytes left", err, len(rest))
	}
	return &sct, nil
}

// asIntended checks that a certificate is the precertificate but for the
// poison and the promise, and that it is signed by its issuer.
func asIntended(pre []byte, cert, issuer *x509.Certificate) error {
	if err := cert.CheckSignatureFrom(issuer); err != nil {
		return err
	}
	p, err := ctx509.ParseCertificate(pre)
	if ctx509.IsFatal(err) {
		return err
	}
	want, err := ctx509.RemoveCTPoison(p.RawTBSCertificate)
	if err != nil {
		return err
	}
	have, err := ctx509.RemoveSCTList(cert.RawTBSCertificate)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, have) {
		return errors.New("they are different certificates")
	}
	return nil
}
