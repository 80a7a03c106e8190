package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/cli"
)

// TestCustodyVerify: a file is verified with the trusted root alone, and what is
// not proven is not shown as if it were.
func TestCustodyVerify(t *testing.T) {
	from := filepath.Join("..", "custody", "testdata", "v1")
	root := filepath.Join(from, "trusted_root.json")
	whole, err := os.ReadFile(filepath.Join(from, "example.json"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := write("good.json", whole)
	bad := write("bad.json", bytes.Replace(whole, []byte(`"it leaks"`), []byte(`"it is fine"`), 1))
	twice := write("twice.json", bytes.Replace(whole, []byte(`"server":`), []byte(`"server":"x","server":`), 1))
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"evidence of another", []string{good, "--trusted-root", root}, 3, "NOT PROVABLE"},
		{"for its server", []string{good, "--trusted-root", root, "--server", "https://bonded.example"}, 3, "decisions: VERIFIED"},
		{"for another server", []string{good, "--trusted-root", root, "--server", "https://evil.example"}, 1, "was to be signed by https://evil.example/server"},
		{"for another digest", []string{good, "--trusted-root", root, "--digest", "sha256:" + strings.Repeat("0", 64)}, 1, "was asked for"},
		{"changed", []string{bad, "--trusted-root", root}, 1, "FAILED"},
		{"two meanings", []string{twice, "--trusted-root", root}, 1, "duplicate key"},
		{"no root", []string{good}, 2, "trusted-root"},
		{"no file of a root", []string{good, "--trusted-root", good}, 2, "trusted root"},
		{"no anchor", []string{good, "--trusted-root", root, "--anchor", "x"}, 2, "--anchor NAME=FILE"},
		{"no file", []string{"/nowhere", "--trusted-root", root}, 2, "reading a file"},
	} {
		var out, errs bytes.Buffer
		env := cli.Env{Clock: time.Now}
		code := cli.Run(t.Context(), env, cli.Stdio{In: strings.NewReader(""), Out: &out, Err: &errs}, append([]string{"custody", "verify"}, c.args...))
		if said := strings.Join(strings.Fields(out.String()+errs.String()), " "); code != c.code || !strings.Contains(said, c.want) {
			t.Errorf("%s: %d, want %d with %q:\n%s", c.name, code, c.code, c.want, said)
		}
	}
	var out bytes.Buffer
	if code := cli.Run(t.Context(), cli.Env{Clock: time.Now}, cli.Stdio{In: strings.NewReader(""), Out: &out, Err: &out}, []string{"custody", "verify", good, "--trusted-root", root, "-o", "json"}); code != 3 {
		t.Errorf("as JSON: %d\n%s", code, out.String())
	}
	var check api.CustodyCheck
	if err := json.Unmarshal(out.Bytes(), &check); err != nil || check.State != api.CustodyNotProvable || len(check.Parts) < 14 {
		t.Errorf("%v: %+v", err, check)
	}
}
