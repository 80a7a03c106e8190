package cli_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/cli"
)

// TestTrustLasts: a server with TLS is believed once, and is then known by its
// keys; another one in its place is not, unless somebody says so.
func TestTrustLasts(t *testing.T) {
	var now http.Handler
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { now.ServeHTTP(w, r) }))
	defer srv.Close()
	one, other := tufOf(t, srv.URL), tufOf(t, srv.URL)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (code int, out, err string) {
		var o, e bytes.Buffer
		env := cli.Env{Vars: []string{"BONDED_URL=" + srv.URL, "BONDED_CA=" + ca, "BONDED_CONFIG_DIR=" + dir, "HOME=" + dir, "SSL_CERT_FILE=" + ca}, Clock: time.Now, After: time.After}
		code = cli.Run(t.Context(), env, cli.Stdio{Out: &o, Err: &e}, args)
		return code, o.String(), e.String()
	}
	now = one
	code, env, said := run("trust", "env")
	if code != 0 || !strings.Contains(env, "SSL_CERT_FILE='"+dir) {
		t.Fatalf("the first time: %d %s%s", code, env, said)
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "trust", strings.ReplaceAll(strings.TrimPrefix(srv.URL, "https://"), ":", "-"), "ca-bundle.pem"))
	if err != nil || bytes.Count(bundle, block) != 2 || !x509.NewCertPool().AppendCertsFromPEM(bundle) {
		t.Errorf("the bundle has not the server's authority and those before: %v\n%s", err, bundle)
	}
	now = other
	if code, _, said := run("trust", "root"); code != 4 || !strings.Contains(said, "--root-checksum") {
		t.Errorf("another server in its place: %d %s", code, said)
	}
	now = one
	if code, _, said := run("trust", "root"); code != 0 {
		t.Errorf("the server is back: %d %s", code, said)
	}
	now = other
	if code, _, said := run("trust", "root", "--root-checksum", checksumOf(t, other)); code != 0 {
		t.Errorf("told to trust the other: %d %s", code, said)
	}
	now = one
	if code, _, _ := run("trust", "root"); code != 4 {
		t.Errorf("the first one, after that: %d", code)
	}
	now = http.NotFoundHandler()
	if code, _, said := run("trust", "root"); code == 0 {
		t.Errorf("a server without keys: %d %s", code, said)
	}
}

func tufOf(t *testing.T, url string) http.Handler {
	t.Helper()
	r, err := newRepository(url, nil, newFakeAudit(nil))
	if err != nil {
		t.Fatal(err)
	}
	return http.StripPrefix("/tuf", r)
}

func checksumOf(t *testing.T, h http.Handler) string {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/tuf/1.root.json", nil))
	sum := sha256.Sum256(rec.Body.Bytes())
	return hex.EncodeToString(sum[:])
}
