package cli

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// TestEnvironmentRunsNothing: what a shell evaluates sets variables, whatever the
// server says about who signs.
func TestEnvironmentRunsNothing(t *testing.T) {
	const evil = "a\ntouch pwned\r\n'; touch pwned; $(touch pwned) `touch pwned` \u2028touch pwned"
	for name, e := range map[string]*trustEnvironment{
		"identity": {Env: map[string]string{}, Identity: evil}, "issuer": {Env: map[string]string{}, Identity: "a", Issuer: evil},
		"cosign": {Env: map[string]string{}, Cosign: evil}, "token": {Env: map[string]string{"SIGSTORE_ID_TOKEN": evil}},
	} {
		var out bytes.Buffer
		p := &program{io: Stdio{Out: &out}, output: outputText}
		if err := p.showEnvironment(e); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", out.String())
		cmd.Dir = t.TempDir()
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		if made, err := os.ReadDir(cmd.Dir); err != nil || len(made) > 0 {
			t.Errorf("%s: what the server said was run: %v, %v", name, made, err)
		}
	}
}
