package telemetry

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// requestHeader carries the id of a request, so that people can name it.
const requestHeader = "X-Request-Id"

// ObserverOptions are what an Observer works with. All are required but those
// that say otherwise.
type ObserverOptions struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Tracer  trace.Tracer
	Clock   func() time.Time
	Rand    io.Reader // for the ids of requests
	// Route names the route of a request from a bounded set. It is asked after
	// the request was answered. Optional. Default: the pattern of the ServeMux.
	Route func(*http.Request) string
}

// Observer logs, counts and traces HTTP requests.
type Observer struct {
	o       ObserverOptions
	metrics httpMetrics
	buffers sync.Pool // of *[]byte, for connections that cannot send a file by themselves
}

// NewObserver registers the metrics and returns an Observer. It panics when the
// metrics are registered already.
func NewObserver(o ObserverOptions) *Observer {
	if o.Route == nil {
		o.Route = func(r *http.Request) string { return r.Pattern }
	}
	return &Observer{
		o:       o,
		metrics: newHTTPMetrics(o.Metrics),
		buffers: sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }},
	}
}

// copyBuffer is the size of the buffers of an Observer, in bytes.
const copyBuffer = 64 << 10

// Wrap returns next under observation. The ResponseWriter that next gets is as
// able as the server's own: io.ReaderFrom (and so sendfile), http.Flusher and
// everything that http.ResponseController reaches. A handler that panics is
// logged with its stack; the client gets a 500 when nothing was sent yet, else
// the connection is cut.
func (ob *Observer) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := ob.o.Clock()
		ob.metrics.running.Inc()
		defer ob.metrics.running.Dec()
		id := ob.newID()
		ctx := context.WithValue(r.Context(), requestKey{}, id)
		ctx, span := ob.o.Tracer.Start(propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header)), r.Method, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		inner := r.WithContext(ctx)
		rec := &recorder{ResponseWriter: w, buffers: &ob.buffers}
		w.Header().Set(requestHeader, id)
		aborted := ob.serve(next, rec, inner)
		ob.report(ctx, span, rec, inner, ob.o.Clock().Sub(start))
		if aborted {
			panic(http.ErrAbortHandler)
		}
	})
}

// newID returns 64 random bits in hex; without randomness it is "-", since an
// answer matters more than its name.
func (ob *Observer) newID() string {
	var b [8]byte
	if _, err := io.ReadFull(ob.o.Rand, b[:]); err != nil {
		return "-"
	}
	return hex.EncodeToString(b[:])
}

// serve calls next and reports whether the connection must be cut.
func (ob *Observer) serve(next http.Handler, rec *recorder, r *http.Request) (abort bool) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p != http.ErrAbortHandler {
			ob.o.Log.ErrorContext(r.Context(), "handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
		if abort = p == http.ErrAbortHandler || rec.status != 0; !abort {
			http.Error(rec, "internal error; the request's id is "+rec.Header().Get(requestHeader), http.StatusInternalServerError)
		}
	}()
	next.ServeHTTP(rec, r)
	return false
}

// report tells log, metrics and trace how it went.
func (ob *Observer) report(ctx context.Context, span trace.Span, rec *recorder, r *http.Request, took time.Duration) {
	route, status := ob.o.Route(r), rec.statusOrOK()
	if route == "" {
		route = "other"
	}
	method := methodLabel(r.Method)
	ob.metrics.requests.WithLabelValues(route, method, codeLabel(status)).Inc()
	ob.metrics.seconds.WithLabelValues(route, method).Observe(took.Seconds())
	ob.metrics.bytes.WithLabelValues(route).Add(float64(rec.bytes))
	if span.IsRecording() {
		span.SetName(method + " " + route)
		span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route),
			attribute.String("url.path", r.URL.Path), attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
	}
	level := slog.LevelDebug
	if status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	if ob.o.Log.Enabled(ctx, level) {
		ob.o.Log.LogAttrs(ctx, level, "request", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.String("route", route),
			slog.Int("status", status), slog.Int64("bytes", rec.bytes), slog.Duration("took", took), slog.String("from", r.RemoteAddr), slog.String("agent", r.UserAgent()))
	}
}

// recorder notes status and bytes of an answer on their way through.
type recorder struct {
	http.ResponseWriter
	buffers *sync.Pool
	status  int // 0 until the header is sent
	bytes   int64
}

func (r *recorder) statusOrOK() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// WriteHeader notes the final status; informational ones pass.
func (r *recorder) WriteHeader(code int) {
	if r.status == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		r.status = code
	}
	r.ResponseWriter.WriteHeader(code)
}

// Write counts.
func (r *recorder) Write(p []byte) (int, error) {
	r.status = r.statusOrOK()
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom hands src to the connection, which sends a file without copying it
// where it can.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	r.status = r.statusOrOK()
	if rf, ok := r.ResponseWriter.(io.ReaderFrom); ok {
		n, err := rf.ReadFrom(src)
		r.bytes += n
		return n, err
	}
	buf := r.buffers.Get().(*[]byte)
	defer r.buffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{r.ResponseWriter}, src, *buf)
	r.bytes += n
	return n, err
}

// Flush is for those who ask for http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() } // who calls Flush has given up on errors

// FlushError is for http.ResponseController.
func (r *recorder) FlushError() error {
	r.status = r.statusOrOK()
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
