package trust

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// crypto0 asks for a signature over the message itself.
type crypto0 struct{}

func (crypto0) HashFunc() crypto.Hash { return 0 }

// TestMain is also the program sigstore-kms-keys: a plug-in whose references
// are PEM files.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "sigstore-kms-") {
		if err := plugin(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func plugin() error {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(args.InitOptions.KeyResourceID)
	if err != nil {
		return handler.WriteErrorResponse(os.Stdout, err)
	}
	block, _ := pem.Decode(b)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	_, err = handler.Dispatch(os.Stdout, os.Stdin, args, fileKMS{key.(crypto.Signer)})
	return err
}

// fileKMS signs as a KMS does: a digest, or for Ed25519 a message.
type fileKMS struct{ key crypto.Signer }

func (k fileKMS) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return k.key.Public(), nil
}

func (k fileKMS) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	var digest []byte
	var hash crypto.SignerOpts = crypto.SHA256
	for _, o := range opts {
		o.ApplyDigest(&digest)
		o.ApplyCryptoSignerOpts(&hash)
	}
	if _, ok := k.key.(ed25519.PrivateKey); ok {
		b, err := io.ReadAll(message)
		if err != nil {
			return nil, err
		}
		return k.key.Sign(rand.Reader, b, crypto.Hash(0))
	}
	return k.key.Sign(rand.Reader, digest, hash)
}

func (fileKMS) VerifySignature(io.Reader, io.Reader, ...signature.VerifyOption) error {
	return errors.New("not asked for")
}

func (fileKMS) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.New("not asked for")
}

func (fileKMS) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.New("not part of the protocol")
}

func (fileKMS) SupportedAlgorithms() []string { return nil }
func (fileKMS) DefaultAlgorithm() string      { return "" }

var _ signature.SignOption = options.NoOpOptionImpl{}

// installPlugin puts this program on PATH as a plug-in.
func installPlugin(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "sigstore-kms-keys")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// kmsKey stores a key for the plug-in and returns its URI.
func kmsKey(t *testing.T, name string, k kind) string {
	t.Helper()
	key, err := k.generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := encodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return "keys://" + file
}

func TestAllKeysBehindAPlugin(t *testing.T) {
	installPlugin(t)
	w := newWorld(t)
	w.o.Places = map[Slot]string{}
	for _, s := range Slots() {
		w.o.Places[s] = kmsKey(t, string(s), kinds[s])
	}
	i := w.init(InitOptions{
		OfflinePath: filepath.Join(t.TempDir(), "off.json"),
		Plugins:     map[Slot]string{Root: kmsKey(t, "root", p256)},
	})
	if g := i.Places(); g.Weakest != Plugin {
		t.Errorf("places %+v", g)
	}
	if left, _ := filepath.Glob(w.path("*" + keySuffix)); len(left) != 0 {
		t.Errorf("private keys on disk: %v", left)
	}
	if !accepted(trusted(t, i), leaf(t, i, w.now), w.now) {
		t.Error("a certificate signed by the plug-in is refused")
	}
	digest := sha256.Sum256([]byte("token"))
	for _, s := range []Slot{Issuer, LogCT} {
		if _, err := i.Key(s).Signer.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			t.Errorf("slot %s: %v", s, err)
		}
	}
	if _, err := i.Key(LogRekor).Signer.Sign(rand.Reader, []byte("checkpoint\n"), crypto.Hash(0)); err != nil {
		t.Errorf("slot %s: %v", LogRekor, err)
	}
	// a key that changes behind our back signs nothing
	other := strings.TrimPrefix(kmsKey(t, "other", p256), "keys://")
	b, err := os.ReadFile(other)
	w.must(err)
	w.must(os.WriteFile(strings.TrimPrefix(w.o.Places[TSA], "keys://"), b, 0o600))
	if _, err := i.Key(TSA).Signer.Sign(rand.Reader, digest[:], crypto.SHA256); err == nil || !strings.Contains(err.Error(), "was the key replaced?") {
		t.Errorf("a replaced key signs: %v", err)
	}
	if _, err := Open(t.Context(), w.o); !errors.Is(err, ErrUnusable) {
		t.Errorf("a replaced key opens: %v", err)
	}
}

func TestPluginThatIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.o.Places = map[Slot]string{TSA: "absent://key"}
	if _, err := Init(t.Context(), w.o, InitOptions{}); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), "sigstore-kms-absent") {
		t.Errorf("%v", err)
	}
}
