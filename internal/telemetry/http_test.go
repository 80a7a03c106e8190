package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/telemetry"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
)

// fixed is a clock that stands.
func fixed() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// zeros is randomness that tests can predict.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type observed struct {
	*telemetry.Observer
	registry *prometheus.Registry
	log      *bytes.Buffer
}

func observer(t *testing.T, level slog.Level) observed {
	t.Helper()
	o := observed{registry: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	log, err := telemetry.NewLogger(o.log, telemetry.LogOptions{Level: level.String(), Format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	o.Observer = telemetry.NewObserver(telemetry.ObserverOptions{
		Log: log, Metrics: o.registry, Tracer: noop.NewTracerProvider().Tracer("test"), Rand: zeros{},
		Clock: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(time.Millisecond)
			return now
		},
	})
	return o
}

// scrape returns the samples of those metrics as Prometheus gets them.
func scrape(t *testing.T, r *prometheus.Registry, names ...string) []string {
	t.Helper()
	w := httptest.NewRecorder()
	telemetry.MetricsHandler(r).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), "{"); slices.Contains(names, strings.Fields(name)[0]) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestObserve(t *testing.T) {
	o := observer(t, slog.LevelDebug)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{name}", func(w http.ResponseWriter, r *http.Request) {
		if id := telemetry.RequestID(r.Context()); id != "0000000000000000" {
			t.Errorf("request id is %q", id)
		}
		fmt.Fprint(w, "hello")
	})
	mux.HandleFunc("/odd", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) })
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNoContent)
	})
	h := o.Wrap(mux)
	for _, target := range []string{"GET /v2/a", "GET /v2/b", "BREW /odd", "GET /nowhere", "GET /early"} {
		method, path, _ := strings.Cut(target, " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Header().Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", target)
		}
	}
	want := []string{
		`bonded_http_requests_total{code="200",method="GET",route="GET /v2/{name}"} 2`,
		`bonded_http_requests_total{code="204",method="GET",route="/early"} 1`,
		`bonded_http_requests_total{code="404",method="GET",route="other"} 1`,
		`bonded_http_requests_total{code="other",method="other",route="/odd"} 1`,
		`bonded_http_response_bytes_total{route="/early"} 0`,
		`bonded_http_response_bytes_total{route="/odd"} 0`,
		`bonded_http_response_bytes_total{route="GET /v2/{name}"} 10`,
		`bonded_http_response_bytes_total{route="other"} 19`,
	}
	if diff := cmp.Diff(want, scrape(t, o.registry, "bonded_http_requests_total", "bonded_http_response_bytes_total")); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(o.log.String(), `"path":"/v2/a"`) || !strings.Contains(o.log.String(), `"request":"0000000000000000"`) {
		t.Errorf("log is %s", o.log)
	}
}

func TestLogOfRequests(t *testing.T) {
	o := observer(t, slog.LevelInfo)
	h := o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/good?token=secret", nil))
	if o.log.Len() > 0 {
		t.Errorf("a good request is logged at info: %s", o.log)
	}
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/bad?token=secret", nil))
	if !strings.Contains(o.log.String(), `"level":"WARN"`) || strings.Contains(o.log.String(), "secret") {
		t.Errorf("log is %s", o.log)
	}
}

func TestPanic(t *testing.T) {
	o := observer(t, slog.LevelInfo)
	serve := func(h http.HandlerFunc) (w *httptest.ResponseRecorder, panicked any) {
		w = httptest.NewRecorder()
		defer func() { panicked = recover() }()
		o.Wrap(h).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return w, nil
	}
	w, p := serve(func(http.ResponseWriter, *http.Request) { panic("oh") })
	if w.Code != http.StatusInternalServerError || p != nil || !strings.Contains(o.log.String(), "handler panicked") {
		t.Errorf("a panic before the answer gives %d, %v; log %s", w.Code, p, o.log)
	}
	_, p = serve(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "half"); panic("oh") })
	if p != http.ErrAbortHandler {
		t.Errorf("a panic inside the answer gives %v", p)
	}
	o.log.Reset()
	_, p = serve(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if p != http.ErrAbortHandler || strings.Contains(o.log.String(), "panicked") {
		t.Errorf("an abort gives %v; log %s", p, o.log)
	}
	if got := scrape(t, o.registry, "bonded_http_requests_running"); !cmp.Equal(got, []string{"bonded_http_requests_running 0"}) {
		t.Errorf("got %v", got)
	}
}

// spyListener gives out connections that note what they were asked to send
// from.
type spyListener struct {
	net.Listener
	files chan string
}

func (l spyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return spyConn{c, l.files}, nil
}

type spyConn struct {
	net.Conn
	files chan string
}

// ReadFrom is what net/http calls to let the kernel send a file.
func (c spyConn) ReadFrom(src io.Reader) (int64, error) {
	if l, ok := src.(*io.LimitedReader); ok {
		if f, ok := l.R.(*os.File); ok {
			c.files <- filepath.Base(f.Name())
		}
	}
	return io.Copy(c.Conn, src)
}

// TestSendfile: the file itself, not its bytes, reaches the connection.
func TestSendfile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(name, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	o := observer(t, slog.LevelInfo)
	srv := httptest.NewUnstartedServer(o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	})))
	files := make(chan string, 1)
	srv.Listener = spyListener{srv.Listener, files}
	srv.Start()
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); n != 1<<20 || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
	select {
	case got := <-files:
		if got != "layer" {
			t.Errorf("sent from %s", got)
		}
	default:
		t.Error("the file was copied through memory")
	}
}

// TestOverHTTP2 covers connections that cannot send a file by themselves.
func TestOverHTTP2(t *testing.T) {
	o := observer(t, slog.LevelInfo)
	srv := httptest.NewUnstartedServer(o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("protocol is %s", r.Proto)
		}
		if _, err := io.Copy(w, io.LimitReader(zeros{}, 1<<20)); err != nil {
			t.Error(err)
		}
	})))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); n != 1<<20 || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

// TestAbilities: what a handler may ask of its ResponseWriter.
func TestAbilities(t *testing.T) {
	o := observer(t, slog.LevelInfo)
	flushed := make(chan struct{})
	srv := httptest.NewServer(o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{}), rc.EnableFullDuplex())
		fmt.Fprint(w, "one")
		err = errors.Join(err, rc.Flush())
		if err != nil {
			t.Error(err)
		}
		<-flushed
		w.(http.Flusher).Flush()
		if _, _, err := rc.Hijack(); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b [3]byte
	if _, err := io.ReadFull(res.Body, b[:]); err != nil || string(b[:]) != "one" {
		t.Errorf("got %q, %v before the handler returned", b, err)
	}
	close(flushed)
}

func BenchmarkWrap(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	o := telemetry.NewObserver(telemetry.ObserverOptions{
		Log: log, Metrics: prometheus.NewRegistry(), Tracer: noop.NewTracerProvider().Tracer("test"), Rand: zeros{}, Clock: time.Now,
	})
	h := o.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r, w := httptest.NewRequest(http.MethodGet, "/v2/a", nil), httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
