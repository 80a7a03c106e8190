package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
)

// hsm is a token in software, and what the plug-in may know of it.
type hsm struct {
	t   *testing.T
	env map[string]string
}

// softHSM returns the token that test/parts/softhsm.sh made.
func softHSM(t *testing.T) *hsm {
	t.Helper()
	module := os.Getenv("PARTS_PKCS11_MODULE")
	if module == "" {
		const absent = "part absent: softhsm: PARTS_PKCS11_MODULE is not set; test/parts/softhsm.sh start prints it"
		if os.Getenv("BONDED_REQUIRE_ALL") == "1" {
			t.Fatal(absent)
		}
		t.Skip(absent)
	}
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, []byte(os.Getenv("PARTS_PKCS11_PIN")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &hsm{t, map[string]string{"BONDED_PKCS11_MODULE": module, "BONDED_PKCS11_PIN_FILE": file}}
}

func (h *hsm) get(name string) string { return h.env[name] }

// name is one of a key that no other test has.
func (h *hsm) name() string {
	return "token=" + os.Getenv("PARTS_PKCS11_TOKEN") + ";object=" + h.t.Name() + "-" + rand.Text()[:8]
}

// call is one call of the protocol, as the client of sigstore does it.
func (h *hsm) call(name string, hash crypto.Hash, message string, args common.MethodArgs) (common.PluginResp, int) {
	h.t.Helper()
	return protocol(h.t, h.get, message, common.PluginArgs{
		InitOptions: &common.InitOptions{ProtocolVersion: common.ProtocolVersion, KeyResourceID: name, HashFunc: hash},
		MethodArgs:  &args,
	})
}

func protocol(t *testing.T, env func(string) string, message string, args common.PluginArgs) (common.PluginResp, int) {
	t.Helper()
	b, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := run([]string{common.ProtocolVersion, string(b)}, env, strings.NewReader(message), &stdout, &stderr)
	var resp common.PluginResp
	if err := json.Unmarshal(stdout.Bytes(), &resp); err != nil {
		t.Fatalf("the answer %q is no JSON: %v", stdout.String(), err)
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", stderr.String())
	}
	return resp, code
}

func create(algorithm string) common.MethodArgs {
	return common.MethodArgs{MethodName: common.CreateKeyMethodName, CreateKey: &common.CreateKeyArgs{Algorithm: algorithm}}
}

func public() common.MethodArgs {
	return common.MethodArgs{MethodName: common.PublicKeyMethodName, PublicKey: &common.PublicKeyArgs{PublicKeyOptions: &common.PublicKeyOptions{}}}
}

func sign(digest []byte, hash crypto.Hash) common.MethodArgs {
	o := &common.SignOptions{MessageOptions: common.MessageOptions{Digest: &digest, HashFunc: &hash}}
	return common.MethodArgs{MethodName: common.SignMessageMethodName, SignMessage: &common.SignMessageArgs{SignOptions: o}}
}

func verify(sig []byte) common.MethodArgs {
	return common.MethodArgs{MethodName: common.VerifySignatureMethodName, VerifySignature: &common.VerifySignatureArgs{Signature: sig, VerifyOptions: &common.VerifyOptions{}}}
}

// TestKeys makes a key of each kind and signs with it, by digest and by message.
func TestKeys(t *testing.T) {
	h := softHSM(t)
	for _, algorithm := range []string{"", "ecdsa-sha2-256-nistp256", "rsa-sign-pkcs1-2048-sha256", "rsa-sign-pkcs1-3072-sha256"} {
		t.Run(algorithm, func(t *testing.T) {
			h := &hsm{t, h.env}
			name := h.name()
			if resp, code := h.call(name, crypto.SHA256, "", public()); code != exitDone || !strings.Contains(resp.ErrorMessage, "has no key pair") {
				t.Errorf("a key that is not there: %d %+v", code, resp)
			}
			made, _ := h.call(name, crypto.SHA256, "", create(algorithm))
			if made.ErrorMessage != "" {
				t.Fatal(made.ErrorMessage)
			}
			if resp, _ := h.call(name, crypto.SHA256, "", create(algorithm)); !strings.Contains(resp.ErrorMessage, "there is one already") {
				t.Errorf("made twice: %+v", resp)
			}
			resp, _ := h.call(name, crypto.SHA256, "", public())
			if resp.PublicKey == nil || !bytes.Equal(resp.PublicKey.PublicKeyPEM, made.CreateKey.PublicKeyPEM) {
				t.Fatalf("the public key is %+v, made was %+v", resp, made)
			}
			pub, err := cryptoutils.UnmarshalPEMToPublicKey(resp.PublicKey.PublicKeyPEM)
			if err != nil {
				t.Fatal(err)
			}
			digest := sha256.Sum256([]byte("message"))
			for what, args := range map[string]common.MethodArgs{"digest": sign(digest[:], crypto.SHA256), "message": sign(nil, crypto.SHA256)} {
				resp, code := h.call(name, crypto.SHA256, "message", args)
				if resp.SignMessage == nil || code != exitDone {
					t.Fatalf("signing a %s: %d %+v", what, code, resp)
				}
				sig := resp.SignMessage.Signature
				if !good(pub, digest[:], sig) {
					t.Errorf("the signature of a %s does not verify", what)
				}
				if resp, _ := h.call(name, crypto.SHA256, "message", verify(sig)); resp.ErrorMessage != "" {
					t.Errorf("checking the signature of a %s: %s", what, resp.ErrorMessage)
				}
				if resp, _ := h.call(name, crypto.SHA256, "another", verify(sig)); !strings.Contains(resp.ErrorMessage, "is not one of") {
					t.Errorf("checking it over another message: %+v", resp)
				}
			}
		})
	}
}

func good(pub crypto.PublicKey, digest, sig []byte) bool {
	switch p := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, crypto.SHA256, digest, sig) == nil
	}
	return false
}

