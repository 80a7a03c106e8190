package tlog_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	flog "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func sign(t testing.TB, text string, signers ...note.Signer) []byte {
	t.Helper()
	return must[[]byte](t)(note.Sign(&note.Note{Text: text}, signers...))
}

var some = tlog.Checkpoint{Origin: tlogtest.Origin, Size: 20852163, Root: tlog.LeafHash([]byte("root"))}

func TestCheckpoint(t *testing.T) {
	got, err := tlog.ParseCheckpoint(some.Text())
	if err != nil || got != some {
		t.Errorf("read back: %+v, %v", got, err)
	}
	if got, err := tlog.ParseCheckpoint(some.Text() + "extension\nanother\n"); err != nil || got != some {
		t.Errorf("with extensions: %+v, %v", got, err)
	}
	var theirs flog.Checkpoint
	if rest, err := theirs.Unmarshal([]byte(some.Text())); err != nil || len(rest) > 0 || theirs.Size != uint64(some.Size) || !bytes.Equal(theirs.Hash, some.Root[:]) || theirs.Origin != some.Origin {
		t.Errorf("formats reads %+v, %v", theirs, err)
	}
	root := strings.Split(some.Text(), "\n")[2]
	for _, bad := range []string{
		"", "a\n1\n", "a\n1\n" + root, "\n1\n" + root + "\n", "a\n01\n" + root + "\n", "a\n-1\n" + root + "\n", "a\n+1\n" + root + "\n",
		"a\n9223372036854775807\n" + root + "\n", "a\n1\n" + root[1:] + "\n", "a\n1\n" + root[:43] + "\n", "a\n1\n " + root + "\n", "a\n1\n" + root + "\n\n",
		"a\n1\n" + root + "\n\next\n", "a\n1 \n" + root + "\n", "a\n1\n" + root[:42] + "B=\n", "a\n1\n" + root + strings.Repeat("\nx", 1<<16) + "\n",
	} {
		if c, err := tlog.ParseCheckpoint(bad); !errors.Is(err, tlog.ErrMalformed) {
			t.Errorf("%.60q is %+v, %v", bad, c, err)
		}
	}
}

// FuzzCheckpoint: what is read is written the same, and formats agrees.
func FuzzCheckpoint(f *testing.F) {
	f.Add(some.Text())
	f.Add(some.Text() + "extension\n")
	f.Add("a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := tlog.ParseCheckpoint(text)
		if err != nil {
			return
		}
		if !strings.HasPrefix(text, c.Text()) {
			t.Errorf("%q is read as %q", text, c.Text())
		}
		var theirs flog.Checkpoint
		if _, err := theirs.Unmarshal([]byte(text)); err != nil || theirs.Size != uint64(c.Size) || !bytes.Equal(theirs.Hash, c.Root[:]) || theirs.Origin != c.Origin {
			t.Errorf("%q is %+v here, and %+v, %v there", text, c, theirs, err)
		}
	})
}

// keys are a signer of each type, with its verifier here and in formats.
func keys(t testing.TB) map[string]struct {
	signer note.Signer
	ours   note.Verifier
	theirs func(vkey string) (note.Verifier, error)
} {
	ec := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ed := tlogtest.Key(tlogtest.Origin)
	pub := ed.Public().(ed25519.PublicKey)
	mustSigner, mustVerifier := must[note.Signer](t), must[note.Verifier](t)
	return map[string]struct {
		signer note.Signer
		ours   note.Verifier
		theirs func(vkey string) (note.Verifier, error)
	}{
		"Ed25519":     {mustSigner(tlog.NewEd25519Signer(tlogtest.Origin, ed)), mustVerifier(tlog.Ed25519Verifier(tlogtest.Origin, pub)), note.NewVerifier},
		"cosignature": {mustSigner(tlog.NewCosigner(tlogtest.Origin, ed, at(noon))), mustVerifier(tlog.CosignatureVerifier(tlogtest.Origin, pub)), fnote.NewVerifierForCosignatureV1},
		"RFC 6962":    {mustSigner(tlog.NewRFC6962Signer(tlogtest.Origin, ec, at(noon))), mustVerifier(tlog.RFC6962Verifier(tlogtest.Origin, &ec.PublicKey)), fnote.NewRFC6962Verifier},
	}
}

func TestSigners(t *testing.T) {
	for name, k := range keys(t) {
		t.Run(name, func(t *testing.T) {
			signed := sign(t, some.Text(), k.signer)
			if c, err := tlog.OpenCheckpoint(signed, tlogtest.Origin, k.ours); err != nil || c != some {
				t.Errorf("verified here: %+v, %v", c, err)
			}
			vkey := fmt.Sprint(k.ours)
			theirs := must[note.Verifier](t)(k.theirs(vkey))
			n, err := note.Open(signed, note.VerifierList(theirs))
			if err != nil {
				t.Fatalf("verified by others: %v", err)
			}
			if name == "cosignature" {
				if when, err := fnote.CoSigV1Timestamp(n.Sigs[0]); err != nil || !when.Equal(noon) {
					t.Errorf("its time is %v, %v", when, err)
				}
			}
			parsed := must[note.Verifier](t)(tlog.ParseVerifier(vkey))
			if _, err := tlog.OpenCheckpoint(signed, tlogtest.Origin, parsed); err != nil {
				t.Errorf("verified by %s: %v", vkey, err)
			}
			expectTampered(t, signed, k.ours)
		})
	}
}

