package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bring writes a certificate and its key as an operator would.
func bring(t *testing.T, dir string, c *clock) {
	t.Helper()
	a := open(t, options(t.TempDir(), c))
	key, err := x509.MarshalPKCS8PrivateKey(a.leaf.cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: a.leaf.cert.Certificate[0]},
		"tls.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		// Files of the same second are told apart by more than the clock of the disk.
		if err := os.Chtimes(path, c.now, c.now); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFiles(t *testing.T) {
	dir, c := t.TempDir(), at()
	bring(t, dir, c)
	var said strings.Builder
	f, err := OpenFiles(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), c.Now, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		t.Helper()
		cert, err := f.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber.String()
	}
	first := serial()
	c.now = c.now.Add(time.Minute)
	bring(t, dir, c)
	second := serial()
	if second == first {
		t.Error("changed files were not read again")
	}
	c.now = c.now.Add(time.Minute)
	if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial() != second || !strings.Contains(said.String(), "not usable") {
		t.Errorf("an unusable key: log says %s", said.String())
	}
	said.Reset()
	c.now = c.now.Add(time.Minute)
	if serial() != second || said.Len() > 0 {
		t.Errorf("the same unusable key was read again: %s", said.String())
	}
	bring(t, dir, c)
	c.now = c.now.Add(lookAgain / 2)
	if serial() != second {
		t.Error("looked at the files at every handshake")
	}
	c.now = c.now.Add(lookAgain)
	if serial() == second {
		t.Error("repaired files were not read again")
	}
}

func TestOpenFilesRefuses(t *testing.T) {
	dir, c := t.TempDir(), at()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	log := slog.New(slog.DiscardHandler)
	if _, err := OpenFiles(cert, key, c.Now, log); !errors.Is(err, ErrUnusable) {
		t.Errorf("absent files give %v", err)
	}
	bring(t, dir, c)
	late := func() time.Time { return c.now.Add(31 * 24 * time.Hour) }
	if _, err := OpenFiles(cert, key, late, log); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), "ended on") {
		t.Errorf("a certificate that ended gives %v", err)
	}
}
