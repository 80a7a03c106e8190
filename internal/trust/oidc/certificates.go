package oidc

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxFile bounds what is read of a file of certificates or revocation lists, in
// bytes. Lists of large authorities have some megabytes.
const maxFile = 64 << 20

// CertificateOptions say which client certificates are taken.
type CertificateOptions struct {
	// CAFile holds the authorities, PEM. It is read again when it changes.
	CAFile string
	// CRLFile holds revocation lists, PEM or one in DER. It is read again when it
	// changes. Where it is set, a certificate whose authority has no list in it, or
	// one that ended, is refused. Optional. Default: revocation is not looked at.
	CRLFile string
	// OCSPDir is a folder of OCSP responses, a file in DER for each certificate. It
	// is read again when it changes. A certificate needs one that says good and is
	// in force; with CRLFile, one of the two, and whichever says revoked is believed.
	// Optional.
	OCSPDir string
	// OCSPRequired wants a response where there is a list in force too.
	OCSPRequired bool
	// SPIFFE are trust domains whose IDs certificates may have. Optional.
	SPIFFE []string
	// Emails takes e-mail addresses in certificates for verified ones: the
	// authorities vouch for people. Optional. Default: they are left alone.
	Emails bool
}

// Certificates checks client certificates. It is safe for concurrent use.
type Certificates struct {
	o CertificateOptions

	mu   sync.Mutex
	ca   cached[[]*x509.Certificate]
	crls cached[[]*x509.RevocationList]
	ocsp folder
}

// NewCertificates reads the files once, so that a wrong one is known at start.
func NewCertificates(o CertificateOptions) (*Certificates, error) {
	c := &Certificates{o: o}
	if _, err := c.authorities(); err != nil {
		return nil, err
	}
	if _, err := c.lists(); err != nil {
		return nil, err
	}
	_, err := c.responses()
	return c, err
}

// cached is a parsed file, as of when it last changed.
type cached[T any] struct {
	limit int64 // bytes; 0 is maxFile
	info  fs.FileInfo
	v     T
}

func (c *cached[T]) get(path string, parse func([]byte) (T, error)) (T, error) {
	info, err := os.Stat(path)
	if err != nil {
		return c.v, err
	}
	if c.info != nil && os.SameFile(info, c.info) && info.ModTime().Equal(c.info.ModTime()) && info.Size() == c.info.Size() {
		return c.v, nil
	}
	limit := cmp.Or(c.limit, maxFile)
	if info.Size() > limit || !info.Mode().IsRegular() {
		return c.v, fmt.Errorf("%s is no file of at most %d bytes", path, limit)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return c.v, err
	}
	v, err := parse(b)
	if err != nil {
		return c.v, fmt.Errorf("%s: %w", path, err)
	}
	c.info, c.v = info, v
	return v, nil
}

func (c *Certificates) authorities() ([]*x509.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	certs, err := c.ca.get(c.o.CAFile, parseAuthorities)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities of client certificates: %w", err)
	}
	return certs, nil
}

