package testparts

import (
	"os"
	"os/exec"
	"testing"
)

// Token is a PKCS #11 token in software. The KMS plug-in that speaks to it is on
// PATH.
type Token struct {
	Module  string // path of the library
	Label   string
	PINFile string
	Plugin  string // path of the KMS plug-in
}

// HSM returns the token of the run. All tests share it: keys have names of their
// own, by Unique.
func HSM(t testing.TB) Token {
	t.Helper()
	token := Token{Module: os.Getenv("PARTS_PKCS11_MODULE"), Label: os.Getenv("PARTS_PKCS11_TOKEN"), PINFile: os.Getenv("PARTS_PKCS11_PIN_FILE")}
	if token.Module == "" {
		Absent(t, "softhsm", notExported("PARTS_PKCS11_MODULE", "softhsm.sh"))
	}
	var err error
	if token.Plugin, err = exec.LookPath("sigstore-kms-bonded-pkcs11"); err != nil {
		Absent(t, "softhsm", "sigstore-kms-bonded-pkcs11 is not on PATH; test/parts/softhsm.sh start builds it")
	}
	return token
}

// Unique returns a name that is new in any run, for what tests share.
func Unique(t testing.TB) string { return unique(t) }
