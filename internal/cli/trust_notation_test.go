package cli_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/cli"
)

// strangersCertificate answers a request with a certificate over its key, by an
// authority that nobody trusts, or over another key.
func strangersCertificate(t *testing.T, request []byte, ofAnother bool) []byte {
	t.Helper()
	block, _ := pem.Decode(request)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub := csr.PublicKey
	if ofAnother {
		pub = key.Public()
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ann@example.com"}, EmailAddresses: []string{"ann@example.com"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Minute)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestTrustNotation: what is written, and what is not: over somebody else's
// files, and a certificate that is not what was asked for.
func TestTrustNotation(t *testing.T) {
	var answer func(w http.ResponseWriter, request []byte)
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.Handle("/tuf/", tufOf(t, srv.URL))
	mux.HandleFunc("POST /notation/v1/certificate", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer a.b.c" {
			t.Errorf("asked by %q", r.Header.Get("Authorization"))
		}
		b, _ := io.ReadAll(r.Body)
		answer(w, b)
	})
	dir := t.TempDir()
	token, theirs := filepath.Join(dir, "token"), filepath.Join(dir, "notation")
	for name, content := range map[string]string{token: "a.b.c\n", filepath.Join(theirs, "trustpolicy.json"): "{}"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (code int, out, said string) {
		var o, e bytes.Buffer
		env := cli.Env{Vars: []string{"BONDED_URL=" + srv.URL, "BONDED_CONFIG_DIR=" + dir, "HOME=" + dir}, Clock: time.Now, After: time.After}
		code = cli.Run(t.Context(), env, cli.Stdio{Out: &o, Err: &e}, append([]string{"trust", "notation"}, args...))
		return code, o.String(), e.String()
	}
	for _, test := range []struct {
		name   string
		answer func(http.ResponseWriter, []byte)
		args   []string
		code   int
		says   string
	}{
		{"nobody to trust", nil, []string{"--no-key"}, 2, "whose signatures are to verify"},
		{"a folder of the user's own", nil, []string{"--no-key", "--identity", "ann@example.com", "--dir", theirs}, 2, "nothing in it is replaced"},
		{"a no", func(w http.ResponseWriter, _ []byte) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"code":403,"message":"ann was revoked"}`)
		}, nil, 4, "gives no certificate: ann was revoked"},
		{"a server without it", func(w http.ResponseWriter, _ []byte) { http.NotFound(w, nil) }, nil, 5, "404"},
		{"no certificate", func(w http.ResponseWriter, _ []byte) { io.WriteString(w, "hello") }, nil, 6, "is no PEM"},
		{"over another key", func(w http.ResponseWriter, r []byte) { w.Write(strangersCertificate(t, r, true)) }, nil, 6, "over another key"},
		{"by a stranger", func(w http.ResponseWriter, r []byte) { w.Write(strangersCertificate(t, r, false)) }, nil, 6, "no CA of this trusted root vouches"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer = test.answer
			args := test.args
			if args == nil {
				args = []string{"--identity-token", token, "--dir", filepath.Join(dir, "new")}
			}
			if code, out, said := run(args...); code != test.code || !strings.Contains(said, test.says) || out != "" {
				t.Errorf("%d %s%s, want %d that says %q", code, out, said, test.code, test.says)
			}
			if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
				t.Error("something was written")
			}
		})
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if code, _, said := run("--no-key", "--identity", "ann@example.com", "--dir", open); code != 2 || !strings.Contains(said, "others may write in") {
		t.Errorf("into a folder of everybody's: %d %s", code, said)
	}
	code, out, said := run("--no-key", "--identity", "a b,O=x@example.com", "--issuer", "https://i.example")
	if code != 0 || !strings.Contains(out, "#   CN=a%20b%2CO%3Dx@example.com,O=https://i.example,ST=Notation,C=ZZ\n") || strings.Contains(out, "signs as") {
		t.Fatalf("to verify only: %d %s%s", code, out, said)
	}
	_, config, _ := strings.Cut(out, "NOTATION_CONFIG='")
	config, _, _ = strings.Cut(config, "'")
	for pattern, want := range map[string]int{"truststore/x509/ca/bonded/*.crt": 1, "truststore/x509/tsa/bonded/*.crt": 1, "trustpolicy.json": 1, "timestamp-root.crt": 1, "localkeys/*": 0, "signingkeys.json": 0} {
		if files, err := filepath.Glob(filepath.Join(config, pattern)); err != nil || len(files) != want {
			t.Errorf("%s: %v, want %d", pattern, files, want)
		}
	}
	if code, _, said := run("--no-key", "--identity", "ann@example.com", "--dir", config); code != 0 {
		t.Errorf("over an earlier run: %d %s", code, said)
	}
}
