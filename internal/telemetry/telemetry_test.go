package telemetry_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/telemetry"
	"github.com/prometheus/client_golang/prometheus"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

func TestNewLogger(t *testing.T) {
	for _, tc := range []struct {
		o    telemetry.LogOptions
		json bool
	}{
		{telemetry.LogOptions{}, true},
		{telemetry.LogOptions{Format: "auto", Terminal: true}, false},
		{telemetry.LogOptions{Format: "json", Terminal: true}, true},
		{telemetry.LogOptions{Format: "text"}, false},
	} {
		var b bytes.Buffer
		log, err := telemetry.NewLogger(&b, tc.o)
		if err != nil {
			t.Fatal(err)
		}
		log.With("a", 1).WithGroup("g").Info("hello", "b", 2)
		log.Debug("not at info")
		if got := strings.HasPrefix(b.String(), "{"); got != tc.json || strings.Contains(b.String(), "not at") {
			t.Errorf("%+v gives %s", tc.o, b.String())
		}
	}
	for _, o := range []telemetry.LogOptions{{Level: "loud"}, {Format: "xml"}} {
		if _, err := telemetry.NewLogger(io.Discard, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestMetricsHandler(t *testing.T) {
	r := telemetry.NewRegistry("1.2.3")
	w := httptest.NewRecorder()
	telemetry.MetricsHandler(r).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`bonded_build_info{`, `version="1.2.3"`, "go_goroutines", "process_resident_memory_bytes"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}

// TestTracing sends one request's trace to a collector.
func TestTracing(t *testing.T) {
	got := make(chan *collector.ExportTraceServiceRequest, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		req := new(collector.ExportTraceServiceRequest)
		if err := proto.Unmarshal(body, req); err != nil {
			t.Error(err)
		}
		got <- req
	}))
	defer srv.Close()
	tracing, err := telemetry.StartTracing(t.Context(), telemetry.TraceOptions{Endpoint: srv.URL, Sample: 0, Version: "1.2.3", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	log, err := telemetry.NewLogger(&said, telemetry.LogOptions{Format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	o := telemetry.NewObserver(telemetry.ObserverOptions{
		Log: log, Metrics: prometheus.NewRegistry(), Tracer: tracing.Tracer("http"), Rand: zeros{}, Clock: fixed,
		Route: func(*http.Request) string { return "manifest" },
	})
	h := o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.InfoContext(r.Context(), "inside")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	r := httptest.NewRequest(http.MethodGet, "/v2/a/manifests/b", nil)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") // sampled by the caller
	h.ServeHTTP(httptest.NewRecorder(), r)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) // not sampled
	for range 2 {
		if err := tracing.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	spans := (<-got).GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()
	if len(spans) != 1 || spans[0].GetName() != "GET manifest" || spans[0].GetStatus().GetCode().String() != "STATUS_CODE_ERROR" {
		t.Errorf("spans are %v", spans)
	}
	if !strings.Contains(said.String(), `"trace":"0af7651916cd43dd8448eb211c80319c"`) {
		t.Errorf("log is %s", said.String())
	}
}

func TestTracingOff(t *testing.T) {
	tracing, err := telemetry.StartTracing(t.Context(), telemetry.TraceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, span := tracing.Tracer("x").Start(t.Context(), "y"); span.IsRecording() {
		t.Error("a span is recorded for nobody")
	}
	if err := tracing.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
