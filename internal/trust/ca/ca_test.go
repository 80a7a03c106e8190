package ca

import (
	"context"
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
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/bonded-dev/bonded/internal/trust"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const own = "https://bonded.example/oidc"

// ctLog promises as a log does, and refuses what a log may not take.
type ctLog struct {
	key   func() trust.Key
	clock func() time.Time
	err   error
	added int
}

func (l *ctLog) AddPreChain(ctx context.Context, chain [][]byte) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("the caller waits without end")
	}
	if l.err != nil {
		return nil, l.err
	}
	var raw []ct.ASN1Cert
	for _, der := range chain {
		raw = append(raw, ct.ASN1Cert{Data: der})
	}
	leaf, err := ct.MerkleTreeLeafFromRawChain(raw, ct.PrecertLogEntryType, uint64(l.clock().UnixMilli()))
	if err != nil {
		return nil, err
	}
	pre, err := ctx509.ParseCertificate(chain[0])
	if ctx509.IsFatal(err) {
		return nil, err
	}
	if !pre.IsPrecertificate() {
		return nil, errors.New("no precertificate")
	}
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: sha256.Sum256(l.key().SPKI)}, Timestamp: leaf.TimestampedEntry.Timestamp}
	in, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: *leaf})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(in)
	sig, err := l.key().Signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	sct.Signature = ct.DigitallySigned{Algorithm: cttls.SignatureAndHashAlgorithm{Hash: cttls.SHA256, Signature: cttls.ECDSA}, Signature: sig}
	l.added++
	return cttls.Marshal(sct)
}

type world struct {
	t      testing.TB
	now    time.Time
	i      *trust.Instance
	log    *ctLog
	a      *Authority
	issued []Issued
	audit  error
}

