package oidc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// responder signs OCSP responses into a folder.
type responder struct {
	*authority
	dir  string
	cert *x509.Certificate // nil: the authority signs by itself
	key  crypto.Signer
	ca   *x509.Certificate // that it says the responses are about
}

func (a *authority) responder(dir string) responder {
	return responder{authority: a, dir: dir, key: a.key, ca: a.cert}
}

// delegated is a responder with a certificate of its own.
func (a *authority) delegated(dir string, change func(*x509.Certificate)) responder {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(500), Subject: pkix.Name{CommonName: "Responder"}, NotBefore: a.now.Add(-time.Hour), NotAfter: a.now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return responder{authority: a, dir: dir, cert: cert, key: key, ca: a.cert}
}

// says writes a response about a certificate by its number.
func (r responder) says(file string, serial int64, change func(*ocsp.Response)) []byte {
	r.t.Helper()
	tmpl := ocsp.Response{Status: ocsp.Good, SerialNumber: big.NewInt(serial), ThisUpdate: r.now.Add(-time.Minute), NextUpdate: r.now.Add(time.Hour), Certificate: r.cert, IssuerHash: crypto.SHA256}
	if change != nil {
		change(&tmpl)
	}
	by := r.cert
	if by == nil {
		by = r.authority.cert
	}
	der, err := ocsp.CreateResponse(r.ca, by, tmpl, r.key)
	if err != nil {
		r.t.Fatal(err)
	}
	if file != "" {
		r.write(file, der)
	}
	return der
}

func (r responder) write(file string, b []byte) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, file), b, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// checked are client certificates of an authority, with OCSP responses in a folder.
type checked struct {
	t     *testing.T
	ca    *authority
	certs *Certificates
	dir   string
}

func newChecked(t *testing.T, change func(*CertificateOptions)) *checked {
	t.Helper()
	c := &checked{t: t, ca: newAuthority(t, time.Now()), dir: t.TempDir()}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	o := CertificateOptions{CAFile: file, OCSPDir: c.dir}
	if change != nil {
		change(&o)
	}
	var err error
	if c.certs, err = NewCertificates(o); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask says what becomes of a certificate with a number, "" where it is taken.
func (c *checked) ask(serial int64) string {
	c.t.Helper()
	issued := c.ca.issue(serial, func(x *x509.Certificate) { x.Subject.CommonName = "builder" })
	cert, err := x509.ParseCertificate(issued.Certificate[0])
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.certs.subject("https://issuer.example", []*x509.Certificate{cert}, c.ca.now); err != nil {
		return err.Error()
	}
	return ""
}

func (c *checked) wants(what string, serial int64, says string) {
	c.t.Helper()
	if got := c.ask(serial); (got == "") != (says == "") || !strings.Contains(got, says) {
		c.t.Errorf("%s: %q, want one that says %q", what, got, says)
	}
}

func TestOCSP(t *testing.T) {
	c := newChecked(t, nil)
	by := c.ca.responder(c.dir)
	c.wants("none", 7, "there is no OCSP response about number 7")
	by.says("7.der", 7, nil)
	c.wants("good", 7, "")
	c.wants("of another number", 8, "there is no OCSP response about number 8")
	by.says("7.der", 7, func(r *ocsp.Response) {
		r.Status, r.RevokedAt, r.RevocationReason = ocsp.Revoked, c.ca.now.Add(-time.Hour), ocsp.KeyCompromise
	})
	c.wants("revoked since", 7, "it was revoked on")
	by.says("8.der", 8, func(r *ocsp.Response) { r.IssuerHash = crypto.SHA1 })
	c.wants("named by SHA-1, as most do", 8, "")
	c.ca.delegated(c.dir, nil).says("9.der", 9, nil)
	c.wants("by a responder", 9, "")
	if err := os.Remove(filepath.Join(c.dir, "9.der")); err != nil {
		t.Fatal(err)
	}
	c.wants("gone", 9, "there is no OCSP response")
	by.says("a.der", 10, func(r *ocsp.Response) { r.ThisUpdate = c.ca.now.Add(-time.Hour) })
	by.says("b.der", 10, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, c.ca.now })
	c.wants("good once, revoked since", 10, "it was revoked on")
}

