package cli_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/pki"
)

// TestLoginTrust: how the certificate of a server's own authority comes to be
// trusted, and that nothing is sent before it is.
func TestLoginTrust(t *testing.T) {
	home := t.TempDir()
	data := filepath.Join(home, ".local", "share", "bonded")
	ca, err := pki.Open(pki.Options{Dir: filepath.Join(data, "ca"), Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f := newFakeServer(t)
	f.Close()
	f.Server = httptest.NewUnstartedServer(f.Server.Config.Handler)
	f.TLS = &tls.Config{GetCertificate: ca.GetCertificate}
	f.StartTLS()
	defer f.Close()
	// httptest puts a certificate of its own first.
	f.TLS.Certificates = nil
	url := strings.Replace(f.URL, "127.0.0.1", "localhost", 1)
	caFile := filepath.Join(home, "ca.crt")
	if err := os.WriteFile(caFile, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Repeat("00", 32)
	for _, tc := range []struct {
		name string
		home string
		args []string
		code int
		says string
	}{
		{"unknown", t.TempDir(), nil, 5, "not trusted here"},
		{"wrong fingerprint", t.TempDir(), []string{"--fingerprint", wrong}, 2, "no CA with the fingerprint"},
		{"fingerprint", t.TempDir(), []string{"--fingerprint", "sha256:" + strings.ToUpper(ca.Fingerprint())}, 0, "Logged in"},
		{"file", t.TempDir(), []string{"--ca", caFile}, 0, "Logged in"},
		{"server of this user", home, nil, 0, "Logged in"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f.mu.Lock()
			f.codes["KX4P-9QTM"] = "bob"
			f.mu.Unlock()
			run := func(args ...string) (int, string) {
				var out bytes.Buffer
				env := cli.Env{Vars: []string{"HOME=" + tc.home}, Clock: func() time.Time { return now }, Hostname: "box"}
				return cli.Run(t.Context(), env, cli.Stdio{Out: &out, Err: &out, In: strings.NewReader("")}, args), out.String()
			}
			code, said := run(append([]string{"login", url, "--code", "KX4P-9QTM"}, tc.args...)...)
			if code != tc.code || !strings.Contains(said, tc.says) {
				t.Fatalf("exits with %d, want %d with %q: %s", code, tc.code, tc.says, said)
			}
			if code != 0 {
				return
			}
			if code, said := run("whoami"); code != 0 {
				t.Errorf("then whoami exits with %d: %s", code, said)
			}
			if code, said := run("trust", "ca"); code != 0 || strings.TrimSpace(said) != strings.TrimSpace(string(ca.PEM())) {
				t.Errorf("trust ca exits with %d: %s", code, said)
			}
		})
	}
}
