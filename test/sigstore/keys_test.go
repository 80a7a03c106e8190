package sigstore

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// clients is a company's authority with the certificate of a build.
type clients struct {
	file      string // PEM of the authority
	cert, key string // PEM
	ca        *x509.Certificate
	by        *ecdsa.PrivateKey // of ca
}

func newClients(t *testing.T) clients {
	t.Helper()
	key, sub := ecdsaKey(t), ecdsaKey(t)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Example Clients"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "build"}, DNSNames: []string{build}, NotBefore: ca.NotBefore,
		NotAfter: ca.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	c := clients{file: filepath.Join(t.TempDir(), "clients.pem"), cert: certificate(t, leaf, ca, &sub.PublicKey, key), key: private(t, sub), ca: ca, by: key}
	if err := os.WriteFile(c.file, []byte(certificate(t, ca, ca, &key.PublicKey, key)), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// svid makes a certificate of a workload, with its key, both PEM.
func (c clients) svid(t *testing.T, id string) (cert, key string) {
	t.Helper()
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	sub := ecdsaKey(t)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(3), NotBefore: c.ca.NotBefore, NotAfter: c.ca.NotAfter, URIs: []*url.URL{u},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	return certificate(t, leaf, c.ca, &sub.PublicKey, c.by), private(t, sub)
}

// config has the server take their certificates.
func (c clients) config() string {
	return fmt.Sprintf("trust:\n  clients: {ca_file: %q}\n", c.file)
}

func ecdsaKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func certificate(t *testing.T, c, parent *x509.Certificate, pub *ecdsa.PublicKey, by *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, by)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func private(t *testing.T, key crypto.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func newRSAKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return private(t, key)
}

func newKey(t *testing.T) string { return newRSAKey(t) }

// forge signs a token again with other claims, by a key in PEM.
func forge(t *testing.T, keyPEM, token string, change map[string]any) string {
	t.Helper()
	parts := strings.Split(token, ".")
	block, _ := pem.Decode([]byte(keyPEM))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	for name, v := range change {
		claims[name] = v
	}
	if payload, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	text := parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

var userCode = regexp.MustCompile(`[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}`)

// byDevice: without a token cosign shows a code, and waits until ann approves it.
func (w *world) byDevice() {
	cmd := exec.CommandContext(w.Context(), "cosign", "sign-blob", "--yes", "--bundle", "device.json", "release.txt")
	cmd.Dir, cmd.Env = w.home, w.env
	for name, value := range w.signs.Env {
		if name != "SIGSTORE_ID_TOKEN" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		_ = in.Close() // the scanner below is waiting for it
		ended <- err
	}()
	var said strings.Builder
	approved := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if code := userCode.FindString(lines.Text()); code != "" && !approved {
			approved = true
			w.has(w.run(w.server.Binary, "trust", "approve", code), "signs as "+ann)
		}
	}
	if err := <-ended; err != nil || !approved {
		w.Fatalf("signing by a device (approved: %v): %v\n%s", approved, err, said.String())
	}
	w.cosign(join([]string{"verify-blob", "--bundle", "device.json"}, w.as(ann), []string{"release.txt"})...)
}