// TestTokenRefuses has a token and gives it what it must not take.
func TestTokenRefuses(t *testing.T) {
	h := softHSM(t)
	name := h.name()
	if resp, _ := h.call(name, crypto.SHA256, "", create("")); resp.ErrorMessage != "" {
		t.Fatal(resp.ErrorMessage)
	}
	wrong := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(wrong, []byte("4321"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(nil)
	for _, tt := range []struct {
		what string
		name string
		hash crypto.Hash
		args common.MethodArgs
		env  map[string]string
		want string
	}{
		{"a digest that is short", name, crypto.SHA256, sign(sum[:20], crypto.SHA256), nil, "a digest of 20 bytes is none of SHA-256"},
		{"SHA-1", name, crypto.SHA1, sign(nil, crypto.SHA1), nil, "is not one of SHA-256"},
		{"a digest that a P-256 key would cut", name, crypto.SHA512, sign(nil, crypto.SHA512), nil, "more than a key of P-256 signs"},
		{"an algorithm", name, crypto.SHA256, create("dsa"), nil, "no key is made for"},
		{"a method", name, crypto.SHA256, common.MethodArgs{MethodName: "deleteKey"}, nil, "unsupported method"},
		{"a method without its arguments", name, crypto.SHA256, common.MethodArgs{MethodName: common.SignMessageMethodName}, nil, "is not whole"},
		{"another token", "token=none;object=x", crypto.SHA256, public(), nil, "opening token=none;object=x"},
		{"another PIN", name, crypto.SHA256, public(), map[string]string{"BONDED_PKCS11_PIN_FILE": wrong}, "CKR_PIN_INCORRECT"},
		{"no library", name, crypto.SHA256, public(), map[string]string{"BONDED_PKCS11_MODULE": "/no/library.so"}, "/no/library.so"},
		{"making one without a label", "token=" + os.Getenv("PARTS_PKCS11_TOKEN") + ";id=%f0%f1", crypto.SHA256, create(""), nil, "needs object=LABEL"},
	} {
		h := &hsm{t, map[string]string{}}
		for k, v := range softHSM(t).env {
			h.env[k] = v
		}
		for k, v := range tt.env {
			h.env[k] = v
		}
		resp, _ := h.call(tt.name, tt.hash, "", tt.args)
		if !strings.Contains(resp.ErrorMessage, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.what, resp, tt.want)
		}
		if strings.Contains(resp.ErrorMessage, "4321") {
			t.Errorf("%s: the error has the PIN: %s", tt.what, resp.ErrorMessage)
		}
	}
}

// TestTwoOfOneName: which of two keys signs is never left to chance.
func TestTwoOfOneName(t *testing.T) {
	h := softHSM(t)
	name := h.name()
	for _, id := range []string{";id=%01%02", ";id=%01%03"} {
		if resp, _ := h.call(name+id, crypto.SHA256, "", create("")); resp.ErrorMessage != "" {
			t.Fatal(resp.ErrorMessage)
		}
	}
	if resp, _ := h.call(name, crypto.SHA256, "", public()); !strings.Contains(resp.ErrorMessage, "2 keys have that name") {
		t.Errorf("%+v", resp)
	}
	if resp, _ := h.call(name+";id=%01%03", crypto.SHA256, "", public()); resp.ErrorMessage != "" {
		t.Error(resp.ErrorMessage)
	}
}

func TestByHand(t *testing.T) {
	h := softHSM(t)
	name := scheme + h.name()
	var made, shown, stderr bytes.Buffer
	if code := run([]string{"create-key", name}, h.get, nil, &made, &stderr); code != exitDone {
		t.Fatalf("%d %s", code, stderr.String())
	}
	if code := run([]string{"public-key", name}, h.get, nil, &shown, &stderr); code != exitDone || made.String() != shown.String() || !strings.HasPrefix(made.String(), "-----BEGIN PUBLIC KEY-----") {
		t.Errorf("%d %q, made was %q; %s", code, shown.String(), made.String(), stderr.String())
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{nil, exitUsage, "BONDED_PKCS11_PIN_FILE"},
		{[]string{"help"}, exitUsage, "create-key"},
		{[]string{"delete", "x"}, exitUsage, "create-key"},
		{[]string{"public-key", "pkcs11:token=x"}, exitUsage, "starts with bonded-pkcs11://"},
		{[]string{"public-key", scheme + "token=x;object=y", "more"}, exitUsage, "nothing else"},
		{[]string{"public-key", scheme + "token=x;object=y"}, exitFailed, "BONDED_PKCS11_MODULE"},
		{[]string{"v2", "{}"}, exitFailed, "speaks protocol v1"},
		{[]string{"v1", "{"}, exitFailed, "errorMessage"},
		{[]string{"v1", "{}"}, exitFailed, "names no method"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(tt.args, func(string) string { return "" }, nil, &stdout, &stderr)
		if all := stdout.String() + stderr.String(); code != tt.code || !strings.Contains(all, tt.says) {
			t.Errorf("%q: %d %s", tt.args, code, all)
		}
	}
}

// TestDeadlines: the earliest that a call has counts, and one that is over ends
// the call.
func TestDeadlines(t *testing.T) {
	over := time.Now().Add(-time.Hour)
	for _, args := range []common.MethodArgs{
		{CreateKey: &common.CreateKeyArgs{CtxDeadline: &over}},
		{PublicKey: &common.PublicKeyArgs{PublicKeyOptions: &common.PublicKeyOptions{RPCOptions: common.RPCOptions{CtxDeadline: &over}}}},
		{SignMessage: &common.SignMessageArgs{SignOptions: &common.SignOptions{RPCOptions: common.RPCOptions{CtxDeadline: &over}}}},
	} {
		if got := deadline(&common.PluginArgs{InitOptions: &common.InitOptions{}, MethodArgs: &args}); !got.Equal(over) {
			t.Errorf("%+v: %v", args, got)
		}
	}
	hang := make(chan error)
	if err := within(over, func() error { return <-hang }); err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("%v", err)
	}
}

// TestKeyOfAnotherProgram: a token's own tools make keys too.
func TestKeyOfAnotherProgram(t *testing.T) {
	h := softHSM(t)
	name := "token=" + os.Getenv("PARTS_PKCS11_TOKEN") + ";id=%01;object=" + os.Getenv("PARTS_PKCS11_KEY")
	if resp, _ := h.call(name, crypto.SHA256, "message", sign(nil, crypto.SHA256)); resp.SignMessage == nil {
		t.Errorf("%+v", resp)
	}
}
