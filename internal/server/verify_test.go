package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// runVerify runs bonded verify as people do.
func runVerify(t *testing.T, authFile string, args ...string) (out string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	scanner := Scanner{Version: "test", AuthFiles: []string{authFile}, Clock: time.Now}
	env := cli.Env{Vars: []string{"HOME=" + t.TempDir()}, Version: "test", Clock: time.Now, After: time.After, Deps: cli.Deps{Verify: scanner.Verify}}
	code = cli.Run(context.Background(), env, cli.Stdio{Out: &stdout, Err: &stderr}, append([]string{"verify"}, args...))
	return stdout.String() + stderr.String(), code
}

// TestVerifyWithoutServer: bonded verify asks a registry like any other for what
// refers to an image, and verifies it here; what the exit code says is about who
// was asked for.
func TestVerifyWithoutServer(t *testing.T) {
	s := newSigning(t, byAlice)
	image := s.image("1")
	s.bundle(image, verifytest.Spec{Payload: says(image, "https://sigstore.dev/cosign/sign/v1", "{}")})
	s.bundle(image, verifytest.Spec{Payload: says(image, "https://in-toto.io/attestation/test-result/v0.1", `{"result":"PASSED","configuration":[]}`), Identity: "https://ci.example.com/acme"})
	theirs := verifytest.New(t, "log.example.com")
	const typ = "application/vnd.dev.sigstore.bundle.v0.3+json"
	s.attach(image, typ, typ, theirs.JSON(theirs.Bundle(verifytest.Spec{Payload: says(image, "https://sigstore.dev/cosign/sign/v1", "{}"), Identity: "mallory@example.com"})))
	s.write("by-alice.yaml", []byte(signedGate+byAlice))
	s.write("built.yaml", []byte(signedGate+fromSource))

	host := strings.TrimPrefix(s.transport.url, "http://")
	auth := base64.StdEncoding.EncodeToString([]byte(s.dev.Name + ":" + s.dev.Secret))
	authFile := filepath.Join(writeTree(t, map[string][]byte{"config.json": fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth)}), "config.json")
	ref := host + "/signed/app@" + image.Digest.String()
	root := []string{ref, "--trusted-root", s.at("root.json")}
	idp := []string{"--issuer", "https://idp.example.com", "--identity"}
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"who has signed", append(idp, "alice@example.com"), 0, "signed by alice@example.com (https://idp.example.com)"},
		{"by a pattern", append(idp, "*@example.com"), 0, "entry"},
		{"who has not", append(idp, "mallory@example.com"), 1, "refused: anchor given: "},
		{"who has stated", append(idp, "https://ci.example.com/**", "--type", "test"), 0, "test by https://ci.example.com/acme (https://idp.example.com): passed"},
		{"who has stated something else", append(idp, "https://ci.example.com/**", "--type", "sbom"), 1, "NOT VERIFIED"},
		{"another issuer", []string{"--issuer", "https://idp.example.com.evil.net", "--identity", "alice@example.com"}, 1, "NOT VERIFIED"},
		{"a gate", []string{"--anchor", "ours", "--gate", s.at("by-alice.yaml")}, 0, "✓ signed  Alice signed it"},
		{"a gate that waits", []string{"--anchor", "ours", "--gate", s.at("built.yaml")}, 3, "? built   there is no provenance by"},
		{"a gate of another anchor", []string{"--gate", s.at("by-alice.yaml")}, 3, "anchor ours is not"},
		{"a gate that asks for nothing", []string{"--gate", "dev"}, 2, "has no rule about evidence"},
	} {
		out, code := runVerify(t, authFile, append(root, tt.args...)...)
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %d, want %d with %q\n%s", tt.name, code, tt.code, tt.want, out)
		}
	}
	if out, code := runVerify(t, authFile, ref, "--key", s.at("cosign.pub")); code != 1 || !strings.Contains(out, "it takes another kind") {
		t.Errorf("certificates by a key: %d\n%s", code, out)
	}
	if out, code := runVerify(t, authFile, ref, "--key", s.at("gate.yaml")); code != 2 || !strings.Contains(out, "it is not PEM") {
		t.Errorf("a key that is none: %d\n%s", code, out)
	}
}
