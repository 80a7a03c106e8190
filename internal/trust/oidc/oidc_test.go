package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore/pkg/oauthflow"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/trust"
)

// people are the secrets that the tests know.
var people = map[string]authz.Principal{
	"ann-secret":      {Issuer: "bonded", Subject: "ann@example.com", Method: "token", Claims: map[string]string{"human": "true"}},
	"bob-secret":      {Issuer: "bonded", Subject: "bob", Method: "token", Claims: map[string]string{"human": "true"}},
	"ci-secret":       {Issuer: "bonded", Subject: "ci@example.com", Method: "token"},
	"scoped-secret":   {Issuer: "bonded", Subject: "bob", Method: "token", Scope: []authz.Scope{}},
	"narrowed-secret": {Issuer: "bonded", Subject: "bob", Method: "token", Within: []authz.Grant{}},
	"foreign-secret":  {Issuer: "https://idp.example", Subject: "u1", Method: "oidc", Claims: map[string]string{"email": "eve@example.com", "email_verified": "true"}},
}

type known struct{}

func (known) Authenticate(_ *http.Request, secret string) (authz.Principal, error) {
	if secret == "often" {
		return authz.Principal{}, &authz.Throttled{After: time.Minute}
	}
	p, ok := people[secret]
	if !ok {
		return p, fmt.Errorf("%w: wrong secret", authz.ErrUnauthenticated)
	}
	return p, nil
}

type world struct {
	t      testing.TB
	now    time.Time
	i      *trust.Instance
	o      trust.Options
	s      *Issuer
	server *httptest.Server
	issued []Issued
	audit  error
}

// newWorld starts an issuer at the present time, which clients' own libraries
// take for now.
func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, now: time.Now().Truncate(time.Second)}
	clock := func() time.Time { return w.now }
	quiet := slog.New(slog.DiscardHandler)
	w.o = trust.Options{Dir: filepath.Join(t.TempDir(), "trust"), Origin: "bonded.example", URL: "https://bonded.example", Clock: clock, Log: quiet}
	i, err := trust.Init(t.Context(), w.o, trust.InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.i = i
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { http.StripPrefix("/oidc", w.s).ServeHTTP(rw, r) }))
	t.Cleanup(w.server.Close)
	o := Options{
		URL: w.server.URL + "/oidc", Keys: i, Who: known{}, Flows: NewMemory(clock), Clock: clock, Log: quiet,
		Audit: func(_ context.Context, is Issued) error {
			w.issued = append(w.issued, is)
			return w.audit
		},
	}
	change(&o)
	if w.s, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

func plain(*Options) {}

// post sends a form and returns the status and the answer.
func (w *world) post(path string, f url.Values) (int, map[string]any) {
	w.t.Helper()
	resp, err := http.PostForm(w.s.URL()+path, f)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		w.t.Fatal(err)
	}
	if c := resp.Header.Get("Cache-Control"); c != "no-store" {
		w.t.Errorf("%s may be cached: %q", path, c)
	}
	return resp.StatusCode, out
}