func newWorld(t testing.TB, issuers ...Issuer) *world {
	t.Helper()
	w := &world{t: t, now: start}
	clock := func() time.Time { return w.now }
	quiet := slog.New(slog.DiscardHandler)
	i, err := trust.Init(t.Context(), trust.Options{
		Dir: filepath.Join(t.TempDir(), "trust"), Origin: "bonded.example", URL: "https://bonded.example", Clock: clock, Log: quiet,
	}, trust.InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.i, w.log = i, &ctLog{key: func() trust.Key { return i.Key(trust.LogCT) }, clock: clock}
	w.a, err = New(Options{
		Keys: i, Tokens: i, CT: w.log, URL: own, SPIFFE: []string{"prod.example"}, Issuers: issuers, Clock: clock, Log: quiet,
		Audit: func(_ context.Context, c Issued) error {
			w.issued = append(w.issued, c)
			return w.audit
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

type claims map[string]any

// token signs claims as the built-in issuer does; change may be nil.
func (w *world) token(c claims) string {
	return mint(w.t, w.i.Key(trust.Issuer).Signer, jose.RS256, w.with(own, c))
}

func (w *world) with(issuer string, c claims) claims {
	all := claims{"iss": issuer, "aud": "sigstore", "iat": w.now.Unix(), "exp": w.now.Add(5 * time.Minute).Unix(), "jti": "t1"}
	for k, v := range c {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	return all
}

func mint(t testing.TB, key crypto.Signer, alg jose.SignatureAlgorithm, c claims) string {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return minted(t, key, alg, b)
}

func minted(t testing.TB, key crypto.Signer, alg jose.SignatureAlgorithm, claims []byte) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// holder is a key that somebody wants a certificate over.
type holder struct{ key *ecdsa.PrivateKey }

func newHolder(t testing.TB) holder {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return holder{key}
}

func (h holder) request(t testing.TB, token, challenge string) Request {
	t.Helper()
	spki, _ := x509.MarshalPKIXPublicKey(&h.key.PublicKey)
	sum := sha256.Sum256([]byte(challenge))
	proof, err := ecdsa.SignASN1(rand.Reader, h.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return Request{Token: token, Key: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})), Proof: proof}
}

var ann = claims{"sub": "https://bonded.example/oidc/people/ann", "email": "ann@example.com", "email_verified": true}

// verified checks a chain as sigstore-go's verifier does, at the time of now.
func (w *world) verified(chain []*x509.Certificate) certificate.Summary {
	w.t.Helper()
	b, err := w.i.TrustedRoot()
	if err != nil {
		w.t.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(b)
	if err != nil {
		w.t.Fatal(err)
	}
	chains, err := verify.VerifyLeafCertificate(w.now, chain[0], tr)
	if err != nil {
		w.t.Fatalf("sigstore-go refuses the chain: %v", err)
	}
	if err := verify.VerifySignedCertificateTimestamp(chains, 1, tr); err != nil {
		w.t.Fatalf("sigstore-go refuses the certificate timestamp: %v", err)
	}
	s, err := certificate.SummarizeCertificate(chain[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) issue(token, challenge string) (certificate.Summary, error) {
	w.t.Helper()
	chain, err := w.a.Issue(w.t.Context(), newHolder(w.t).request(w.t, token, challenge))
	if err != nil {
		return certificate.Summary{}, err
	}
	return w.verified(chain), nil
}

func TestOwnTokens(t *testing.T) {
	tests := []struct {
		name, challenge, san string
		c                    claims
	}{
		{"a person", "ann@example.com", "ann@example.com", ann},
		{"a machine", "https://bonded.example/oidc/machines/ci", "https://bonded.example/oidc/machines/ci", claims{"sub": "https://bonded.example/oidc/machines/ci"}},
		{"a workload", "spiffe://prod.example/ns/a", "spiffe://prod.example/ns/a", claims{"sub": "spiffe://prod.example/ns/a"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			s, err := w.issue(w.token(test.c), test.challenge)
			if err != nil {
				t.Fatal(err)
			}
			if s.SubjectAlternativeName != test.san || s.Issuer != own {
				t.Errorf("certificate for %s by %s", s.SubjectAlternativeName, s.Issuer)
			}
			if len(w.issued) != 1 || w.issued[0].Name != test.san || w.issued[0].TokenID != "t1" || w.issued[0].Subject != test.c["sub"] {
				t.Errorf("audited: %+v", w.issued)
			}
			c := w.issued[0].Certificate
			if got := c.NotAfter.Sub(c.NotBefore); got != Life || !c.NotBefore.Equal(start) {
				t.Errorf("good from %s for %s", c.NotBefore, got)
			}
		})
	}
}

func TestRefusedTokens(t *testing.T) {
	w := newWorld(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+own+`","aud":"sigstore","sub":"x","exp":9999999999}`)) + "."
	hmac := func() string {
		s, _ := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: w.i.Key(trust.Issuer).SPKI}, nil)
		b, _ := json.Marshal(w.with(own, ann))
		signed, _ := s.Sign(b)
		raw, _ := signed.CompactSerialize()
		return raw
	}
	with := func(more claims) claims {
		c := claims{}
		for k, v := range ann {
			c[k] = v
		}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	tests := []struct {
		name, token string
		status      int
		says        string
	}{
		{"none", "", 401, "no identity token"},
		{"text", "hello", 401, "no identity token"},
		{"not base64", "a.%.c", 401, "not JSON"},
		{"too long", strings.Repeat("a", maxToken) + ".b.c", 401, "at most"},
		{"another issuer", mint(t, stranger, jose.RS256, w.with("https://evil.example", ann)), 401, "issuers that are: " + own},
		{"another key", mint(t, stranger, jose.RS256, w.with(own, ann)), 401, "does not verify"},
		{"no signature", none, 401, "does not verify"},
		{"signed with the public key as a secret", hmac(), 401, "does not verify"},
		{"another audience", w.token(with(claims{"aud": "registry"})), 401, "audience"},
		{"ended", w.token(with(claims{"exp": start.Add(-time.Second).Unix()})), 401, "ended at"},
		{"without end", w.token(with(claims{"exp": nil})), 401, "ended at"},
		{"an address that is not verified", w.token(with(claims{"email_verified": false})), 403, "not verified"},
		{"no subject", w.token(with(claims{"sub": nil})), 403, "subject is empty"},
		{"a subject on another host", w.token(claims{"sub": "https://evil.example/x"}), 403, "not on the issuer's host"},
		{"a subject of another trust domain", w.token(claims{"sub": "spiffe://evil.example/x"}), 403, "trust domain"},
		{"a claim of one's own", w.token(with(claims{"EMAIL": "boss@example.com"})), 401, "more than one way"},
		{"a claim that is there twice", minted(t, w.i.Key(trust.Issuer).Signer, jose.RS256, []byte(`{"iss":"`+own+`","aud":"sigstore","exp":9999999999,"email_verified":true,"sub":"x","email":"a@example.com","email":"boss@example.com"}`)), 401, "more than one way"},
		{"control characters", w.token(with(claims{"email": "a@b\nc"})), 403, "control"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := w.issue(test.token, "ann@example.com")
			no := new(Refusal)
			if !errors.As(err, &no) || no.Status != test.status || !strings.Contains(no.Message, test.says) {
				t.Errorf("error %v, want %d that says %q", err, test.status, test.says)
			}
		})
	}
	if w.log.added != 0 || len(w.issued) != 0 {
		t.Errorf("%d logged, %d audited", w.log.added, len(w.issued))
	}
}

func TestPossession(t *testing.T) {
	w := newWorld(t)
	token := w.token(ann)
	h := newHolder(t)
	good := h.request(t, token, "ann@example.com")
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ignored"}}, h.key)
	if err != nil {
		t.Fatal(err)
	}
	pemCSR := func(b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: b}) }
	if chain, err := w.a.Issue(t.Context(), Request{Token: token, CSR: pemCSR(csr)}); err != nil || w.verified(chain).SubjectAlternativeName != "ann@example.com" || len(chain[0].Subject.Names) != 0 {
		t.Errorf("by a request: %v", err)
	}
	broken := append([]byte(nil), csr...)
	broken[len(broken)-1] ^= 1
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	tests := []struct {
		name string
		r    Request
		says string
	}{
		{"another challenge", h.request(t, token, "bob@example.com"), "does not verify"},
		{"the subject where there is an address", h.request(t, token, ann["sub"].(string)), "does not verify"},
		{"another key's proof", Request{Token: token, Key: good.Key, Proof: newHolder(t).request(t, token, "ann@example.com").Proof}, "does not verify"},
		{"no key", Request{Token: token, Key: "hello"}, "cannot be read"},
		{"a curve nobody takes", holder{p224}.request(t, token, "ann@example.com"), "weak"},
		{"a request that is no PEM", Request{Token: token, CSR: []byte("x")}, "cannot be read"},
		{"a request that its key did not sign", Request{Token: token, CSR: pemCSR(broken)}, "request"},
	}
	for _, test := range tests {
		_, err := w.a.Issue(t.Context(), test.r)
		no := new(Refusal)
		if !errors.As(err, &no) || no.Status != 400 || !strings.Contains(no.Message, test.says) {
			t.Errorf("%s: error %v, want one that says %q", test.name, err, test.says)
		}
	}
}

// rfc is an issuer that publishes its keys.
type rfc struct {
	*httptest.Server
	key   *ecdsa.PrivateKey
	asked atomic.Int32
	down  atomic.Bool

	keysAsked atomic.Int32

	iss string // what discovery says; default its URL
	at  string // where it says that its keys are; default its own
}

func newRFC(t testing.TB, tls bool) *rfc {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &rfc{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		if s.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		iss := s.iss
		if iss == "" {
			iss = s.URL
		}
		at := s.at
		if at == "" {
			at = s.URL + "/keys"
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"authorization_endpoint":"x","token_endpoint":"x"}`, iss, at)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		s.keysAsked.Add(1)
		w.Write(s.jwks())
	})
	if tls {
		s.Server = httptest.NewTLSServer(mux)
	} else {
		s.Server = httptest.NewServer(mux)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *rfc) jwks() []byte {
	b, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &s.key.PublicKey, Algorithm: "ES256", Use: "sig"}}})
	return b
}

func (s *rfc) token(w *world, c claims) string {
	return mint(w.t, s.key, jose.ES256, w.with(s.URL, c))
}

var github = claims{
	"sub": "repo:acme/app:ref:refs/heads/main", "event_name": "push", "sha": "c0ffee", "workflow": "build", "repository": "acme/app", "ref": "refs/heads/main",
	"job_workflow_ref": "acme/app/.github/workflows/build.yml@refs/heads/main", "job_workflow_sha": "c0ffee", "runner_environment": "github-hosted",
	"repository_id": "7", "repository_owner": "acme", "repository_owner_id": "8", "workflow_ref": "acme/app/.github/workflows/build.yml@refs/heads/main",
	"workflow_sha": "c0ffee", "run_id": "100", "run_attempt": "1", "repository_visibility": "private",
}

var gitlab = claims{
	"sub": "project_path:acme/app:ref_type:branch:ref:main", "ci_config_ref_uri": "git.example/acme/app//.gitlab-ci.yml@refs/heads/main", "ci_config_sha": "c0ffee",
	"runner_environment": "self-hosted", "project_path": "acme/app", "sha": "c0ffee", "ref_type": "branch", "ref": "main", "project_id": "7", "namespace_path": "acme",
	"namespace_id": "8", "pipeline_source": "push", "job_id": "100", "project_visibility": "private",
}

func TestIssuers(t *testing.T) {
	tests := []struct {
		kind Kind
		more Issuer
		c    func(url string) claims
		san  string // "URL" stands for the issuer
		want func(url string) certificate.Extensions
	}{
		{Email, Issuer{}, func(string) claims { return claims{"sub": "1", "email": "bob@example.com", "email_verified": true} }, "bob@example.com", nil},
		{Email, Issuer{EmailVerified: true}, func(string) claims { return claims{"sub": "1", "email": "bob@example.com"} }, "bob@example.com", nil},
		{URI, Issuer{}, func(url string) claims { return claims{"sub": url + "/builder"} }, "URL/builder", nil},
		{SPIFFE, Issuer{TrustDomain: "td.example"}, func(string) claims { return claims{"sub": "spiffe://td.example/web"} }, "spiffe://td.example/web", nil},
		{Kubernetes, Issuer{}, func(string) claims {
			return claims{"sub": "system:serviceaccount:ci:builder", "kubernetes.io": map[string]any{"namespace": "ci", "serviceaccount": map[string]any{"name": "builder"}}}
		}, "https://kubernetes.io/namespaces/ci/serviceaccounts/builder", nil},
		{Jenkins, Issuer{}, func(url string) claims { return claims{"sub": url + "/job/app/", "build_number": "17"} }, "URL/job/app/", func(url string) certificate.Extensions {
			return certificate.Extensions{BuildSignerURI: url + "/job/app/", BuildConfigURI: url + "/job/app/", RunInvocationURI: url + "/job/app/17/"}
		}},
		{GitHub, Issuer{Site: "https://github.com"}, func(string) claims { return github }, "https://github.com/acme/app/.github/workflows/build.yml@refs/heads/main", func(string) certificate.Extensions {
			return certificate.Extensions{
				GithubWorkflowTrigger: "push", GithubWorkflowSHA: "c0ffee", GithubWorkflowName: "build", GithubWorkflowRepository: "acme/app", GithubWorkflowRef: "refs/heads/main",
				BuildSignerURI: "https://github.com/acme/app/.github/workflows/build.yml@refs/heads/main", BuildSignerDigest: "c0ffee", RunnerEnvironment: "github-hosted",
				SourceRepositoryURI: "https://github.com/acme/app", SourceRepositoryDigest: "c0ffee", SourceRepositoryRef: "refs/heads/main", SourceRepositoryIdentifier: "7",
				SourceRepositoryOwnerURI: "https://github.com/acme", SourceRepositoryOwnerIdentifier: "8", BuildConfigURI: "https://github.com/acme/app/.github/workflows/build.yml@refs/heads/main",
				BuildConfigDigest: "c0ffee", BuildTrigger: "push", RunInvocationURI: "https://github.com/acme/app/actions/runs/100/attempts/1", SourceRepositoryVisibilityAtSigning: "private",
			}
		}},
		{GitLab, Issuer{Site: "https://git.example"}, func(string) claims { return gitlab }, "https://git.example/acme/app//.gitlab-ci.yml@refs/heads/main", func(string) certificate.Extensions {
			const url = "https://git.example"
			return certificate.Extensions{
				BuildSignerURI: "https://git.example/acme/app//.gitlab-ci.yml@refs/heads/main", BuildSignerDigest: "c0ffee", RunnerEnvironment: "self-hosted",
				SourceRepositoryURI: url + "/acme/app", SourceRepositoryDigest: "c0ffee", SourceRepositoryRef: "refs/heads/main", SourceRepositoryIdentifier: "7",
				SourceRepositoryOwnerURI: url + "/acme", SourceRepositoryOwnerIdentifier: "8", BuildConfigURI: "https://git.example/acme/app//.gitlab-ci.yml@refs/heads/main",
				BuildConfigDigest: "c0ffee", BuildTrigger: "push", RunInvocationURI: url + "/acme/app/-/jobs/100", SourceRepositoryVisibilityAtSigning: "private",
			}
		}},
	}
	for _, test := range tests {
		t.Run(string(test.kind), func(t *testing.T) {
			s := newRFC(t, false)
			test.more.URL, test.more.Kind = s.URL, test.kind
			w := newWorld(t, test.more)
			c := test.c(s.URL)
			challenge := c["sub"].(string)
			if e, ok := c["email"]; ok {
				challenge = e.(string)
			}
			got, err := w.issue(s.token(w, c), challenge)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Replace(test.san, "URL", s.URL, 1); got.SubjectAlternativeName != want || got.Issuer != s.URL {
				t.Errorf("certificate for %s by %s, want %s", got.SubjectAlternativeName, got.Issuer, want)
			}
			if test.want != nil {
				want := test.want(s.URL)
				want.Issuer = s.URL
				if diff := cmp.Diff(want, got.Extensions); diff != "" {
					t.Errorf("extensions (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestClaimsThatMakeNoCertificate(t *testing.T) {
	tests := []struct {
		kind Kind
		c    claims
		says string
	}{
		{Email, claims{"sub": "1", "email": "bob@example.com"}, "email_verified"},
		{URI, claims{"sub": "http://evil.example/x"}, "hostname"},
		{Kubernetes, claims{"sub": "system:serviceaccount:ci:builder"}, "service account"},
		{Jenkins, claims{"sub": "https://evil.example/job/x/"}, "not below"},
		{GitHub, claims{"sub": "x"}, "it has no job_workflow_ref, repository"},
		{GitLab, gitlab, "is not on http://127.0.0.1"}, // its pipeline is on git.example
	}
	for _, test := range tests {
		s := newRFC(t, false)
		w := newWorld(t, Issuer{URL: s.URL, Kind: test.kind})
		_, err := w.issue(s.token(w, test.c), "x")
		no := new(Refusal)
		if !errors.As(err, &no) || !strings.Contains(no.Message, test.says) || no.Status != 403 {
			t.Errorf("%s: %v, want one that says %q", test.kind, err, test.says)
		}
	}
}

func TestDeadIssuerBlocksNobody(t *testing.T) {
	s := newRFC(t, false)
	s.down.Store(true)
	w := newWorld(t, Issuer{URL: s.URL, Kind: URI})
	if s.asked.Load() != 0 {
		t.Error("the issuer was asked at start")
	}
	token := s.token(w, claims{"sub": s.URL + "/x"})
	for range 3 {
		_, err := w.issue(token, s.URL+"/x")
		no := new(Refusal)
		if !errors.As(err, &no) || no.Status != 503 || !strings.Contains(no.Message, "jwks_file") {
			t.Fatalf("%v", err)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times within %s, want once", n, askAgain)
	}
	if _, err := w.issue(w.token(ann), "ann@example.com"); err != nil {
		t.Errorf("the built-in issuer: %v", err)
	}
	s.down.Store(false)
	w.now = w.now.Add(askAgain)
	if _, err := w.issue(s.token(w, claims{"sub": s.URL + "/x"}), s.URL+"/x"); err != nil {
		t.Errorf("once it is back: %v", err)
	}
}

// TestForgedTokensAskNobody: tokens that no key of the issuer signed have it asked
// for its keys now and then, and new keys are found all the same.
func TestForgedTokensAskNobody(t *testing.T) {
	s := newRFC(t, false)
	w := newWorld(t, Issuer{URL: s.URL, Kind: URI})
	about := claims{"sub": s.URL + "/x"}
	if _, err := w.issue(s.token(w, about), s.URL+"/x"); err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		_, err := w.issue(mint(t, stranger, jose.ES256, w.with(s.URL, about)), s.URL+"/x")
		if no := new(Refusal); !errors.As(err, &no) || no.Status != 401 {
			t.Fatalf("a forged token: %v", err)
		}
	}
	if n := s.keysAsked.Load(); n != 1 {
		t.Errorf("the issuer was asked for its keys %d times", n)
	}
	s.key = stranger // it has others now
	w.now = w.now.Add(askAgain)
	if _, err := w.issue(s.token(w, about), s.URL+"/x"); err != nil || s.keysAsked.Load() != 2 {
		t.Errorf("with a new key: %v, asked %d times", err, s.keysAsked.Load())
	}
}

func TestIssuerThatSaysItIsAnother(t *testing.T) {
	s := newRFC(t, false)
	s.iss = "https://other.example"
	w := newWorld(t, Issuer{URL: s.URL, Kind: URI})
	_, err := w.issue(s.token(w, claims{"sub": s.URL + "/x"}), s.URL+"/x")
	if no := new(Refusal); !errors.As(err, &no) || no.Status != 503 {
		t.Errorf("%v", err)
	}
}

// TestIssuerThatPointsElsewhere: an issuer cannot have us read what it cannot
// reach itself, neither by asking for it nor by repeating what was answered.
func TestIssuerThatPointsElsewhere(t *testing.T) {
	const secret = "the-secret-of-a-neighbour"
	neighbour, status := httptest.NewServer(nil), atomic.Int32{}
	t.Cleanup(neighbour.Close)
	body := atomic.Value{}
	var asked atomic.Int32
	neighbour.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, body.Load())
	})
	for _, answer := range []struct {
		status int32
		body   string
	}{{500, secret}, {200, secret}, {200, `{"keys":"` + secret + `"}`}, {200, `{"keys":[{"kty":"` + secret + `"}]}`}, {200, strings.Repeat(secret, maxFetched/len(secret)+1)}} {
		status.Store(answer.status)
		body.Store(answer.body)
		s := newRFC(t, false)
		s.at = s.URL + "/elsewhere"
		mux := s.Config.Handler.(*http.ServeMux)
		mux.Handle("/elsewhere", neighbour.Config.Handler)
		w := newWorld(t, Issuer{URL: s.URL, Kind: URI})
		_, err := w.issue(s.token(w, claims{"sub": s.URL + "/x"}), s.URL+"/x")
		if no := new(Refusal); !errors.As(err, &no) || no.Status != 503 || strings.Contains(no.Message, secret) || len(no.Message) > 500 {
			t.Errorf("%d %.40q: %.600v", answer.status, answer.body, err)
		}
	}
	asked.Store(0)
	for _, at := range []string{neighbour.URL + "/keys", "https://127.0.0.1/keys", "https://localhost:8200/v1/secret", "https://10.0.0.1/keys", "https://[fe80::1]/keys", "file:///etc/passwd", "https://a:b@issuer.example/keys"} {
		s := newRFC(t, false)
		s.at = at
		w := newWorld(t, Issuer{URL: s.URL, Kind: URI})
		_, err := w.issue(s.token(w, claims{"sub": s.URL + "/x"}), s.URL+"/x")
		if no := new(Refusal); !errors.As(err, &no) || !strings.Contains(no.Message, "has its keys at") || asked.Load() > 0 {
			t.Errorf("keys at %s: %v", at, err)
		}
	}
	if err := mayKeep("https://issuer.example", "http://localhost/keys"); err == nil {
		t.Error("an issuer elsewhere has its keys on this machine")
	}
	if err := mayKeep("https://accounts.example", "https://www.example/keys"); err != nil {
		t.Errorf("keys on another host: %v", err)
	}
}

func TestIssuerBehindACompanysCA(t *testing.T) {
	s := newRFC(t, true)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, i := range []Issuer{{URL: s.URL, Kind: URI, CAFile: file}, {URL: s.URL, Kind: URI}} {
		w := newWorld(t, i)
		_, err := w.issue(s.token(w, claims{"sub": s.URL + "/x"}), s.URL+"/x")
		if (err == nil) != (i.CAFile != "") {
			t.Errorf("with CA file %q: %v", i.CAFile, err)
		}
	}
}

func TestKeysInAFile(t *testing.T) {
	s := newRFC(t, false)
	s.Close()
	file := filepath.Join(t.TempDir(), "jwks.json")
	w := newWorld(t, Issuer{URL: s.URL, Kind: URI, JWKSFile: file})
	token, sub := s.token(w, claims{"sub": s.URL + "/x"}), s.URL+"/x"
	if _, err := w.issue(token, sub); err == nil {
		t.Error("issued without keys")
	}
	if err := os.WriteFile(file, s.jwks(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.issue(token, sub); err != nil {
		t.Errorf("with the file: %v", err)
	}
}

func TestNothingLeavesUnlogged(t *testing.T) {
	w := newWorld(t)
	w.log.err = errors.New("the log is full")
	if _, err := w.issue(w.token(ann), "ann@example.com"); err == nil || len(w.issued) != 0 {
		t.Errorf("without the log: %v", err)
	}
	w.log.err, w.audit = nil, errors.New("no audit")
	if _, err := w.issue(w.token(ann), "ann@example.com"); err == nil {
		t.Error("without audit")
	}
	w.audit = nil
	w.now = start.Add(365*24*time.Hour - 5*time.Minute)
	if _, err := w.issue(w.token(ann), "ann@example.com"); err == nil || !strings.Contains(err.Error(), "rotate") {
		t.Errorf("with an intermediate that ends: %v", err)
	}
}

func TestConfigurationRefused(t *testing.T) {
	for _, test := range []struct {
		i    Issuer
		says string
	}{
		{Issuer{URL: "http://issuer.example", Kind: URI}, "https"},
		{Issuer{URL: "https://issuer.example", Kind: "moon"}, "no kind"},
		{Issuer{URL: "https://issuer.example", Kind: SPIFFE}, "trust_domain"},
		{Issuer{URL: "https://issuer.example", Kind: URI, CAFile: "a", JWKSFile: "b"}, "contradict"},
		{Issuer{URL: "https://issuer.example", Kind: URI, CAFile: "/absent"}, "ca_file"},
		{Issuer{URL: "https://issuer.example", Kind: GitLab, Site: "https://{{.x}}"}, "site"},
		{Issuer{URL: own, Kind: URI}, "already"},
	} {
		if _, err := New(Options{URL: own, Issuers: []Issuer{test.i}}); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v, want one that says %q", test.i, err, test.says)
		}
	}
}

func TestSigstoreClient(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.a)
	defer server.Close()
	keypair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := sign.NewFulcio(&sign.FulcioOptions{BaseURL: server.URL})
	der, err := client.GetCertificate(t.Context(), keypair, &sign.CertificateProviderOptions{IDToken: w.token(ann)})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if s := w.verified([]*x509.Certificate{cert}); s.SubjectAlternativeName != "ann@example.com" {
		t.Errorf("%+v", s)
	}
	_, err = client.GetCertificate(t.Context(), keypair, &sign.CertificateProviderOptions{IDToken: w.token(claims{"sub": "https://evil.example/x"})})
	if err == nil || !strings.Contains(err.Error(), "not on the issuer's host") {
		t.Errorf("the client is not told why: %v", err)
	}
}

func TestHTTP(t *testing.T) {
	w := newWorld(t, Issuer{URL: "https://gitlab.example", Kind: GitLab})
	tests := []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/api/v2/signingCert", "{", 400, `"code":400`},
		{"POST", "/api/v2/signingCert", `{"credentials":{"oidcIdentityToken":"x"}}`, 400, "has no key"},
		{"POST", "/api/v2/signingCert", `{"publicKeyRequest":{"publicKey":{"content":"x"}},"new":1}`, 401, "no identity token"},
		{"POST", "/api/v2/signingCert", strings.Repeat(" ", maxBody+1), 413, "bytes"},
		{"GET", "/api/v2/trustBundle", "", 200, "BEGIN CERTIFICATE"},
		{"GET", "/api/v2/configuration", "", 200, "https://gitlab.example"},
		{"GET", "/api/v2/signingCert", "", 405, ""},
		{"GET", "/api/v1/rootCert", "", 404, ""},
	}
	for _, test := range tests {
		rec := httptest.NewRecorder()
		w.a.ServeHTTP(rec, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
		if b, _ := io.ReadAll(rec.Body); rec.Code != test.status || !strings.Contains(string(b), test.says) {
			t.Errorf("%s %s: %d %s", test.method, test.path, rec.Code, b)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"credentials":{"oidcIdentityToken":"a.e30.c"},"publicKeyRequest":{"publicKey":{"algorithm":"ECDSA","content":"x"},"proofOfPossession":"AAAA"}}`))
	f.Add([]byte(`{"certificateSigningRequest":"AAAA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err == nil {
			_, err = possession(r, "x")
		}
		if no := new(Refusal); err != nil && !errors.As(err, &no) {
			t.Errorf("error %v is no refusal", err)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("a.eyJpc3MiOiJodHRwczovL2EifQ.c")
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := claimedIssuer(raw); err != nil {
			if no := new(Refusal); !errors.As(err, &no) {
				t.Errorf("error %v is no refusal", err)
			}
		}
	})
}

func FuzzJWKS(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if pubs, err := parseJWKS(b); err == nil && len(pubs) == 0 {
			t.Error("no keys and no error")
		}
	})
}

func BenchmarkIssue(b *testing.B) {
	w := newWorld(b)
	r := newHolder(b).request(b, w.token(ann), "ann@example.com")
	for b.Loop() {
		if _, err := w.a.Issue(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
