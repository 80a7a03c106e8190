package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// TraceOptions say where traces go.
type TraceOptions struct {
	// Endpoint is the URL of an OTLP collector over HTTP; without a path,
	// "/v1/traces" is meant. "" makes no traces at all.
	Endpoint string
	// Sample is the share of requests to trace where the caller's own trace does
	// not say, from 0 to 1.
	Sample  float64
	Version string // of the build
	Log     *slog.Logger
}

// Tracing makes traces, or does nothing at no cost.
type Tracing struct {
	provider trace.TracerProvider
	stop     func(context.Context) error
}

// StartTracing returns a Tracing that sends in the background. A collector that
// cannot be reached is logged, never waited for.
func StartTracing(ctx context.Context, o TraceOptions) (*Tracing, error) {
	if o.Endpoint == "" {
		return &Tracing{provider: noop.NewTracerProvider(), stop: func(context.Context) error { return nil }}, nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("setting up traces: reading the collector's URL: %v", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("setting up traces to %s: %v", u.Redacted(), err)
	}
	// The exporter has no other place to tell of what it could not send.
	background := context.WithoutCancel(ctx)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.Log.WarnContext(background, "sending traces", "error", err) }))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Sample))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "bonded"), attribute.String("service.version", o.Version))),
	)
	return &Tracing{provider: provider, stop: provider.Shutdown}, nil
}

// Tracer returns a tracer for a part of the program, named as its package.
func (t *Tracing) Tracer(part string) trace.Tracer { return t.provider.Tracer(part) }

// Start begins a span below the one of ctx, in the name of a part of the
// program; where ctx has none, or nobody records it, it costs nothing. What
// goes wrong is told by End.
func Start(ctx context.Context, part, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(part).Start(ctx, name, trace.WithAttributes(attributes...)) //nolint:spancheck // the caller ends it
}

// End ends a span that Start began, which err made fail unless it is nil.
func End(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Stop sends what is left and ends the background work. It may be called twice.
func (t *Tracing) Stop(ctx context.Context) error {
	if err := t.stop(ctx); err != nil {
		return fmt.Errorf("sending the last traces: %v", err)
	}
	return nil
}
