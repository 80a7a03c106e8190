package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// collected is an OTLP collector that keeps spans by their id.
type collected struct {
	mu    sync.Mutex
	spans map[string]*trace.Span
}

func (c *collected) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	request := new(collector.ExportTraceServiceRequest)
	if err != nil || proto.Unmarshal(body, request) != nil {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans[string(s.GetSpanId())] = s
			}
		}
	}
}

// ways returns the names of each span's ancestors and its own, from the root.
func (c *collected) ways() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ways []string
	for _, s := range c.spans {
		way := s.GetName()
		for up := c.spans[string(s.GetParentSpanId())]; up != nil; up = c.spans[string(up.GetParentSpanId())] {
			way = up.GetName() + " > " + way
		}
		ways = append(ways, way)
	}
	slices.Sort(ways)
	return slices.Compact(ways)
}

// rejudged waits until a placement has another decision than before.
func (w *world) rejudged(before *repo.Placement) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := w.db.PlacementOf(ctx, before.Repository, before.Digest)
		if err == nil && p.Decision != before.Decision {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.Fatalf("%s@%s: %+v, %v; want another decision", before.Repository, before.Digest, p, err)
		}
	}
}

// TestTraces: what a request causes later is seen with it, as a collector gets it.
func TestTraces(t *testing.T) {
	got := &collected{spans: map[string]*trace.Span{}}
	receiver := httptest.NewServer(got)
	defer receiver.Close()
	tracing, err := telemetry.StartTracing(t.Context(), telemetry.TraceOptions{Endpoint: receiver.URL, Sample: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.Tracing = tracing })
	w.advise("GO-TEST-1", "example.com/other", "99.0.0", low)
	dev := w.enrol("ann", "developer")
	bad := w.pushImage(dev, "catalog/app", "1", layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	good := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}))
	before := w.settled("catalog/app", bad.Digest, repo.Admitted)
	w.settled("dev/app", good.Digest, repo.Admitted)
	w.promote(dev, "dev/app:1", "staging", http.StatusOK)
	w.advised("GO-TEST-2", "stdlib", "99.0.0", critical)
	res, body := w.request(w.admin, http.MethodPost, "/api/v1/feeds/update", []byte(`{}`), "Content-Type", "application/json")
	w.want(http.StatusOK, res, body)
	w.rejudged(before)
	w.stop() // ends what runs
	if err := tracing.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	ways := got.ways()
	for _, want := range []string{
		"POST /v2/upload-start > analyse layer",
		"PUT /v2/manifest-put > job judge > match",
		"POST /api/v1/ > promote > match",
		"POST /api/v1/ > load feed",
		"POST /api/v1/ > load feed > job advisories > job judge > match",
	} {
		if !slices.Contains(ways, want) {
			t.Errorf("no span %s; there are\n%s", want, strings.Join(ways, "\n"))
		}
	}
}
