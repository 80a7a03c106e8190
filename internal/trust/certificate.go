package trust

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"
)

// How long certificates of ours are good where nobody says otherwise. backdate
// is for clients whose clock is behind.
const (
	rootLife         = 10 * 365 * 24 * time.Hour
	intermediateLife = 365 * 24 * time.Hour
	tsaLife          = 3 * 365 * 24 * time.Hour
	backdate         = 5 * time.Minute
)

// maxChain bounds a chain that is brought, in bytes of PEM and in certificates.
const (
	maxChain      = 64 << 10
	maxChainCerts = 5
)

// oidEKU is the extended key usage, and oidTimeStamping its value for time
// stamping (RFC 5280, 4.2.1.12).
var (
	oidEKU          = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidTimeStamping = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
)

// maker signs certificates of an instance.
type maker struct {
	organization string
	clock        func() time.Time
	rand         io.Reader
}

// serialNumber is 159 random bits (RFC 5280, 4.1.2.2: at most 20 octets, positive).
func serialNumber(r io.Reader) (*big.Int, error) {
	var b [20]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, fmt.Errorf("reading randomness: %v", err)
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:]), nil
}

// template returns what all certificates of ours have. The name has a part of
// the serial number, so that no two generations have the same.
func (m maker) template(name string, life time.Duration) (*x509.Certificate, error) {
	serial, err := serialNumber(m.rand)
	if err != nil {
		return nil, err
	}
	now := m.clock()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{m.organization}, CommonName: name + " " + serial.Text(16)[:8]},
		NotBefore:             now.Add(-backdate).UTC().Truncate(time.Second),
		NotAfter:              now.Add(life).UTC().Truncate(time.Second),
		BasicConstraintsValid: true,
	}, nil
}

// root makes the self-signed certificate of an authority.
func (m maker) root(key crypto.Signer) (*x509.Certificate, error) {
	t, err := m.template("Bonded root CA", rootLife)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.MaxPathLen, t.KeyUsage = true, 1, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	return create(t, t, key.Public(), key)
}

// intermediate makes the certificate of who signs code signing certificates,
// and nothing else.
func (m maker) intermediate(pub crypto.PublicKey, parent *x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	t, err := m.template("Bonded intermediate CA", intermediateLife)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.MaxPathLenZero, t.KeyUsage = true, true, x509.KeyUsageCertSign
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	return create(within(t, parent), parent, pub, key)
}

// timestamper makes the certificate of a timestamp authority. RFC 3161, 2.3:
// the extended key usage is time stamping alone, and critical, which
// x509.Certificate.ExtKeyUsage cannot say.
func (m maker) timestamper(pub crypto.PublicKey, parent *x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	t, err := m.template("Bonded timestamp authority", tsaLife)
	if err != nil {
		return nil, err
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{oidTimeStamping})
	if err != nil {
		return nil, fmt.Errorf("encoding the key usage: %v", err)
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtraExtensions = []pkix.Extension{{Id: oidEKU, Critical: true, Value: usage}}
	return create(within(t, parent), parent, pub, key)
}

// within lets a certificate end no later than its issuer.
func within(t, parent *x509.Certificate) *x509.Certificate {
	if t.NotAfter.After(parent.NotAfter) {
		t.NotAfter = parent.NotAfter
	}
	if t.NotBefore.Before(parent.NotBefore) {
		t.NotBefore = parent.NotBefore
	}
	return t
}

func create(t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %v", t.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// request returns a certificate signing request for the root key, for a
// company's authority to make us its subordinate.
func (m maker) request(key crypto.Signer) ([]byte, error) {
	constraints, err := asn1.Marshal(struct {
		IsCA       bool
		MaxPathLen int
	}{true, 1})
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:         pkix.Name{Organization: []string{m.organization}, CommonName: "Bonded CA"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: constraints}},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate request: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// parseChain reads certificates in PEM, ours first, the root last. Errors match
// ErrChain.
func parseChain(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxChain {
		return nil, fmt.Errorf("%w: it has %d bytes and a chain has at most %d", ErrChain, len(text), maxChain)
	}
	var chain []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: want PEM blocks CERTIFICATE and nothing else", ErrChain)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %v", ErrChain, len(chain)+1, err)
		}
		if chain = append(chain, cert); len(chain) > maxChainCerts {
			return nil, fmt.Errorf("%w: it has more than %d certificates", ErrChain, maxChainCerts)
		}
	}
	if len(chain) < 2 {
		return nil, fmt.Errorf("%w: want the certificate that was made for the request, those between, and the company's root", ErrChain)
	}
	return chain, nil
}

