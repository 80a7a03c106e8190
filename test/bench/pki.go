package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// keys is a certificate for 127.0.0.1 that vouches for itself, and the key that
// signs tokens for the peers. One pair does both: peers take a certificate for
// either.
type keys struct {
	cert, key string // PEM files
	signer    jose.Signer
	pool      *x509.CertPool

	mu     *sync.Mutex       // guards tokens
	tokens map[string]string // by repository; a run is shorter than their life
}

// Names in the tokens, which the peers are configured with.
const (
	tokenIssuer  = "bench"
	tokenService = "registry"
)

// newKeys writes the pair into dir.
func newKeys(dir string) (keys, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keys{}, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "bench"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:                  true,
		BasicConstraintsValid: true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return keys{}, fmt.Errorf("making a certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return keys{}, fmt.Errorf("encoding the key: %w", err)
	}
	k := keys{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), pool: x509.NewCertPool(), mu: &sync.Mutex{}, tokens: map[string]string{}}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	k.pool.AppendCertsFromPEM(certPEM)
	if err := os.WriteFile(k.cert, certPEM, 0o600); err != nil {
		return keys{}, fmt.Errorf("writing the certificate: %w", err)
	}
	if err := os.WriteFile(k.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return keys{}, fmt.Errorf("writing the key: %w", err)
	}
	k.signer, err = newSigner(key)
	return k, err
}

// newSigner names the key by its RFC 7638 thumbprint, by which distribution
// looks it up.
func newSigner(key *ecdsa.PrivateKey) (jose.Signer, error) {
	print, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("naming the key: %w", err)
	}
	named := jose.JSONWebKey{Key: key, KeyID: base64.RawURLEncoding.EncodeToString(print)}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: named}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("preparing to sign tokens: %w", err)
	}
	return signer, nil
}

// token returns a bearer token for pushing to and pulling from the repository,
// in the form of the distribution token specification.
func (k keys) token(repository string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if text, ok := k.tokens[repository]; ok {
		return text, nil
	}
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	now := time.Now()
	claims := struct {
		jwt.Claims
		Access []access `json:"access"`
	}{
		Claims: jwt.Claims{
			Issuer:    tokenIssuer,
			Subject:   "bench",
			Audience:  jwt.Audience{tokenService},
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)),
			Expiry:    jwt.NewNumericDate(now.Add(time.Hour)),
		},
		Access: []access{{Type: "repository", Name: repository, Actions: []string{"pull", "push"}}},
	}
	text, err := jwt.Signed(k.signer).Claims(claims).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	k.tokens[repository] = text
	return text, nil
}

// httpClient trusts the roots and keeps enough connections open for the load.
func httpClient(roots *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 16,
		ForceAttemptHTTP2:   false,
		DisableCompression:  true,
	}}
}
