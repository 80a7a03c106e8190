package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	notationx509 "github.com/notaryproject/notation-core-go/x509"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// asked is a certificate signing request over a key. Its subject says what
// somebody would like to be.
func asked(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:        pkix.Name{Country: []string{"ZZ"}, Province: []string{"Notation"}, Organization: []string{own}, CommonName: "eve@example.com"},
		EmailAddresses: []string{"eve@example.com"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// TestNotation: who a certificate is of is said as in Sigstore's, and once more
// in its subject; Notation's own rules take the chain.
func TestNotation(t *testing.T) {
	issuer := newRFC(t, false)
	tests := []struct {
		name, san, subject string
		token              func(*world) string
	}{
		{"a person", "ann@example.com", "CN=ann@example.com,O=" + own + ",ST=Notation,C=ZZ", func(w *world) string { return w.token(ann) }},
		{"a machine", own + "/machines/ci", "CN=" + own + "/machines/ci,O=" + own + ",ST=Notation,C=ZZ", func(w *world) string { return w.token(claims{"sub": own + "/machines/ci"}) }},
		{"a build", "https://github.com/acme/app/.github/workflows/build.yml@refs/heads/main", "CN=https://github.com/acme/app/.github/workflows/build.yml@refs/heads/main,O=" + strings.TrimSpace(issuer.URL) + ",ST=Notation,C=ZZ", func(w *world) string { return issuer.token(w, github) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, Issuer{URL: issuer.URL, Kind: GitHub, Site: "https://github.com"})
			chain, err := w.a.Issue(t.Context(), Request{Use: Notation, Token: test.token(w), CSR: asked(t, newHolder(t).key)})
			if err != nil {
				t.Fatal(err)
			}
			s := w.verified(chain) // by sigstore-go: with the same extensions, and logged
			leaf := chain[0]
			if s.SubjectAlternativeName != test.san || leaf.Subject.String() != test.subject {
				t.Errorf("it is of %s, by its subject of %s", s.SubjectAlternativeName, leaf.Subject)
			}
			if is := (evidence.Identity{Issuer: s.Issuer, Subject: s.SubjectAlternativeName}).NotationName(); is.String() != leaf.Subject.String() {
				t.Errorf("its subject is not that of its identity, %s", is)
			}
			signed := w.now.Add(-time.Second)
			if err := notationx509.ValidateCodeSigningCertChain(chain, &signed); err != nil {
				t.Errorf("Notation refuses the chain: %v", err)
			}
			if !leaf.NotAfter.Equal(w.now.Add(Life)) || w.now.Sub(leaf.NotBefore) != notationSlack {
				t.Errorf("good from %s to %s, at %s", leaf.NotBefore, leaf.NotAfter, w.now)
			}
			if w.log.added != 1 || len(w.issued) != 1 || w.issued[0].Use != Notation || w.issued[0].Name != test.san {
				t.Errorf("%d logged; audited: %+v", w.log.added, w.issued)
			}
		})
	}
}

func TestNotationRefused(t *testing.T) {
	w := newWorld(t)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	odd, err := rsa.GenerateKey(rand.Reader, 2560)
	if err != nil {
		t.Fatal(err)
	}
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	good := newHolder(t).key
	broken, _ := pem.Decode(asked(t, good))
	broken.Bytes[len(broken.Bytes)-1] ^= 1
	token := w.token(ann)
	var revoked string
	var away error
	w.a.o.Revoked = func(_ context.Context, who evidence.Identity) (string, error) {
		if who.Issuer != own || who.Subject != "ann@example.com" {
			t.Errorf("asked about %s", who)
		}
		return revoked, away
	}
	for _, test := range []struct {
		name          string
		csr           []byte
		token         string
		revoked, away string
		status        int // 0 for an error of ours
		says          string
	}{
		{name: "Ed25519", csr: asked(t, ed), token: token, status: 400, says: "no Ed25519"},
		{name: "a length that Notation has no algorithm for", csr: asked(t, odd), token: token, status: 400, says: "2560"},
		{name: "a curve nobody takes", csr: asked(t, p224), token: token, status: 400, says: "weak"},
		{name: "a request that its key did not sign", csr: pem.EncodeToMemory(broken), token: token, status: 400, says: "not signed by its key"},
		{name: "no token", csr: asked(t, good), status: 401, says: "no identity token"},
		{name: "a token for something else", csr: asked(t, good), token: w.token(claims{"sub": ann["sub"], "aud": "registry"}), status: 401, says: "audience"},
		{name: "a revoked identity", csr: asked(t, good), token: token, revoked: "identity ann@example.com was revoked", status: 403, says: "was revoked"},
		{name: "revocations that cannot be read", csr: asked(t, good), token: token, away: "the database is away", says: "looking up revocations"},
	} {
		revoked, away = test.revoked, nil
		if test.away != "" {
			away = errors.New(test.away)
		}
		chain, err := w.a.Issue(t.Context(), Request{Use: Notation, Token: test.token, CSR: test.csr})
		no := new(Refusal)
		if errors.As(err, &no); chain != nil || err == nil || no.Status != test.status || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v (%d), want %d that says %q", test.name, err, no.Status, test.status, test.says)
		}
	}
	if w.log.added != 0 || len(w.issued) != 0 {
		t.Errorf("%d logged, %d audited", w.log.added, len(w.issued))
	}
}