func TestOCSPRefuses(t *testing.T) {
	day := 24 * time.Hour
	for _, test := range []struct {
		name, says string
		write      func(c *checked)
	}{
		{"unknown", "does not know it", func(c *checked) {
			c.ca.responder(c.dir).says("r", 7, func(r *ocsp.Response) { r.Status = ocsp.Unknown })
		}},
		{"ended", "ended on", func(c *checked) {
			c.ca.responder(c.dir).says("r", 7, func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = c.ca.now.Add(-2*day), c.ca.now.Add(-day) })
		}},
		{"revoked, and ended", "it was revoked on", func(c *checked) {
			c.ca.responder(c.dir).says("r", 7, func(r *ocsp.Response) {
				r.Status, r.RevokedAt, r.ThisUpdate, r.NextUpdate = ocsp.Revoked, c.ca.now.Add(-2*day), c.ca.now.Add(-2*day), c.ca.now.Add(-day)
			})
		}},
		{"not yet", "begins on", func(c *checked) {
			c.ca.responder(c.dir).says("r", 7, func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = c.ca.now.Add(day), c.ca.now.Add(2*day) })
		}},
		{"without an end", "does not say when it ends", func(c *checked) {
			c.ca.responder(c.dir).says("r", 7, func(r *ocsp.Response) { r.NextUpdate = time.Time{} })
		}},
		{"another authority's, of the same name", "there is no OCSP response about", func(c *checked) { newAuthority(c.t, c.ca.now).responder(c.dir).says("r", 7, nil) }},
		{"about ours, signed by another authority", "is not signed by", func(c *checked) {
			r := newAuthority(c.t, c.ca.now).responder(c.dir)
			r.ca = c.ca.cert
			r.authority.cert.RawSubject = c.ca.cert.RawSubject
			r.says("r", 7, nil)
		}},
		{"about another authority's, signed by ours", "there is no OCSP response about", func(c *checked) {
			r := c.ca.responder(c.dir)
			r.ca = newAuthority(c.t, c.ca.now).cert
			r.says("r", 7, nil)
		}},
		{"by a client of ours", "may not sign responses", func(c *checked) {
			c.ca.delegated(c.dir, func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }).says("r", 7, nil)
		}},
		{"by a certificate for anything", "may not sign responses", func(c *checked) {
			c.ca.delegated(c.dir, func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }).says("r", 7, nil)
		}},
		{"by a responder that ended", "of its responder", func(c *checked) {
			c.ca.delegated(c.dir, func(x *x509.Certificate) { x.NotAfter = c.ca.now.Add(-time.Minute) }).says("r", 7, nil)
		}},
		{"by the responder of another authority", "has no certificate of", func(c *checked) {
			r := newAuthority(c.t, c.ca.now).delegated(c.dir, nil)
			r.ca = c.ca.cert
			r.says("r", 7, nil)
		}},
		{"an error of the responder", "reading the OCSP responses", func(c *checked) { c.ca.responder(c.dir).write("r", ocsp.TryLaterErrorResponse) }},
		{"no response", "reading the OCSP responses", func(c *checked) { c.ca.responder(c.dir).write("r", []byte("x")) }},
		{"too large", "at most 65536 bytes", func(c *checked) { c.ca.responder(c.dir).write("r", make([]byte, maxResponse+1)) }},
		{"cut off", "reading the OCSP responses", func(c *checked) {
			r := c.ca.responder(c.dir)
			b := r.says("", 7, nil)
			r.write("r", b[:len(b)-1])
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newChecked(t, nil)
			test.write(c)
			c.wants(test.name, 7, test.says)
			// What nobody with the right to it signed, and what is on its way, changes nothing.
			c.ca.responder(c.dir).write(".hidden", []byte("x"))
			if strings.HasPrefix(test.name, "by ") || strings.HasPrefix(test.name, "about ours") {
				c.ca.responder(c.dir).says("good", 7, func(r *ocsp.Response) { r.ThisUpdate = c.ca.now.Add(-time.Hour) })
				c.wants("a right one beside", 7, "")
			}
		})
	}
	if _, err := NewCertificates(CertificateOptions{CAFile: newChecked(t, nil).certs.o.CAFile, OCSPDir: filepath.Join(t.TempDir(), "absent")}); err == nil {
		t.Error("started without the folder")
	}
}

