package rekor_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	tiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/rekor-tiles/v2/pkg/types/hashedrekord"
	"github.com/sigstore/rekor-tiles/v2/pkg/verify"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/trust/rekor"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

var _ sign.RekorV2Client = (*rekor.Log)(nil)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newLog is a log over memory.
func newLog(t *testing.T) *rekor.Log {
	o := tlogtest.Options(t, &tlogtest.Memory{}, mem.New(mem.Options{}))
	o.Index, o.Dedupe = true, true
	l := tlogtest.Begin(t, o)
	return rekor.New(rekor.Options{Adder: l, Source: l, ID: [32]byte{7}})
}

// request is a signature by a key over a hash.
func request(t *testing.T, key crypto.Signer, details common.PublicKeyDetails, text string) *tiles.HashedRekordRequestV002 {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	sig := must[[]byte](t)(key.Sign(rand.Reader, sum[:], crypto.SHA256))
	spki := must[[]byte](t)(x509.MarshalPKIXPublicKey(key.Public()))
	return &tiles.HashedRekordRequestV002{Digest: sum[:], Signature: &tiles.Signature{Content: sig, Verifier: &tiles.Verifier{
		KeyDetails: details, Verifier: &tiles.Verifier_PublicKey{PublicKey: &tiles.PublicKey{RawBytes: spki}},
	}}}
}

const p256 = common.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256

func ecdsaKey(t *testing.T) *ecdsa.PrivateKey {
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func body(t *testing.T, req *tiles.HashedRekordRequestV002) []byte {
	return must[[]byte](t)(protojson.Marshal(&tiles.CreateEntryRequest{Spec: &tiles.CreateEntryRequest_HashedRekordRequestV002{HashedRekordRequestV002: req}}))
}

func post(l *rekor.Log, body []byte) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	l.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/api/v2/log/entries", bytes.NewReader(body)))
	return rec
}

// TestLogged: what is answered is checked by the code of Rekor's own clients.
func TestLogged(t *testing.T) {
	l := newLog(t)
	key := ecdsaKey(t)
	for i, text := range []string{"a", "b", "c"} {
		req := request(t, key, p256, text)
		rec := post(l, body(t, req))
		if rec.Code != http.StatusCreated {
			t.Fatalf("%d: %s", rec.Code, rec.Body)
		}
		entry := &rekorpb.TransparencyLogEntry{}
		if err := protojson.Unmarshal(rec.Body.Bytes(), entry); err != nil {
			t.Fatal(err)
		}
		if err := verify.VerifyLogEntry(entry, tlogtest.Verifier(t)); err != nil {
			t.Error(err)
		}
		// Clients forget the body and make its hash from what they signed.
		hash := must[[]byte](t)(hashedrekord.ToEntryHash(req.Digest, req.Signature))
		if err := verify.VerifyLogEntryWithHash(entry, tlogtest.Verifier(t), hash); err != nil {
			t.Error(err)
		}
		if entry.LogIndex != int64(i) || entry.KindVersion.Kind != "hashedrekord" || entry.KindVersion.Version != "0.0.2" || !bytes.Equal(entry.LogId.KeyId[:1], []byte{7}) {
			t.Errorf("entry %d: %v", i, entry)
		}
	}
}

// TestAgain: a key whose signatures are always the same signs an image twice.
func TestAgain(t *testing.T) {
	l := newLog(t)
	key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	req := request(t, key, common.PublicKeyDetails_PKIX_RSA_PKCS1V15_2048_SHA256, "image")
	first := must[*rekorpb.TransparencyLogEntry](t)(l.Add(t.Context(), req))
	must[*rekorpb.TransparencyLogEntry](t)(l.Add(t.Context(), request(t, ecdsaKey(t), p256, "other")))
	rec := post(l, body(t, req))
	again := &rekorpb.TransparencyLogEntry{}
	if err := protojson.Unmarshal(rec.Body.Bytes(), again); err != nil || rec.Code != http.StatusCreated {
		t.Fatalf("%d, %v: %s", rec.Code, err, rec.Body)
	}
	if again.LogIndex != first.LogIndex || again.InclusionProof.TreeSize != 2 {
		t.Errorf("index %d of %d, want %d of 2", again.LogIndex, again.InclusionProof.TreeSize, first.LogIndex)
	}
	if err := verify.VerifyLogEntry(again, tlogtest.Verifier(t)); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	key := ecdsaKey(t)
	good := request(t, key, p256, "image")
	other := request(t, key, p256, "other")
	_, pure, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	change := func(fn func(*tiles.HashedRekordRequestV002)) []byte {
		req := request(t, key, p256, "image")
		fn(req)
		return body(t, req)
	}
	weak := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for _, c := range []struct {
		name, want string
		body       []byte
		status     int
	}{
		{"nothing", "no JSON", nil, 400},
		{"no JSON", "no JSON", []byte("hello"), 400},
		{"empty", "hashedRekordRequestV002", []byte("{}"), 400},
		{"dsse", "cosign 3.1 or newer", []byte(`{"dsseRequestV002":{"envelope":{}}}`), 400},
		{"of the future", "hashedRekordRequestV002", []byte(`{"identityRequestV003":{}}`), 400},
		{"two at once", "no JSON", []byte(`{"dsseRequestV002":{},"hashedRekordRequestV002":{}}`), 400},
		{"large", "at most", bytes.Repeat([]byte(" "), 200<<10), 413},
		{"no signature", "no signature", change(func(r *tiles.HashedRekordRequestV002) { r.Signature = nil }), 400},
		{"no key", "no signature with a key", change(func(r *tiles.HashedRekordRequestV002) { r.Signature.Verifier = nil }), 400},
		{"other hash", "verifying signature", change(func(r *tiles.HashedRekordRequestV002) { r.Digest = other.Digest }), 400},
		{"short hash", "digest length", change(func(r *tiles.HashedRekordRequestV002) { r.Digest = r.Digest[:20] }), 400},
		{"wrong algorithm", "cannot be logged", change(func(r *tiles.HashedRekordRequestV002) {
			r.Signature.Verifier.KeyDetails = common.PublicKeyDetails_PKIX_RSA_PKCS1V15_2048_SHA256
		}), 400},
		{"weak curve", "cannot be logged", body(t, request(t, weak, p256, "image")), 400},
		{"pure Ed25519", "cannot be logged", change(func(r *tiles.HashedRekordRequestV002) {
			r.Signature.Content = ed25519.Sign(pure, good.Digest)
			r.Signature.Verifier.KeyDetails = common.PublicKeyDetails_PKIX_ED25519
			r.Signature.Verifier.GetPublicKey().RawBytes = must[[]byte](t)(x509.MarshalPKIXPublicKey(pure.Public()))
		}), 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog(t)
			refused(t, post(l, c.body), c.status, c.want)
			rec := httptest.NewRecorder()
			l.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/v2/checkpoint", nil))
			if lines := strings.Split(rec.Body.String(), "\n"); len(lines) < 2 || lines[1] != "0" {
				t.Errorf("the log has entries of what was refused: %q", rec.Body)
			}
		})
	}
	if _, err := newLog(t).Add(t.Context(), "text"); err == nil {
		t.Error("a text was logged")
	}
}

