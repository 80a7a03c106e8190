package ct_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	ctgo "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/ctutil"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"

	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/trust/ct"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

const origin = "bonded.example/ct"

// world is a log with the authority whose certificates it takes.
type world struct {
	*testing.T
	*ct.Log
	tiles     *tlog.Log
	verifier  *ecdsa.PublicKey
	root, sub *x509.Certificate
	subKey    *ecdsa.PrivateKey
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func newWorld(t *testing.T) *world {
	key, rootKey := newKey(t), newKey(t)
	w := &world{T: t, verifier: &key.PublicKey, subKey: newKey(t)}
	w.root = w.certificate(nil, rootKey, &rootKey.PublicKey, "root")
	w.sub = w.certificate(w.root, rootKey, &w.subKey.PublicKey, "intermediate")
	signer, err := tlog.NewRFC6962Signer(origin, key, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := tlog.RFC6962Verifier(origin, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	w.tiles = tlogtest.Begin(t, tlog.Options{Origin: origin, Layout: tlog.StaticCT, Store: &tlogtest.Memory{}, Blobs: mem.New(mem.Options{}),
		Signer: signer, Verifier: verifier, Clock: time.Now, Wait: time.Millisecond})
	w.Log = must[*ct.Log](t)(ct.New(ct.Options{Adder: w.tiles, Source: w.tiles, Key: key, Clock: time.Now,
		Authorities: func() []*x509.Certificate { return []*x509.Certificate{w.sub, w.root} }}))
	return w
}

// certificate makes one; with extra it is a precertificate, or what comes of it.
func (w *world) certificate(parent *x509.Certificate, key *ecdsa.PrivateKey, pub *ecdsa.PublicKey, name string, extra ...pkix.Extension) *x509.Certificate {
	w.Helper()
	t := &x509.Certificate{SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(1_700_000_000, 0),
		NotAfter: time.Unix(2_000_000_000, 0), BasicConstraintsValid: true, IsCA: name != "leaf", KeyUsage: x509.KeyUsageCertSign, ExtraExtensions: extra}
	if parent == nil {
		parent = t
	}
	der := must[[]byte](w.T)(x509.CreateCertificate(rand.Reader, t, parent, pub, key))
	return must[*x509.Certificate](w.T)(x509.ParseCertificate(der))
}

var poison = pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}, Critical: true, Value: asn1.NullBytes}

func (w *world) leaf(extra ...pkix.Extension) [][]byte {
	return [][]byte{w.certificate(w.sub, w.subKey, &newKey(w.T).PublicKey, "leaf", extra...).Raw, w.sub.Raw, w.root.Raw}
}

// TestPromise: what is promised is checked by the library that browsers' logs
// are checked by, and what is in the tiles is what was promised.
func TestPromise(t *testing.T) {
	w := newWorld(t)
	for index := range int64(3) {
		chain := w.leaf(poison)
		raw := must[[]byte](t)(w.AddPreChain(t.Context(), chain))
		var sct ctgo.SignedCertificateTimestamp
		if rest, err := cttls.Unmarshal(raw, &sct); err != nil || len(rest) > 0 {
			t.Fatal(err, rest)
		}
		if want := []byte{0, 0, 5, 0, 0, 0, 0, byte(index)}; !bytes.Equal(sct.Extensions, want) {
			t.Errorf("extensions %x, want %x", sct.Extensions, want)
		}
		v := must[*ctutil.LogInfo](t)(logInfo(w.verifier))
		var certs []*ctx509.Certificate
		for _, der := range chain {
			c, err := ctx509.ParseCertificate(der)
			if ctx509.IsFatal(err) {
				t.Fatal(err)
			}
			certs = append(certs, c)
		}
		leaf := must[*ctgo.MerkleTreeLeaf](t)(ctgo.MerkleTreeLeafFromChain(certs, ctgo.PrecertLogEntryType, sct.Timestamp))
		leaf.TimestampedEntry.Extensions = sct.Extensions
		if err := v.VerifySCTSignature(sct, *leaf); err != nil {
			t.Errorf("the promise of entry %d: %v", index, err)
		}
		bundle := must[[]byte](t)(w.tiles.Tile(t.Context(), tlog.Tile{Level: tlog.Entries, Width: int(index) + 1}))
		entries := must[[]tlog.BundleEntry](t)(tlog.StaticCT.Split(bundle, int(index)+1))
		want := must[[32]byte](t)(ctgo.LeafHashForLeaf(leaf))
		if got := entries[index].Leaf; got != tlog.Hash(want) {
			t.Errorf("the tile has %s, promised was %x", got, want)
		}
		if !bytes.Contains(entries[index].Data, chain[0]) {
			t.Error("the tile has not the precertificate")
		}
	}
}

func logInfo(pub *ecdsa.PublicKey) (*ctutil.LogInfo, error) {
	v, err := ctgo.NewSignatureVerifier(pub)
	return &ctutil.LogInfo{Verifier: v}, err
}

func TestRefused(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	good := w.leaf(poison)
	for name, chain := range map[string][][]byte{
		"nothing":             nil,
		"alone":               good[:1],
		"no precertificate":   w.leaf(),
		"of another":          other.leaf(poison),
		"signed by another":   {other.leaf(poison)[0], w.sub.Raw, w.root.Raw},
		"not in order":        {good[0], good[2], good[1]},
		"too long":            slices.Concat(good, good, good),
		"no certificate":      {[]byte("hello"), w.sub.Raw},
		"an authority itself": {w.sub.Raw, w.root.Raw},
	} {
		if _, err := w.AddPreChain(t.Context(), chain); !errors.Is(err, ct.ErrChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if h := must[tlog.Head](t)(w.tiles.Store.Head(t.Context())); h.Size != 0 {
		t.Errorf("the log has %d entries of what was refused", h.Size)
	}
	if _, err := ct.New(ct.Options{Key: tlogtest.Key("ed25519")}); !errors.Is(err, ct.ErrKey) {
		t.Errorf("an Ed25519 key: %v", err)
	}
	busy := must[*ct.Log](t)(ct.New(ct.Options{Adder: adder(func() error { return tlog.ErrBusy }), Key: newKey(t), Clock: time.Now,
		Authorities: func() []*x509.Certificate { return []*x509.Certificate{w.sub, w.root} }}))
	if _, err := busy.AddPreChain(t.Context(), good); !errors.Is(err, tlog.ErrBusy) {
		t.Errorf("a log with too much to do: %v", err)
	}
}

// adder is a log that fails.
type adder func() error

func (a adder) AddAt(_ context.Context, make func(int64) (tlog.Entry, error)) (tlog.Added, error) {
	if _, err := make(0); err != nil {
		return tlog.Added{}, err
	}
	return tlog.Added{}, a()
}

func TestHandler(t *testing.T) {
	w := newWorld(t)
	if _, err := w.AddPreChain(t.Context(), w.leaf(poison)); err != nil {
		t.Fatal(err)
	}
	h := w.Handler(slog.New(slog.DiscardHandler))
	sum := sha256.Sum256(w.sub.Raw)
	for path, want := range map[string]int{
		"/checkpoint": 200, "/tile/0/000.p/1": 200, "/tile/data/000.p/1": 200, "/issuer/" + hex.EncodeToString(sum[:]): 200,
		"/issuer/00": 404, "/tile/data/001": 404, "/tile/entries/000.p/1": 404, "/ct/v1/add-chain": 404,
	} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != want {
			t.Errorf("GET %s: %d, want %d: %s", path, rec.Code, want, rec.Body)
		}
		if path == "/checkpoint" && !bytes.HasPrefix(rec.Body.Bytes(), fmt.Append(nil, origin, "\n1\n")) {
			t.Errorf("checkpoint %q", rec.Body)
		}
	}
}

// TestRekey: promises are of the key in use, and those of before stay good.
func TestRekey(t *testing.T) {
	w := newWorld(t)
	next := newKey(t)
	if err := w.Rekey(tlogtest.Key("ed25519")); !errors.Is(err, ct.ErrKey) {
		t.Errorf("an Ed25519 key is taken: %v", err)
	}
	for _, want := range []*ecdsa.PublicKey{w.verifier, &next.PublicKey} {
		spki := must[[]byte](t)(x509.MarshalPKIXPublicKey(want))
		var sct ctgo.SignedCertificateTimestamp
		if _, err := cttls.Unmarshal(must[[]byte](t)(w.AddPreChain(t.Context(), w.leaf(poison))), &sct); err != nil {
			t.Fatal(err)
		}
		if sct.LogID.KeyID != sha256.Sum256(spki) {
			t.Errorf("the promise is of %x", sct.LogID.KeyID)
		}
		if err := w.Rekey(next); err != nil {
			t.Fatal(err)
		}
	}
}
