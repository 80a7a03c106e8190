// Package pki holds the certificate authority of one server's own, which signs
// nothing but that server's TLS certificates, and the reader of certificates
// that an operator brings.
//
// The authority is made on the first start and lives in two files of its folder:
// ca.crt, which clients are given, and ca.key. It is constrained to the names
// and addresses it was made for, so that whoever trusts it does not trust it for
// the rest of the internet, even when the key is stolen. The certificates it
// signs and their keys are in memory only: each start makes a new one, and it is
// replaced before it expires without a restart.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/durable"
)

// How long certificates are good. A leaf is replaced when a third of its time
// is left. backdate is for clients whose clock is behind.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 30 * 24 * time.Hour
	backdate = time.Hour
)

// Names of the files in the authority's folder.
const (
	CertFile = "ca.crt" // PEM, may be handed to anyone
	keyFile  = "ca.key" // PEM, PKCS #8, mode 0600
)

// Errors that callers may test for.
var (
	// ErrOutside: a host that the authority was not made for.
	ErrOutside = errors.New("outside of what the authority may sign for")
	// ErrUnusable: the files of an authority, or of an operator's certificate,
	// that cannot be worked with.
	ErrUnusable = errors.New("not usable")
)

// Options are what an authority works with.
type Options struct {
	// Dir is the folder of the files; it is made with mode 0700 when absent.
	Dir string
	// Hosts are the names and addresses that the server must be reachable by.
	// One the authority was not made for is an error.
	Hosts []string
	// Guesses are further ones, such as the machine's host name: those that the
	// authority was not made for, or that no certificate can hold, are left out.
	Guesses []string
	Clock   func() time.Time
	Log     *slog.Logger
	// Rand is the source of randomness. Optional. Default crypto/rand.Reader.
	Rand io.Reader
}

// Authority signs the certificates of one server. It is safe for concurrent use.
type Authority struct {
	o     Options
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	made  bool
	names names // in every leaf

	mu   sync.Mutex // held while a leaf is made, so that one handshake makes it
	leaf leaf
}

// Open reads the authority of a folder, or makes it when there is none yet.
// Errors match ErrOutside or ErrUnusable where those are why.
func Open(o Options) (*Authority, error) {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	must, err := namesOf(o.Hosts)
	if err != nil {
		return nil, err
	}
	may := guessed(o.Guesses)
	a, err := read(o)
	if errors.Is(err, fs.ErrNotExist) {
		a, err = create(o, must.join(may))
	}
	if err != nil {
		return nil, err
	}
	if a.names, err = a.within(must, may); err != nil {
		return nil, err
	}
	if _, err := a.current(); err != nil {
		return nil, err
	}
	return a, nil
}

// ReadCA returns the certificate of the authority in dir, in PEM. Errors match
// fs.ErrNotExist when there is none.
func ReadCA(dir string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, CertFile))
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	return b, nil
}

// Made reports whether Open made the authority: clients do not know it yet.
func (a *Authority) Made() bool { return a.made }

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Fingerprint is the SHA-256 of the authority's certificate in hex, for people
// to compare.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// read reads the authority. It fails with fs.ErrNotExist when none was ever
// handed out: the certificate is written last.
func read(o Options) (*Authority, error) {
	certPEM, err := ReadCA(o.Dir)
	if err != nil {
		return nil, err
	}
	a := &Authority{o: o}
	keyName := filepath.Join(o.Dir, keyFile)
	keyPEM, err := readPrivate(keyName)
	if err != nil {
		return nil, unusable(o.Dir, err)
	}
	if a.cert, err = parseCert(certPEM); err != nil {
		return nil, unusable(o.Dir, err)
	}
	if a.key, err = parseKey(keyPEM); err != nil {
		return nil, unusable(o.Dir, err)
	}
	if pub, ok := a.cert.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(&a.key.PublicKey) {
		return nil, unusable(o.Dir, fmt.Errorf("%s is not the key of %s", keyFile, CertFile))
	}
	left := a.cert.NotAfter.Sub(o.Clock())
	if left <= leafLife {
		return nil, unusable(o.Dir, fmt.Errorf("the authority ends on %s", a.cert.NotAfter.Format(time.DateOnly)))
	}
	if left < caLife/10 {
		o.Log.Warn("the server's own certificate authority ends within a year", "until", a.cert.NotAfter)
	}
	return a, nil
}