// checkChain says what is wrong with a chain for a root key of ours, before
// anything is signed with it. Errors match ErrChain.
func checkChain(chain []*x509.Certificate, pub crypto.PublicKey, now time.Time) error {
	first, last := chain[0], chain[len(chain)-1]
	if p, ok := first.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !p.Equal(pub) {
		return fmt.Errorf("%w: its first certificate (%s) is not over the key of the request; order: ours first, root last", ErrChain, first.Subject)
	}
	if !bytes.Equal(last.RawIssuer, last.RawSubject) || last.CheckSignatureFrom(last) != nil {
		return fmt.Errorf("%w: its last certificate (%s) is no root: clients need the whole chain", ErrChain, last.Subject)
	}
	for i, c := range chain {
		if err := checkAuthority(c, i, now); err != nil {
			return fmt.Errorf("%w: certificate %d (%s): %v", ErrChain, i+1, c.Subject, err)
		}
		if i > 0 {
			if err := chain[i-1].CheckSignatureFrom(c); err != nil {
				return fmt.Errorf("%w: certificate %d is not signed by certificate %d: %v", ErrChain, i, i+1, err)
			}
		}
	}
	return nil
}

// checkAuthority checks one certificate of a chain; below counts those of
// the chain that it signs, without our intermediate.
func checkAuthority(c *x509.Certificate, below int, now time.Time) error {
	switch {
	case !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("it may not sign certificates (basic constraints CA, key usage certificate signing)")
	case c.MaxPathLen >= 0 && (c.MaxPathLen > 0 || c.MaxPathLenZero) && c.MaxPathLen < below+1:
		return fmt.Errorf("its path length is %d and must be at least %d: an intermediate of ours comes below", c.MaxPathLen, below+1)
	case len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !allows(c, x509.ExtKeyUsageCodeSigning, x509.ExtKeyUsageTimeStamping):
		return errors.New("its extended key usage leaves out code signing or time stamping: have it made without one, or with both")
	case now.Before(c.NotBefore) || now.After(c.NotAfter):
		return fmt.Errorf("it is good from %s to %s", c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
	case constrained(c):
		return errors.New("it has name constraints: signing certificates hold e-mail addresses and URIs of all who sign")
	}
	return nil
}

func allows(c *x509.Certificate, usages ...x509.ExtKeyUsage) bool {
	for _, u := range usages {
		ok := false
		for _, have := range c.ExtKeyUsage {
			ok = ok || have == u || have == x509.ExtKeyUsageAny
		}
		if !ok {
			return false
		}
	}
	return true
}

func constrained(c *x509.Certificate) bool {
	return len(c.PermittedEmailAddresses)+len(c.ExcludedEmailAddresses)+len(c.PermittedURIDomains)+len(c.ExcludedURIDomains) > 0
}

// prove verifies a finished chain as clients will.
func prove(chain []*x509.Certificate, usage x509.ExtKeyUsage, at time.Time) error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}
	o.Roots.AddCert(chain[len(chain)-1])
	for _, c := range chain[1 : len(chain)-1] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return fmt.Errorf("verifying the chain of %s: %w: %v", chain[0].Subject.CommonName, ErrChain, err)
	}
	return nil
}
