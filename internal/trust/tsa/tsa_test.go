package tsa

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	tspclient "github.com/notaryproject/tspclient-go"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/bonded-dev/bonded/internal/trust"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type world struct {
	t   testing.TB
	now time.Time
	i   *trust.Instance
	a   *Authority
}

func newWorld(t testing.TB) *world { return newWorldAt(t, start) }

func newWorldAt(t testing.TB, now time.Time) *world {
	t.Helper()
	w := &world{t: t, now: now}
	i, err := trust.Init(t.Context(), trust.Options{
		Dir: filepath.Join(t.TempDir(), "trust"), Origin: "bonded.example", URL: "https://bonded.example",
		Clock: w.clock, Log: slog.New(slog.DiscardHandler),
	}, trust.InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.i, w.a = i, New(Options{Keys: i, Clock: w.clock})
	return w
}

func (w *world) clock() time.Time { return w.now }

// request returns a good request over "hello", changed.
func (w *world) request(change func(*timestamp.Request)) []byte {
	w.t.Helper()
	sum := sha256.Sum256([]byte("hello"))
	req := &timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Certificates: true, Nonce: big.NewInt(42)}
	change(req)
	b, err := req.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func same(*timestamp.Request) {}

func (w *world) stamp(req []byte) *timestamp.Timestamp {
	w.t.Helper()
	b, err := w.a.Timestamp(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	ts, err := timestamp.ParseResponse(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return ts
}

func TestTimestamp(t *testing.T) {
	w := newWorld(t)
	a, b := w.stamp(w.request(same)), w.stamp(w.request(same))
	if !a.Time.Equal(start) || a.Nonce.Int64() != 42 || len(a.Certificates) != 1 || !a.Policy.Equal(Policy) || a.Accuracy != time.Second {
		t.Errorf("%+v", a)
	}
	if a.SerialNumber.Cmp(b.SerialNumber) == 0 || a.SerialNumber.BitLen() < 100 {
		t.Errorf("serial numbers %x and %x", a.SerialNumber, b.SerialNumber)
	}
	if c := w.stamp(w.request(func(r *timestamp.Request) { r.Certificates = false })); len(c.Certificates) != 0 {
		t.Error("certificates were added that nobody asked for")
	}
}

func TestSigstoreVerifies(t *testing.T) {
	w := newWorld(t)
	b, err := w.i.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		h := hash.New()
		h.Write([]byte("hello"))
		reply, err := w.a.Timestamp(t.Context(), w.request(func(r *timestamp.Request) { r.HashAlgorithm, r.HashedMessage = hash, h.Sum(nil) }))
		if err != nil {
			t.Fatal(err)
		}
		at, err := tr.TimestampingAuthorities()[0].Verify(reply, []byte("hello"))
		if err != nil || !at.Time.Equal(start) {
			t.Errorf("%v: sigstore-go: %v, %v", hash, at, err)
		}
		if _, err := tr.TimestampingAuthorities()[0].Verify(reply, []byte("other")); err == nil {
			t.Errorf("%v: sigstore-go takes a timestamp of other bytes", hash)
		}
	}
}

func TestOpenSSLVerifies(t *testing.T) {
	w := newWorldAt(t, time.Now()) // openssl has no other clock
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(at(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("data", []byte("hello"))
	chain, _ := w.i.Timestamper()
	write("root.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw}))
	for _, hash := range []string{"-sha256", "-sha384", "-sha512"} {
		run("ts", "-query", "-data", at("data"), hash, "-cert", "-out", at("req"))
		req, err := os.ReadFile(at("req"))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := w.a.Timestamp(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		write("reply", reply)
		if out := run("ts", "-verify", "-queryfile", at("req"), "-in", at("reply"), "-CAfile", at("root.pem")); !strings.Contains(out, "Verification: OK") {
			t.Errorf("%s: openssl says %s", hash, out)
		}
	}
}

func TestNotationsClientTakesIt(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.a.Handler(slog.New(slog.DiscardHandler)))
	defer server.Close()
	client, err := tspclient.NewHTTPTimestamper(nil, server.URL+"/api/v1/timestamp")
	if err != nil {
		t.Fatal(err)
	}
	req, err := tspclient.NewRequest(tspclient.RequestOptions{Content: []byte("hello"), HashAlgorithm: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Timestamp(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	token, err := resp.SignedToken()
	if err != nil {
		t.Fatal(err)
	}
	info, err := token.Info()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := info.Validate([]byte("hello")); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	good := w.request(same)
	tests := []struct {
		name string
		req  []byte
		says string
	}{
		{"nothing", nil, "TimeStampReq"},
		{"text", []byte("please"), "TimeStampReq"},
		{"SHA-1", w.request(func(r *timestamp.Request) { r.HashAlgorithm, r.HashedMessage = crypto.SHA1, make([]byte, 20) }), "too weak"},
		{"a hash of another length", w.request(func(r *timestamp.Request) { r.HashedMessage = r.HashedMessage[:31] }), "this one has 31"},
		{"a policy", w.request(func(r *timestamp.Request) { r.TSAPolicyOID = asn1.ObjectIdentifier{1, 2, 3} }), "policy 1.2.3"},
		{"a large nonce", w.request(func(r *timestamp.Request) { r.Nonce = new(big.Int).Lsh(big.NewInt(1), 600) }), "nonce"},
		{"trailing bytes", append(bytes.Clone(good), 0), "trailing"},
		{"another version", bytes.Replace(good, []byte{2, 1, 1}, []byte{2, 1, 2}, 1), "version is 2"},
		{"too much", make([]byte, MaxRequest+1), "bytes"},
	}
	for _, test := range tests {
		if _, err := w.a.Timestamp(t.Context(), test.req); !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want one that says %q", test.name, err, test.says)
		}
	}
}

func TestClock(t *testing.T) {
	w := newWorld(t)
	steps := []struct {
		to   time.Duration // after start
		want time.Duration // signed; negative for refused
	}{
		{0, 0}, {10 * time.Second, 10 * time.Second},
		{10*time.Second - 900*time.Millisecond, 10 * time.Second}, // as NTP corrects
		{8 * time.Second, -1}, {-time.Hour, -1},
		{11 * time.Second, 11 * time.Second},
		{4 * 365 * 24 * time.Hour, -1}, // the certificate has ended
		{12 * time.Second, 12 * time.Second},
		{-30 * 24 * time.Hour, -1},
	}
	for n, s := range steps {
		w.now = start.Add(s.to)
		b, err := w.a.Timestamp(t.Context(), w.request(same))
		if s.want < 0 {
			if !errors.Is(err, ErrClock) {
				t.Errorf("step %d: error %v, want ErrClock", n, err)
			}
			continue
		}
		ts, parseErr := timestamp.ParseResponse(b)
		if err != nil || parseErr != nil || !ts.Time.Equal(start.Add(s.want)) {
			t.Errorf("step %d: %v, %v, %v", n, ts, err, parseErr)
		}
	}
	w.now = start
	late := New(Options{Keys: w.i, Clock: w.clock, Floor: start.Add(time.Minute)})
	if _, err := late.Timestamp(t.Context(), w.request(same)); !errors.Is(err, ErrClock) {
		t.Errorf("before the floor: %v", err)
	}
}

func TestHTTP(t *testing.T) {
	w := newWorld(t)
	h := w.a.Handler(slog.New(slog.DiscardHandler))
	good := w.request(same)
	tests := []struct {
		name, method, path, kind string
		body                     []byte
		status                   int
		answer                   string // content type
	}{
		{"a request", "POST", "/api/v1/timestamp", queryType, good, 200, replyType},
		{"the chain", "GET", "/api/v1/timestamp/certchain", "", nil, 200, "application/pem-certificate-chain"},
		{"JSON", "POST", "/api/v1/timestamp", "application/json", []byte("{}"), 415, "application/json"},
		{"text", "POST", "/api/v1/timestamp", queryType, []byte("{}"), 400, "application/json"},
		{"content", "POST", "/api/v1/timestamp", queryType, make([]byte, 1<<20), 413, "application/json"},
		{"a GET", "GET", "/api/v1/timestamp", "", nil, 405, ""},
	}
	for _, test := range tests {
		r := httptest.NewRequest(test.method, test.path, bytes.NewReader(test.body))
		r.Header.Set("Content-Type", test.kind)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != test.status || test.answer != "" && rec.Header().Get("Content-Type") != test.answer {
			t.Errorf("%s: %d %s\n%s", test.name, rec.Code, rec.Header().Get("Content-Type"), rec.Body)
		}
	}
	w.now = start.Add(-time.Hour)
	r := httptest.NewRequest(http.MethodPost, "/api/v1/timestamp", bytes.NewReader(good))
	r.Header.Set("Content-Type", queryType)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if b, _ := io.ReadAll(rec.Body); rec.Code != 503 || !strings.Contains(string(b), "set the clock") {
		t.Errorf("a clock that went back: %d %s", rec.Code, b)
	}
}

func FuzzParse(f *testing.F) {
	w := &world{t: f}
	f.Add(w.request(same))
	f.Add(w.request(func(r *timestamp.Request) { r.TSAPolicyOID = Policy; r.Certificates = false }))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := parse(b)
		if err != nil {
			if !errors.Is(err, ErrRequest) {
				t.Errorf("error %v does not match ErrRequest", err)
			}
			return
		}
		if len(req.HashedMessage) != req.HashAlgorithm.Size() || req.HashAlgorithm == crypto.SHA1 {
			t.Errorf("accepted %+v", req)
		}
	})
}

func BenchmarkTimestamp(b *testing.B) {
	w := newWorld(b)
	req := w.request(same)
	for b.Loop() {
		if _, err := w.a.Timestamp(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