// unusable says what to do about an authority that cannot be read: nothing is
// made anew silently, because every client would have to be told.
func unusable(dir string, err error) error {
	return fmt.Errorf("opening the certificate authority in %s: %w: %v; restore both files from a backup, or remove them to make a new authority that every client must be given (bonded trust ca)", dir, ErrUnusable, err)
}

func readPrivate(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it", name, info.Mode().Perm())
	}
	return os.ReadFile(name)
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no PEM certificate", CertFile)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err == nil && !cert.IsCA {
		err = fmt.Errorf("%s is not the certificate of an authority", CertFile)
	}
	return cert, err
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s holds no PEM private key", keyFile)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %v", keyFile, err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is no ECDSA key", keyFile)
	}
	return key, nil
}

// create makes an authority for n and stores it, the certificate last.
func create(o Options, n names) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), o.Rand)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %v", err)
	}
	template, err := caTemplate(o, n)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(o.Rand, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making the authority's certificate: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's new certificate: %v", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the authority's key: %v", err)
	}
	a := &Authority{o: o, cert: cert, key: key, made: true}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the authority's folder: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(o.Dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600); err != nil {
		return nil, fmt.Errorf("storing the authority's key: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(o.Dir, CertFile), a.PEM(), 0o644); err != nil {
		return nil, fmt.Errorf("storing the authority's certificate: %w", err)
	}
	return a, nil
}

func caTemplate(o Options, n names) (*x509.Certificate, error) {
	serial, err := serialNumber(o.Rand)
	if err != nil {
		return nil, err
	}
	n = n.join(loopback())
	now := o.Clock()
	t := &x509.Certificate{
		SerialNumber:                serial,
		Subject:                     pkix.Name{Organization: []string{"Bonded"}, CommonName: "Bonded server CA " + serial.Text(16)[:8]},
		NotBefore:                   now.Add(-backdate),
		NotAfter:                    now.Add(caLife),
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true, // signs servers, no further authorities
		KeyUsage:                    x509.KeyUsageCertSign,
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         n.dns,
	}
	for _, ip := range n.ips {
		t.PermittedIPRanges = append(t.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(len(ip)*8, len(ip)*8)})
	}
	return t, nil
}

// serialNumber is 159 random bits: RFC 5280, 4.1.2.2 allows 20 octets,
// positive.
func serialNumber(r io.Reader) (*big.Int, error) {
	var b [20]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, fmt.Errorf("reading randomness: %v", err)
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and always of the same length
	return new(big.Int).SetBytes(b[:]), nil
}

// within returns the names of a leaf: all of must, and those of may that the
// authority was made for.
func (a *Authority) within(must, may names) (names, error) {
	for _, h := range must.strings() {
		if !a.signs(h) {
			return names{}, fmt.Errorf("making a certificate for %s: %w (%v): name it in no configuration, bring a certificate (tls.cert), or remove %s and %s in %s to make a new authority that every client must be given (bonded trust ca)",
				h, ErrOutside, append(slices.Clone(a.cert.PermittedDNSDomains), ranges(a.cert.PermittedIPRanges)...), CertFile, keyFile, a.o.Dir)
		}
	}
	n := must
	for _, h := range may.strings() {
		if !a.signs(h) {
			a.o.Log.Info("host name is left out of the certificate: the authority was not made for it", "host", h)
			continue
		}
		one, err := namesOf([]string{h})
		if err != nil {
			return names{}, err
		}
		n = n.join(one)
	}
	return n.join(loopback()), nil
}

// signs reports whether a certificate of a for the host would be accepted.
func (a *Authority) signs(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return slices.ContainsFunc(a.cert.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(ip) })
	}
	return slices.ContainsFunc(a.cert.PermittedDNSDomains, func(d string) bool { return below(host, d) })
}