// TestOCSPTampered: each byte of what is signed counts.
func TestOCSPTampered(t *testing.T) {
	c := newChecked(t, nil)
	r := c.ca.delegated(c.dir, nil)
	good := r.says("", 7, nil)
	meant, err := parseResponse(good)
	if err != nil || meant.allows(c.ca.cert, c.ca.now) != nil {
		t.Fatalf("the response itself: %v", err)
	}
	for i := 0; i < len(good); i += 3 {
		b := append([]byte(nil), good...)
		b[i] ^= 0x10
		one, err := parseResponse(b)
		if err != nil {
			continue
		}
		if cert := (&x509.Certificate{SerialNumber: big.NewInt(7)}); one.about(cert, c.ca.cert) && one.allows(c.ca.cert, c.ca.now) == nil && !bytes.Equal(one.TBSResponseData, meant.TBSResponseData) {
			t.Errorf("a response with another byte %d is good", i)
		}
	}
}

// TestOCSPWithLists: one of the two will do, unless OCSP is required; whichever
// says revoked is believed.
func TestOCSPWithLists(t *testing.T) {
	for _, required := range []bool{false, true} {
		crl := filepath.Join(t.TempDir(), "crl.pem")
		now := time.Now()
		if err := os.WriteFile(crl, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		newAuthority(t, now).list(crl, now.Add(time.Hour))
		c := newChecked(t, func(o *CertificateOptions) { o.CRLFile, o.OCSPRequired = crl, required })
		by := c.ca.responder(c.dir)
		c.wants("neither", 7, "there is no OCSP response")
		c.ca.list(crl, c.ca.now.Add(time.Hour), 66)
		if required {
			c.wants("a list alone", 7, "there is no OCSP response")
		} else {
			c.wants("a list alone", 7, "")
		}
		by.says("7", 7, nil)
		c.wants("both", 7, "")
		by.says("66", 66, nil)
		c.wants("revoked by the list", 66, "it was revoked on")
		by.says("8", 8, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, c.ca.now })
		c.wants("revoked by the response", 8, "it was revoked on")
		by.says("9", 9, func(r *ocsp.Response) { r.Status = ocsp.Unknown })
		c.wants("not known to the responder", 9, "does not know it")
		c.ca.list(crl, c.ca.now.Add(-time.Second), 66)
		c.wants("a list that ended, and a response", 7, "")
		c.wants("a list that ended, revoked by it", 66, "it was revoked on")
	}
}

func TestStanding(t *testing.T) {
	c := newChecked(t, nil)
	at := func(now time.Time, note, problem string) {
		t.Helper()
		if n, p := c.certs.Standing(now); !strings.Contains(n, note) || (p == "") != (problem == "") || !strings.Contains(p, problem) {
			t.Errorf("it stands as %q, %q; want %q, %q", n, p, note, problem)
		}
	}
	at(c.ca.now, "0 OCSP responses", "0 of 0")
	c.ca.responder(c.dir).says("7", 7, nil)
	at(c.ca.now, "1 OCSP responses, the first ends on "+c.ca.now.Add(time.Hour).UTC().Format(time.RFC3339), "")
	at(c.ca.now.Add(2*time.Hour), "1 OCSP responses", "1 of 1 OCSP responses in "+c.dir+" ended")
	c.ca.responder(c.dir).write("x", []byte("x"))
	at(c.ca.now, "", "reading the OCSP responses")
	bare := newChecked(t, func(o *CertificateOptions) { o.OCSPDir = "" })
	if n, p := bare.certs.Standing(c.ca.now); n != "" || p != "" {
		t.Errorf("nothing is looked at: %q, %q", n, p)
	}
}

func FuzzResponse(f *testing.F) {
	ca := newAuthority(f, time.Now())
	f.Add(ca.responder("").says("", 7, nil))
	f.Add(ca.delegated("", nil).says("", 7, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, ca.now }))
	f.Add(ocsp.UnauthorizedErrorResponse)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseResponse(b)
		if err != nil {
			return
		}
		if r.of.Serial == nil || r.SerialNumber == nil {
			t.Fatal("a response about nothing, and no error")
		}
		r.about(ca.cert, ca.cert)
		if r.allows(newAuthority(t, ca.now).cert, ca.now) == nil {
			t.Error("an authority that never signed anything has signed it")
		}
	})
}