// expectTampered flips each byte of a signed checkpoint, but for the end of the
// base64 of its signature: the last digit has bits that mean nothing.
func expectTampered(t *testing.T, signed []byte, v note.Verifier) {
	t.Helper()
	for i := range len(signed) - 5 {
		b := bytes.Clone(signed)
		b[i] ^= 1
		_, err := tlog.OpenCheckpoint(b, tlogtest.Origin, v)
		if !errors.Is(err, tlog.ErrSignature) && !errors.Is(err, tlog.ErrMalformed) {
			t.Errorf("byte %d (%q) is another: %v", i, signed[i], err)
		}
	}
}

func TestOpenCheckpointRefuses(t *testing.T) {
	k := keys(t)["Ed25519"]
	other := must[note.Signer](t)(tlog.NewEd25519Signer("other.example", tlogtest.Key("other")))
	impostor := must[note.Signer](t)(tlog.NewEd25519Signer(tlogtest.Origin, tlogtest.Key("impostor")))
	elsewhere := some
	elsewhere.Origin = "other.example"
	for name, test := range map[string]struct {
		signed []byte
		want   error
	}{
		"signed by another log":             {sign(t, some.Text(), other), tlog.ErrSignature},
		"signed by another key of the name": {sign(t, some.Text(), impostor), tlog.ErrSignature},
		"of another origin":                 {sign(t, elsewhere.Text(), k.signer), tlog.ErrSignature},
		"no checkpoint":                     {sign(t, "hello\n", k.signer), tlog.ErrMalformed},
		"unsigned":                          {[]byte(some.Text()), tlog.ErrMalformed},
		"nothing":                           {nil, tlog.ErrMalformed},
		"large":                             {sign(t, some.Text()+strings.Repeat("x", 70_000)+"\n", k.signer), tlog.ErrMalformed},
	} {
		if _, err := tlog.OpenCheckpoint(test.signed, tlogtest.Origin, k.ours); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	signed := sign(t, some.Text()+"extension\n", keys(t)["Ed25519"].signer)
	if _, err := tlog.OpenCheckpoint(signed, tlogtest.Origin, k.ours); err != nil {
		t.Errorf("with an extension: %v", err)
	}
	if _, err := note.Sign(&note.Note{Text: some.Text() + "extension\n"}, keys(t)["RFC 6962"].signer); err == nil {
		t.Error("RFC 6962 signs an extension, which it does not cover")
	}
}

func TestParseVerifier(t *testing.T) {
	good := fmt.Sprint(keys(t)["Ed25519"].ours)
	for _, s := range []string{"", "a", "a+b", "a+b+c", good[1:], strings.Replace(good, "+", "+0", 1), good + "AAAA", strings.Replace(good, "log", "l g", 1), good + strings.Repeat("A", 2000)} {
		if v, err := tlog.ParseVerifier(s); !errors.Is(err, tlog.ErrMalformed) {
			t.Errorf("%.80q is %v, %v", s, v, err)
		}
	}
	if v, err := tlog.ParseVerifier("remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"); err != nil || v.Name() != "remora.n621.de" {
		t.Errorf("a key of a witness: %v, %v", v, err)
	}
}

// FuzzCosignature: a verifier of any type takes any bytes for a signature, and
// any note is read in one way.
func FuzzCosignature(f *testing.F) {
	ks := keys(f)
	for _, k := range ks {
		f.Add(sign(f, some.Text(), k.signer))
	}
	f.Add([]byte(some.Text() + "\n— " + tlogtest.Origin + " AAAAAAAAAAA=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, k := range ks {
			k.ours.Verify([]byte(some.Text()), b)
			if name == "RFC 6962" && len(b) > 0 && k.ours.Verify(b, b) {
				t.Error("a note is its own signature")
			}
			c, err := tlog.OpenCheckpoint(b, tlogtest.Origin, k.ours)
			if err == nil && !bytes.HasPrefix(b, []byte(c.Text())) {
				t.Errorf("%q opens as %+v", b, c)
			}
		}
	})
}

// FuzzVerifierKey: a key that is read is written the same.
func FuzzVerifierKey(f *testing.F) {
	for _, k := range keys(f) {
		f.Add(fmt.Sprint(k.ours))
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := tlog.ParseVerifier(s); err == nil && fmt.Sprint(v) != s {
			t.Errorf("%q is read as %v", s, v)
		}
	})
}