// verified checks a token as a client does: by discovery and the keys it finds.
func (w *world) verified(raw string) map[string]any {
	w.t.Helper()
	p, err := gooidc.NewProvider(w.t.Context(), w.s.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	tok, err := p.Verifier(&gooidc.Config{ClientID: "sigstore", Now: func() time.Time { return w.now }}).Verify(w.t.Context(), raw)
	if err != nil {
		w.t.Fatalf("go-oidc refuses the token: %v", err)
	}
	var c map[string]any
	if err := tok.Claims(&c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func exchange(secret string, more ...string) url.Values {
	f := url.Values{"grant_type": {grantExchange}, "subject_token": {secret}, "subject_token_type": {typeAccess}}
	for i := 0; i < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return f
}

func TestExchange(t *testing.T) {
	w := newWorld(t, plain)
	tests := []struct{ secret, sub, email string }{
		{"ann-secret", "/people/ann@example.com", "ann@example.com"},
		{"bob-secret", "/people/bob", ""},
		{"ci-secret", "/machines/ci@example.com", ""}, // a machine is no address, whatever its name
		{"foreign-secret", "/people/https:%2F%2Fidp.example%23u1", "eve@example.com"},
	}
	for _, test := range tests {
		status, out := w.post("/token", exchange(test.secret, "audience", "sigstore", "requested_token_type", typeID))
		if status != 200 || out["issued_token_type"] != typeID || out["token_type"] != "N_A" || out["expires_in"] != 300.0 {
			t.Fatalf("%s: %d %v", test.secret, status, out)
		}
		c := w.verified(out["access_token"].(string))
		if c["sub"] != w.s.URL()+test.sub || c["email"] != nil && c["email"] != test.email || (c["email_verified"] == true) != (test.email != "") {
			t.Errorf("%s: %v", test.secret, c)
		}
		last := w.issued[len(w.issued)-1]
		if last.ID != c["jti"] || last.Subject != c["sub"] || last.How != ByExchange || !last.From.IsLoopback() {
			t.Errorf("%s: audited %+v", test.secret, last)
		}
	}
	seen := map[string]bool{}
	for _, i := range w.issued {
		seen[i.ID] = true
	}
	if len(seen) != len(tests) {
		t.Errorf("%d tokens have %d IDs", len(tests), len(seen))
	}
}

func TestExchangeRefused(t *testing.T) {
	w := newWorld(t, plain)
	tests := []struct {
		name   string
		f      url.Values
		status int
		code   string
	}{
		{"a wrong secret", exchange("wrong"), 400, "invalid_grant"},
		{"too often", exchange("often"), 429, "temporarily_unavailable"},
		{"no secret", exchange(""), 400, "invalid_request"},
		{"a token for repositories", exchange("scoped-secret"), 400, "invalid_grant"},
		{"a narrowed secret", exchange("narrowed-secret"), 400, "invalid_grant"},
		{"another audience", exchange("ann-secret", "audience", "https://other"), 400, "invalid_target"},
		{"an access token", exchange("ann-secret", "requested_token_type", typeAccess), 400, "invalid_request"},
		{"another kind of secret", exchange("ann-secret", "subject_token_type", "urn:x"), 400, "invalid_request"},
		{"acting for another", exchange("ann-secret", "actor_token", "x"), 400, "invalid_request"},
		{"a field twice", url.Values{"grant_type": {grantExchange, grantClient}}, 400, "invalid_request"},
		{"an unknown grant", url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type"},
		{"a certificate where none is taken", url.Values{"grant_type": {grantClient}}, 400, "unauthorized_client"},
		{"too much", exchange(strings.Repeat("x", maxForm)), 400, "invalid_request"},
	}
	for _, test := range tests {
		status, out := w.post("/token", test.f)
		if status != test.status || out["error"] != test.code || out["error_description"] == "" {
			t.Errorf("%s: %d %v", test.name, status, out)
		}
	}
	if len(w.issued) != 0 {
		t.Errorf("issued %+v", w.issued)
	}
	w.audit = errors.New("the audit log is away")
	if status, out := w.post("/token", exchange("ann-secret")); status != 500 || strings.Contains(fmt.Sprint(out), "away") {
		t.Errorf("without audit: %d %v", status, out)
	}
}

func TestOldKeyVerifiesWithinTheOverlap(t *testing.T) {
	w := newWorld(t, plain)
	_, out := w.post("/token", exchange("ann-secret"))
	old := out["id_token"].(string)
	if _, err := trust.Rotate(t.Context(), w.o, trust.RotateOptions{Slots: []trust.Slot{trust.Issuer}}); err != nil {
		t.Fatal(err)
	}
	if err := w.i.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.verified(old)
	_, out = w.post("/token", exchange("ann-secret"))
	w.verified(out["id_token"].(string))
	resp, err := http.Get(w.s.URL() + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); strings.Count(string(b), `"kid"`) != 2 || strings.Contains(string(b), `"d"`) {
		t.Errorf("keys: %s", b)
	}
}

func TestMint(t *testing.T) {
	w := newWorld(t, plain)
	raw, err := w.s.Mint(t.Context(), authz.Internal("decisions"))
	if err != nil {
		t.Fatal(err)
	}
	if c := w.verified(raw); c["sub"] != w.s.URL()+"/server/decisions" {
		t.Errorf("%v", c)
	}
	for _, p := range []authz.Principal{authz.Anonymous, people["ann-secret"]} {
		if _, err := w.s.Mint(t.Context(), p); !errors.Is(err, ErrNotAnIdentity) {
			t.Errorf("minted for %s: %v", p.Name(), err)
		}
	}
}

// TestCosignsDeviceFlow runs the code that cosign runs.
func TestCosignsDeviceFlow(t *testing.T) {
	w := newWorld(t, plain)
	codePattern := regexp.MustCompile(`code ([B-Z]{4}-[B-Z]{4}) in`)
	var code string
	waits := 0
	getter := oauthflow.NewDeviceFlowTokenGetterForIssuer(w.s.URL())
	getter.MessagePrinter = func(s string) {
		if m := codePattern.FindStringSubmatch(s); m != nil {
			code = m[1]
		}
	}
	getter.Sleeper = func(d time.Duration) {
		if waits++; d != pollEvery {
			t.Errorf("told to wait %s", d)
		}
		w.now = w.now.Add(d)
		if waits < 3 {
			return
		}
		f, err := w.s.Find(t.Context(), strings.ToLower(strings.ReplaceAll(code, "-", " ")))
		if err != nil || f.State != Pending || !f.From.IsLoopback() {
			t.Errorf("what the person sees: %+v, %v", f, err)
		}
		if _, err := w.s.Approve(t.Context(), people["ann-secret"], code); err != nil {
			t.Error(err)
		}
	}
	token, err := oauthflow.OIDConnect(w.s.URL(), "sigstore", "", "", getter)
	if err != nil {
		t.Fatal(err)
	}
	if c := w.verified(token.RawString); token.Subject != "ann@example.com" || c["email"] != "ann@example.com" {
		t.Errorf("token of %s: %v", token.Subject, c)
	}
	if len(w.issued) != 1 || w.issued[0].How != ByDevice {
		t.Errorf("audited %+v", w.issued)
	}
	if _, err := w.s.Approve(t.Context(), people["bob-secret"], code); !errors.Is(err, ErrSettled) {
		t.Errorf("approved twice: %v", err)
	}
}

const verifier = "correct-horse-battery-staple-correct-horse-battery"

func pkce(more url.Values) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	f := url.Values{"client_id": {"sigstore"}, "scope": {"openid email"}, "code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}}
	for k, v := range more {
		f[k] = v
	}
	return f
}

func TestDevice(t *testing.T) {
	w := newWorld(t, plain)
	start := func() (device, user string) {
		t.Helper()
		status, out := w.post("/device/code", pkce(nil))
		if status != 200 {
			t.Fatalf("%d %v", status, out)
		}
		return out["device_code"].(string), out["user_code"].(string)
	}
	ask := func(device string, more ...string) any {
		t.Helper()
		f := url.Values{"grant_type": {grantDevice}, "client_id": {"sigstore"}, "device_code": {device}, "code_verifier": {verifier}}
		for i := 0; i < len(more); i += 2 {
			f.Set(more[i], more[i+1])
		}
		_, out := w.post("/token", f)
		return out["error"]
	}
	device, user := start()
	steps := []struct {
		name string
		got  func() any
		want any
	}{
		{"at once", func() any { return ask(device) }, "authorization_pending"},
		{"too soon", func() any { return ask(device) }, "slow_down"},
		{"another client", func() any { return ask(device, "client_id", "x") }, "invalid_grant"},
		{"another code", func() any { return ask("x") }, "invalid_grant"},
		{"approved by nobody", func() any {
			_, err := w.s.Approve(t.Context(), authz.Anonymous, user)
			return errors.Is(err, ErrNotAnIdentity)
		}, true},
		{"approved by a narrowed token", func() any {
			_, err := w.s.Approve(t.Context(), people["narrowed-secret"], user)
			return errors.Is(err, ErrNotAnIdentity)
		}, true},
		{"approved", func() any { _, err := w.s.Approve(t.Context(), people["bob-secret"], user); return err }, nil},
		{"another verifier", func() any { return ask(device, "code_verifier", verifier+"x") }, "invalid_grant"},
		{"no verifier", func() any { return ask(device, "code_verifier", "") }, "invalid_grant"},
		{"redeemed", func() any { return ask(device) }, nil},
		{"again", func() any { return ask(device) }, "invalid_grant"},
	}
	for _, s := range steps {
		if got := s.got(); got != s.want {
			t.Errorf("%s: %v, want %v", s.name, got, s.want)
		}
	}
	device, user = start()
	if _, err := w.s.Refuse(t.Context(), user); err != nil || ask(device) != "access_denied" {
		t.Errorf("refused: %v", err)
	}
	device, user = start()
	w.now = w.now.Add(flowLife)
	if _, err := w.s.Approve(t.Context(), people["bob-secret"], user); !errors.Is(err, ErrNoFlow) || ask(device) != "expired_token" {
		t.Errorf("too late: %v", err)
	}
	for name, f := range map[string]url.Values{
		"another client": pkce(url.Values{"client_id": {"x"}}), "no PKCE": {"client_id": {"sigstore"}}, "plain PKCE": pkce(url.Values{"code_challenge_method": {"plain"}}),
	} {
		if status, out := w.post("/device/code", f); status != 400 {
			t.Errorf("%s: %d %v", name, status, out)
		}
	}
}

func TestSignInsAreBounded(t *testing.T) {
	w := newWorld(t, plain)
	for range MaxFlowsPer {
		if status, out := w.post("/device/code", pkce(nil)); status != 200 {
			t.Fatalf("%d %v", status, out)
		}
	}
	if status, _ := w.post("/device/code", pkce(nil)); status != 503 {
		t.Errorf("one too many: %d", status)
	}
	w.now = w.now.Add(flowLife)
	if status, _ := w.post("/device/code", pkce(nil)); status != 200 {
		t.Errorf("after they ended: %d", status)
	}
}

// browse asks for a page without following where it sends.
func (w *world) browse(to string) (*http.Response, string) {
	w.t.Helper()
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(to)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp, string(b)
}

var shownCode = regexp.MustCompile(`approve ([B-Z]{4}-[B-Z]{4})`)

// signIn goes through the browser's part and returns where it ends.
func (w *world) signIn(q url.Values, settle func(code string)) (*http.Response, string) {
	w.t.Helper()
	resp, page := w.browse(w.s.URL() + "/auth?" + q.Encode())
	_, next, ok := strings.Cut(resp.Header.Get("Refresh"), "url=")
	code := shownCode.FindStringSubmatch(page)
	if resp.StatusCode != 200 || !ok || code == nil {
		w.t.Fatalf("%d %s", resp.StatusCode, page)
	}
	if resp, _ := w.browse(next); resp.Header.Get("Refresh") == "" {
		w.t.Error("the page stops waiting")
	}
	settle(code[1])
	return w.browse(next)
}

func TestBrowser(t *testing.T) {
	w := newWorld(t, plain)
	const redirect = "http://localhost:43210/auth/callback"
	q := pkce(url.Values{"response_type": {"code"}, "redirect_uri": {redirect}, "state": {"s1"}, "nonce": {"n1"}})
	approve := func(code string) {
		if _, err := w.s.Approve(t.Context(), people["ann-secret"], code); err != nil {
			t.Error(err)
		}
	}
	resp, _ := w.signIn(q, approve)
	to, err := resp.Location()
	if err != nil || !strings.HasPrefix(to.String(), redirect+"?") || to.Query().Get("state") != "s1" {
		t.Fatalf("sent to %v, %v", to, err)
	}
	form := func(more ...string) url.Values {
		f := url.Values{"grant_type": {grantCode}, "client_id": {"sigstore"}, "code": {to.Query().Get("code")}, "redirect_uri": {redirect}, "code_verifier": {verifier}}
		for i := 0; i < len(more); i += 2 {
			f.Set(more[i], more[i+1])
		}
		return f
	}
	for name, f := range map[string]url.Values{
		"another code": form("code", "x"), "half a code": form("code", strings.SplitN(to.Query().Get("code"), ".", 2)[0]+"."), "another client": form("client_id", "x"),
		"another redirect": form("redirect_uri", "http://localhost:1/auth/callback"), "another verifier": form("code_verifier", "x"),
	} {
		if status, out := w.post("/token", f); status != 400 || out["error"] != "invalid_grant" {
			t.Errorf("%s: %d %v", name, status, out)
		}
	}
	status, out := w.post("/token", form())
	if status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	if c := w.verified(out["id_token"].(string)); c["nonce"] != "n1" || c["email"] != "ann@example.com" {
		t.Errorf("%v", c)
	}
	if status, out := w.post("/token", form()); status != 400 {
		t.Errorf("a code used twice: %d %v", status, out)
	}
	resp, _ = w.signIn(q, func(code string) { _, _ = w.s.Refuse(t.Context(), code) })
	if to, err := resp.Location(); err != nil || to.Query().Get("error") != "access_denied" || to.Query().Get("state") != "s1" {
		t.Errorf("refused: sent to %v, %v", to, err)
	}
	q.Set("redirect_uri", outOfBand)
	resp, page := w.signIn(q, approve)
	lines := strings.Fields(page)
	status, out = w.post("/token", form("code", lines[len(lines)-1], "redirect_uri", outOfBand))
	if resp.StatusCode != 200 || status != 200 {
		t.Errorf("out of band: %s\n%d %v", page, status, out)
	}
	_, page = w.signIn(q, approve)
	lines = strings.Fields(page)
	w.now = w.now.Add(codeLife)
	if status, out := w.post("/token", form("code", lines[len(lines)-1], "redirect_uri", outOfBand)); status != 400 || !strings.Contains(fmt.Sprint(out), "too old") {
		t.Errorf("an old code: %d %v", status, out)
	}
}

func TestBrowserRefused(t *testing.T) {
	w := newWorld(t, plain)
	good := url.Values{"response_type": {"code"}, "redirect_uri": {"http://127.0.0.1:1/auth/callback"}}
	for _, test := range []struct{ name, field, value string }{
		{"a site", "redirect_uri", "https://evil.example/auth/callback"},
		{"a look-alike", "redirect_uri", "http://localhost.evil.example/auth/callback"},
		{"a user", "redirect_uri", "http://localhost@evil.example/auth/callback"},
		{"another path", "redirect_uri", "http://localhost:1/x"},
		{"a script", "redirect_uri", "javascript:alert(1)"},
		{"nothing", "redirect_uri", ""},
		{"a token at once", "response_type", "token"},
		{"another client", "client_id", "x"},
		{"no PKCE", "code_challenge", ""},
		{"a long nonce", "nonce", strings.Repeat("x", maxNonce+1)},
	} {
		q := pkce(good)
		q.Set(test.field, test.value)
		resp, page := w.browse(w.s.URL() + "/auth?" + q.Encode())
		if resp.StatusCode != 400 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d %s", test.name, resp.StatusCode, page)
		}
	}
	resp, page := w.browse(w.s.URL() + "/device?user_code=" + url.QueryEscape("<script>alert(1)</script>"))
	if resp.StatusCode != 200 || strings.Contains(page, "<") {
		t.Errorf("what was asked is shown: %s", page)
	}
}

// authority signs client certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  time.Time
}

func newAuthority(t testing.TB, now time.Time) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Clients"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return &authority{t, cert, key, now}
}

func (a *authority) issue(serial int64, change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: a.now.Add(-time.Hour), NotAfter: a.now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	change(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) list(file string, until time.Time, revoked ...int64) {
	a.t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: a.now.Add(-time.Minute), NextUpdate: until}
	for _, n := range revoked {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: a.now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// TestRoomOfANetwork: whoever has a network of IPv6 has no more room than others.
func TestRoomOfANetwork(t *testing.T) {
	w := newWorld(t, plain)
	ask := func(n int) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/device/code", strings.NewReader(pkce(nil).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = fmt.Sprintf("[2001:db8:0:1::%x]:443", n+1)
		rec := httptest.NewRecorder()
		w.s.ServeHTTP(rec, r)
		return rec.Code
	}
	for n := range MaxFlowsPer {
		if status := ask(n); status != http.StatusOK {
			t.Fatalf("%d", status)
		}
	}
	if status := ask(MaxFlowsPer); status != http.StatusServiceUnavailable {
		t.Errorf("one more of a network that has its share: %d", status)
	}
}

// TestPartialListIsRefused: a list of what is new since another one would let pass
// what that one revoked.
func TestPartialListIsRefused(t *testing.T) {
	ca := newAuthority(t, time.Now())
	delta := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}
	tmpl := &x509.RevocationList{Number: big.NewInt(2), ThisUpdate: ca.now, NextUpdate: ca.now.Add(time.Hour), ExtraExtensions: []pkix.Extension{delta}}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})} {
		if _, err := parseLists(raw); err == nil || !strings.Contains(err.Error(), "partial") {
			t.Errorf("a delta list: %v", err)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	caFile, crlFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "crl.pem")
	now := time.Now()
	ca := newAuthority(t, now)
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	ca.list(crlFile, now.Add(time.Hour), 66)
	certs, err := NewCertificates(CertificateOptions{CAFile: caFile, CRLFile: crlFile, SPIFFE: []string{"prod.example"}, Emails: true})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.Certificates = certs })
	server := httptest.NewUnstartedServer(http.StripPrefix("/oidc", w.s))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	ask := func(c ...tls.Certificate) (int, map[string]any) {
		t.Helper()
		client := server.Client()
		tr := client.Transport.(*http.Transport).Clone()
		tr.TLSClientConfig.Certificates = c
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).PostForm(server.URL+"/oidc/token", url.Values{"grant_type": {grantClient}, "client_id": {"sigstore"}})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, out
	}
	uri := func(s string) *url.URL { u, _ := url.Parse(s); return u }
	good := []struct {
		change     func(*x509.Certificate)
		sub, email string
	}{
		{func(c *x509.Certificate) { c.Subject.CommonName = "builder 7" }, w.s.URL() + "/clients/builder%207", ""},
		{func(c *x509.Certificate) { c.DNSNames = []string{"ci.example"}; c.Subject.CommonName = "x" }, w.s.URL() + "/clients/ci.example", ""},
		{func(c *x509.Certificate) { c.EmailAddresses = []string{"ann@example.com"} }, w.s.URL() + "/clients/ann@example.com", "ann@example.com"},
		{func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://prod.example/ns/a")} }, "spiffe://prod.example/ns/a", ""},
	}
	for n, test := range good {
		cert := ca.issue(int64(n+10), test.change)
		status, out := ask(cert)
		if status != 200 {
			t.Errorf("%s: %d %v", test.sub, status, out)
			continue
		}
		c := w.verified(out["access_token"].(string))
		sum := sha256.Sum256(cert.Certificate[0])
		want := map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
		if email, _ := c["email"].(string); c["sub"] != test.sub || email != test.email || !cmp.Equal(c["cnf"], any(want)) {
			t.Errorf("%s: %v", test.sub, c)
		}
	}
	named := func(c *x509.Certificate) { c.Subject.CommonName = "builder" }
	bad := []struct {
		name string
		cert []tls.Certificate
		says string
	}{
		{"none", nil, "no client certificate"},
		{"another authority", []tls.Certificate{newAuthority(t, now).issue(9, named)}, "unknown authority"},
		{"revoked", []tls.Certificate{ca.issue(66, named)}, "revoked on"},
		{"for servers", []tls.Certificate{ca.issue(9, func(c *x509.Certificate) { named(c); c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}, "incompatible key usage"},
		{"ended", []tls.Certificate{ca.issue(9, func(c *x509.Certificate) { named(c); c.NotAfter = now.Add(-time.Minute) })}, "expired"},
		{"nobody", []tls.Certificate{ca.issue(9, func(*x509.Certificate) {})}, "names nobody"},
		{"two", []tls.Certificate{ca.issue(9, func(c *x509.Certificate) { c.DNSNames = []string{"a.example", "b.example"} })}, "more than one"},
		{"another trust domain", []tls.Certificate{ca.issue(9, func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://evil.example/a")} })}, "no trust domain"},
	}
	for _, test := range bad {
		status, out := ask(test.cert...)
		if text, _ := out["error_description"].(string); status != 401 || out["error"] != "invalid_client" || !strings.Contains(text, test.says) {
			t.Errorf("%s: %d %v, want one that says %q", test.name, status, out, test.says)
		}
	}
	ca.list(crlFile, now.Add(-time.Second))
	if status, out := ask(ca.issue(9, named)); status != 401 || !strings.Contains(fmt.Sprint(out), "ended on") {
		t.Errorf("a list that ended: %d %v", status, out)
	}
	newAuthority(t, now).list(crlFile, now.Add(time.Hour), 1, 2, 3)
	if status, out := ask(ca.issue(9, named)); status != 401 || !strings.Contains(fmt.Sprint(out), "no revocation list") {
		t.Errorf("a list of another authority: %d %v", status, out)
	}
	if err := os.WriteFile(crlFile, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out := ask(ca.issue(9, named)); status != 500 {
		t.Errorf("a list that cannot be read: %d %v", status, out)
	}
	if _, err := NewCertificates(CertificateOptions{CAFile: filepath.Join(dir, "absent")}); err == nil {
		t.Error("started without authorities")
	}
}

func FuzzForm(f *testing.F) {
	w := newWorld(f, plain)
	f.Add("grant_type=" + url.QueryEscape(grantExchange) + "&subject_token=x&subject_token_type=" + url.QueryEscape(typeAccess))
	f.Add("grant_type=authorization_code&code=a.b&client_id=sigstore")
	f.Add("client_id=sigstore&code_challenge_method=S256&code_challenge=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/token", "/device/code"} {
			r := httptest.NewRequest("POST", path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			rec := httptest.NewRecorder()
			w.s.ServeHTTP(rec, r)
			if !json.Valid(rec.Body.Bytes()) || rec.Code >= 500 && rec.Code != 503 {
				t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
			}
		}
	})
}

func FuzzLists(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseLists(b); err == nil && len(l) == 0 {
			t.Error("no lists and no error")
		}
		if c, err := parseAuthorities(b); err == nil && len(c) == 0 {
			t.Error("no authorities and no error")
		}
		if r, err := parseResponse(b); err == nil && (r.Response == nil || r.of.Serial == nil) {
			t.Error("a response about nothing and no error")
		}
	})
}