// refused checks the error JSON that cosign prints.
func refused(t *testing.T, rec *httptest.ResponseRecorder, status int, want string) {
	t.Helper()
	var e struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Details []any  `json:"details"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || rec.Code != status || e.Code != status || e.Details == nil || !strings.Contains(e.Message, want) {
		t.Errorf("%d %s, want %d and %q (%v)", rec.Code, rec.Body, status, want, err)
	}
}

// adder is a log that fails.
type adder struct{ err error }

func (a adder) Add(context.Context, tlog.Entry) (tlog.Added, error) { return tlog.Added{}, a.err }

func TestLater(t *testing.T) {
	req := body(t, request(t, ecdsaKey(t), p256, "image"))
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{tlog.ErrBusy, 503, "too much to do"}, {tlog.ErrUnwitnessed, 503, "witnesses"}, {tlog.ErrStopped, 503, "in time"},
		{errors.New("secret: disk on fire"), 500, "could not be logged"},
	} {
		rec := post(rekor.New(rekor.Options{Adder: adder{c.err}}), req)
		refused(t, rec, c.status, c.want)
		if (rec.Header().Get("Retry-After") != "") != (c.status == 503) || strings.Contains(rec.Body.String(), "fire") {
			t.Errorf("%v: %v %s", c.err, rec.Header(), rec.Body)
		}
	}
}

func TestReading(t *testing.T) {
	l := newLog(t)
	must[*rekorpb.TransparencyLogEntry](t)(l.Add(t.Context(), request(t, ecdsaKey(t), p256, "image")))
	for path, want := range map[string]int{
		"/api/v2/checkpoint": 200, "/api/v2/tile/0/000.p/1": 200, "/api/v2/tile/entries/000.p/1": 200,
		"/api/v2/tile/entries/000": 404, "/api/v2/log/entries": 404, "/api/v1/log": 404,
	} {
		rec := httptest.NewRecorder()
		l.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != want {
			t.Errorf("GET %s: %d, want %d: %s", path, rec.Code, want, rec.Body)
		}
	}
}

// TestRekey: an entry names the key that has signed its checkpoint, also while
// two of them do.
func TestRekey(t *testing.T) {
	o := tlogtest.Options(t, &tlogtest.Memory{}, mem.New(mem.Options{}))
	o.Index, o.Dedupe = true, true
	tiles := tlogtest.Begin(t, o)
	idOf := func(name string) (id [32]byte) {
		pub := tlogtest.Key(name).Public().(ed25519.PublicKey)
		return sha256.Sum256(append([]byte(tlogtest.Origin+"\n\x01"), pub...))
	}
	was, is := idOf(tlogtest.Origin), idOf("second")
	l := rekor.New(rekor.Options{Adder: tiles, Source: tiles, ID: was})
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	names := func(text string, want [32]byte) {
		t.Helper()
		e, err := l.Add(t.Context(), request(t, key, common.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, text))
		if err != nil || !bytes.Equal(e.LogId.KeyId, want[:]) {
			t.Errorf("%s: %x, %v; want %x", text, e.GetLogId().GetKeyId(), err, want)
		}
	}
	names("before", was)
	l.Rekey(is)
	names("announced", was)
	signer := must[note.Signer](t)(tlog.NewEd25519Signer(tlogtest.Origin, tlogtest.Key("second")))
	verifier := must[note.Verifier](t)(tlog.Ed25519Verifier(tlogtest.Origin, tlogtest.Key("second").Public().(ed25519.PublicKey)))
	if err := tiles.Rekey(t.Context(), signer, verifier, nil); err != nil {
		t.Fatal(err)
	}
	names("after", is)
	// one that starts later knows both
	l = rekor.New(rekor.Options{Adder: tiles, Source: tiles, ID: [32]byte{9}, Older: [][32]byte{was, is}})
	names("after a start", is)
}