// TestNotationUnlogged: what is in no log, or not recorded, stays here.
func TestNotationUnlogged(t *testing.T) {
	w := newWorld(t)
	r := Request{Use: Notation, Token: w.token(ann), CSR: asked(t, newHolder(t).key)}
	w.log.err = errors.New("the log is away")
	if chain, err := w.a.Issue(t.Context(), r); err == nil {
		t.Errorf("not logged, and handed out: %v", chain[0].Subject)
	}
	w.log.err, w.audit = nil, errors.New("the audit log is away")
	if chain, err := w.a.Issue(t.Context(), r); err == nil {
		t.Errorf("not recorded, and handed out: %v", chain[0].Subject)
	}
}

func TestServeNotation(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.a.ServeNotation())
	defer server.Close()
	post := func(path, token string, body []byte) (int, http.Header, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header, b
	}
	csr := asked(t, newHolder(t).key)
	status, header, body := post("/v1/certificate", w.token(ann), csr)
	if status != 200 || header.Get("Content-Type") != "application/pem-certificate-chain" || bytes.Count(body, []byte("BEGIN CERTIFICATE")) != 3 {
		t.Fatalf("%d %v %s", status, header, body)
	}
	block, _ := pem.Decode(body)
	if leaf, err := x509.ParseCertificate(block.Bytes); err != nil || leaf.EmailAddresses[0] != "ann@example.com" {
		t.Errorf("%v, %v", leaf, err)
	}
	for _, test := range []struct {
		name, path, token string
		body              []byte
		status            int
	}{
		{"nothing", "/v1/certificate", w.token(ann), nil, 400},
		{"too much", "/v1/certificate", w.token(ann), make([]byte, maxBody+1), 413},
		{"no PEM", "/v1/certificate", w.token(ann), []byte("hello"), 400},
		{"nobody", "/v1/certificate", "", csr, 401},
		{"Fulcio's path", "/api/v2/signingCert", w.token(ann), csr, 404},
	} {
		if status, _, body := post(test.path, test.token, test.body); status != test.status {
			t.Errorf("%s: %d %s, want %d", test.name, status, body, test.status)
		}
	}
	fulcio := httptest.NewRecorder()
	w.a.ServeHTTP(fulcio, httptest.NewRequest(http.MethodPost, "/v1/certificate", bytes.NewReader(csr)))
	if fulcio.Code != http.StatusNotFound {
		t.Errorf("Fulcio's API answers %d to Notation's path", fulcio.Code)
	}
}

// FuzzNotation: whatever is sent as a request, nothing but a key comes of it.
func FuzzNotation(f *testing.F) {
	w := newWorld(f)
	f.Add(asked(f, newHolder(f).key))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n"))
	token := w.token(ann)
	f.Fuzz(func(t *testing.T, csr []byte) {
		chain, err := w.a.Issue(t.Context(), Request{Use: Notation, Token: token, CSR: csr})
		if err == nil && (chain[0].Subject.CommonName != "ann@example.com" || fmt.Sprint(chain[0].EmailAddresses) != "[ann@example.com]" || chain[0].IsCA) {
			t.Errorf("a certificate of %s", chain[0].Subject)
		}
	})
}
