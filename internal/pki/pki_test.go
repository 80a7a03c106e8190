package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clock is a clock that tests set.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func at() *clock { return &clock{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func options(dir string, c *clock, hosts ...string) Options {
	return Options{Dir: dir, Hosts: hosts, Clock: c.Now, Log: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, o Options) *Authority {
	t.Helper()
	a, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// verify checks what a client would.
func verify(t *testing.T, caPEM []byte, cert *tls.Certificate, host string, now time.Time) error {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caPEM) {
		t.Fatal("the CA is no PEM certificate")
	}
	_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

func TestOpenMakesAndKeeps(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "tls"), at()
	o := options(dir, c, "Bonded.Acme.internal.", "10.1.2.3", "[fd00::1]")
	o.Guesses = []string{"box", "not_a_name", "0.0.0.0", ""}
	a := open(t, o)
	if !a.Made() || len(a.Fingerprint()) != 64 {
		t.Errorf("made %v, fingerprint %s", a.Made(), a.Fingerprint())
	}
	cert, err := a.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"bonded.acme.internal", "10.1.2.3", "fd00::1", "box", "localhost", "127.0.0.1", "::1"} {
		if err := verify(t, a.PEM(), cert, host, c.now); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if cert.Leaf.Subject.CommonName != "bonded.acme.internal" {
		t.Errorf("common name is %s", cert.Leaf.Subject.CommonName)
	}
	for name, mode := range map[string]fs.FileMode{"ca.key": 0o600, "ca.crt": 0o644, ".": 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v", name, info.Mode().Perm(), err)
		}
	}
	b := open(t, options(dir, c, "bonded.acme.internal"))
	if b.Made() || !bytes.Equal(a.PEM(), b.PEM()) {
		t.Error("the second start made another authority")
	}
	if ca, err := ReadCA(dir); err != nil || !bytes.Equal(ca, a.PEM()) {
		t.Errorf("ReadCA: %s, %v", ca, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestConstrained: a certificate for another name, signed with the stolen key,
// is accepted by nobody.
func TestConstrained(t *testing.T) {
	c := at()
	a := open(t, options(t.TempDir(), c, "bonded.acme.internal"))
	for _, host := range []string{"bank.example", "acme.internal", "8.8.8.8"} {
		var err error
		if a.names, err = namesOf([]string{host}); err != nil {
			t.Fatal(err)
		}
		forged, err := a.issue(c.now)
		if err != nil {
			t.Fatal(err)
		}
		var outside x509.CertificateInvalidError
		if err := verify(t, a.PEM(), forged.cert, host, c.now); !errors.As(err, &outside) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestHandshake(t *testing.T) {
	a := open(t, Options{Dir: t.TempDir(), Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.PEM())
	near, far := net.Pipe()
	server := tls.Server(near, &tls.Config{GetCertificate: a.GetCertificate, MinVersion: tls.VersionTLS12})
	client := tls.Client(far, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { done <- server.HandshakeContext(ctx) }()
	if err := client.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRenewal(t *testing.T) {
	c := at()
	a := open(t, options(t.TempDir(), c))
	serial := func() string {
		t.Helper()
		cert, err := a.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(t, a.PEM(), cert, "localhost", c.now); err != nil {
			t.Errorf("at %s: %v", c.now, err)
		}
		return cert.Leaf.SerialNumber.String()
	}
	first := serial()
	c.now = c.now.Add(19 * 24 * time.Hour)
	if serial() != first {
		t.Error("renewed with 11 days left")
	}
	c.now = c.now.Add(2 * 24 * time.Hour)
	second := serial()
	if second == first {
		t.Error("not renewed with 9 days left")
	}
	c.now = c.now.Add(-20 * 24 * time.Hour)
	if serial() == second {
		t.Error("not replaced although the clock was set back before it")
	}
}

func TestHostsOutside(t *testing.T) {
	dir, c := t.TempDir(), at()
	open(t, options(dir, c, "bonded.acme.internal"))
	_, err := Open(options(dir, c, "registry.acme.internal"))
	if !errors.Is(err, ErrOutside) || !strings.Contains(err.Error(), "bonded.acme.internal") || !strings.Contains(err.Error(), "trust ca") {
		t.Errorf("a new host gives %v", err)
	}
	o := options(dir, c, "eu.bonded.acme.internal") // below what it was made for
	o.Guesses = []string{"laptop"}
	a := open(t, o)
	cert, err := a.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if verify(t, a.PEM(), cert, "eu.bonded.acme.internal", c.now) != nil || cert.Leaf.VerifyHostname("laptop") == nil {
		t.Errorf("names are %v", cert.Leaf.DNSNames)
	}
	for _, bad := range []string{"a_b", "*.example", "", "0.0.0.0", "a b", strings.Repeat("a", 64), "fe80::1%eth0"} {
		if _, err := Open(options(t.TempDir(), c, bad)); !errors.Is(err, ErrOutside) {
			t.Errorf("host %q gives %v", bad, err)
		}
	}
}

func TestBrokenAuthority(t *testing.T) {
	c := at()
	for name, breakIt := range map[string]func(dir string) error{
		"key lost":        func(dir string) error { return os.Remove(filepath.Join(dir, keyFile)) },
		"key readable":    func(dir string) error { return os.Chmod(filepath.Join(dir, keyFile), 0o640) },
		"key empty":       func(dir string) error { return os.WriteFile(filepath.Join(dir, keyFile), nil, 0o600) },
		"certificate cut": func(dir string) error { return os.Truncate(filepath.Join(dir, CertFile), 100) },
		"key of another": func(dir string) error {
			other := t.TempDir()
			if _, err := Open(options(other, c)); err != nil {
				return err
			}
			return os.Rename(filepath.Join(other, keyFile), filepath.Join(dir, keyFile))
		},
		"leaf for an authority": func(dir string) error {
			a, err := Open(options(dir, c))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, CertFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.leaf.cert.Certificate[0]}), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, options(dir, c))
			if err := breakIt(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(options(dir, c)); !errors.Is(err, ErrUnusable) {
				t.Errorf("got %v", err)
			}
		})
	}
	dir := t.TempDir()
	open(t, options(dir, c))
	late := at()
	late.now = late.now.Add(caLife)
	if _, err := Open(options(dir, late)); !errors.Is(err, ErrUnusable) {
		t.Errorf("an authority that ended gives %v", err)
	}
}

// TestInterruptedMaking: a key without certificate was never given to anybody.
func TestInterruptedMaking(t *testing.T) {
	dir, c := t.TempDir(), at()
	open(t, options(dir, c))
	if err := os.Remove(filepath.Join(dir, CertFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCA(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadCA without one gives %v", err)
	}
	if a := open(t, options(dir, c)); !a.Made() {
		t.Error("no authority was made")
	}
}

func TestOpenReportsStorage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(options(filepath.Join(file, "tls"), at())); err == nil {
		t.Error("an authority was made below a file")
	}
}
