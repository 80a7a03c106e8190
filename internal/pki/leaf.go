package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"
)

// leaf is the certificate in use.
type leaf struct {
	cert  *tls.Certificate
	from  time.Time // before it the certificate is not good yet
	renew time.Time // from then on another one is due
}

// GetCertificate is for tls.Config. It makes another certificate when the
// present one gets old, or when the clock was set back before it.
func (a *Authority) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.current()
}

func (a *Authority) current() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.o.Clock()
	if a.leaf.cert != nil && !now.Before(a.leaf.from) && now.Before(a.leaf.renew) {
		return a.leaf.cert, nil
	}
	l, err := a.issue(now)
	if err != nil {
		return nil, err
	}
	if a.leaf.cert != nil {
		a.o.Log.Info("server certificate renewed", "until", l.cert.Leaf.NotAfter)
	}
	a.leaf = l
	return l.cert, nil
}

// issue makes a certificate with a key of its own.
func (a *Authority) issue(now time.Time) (leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), a.o.Rand)
	if err != nil {
		return leaf{}, fmt.Errorf("making the server's key: %v", err)
	}
	serial, err := serialNumber(a.o.Rand)
	if err != nil {
		return leaf{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: a.commonName()},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     a.names.dns,
		IPAddresses:  a.names.ips,
	}
	der, err := x509.CreateCertificate(a.o.Rand, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return leaf{}, fmt.Errorf("making the server's certificate: %v", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return leaf{}, fmt.Errorf("reading the server's new certificate: %v", err)
	}
	return leaf{
		// The authority goes along for clients that know its fingerprint only.
		cert:  &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: parsed},
		from:  template.NotBefore,
		renew: now.Add(leafLife * 2 / 3),
	}, nil
}

// commonName is the first name, which browsers show; at most 64 bytes (RFC
// 5280, ub-common-name).
func (a *Authority) commonName() string {
	for _, n := range a.names.strings() {
		if len(n) <= 64 {
			return n
		}
	}
	return "bonded"
}
