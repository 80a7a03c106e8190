package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestKeys verifies statements by keys of each algorithm.
func TestKeys(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ecdsa": i.CT, "ed25519": ed, "rsa": rsaKey, "p384 with SHA-256": p384} {
		t.Run(name, func(t *testing.T) {
			anchor := verify.Anchor{Name: "key", Kind: verify.KindKey, Keys: append(pemKey(t, newKey(t)), pemKey(t, key)...)}
			b := i.Bundle(verifytest.Spec{Payload: says, Key: key, NoLog: true, NoTime: true})
			sig := verified(t, newWorld(t, anchor).Check(t.Context(), image, bundleReferrer(i.JSON(b))))
			if len(sig.Identity.Key) != 64 || sig.Log != nil || !sig.At.IsZero() {
				t.Errorf("signature is %+v", sig)
			}
			// The hint is what the bundle calls its key, and chooses none.
			b.VerificationMaterial.GetPublicKey().Hint = "another"
			verified(t, newWorld(t, anchor).Check(t.Context(), image, bundleReferrer(i.JSON(b))))
		})
	}
	logged := verify.Anchor{Name: "key", Kind: verify.KindKey, Keys: pemKey(t, i.CT), Roots: [][]byte{i.TrustedRoot(nil)}, Log: true, Timestamp: true}
	sig := verified(t, newWorld(t, logged).Check(t.Context(), image, bundleReferrer(i.JSON(i.Bundle(verifytest.Spec{Payload: says, Key: i.CT})))))
	if sig.Log == nil || !sig.At.Equal(verifytest.Noon) {
		t.Errorf("signature is %+v", sig)
	}
}

// TestWeakKeys: keys that prove nothing are no anchors.
func TestWeakKeys(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for want, key := range map[string]crypto.Signer{"RSA with 1024 bits": small, "curve P-224": p224} {
		_, err := verify.NewAnchors(verify.Anchor{Name: "a", Kind: verify.KindKey, Keys: pemKey(t, key)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
