package verify_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/verify"
)

// TestCosign verifies bundles that the real cosign makes with a key.
func TestCosign(t *testing.T) {
	cosign := testparts.Program(t, "cosign")
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), cosign, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "COSIGN_PASSWORD=pw", "HOME="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cosign %q: %v\n%s", args, err, out)
		}
	}
	read := func(name string) []byte {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	write("blob", "an image")
	write("predicate", `{"scanner":{"uri":"pkg:generic/scanner","result":[]}}`)
	write("services", `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}`)
	run("generate-key-pair")
	run("attest-blob", "--yes", "--key", "cosign.key", "--signing-config", "services", "--type", "vuln", "--predicate", "predicate", "--bundle", "attested", "blob")
	run("sign-blob", "--yes", "--key", "cosign.key", "--signing-config", "services", "--bundle", "signed", "blob")

	v := realVerifier(t, verify.Anchor{Name: "cosign", Kind: verify.KindKey, Keys: read("cosign.pub")})
	subject := oci.Descriptor{Digest: oci.FromBytes([]byte("an image"))}
	sig := verified(t, v.Check(t.Context(), subject, bundleReferrer(read("attested"))))
	if sig.Statement == nil || sig.Statement.Kind != evidence.KindScan || len(sig.Identity.Key) != 64 {
		t.Errorf("signature is %+v", sig)
	}
	if sig := verified(t, v.Check(t.Context(), subject, bundleReferrer(read("signed")))); sig.Statement != nil {
		t.Errorf("statement is %+v", sig.Statement)
	}
	other := oci.Descriptor{Digest: oci.FromBytes([]byte("another"))}
	for _, name := range []string{"attested", "signed"} {
		if r := v.Check(t.Context(), other, bundleReferrer(read(name))); len(r.Signatures) > 0 || r.Refusals[0].Unsure {
			t.Errorf("%s for another artifact: %+v", name, r)
		}
	}
}