func (c *Certificates) lists() ([]*x509.RevocationList, error) {
	if c.o.CRLFile == "" {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lists, err := c.crls.get(c.o.CRLFile, parseLists)
	if err != nil {
		return nil, fmt.Errorf("reading the revocation lists of client certificates: %w", err)
	}
	return lists, nil
}

func (c *Certificates) responses() (responses, error) {
	if c.o.OCSPDir == "" {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all, err := c.ocsp.get(c.o.OCSPDir)
	if err != nil {
		return nil, fmt.Errorf("reading the OCSP responses of client certificates: %w", err)
	}
	return all, nil
}

func parseAuthorities(b []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !c.IsCA {
			return nil, fmt.Errorf("%s is no authority", c.Subject)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no PEM certificate")
	}
	return all, nil
}

func parseLists(b []byte) ([]*x509.RevocationList, error) {
	var all []*x509.RevocationList
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		l, err := parseList(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	if len(all) > 0 {
		return all, nil
	}
	if _, err := x509.ParseRevocationList(b); err != nil {
		return nil, errors.New("it holds no revocation list")
	}
	l, err := parseList(b)
	return []*x509.RevocationList{l}, err
}

// parseList reads a full list. Those that are about a part of the certificates, or
// only tell what is new, say so by a critical extension (RFC 5280, 5.2): they would
// let the others pass.
func parseList(der []byte) (*x509.RevocationList, error) {
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	for _, e := range l.Extensions {
		if e.Critical {
			return nil, fmt.Errorf("the list of %.100q is partial (critical extension %s); a full one is needed", l.Issuer.String(), e.Id)
		}
	}
	return l, nil
}

// subject verifies the certificates of a connection, the client's first, and
// says who they are of. Refusals are an *oauthError.
func (c *Certificates) subject(issuer string, peer []*x509.Certificate, now time.Time) (Subject, error) {
	cas, err := c.authorities()
	if err != nil {
		return Subject{}, err
	}
	known, err := c.revocation()
	if err != nil {
		return Subject{}, err
	}
	chain, err := verifyClient(cas, peer, now)
	if err != nil {
		return Subject{}, no("invalid_client", "the client certificate of %s is not taken: %v", describe(peer[0]), err)
	}
	if err := known.notRevoked(chain, now); err != nil {
		return Subject{}, no("invalid_client", "the client certificate of %s is not taken: %v", describe(peer[0]), err)
	}
	of, err := c.named(issuer, peer[0])
	if err != nil {
		return Subject{}, no("invalid_client", "the client certificate of %s is not taken: %v", describe(peer[0]), err)
	}
	sum := sha256.Sum256(peer[0].Raw)
	of.Certificate = base64.RawURLEncoding.EncodeToString(sum[:])
	return of, nil
}

func describe(c *x509.Certificate) string { return fmt.Sprintf("%.100q", c.Subject.String()) }

func verifyClient(cas, peer []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, ca := range cas {
		o.Roots.AddCert(ca)
	}
	for _, p := range peer[1:] {
		o.Intermediates.AddCert(p)
	}
	chains, err := peer[0].Verify(o)
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

// revocation is what is known of who was revoked.
type revocation struct {
	byList, byOCSP, required bool // what is looked at, and whether it must be OCSP
	lists                    []*x509.RevocationList
	responses                responses
}

func (c *Certificates) revocation() (k revocation, err error) {
	k = revocation{byList: c.o.CRLFile != "", byOCSP: c.o.OCSPDir != "", required: c.o.OCSPRequired}
	if k.lists, err = c.lists(); err != nil {
		return k, err
	}
	k.responses, err = c.responses()
	return k, err
}

// notRevoked checks each certificate of a chain but the last. What says nothing,
// or no more, is no yes.
func (k revocation) notRevoked(chain []*x509.Certificate, now time.Time) error {
	for i, cert := range chain[:len(chain)-1] {
		if err := k.check(cert, chain[i+1], now); err != nil {
			return err
		}
	}
	return nil
}

func (k revocation) check(cert, ca *x509.Certificate, now time.Time) error {
	if !k.byList && !k.byOCSP {
		return nil
	}
	var list, response error
	if k.byList {
		if list = k.listed(cert, ca, now); revoked(list) {
			return list
		}
	}
	if k.byOCSP {
		if response = k.answered(cert, ca, now); revoked(response) {
			return response
		}
	}
	switch {
	case !k.byOCSP:
		return list
	case !k.byList || k.required:
		return response
	case list == nil || response == nil:
		return nil
	}
	return fmt.Errorf("%w; %w", response, list)
}

// errRevoked is what no other source makes good: the certificate was revoked, or
// its own responder does not know it.
type errRevoked struct{ why string }

func (e errRevoked) Error() string { return e.why }

func revoked(err error) bool { return errors.As(err, new(errRevoked)) }

// listed looks a certificate up in the list of its issuer.
func (k revocation) listed(cert, ca *x509.Certificate, now time.Time) error {
	list := listOf(ca, k.lists)
	if list == nil {
		return fmt.Errorf("there is no revocation list of %s (crl_file)", describe(ca))
	}
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
			// Also where the list has ended: nobody is unrevoked by waiting.
			return errRevoked{fmt.Sprintf("it was revoked on %s", e.RevocationTime.Format(time.DateOnly))}
		}
	}
	if list.NextUpdate.IsZero() || now.After(list.NextUpdate) {
		return fmt.Errorf("the revocation list of %s ended on %s; bring a newer one (crl_file)", describe(ca), list.NextUpdate.Format(time.RFC3339))
	}
	return nil
}

// answered looks a certificate up in the OCSP responses.
func (k revocation) answered(cert, ca *x509.Certificate, now time.Time) error {
	r := k.responses.newest(cert, ca, now)
	if r == nil {
		return fmt.Errorf("there is no OCSP response about number %x of %s (ocsp_dir)", cert.SerialNumber, describe(ca))
	}
	return r.allows(ca, now)
}

// listOf returns the newest list that an authority signed.
func listOf(ca *x509.Certificate, lists []*x509.RevocationList) *x509.RevocationList {
	var newest *x509.RevocationList
	for _, l := range lists {
		if (newest == nil || l.ThisUpdate.After(newest.ThisUpdate)) && l.CheckSignatureFrom(ca) == nil {
			newest = l
		}
	}
	return newest
}

// clientName is what a name in a certificate may look like.
var clientName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@ +-]{0,127}$`)
})

// named says who a certificate is of: its SPIFFE ID, its e-mail address, its
// DNS name or its common name, whichever comes first. Two of one kind are refused.
func (c *Certificates) named(issuer string, cert *x509.Certificate) (Subject, error) {
	var ids []*url.URL
	for _, u := range cert.URIs {
		if u.Scheme == "spiffe" {
			ids = append(ids, u)
		}
	}
	emails := cert.EmailAddresses
	if !c.o.Emails {
		emails = nil
	}
	if len(ids) > 1 || len(emails) > 1 {
		return Subject{}, errors.New("it names more than one")
	}
	if len(ids) == 1 {
		if !slices.Contains(c.o.SPIFFE, ids[0].Host) {
			return Subject{}, fmt.Errorf("its SPIFFE ID %.200q is in no trust domain of this server", ids[0])
		}
		return Subject{Principal: ids[0].String(), Sub: ids[0].String()}, nil
	}
	name, email := cert.Subject.CommonName, ""
	switch {
	case len(emails) == 1 && !address().MatchString(emails[0]):
		return Subject{}, fmt.Errorf("%.100q is no e-mail address", emails[0])
	case len(emails) == 1:
		name, email = emails[0], emails[0]
	case len(cert.DNSNames) == 1:
		name = cert.DNSNames[0]
	case len(cert.DNSNames) > 1:
		return Subject{}, errors.New("it names more than one")
	}
	if !clientName().MatchString(name) || strings.HasSuffix(name, " ") {
		return Subject{}, errors.New("it names nobody: want a SPIFFE ID, an e-mail address, one DNS name or a common name")
	}
	return Subject{Principal: issuer + "/clients#" + name, Sub: issuer + "/clients/" + url.PathEscape(name), Email: email}, nil
}
